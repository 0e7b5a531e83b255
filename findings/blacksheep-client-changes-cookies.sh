#!/usr/bin/env bash
# BlackSheep 2.6.4, client: a cookie goes back changed, and an answer without a length is empty.
#
# A client sends a cookie back as it got it (RFC 6265, 5.4), with "; " between two. BlackSheep's
# ClientSession percent-encodes it: a session "YWRh==" goes back as "YWRh%3D%3D", and a signed one
# with ":" or "+" likewise. BlackSheep decodes that again, so that two services of it understand
# each other; Django, Starlette, Flask and most others do not, find a wrong signature, and the
# client is anonymous at each request after its login. Two cookies are joined by ";" alone, which
# BlackSheep itself reads as one. And an answer that has neither a length nor chunks, but ends
# with the connection, as those of HTTP/1.0 do, has an empty body, without an error. This affects
# anyone who calls another service from a BlackSheep app by its own client. Our middleware calls
# TikTok by httpx2, also in BlackSheep.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet blacksheep==2.6.4 httpx2==2.16.2
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import asyncio
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

import httpx2
from blacksheep.client import ClientSession

for name in ("blacksheep", "httpx2"):
    print(name, version(name))


class Site(BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"welcome"
        self.send_response(200)
        if self.path == "/login":
            self.send_header("Set-Cookie", "session=YWRh==; Path=/")
            self.send_header("Set-Cookie", "theme=dark; Path=/")
        elif self.path == "/cookies":
            body = self.headers.get("Cookie", "").encode()
        if self.path != "/no-length":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *given):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
threading.Thread(target=server.serve_forever, daemon=True).start()
SITE = f"http://127.0.0.1:{server.server_address[1]}"
PATHS = ("/login", "/cookies", "/no-length")


async def by_blacksheep():
    async with ClientSession() as client:
        return [await (await client.get(SITE + path)).text() for path in PATHS][1:]


def by_httpx2():
    with httpx2.Client() as client:
        return [client.get(SITE + path).text for path in PATHS][1:]


seen = {"blacksheep": asyncio.run(by_blacksheep()), "httpx2": by_httpx2()}
for name, (cookies, body) in seen.items():
    print(f"{name}: Cookie: {cookies}, without a length: {body!r}")
if seen != {
    "blacksheep": ["session=YWRh%3D%3D;theme=dark", ""],
    "httpx2": ["session=YWRh==; theme=dark", "welcome"],
}:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   blacksheep 2.6.4
#   httpx2 2.16.2
#   blacksheep: Cookie: session=YWRh%3D%3D;theme=dark, without a length: ''
#   httpx2: Cookie: session=YWRh==; theme=dark, without a length: 'welcome'
