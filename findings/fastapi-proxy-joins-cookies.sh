#!/usr/bin/env bash
# fastapi-proxy-lib 0.3.0: Set-Cookie lines become one, so that a login behind it does not last.
#
# Set-Cookie is the header whose lines must not be joined, since a cookie may contain a comma (RFC
# 6265, 3). The proxy copies the headers of httpx's response as a mapping, and that joins the lines
# of a name with commas. A browser then reads one cookie, and takes the attributes that follow as
# that cookie's, the last of each kind. A login answers with two lines, one that sets the session
# and one that deletes the cookie of the login under way: the session gets the Max-Age=0 of the
# other, and is deleted as it arrives. The user logs in at the provider, comes back, and is
# anonymous, with no error anywhere. A page that sets one cookie works, and so do the app's own
# tests. Python code that forwards by Response(..., headers=dict(response.headers)) does the same.
# django-revproxy 0.13.0 sends two lines. This affects anyone who puts an app with logins behind a
# FastAPI app by it. Our logins send at least two such lines; the page on proxies says what a proxy
# must do with them.
# Needs curl.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet fastapi-proxy-lib==0.3.0 fastapi==0.165.0 httpx==0.28.1 \
    uvicorn==0.54.0
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

import uvicorn
from fastapi_proxy_lib.fastapi.app import reverse_http_app

for name in ("fastapi-proxy-lib", "fastapi", "httpx", "uvicorn"):
    print(name, version(name))


class Site(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(303)
        self.send_header("Location", "/me")
        self.send_header("Set-Cookie", "session=ada; Path=/; HttpOnly; Max-Age=3600")
        self.send_header("Set-Cookie", "login=; Path=/; HttpOnly; Max-Age=0")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


def curl(address):
    """Return the Set-Cookie lines, and the cookies that are kept."""
    head = ["curl", "--silent", "--output", "/dev/null", address]
    shown = subprocess.run([*head, "--dump-header", "-"], capture_output=True, text=True, check=True)
    lines = [line for line in shown.stdout.splitlines() if line.lower().startswith("set-cookie")]
    jar = subprocess.run([*head, "--cookie-jar", "-"], capture_output=True, text=True, check=True)
    kept = [line.split("\t")[5] for line in jar.stdout.splitlines() if line.count("\t") == 6]
    return lines, kept


site = ThreadingHTTPServer(("127.0.0.1", 0), Site)
threading.Thread(target=site.serve_forever, daemon=True).start()
SITE = f"http://127.0.0.1:{site.server_port}/"
proxy = uvicorn.Server(
    uvicorn.Config(reverse_http_app(base_url=SITE), port=0, log_level="warning", lifespan="on")
)
thread = threading.Thread(target=proxy.run)
thread.start()
while not proxy.started:
    time.sleep(0.1)
port = proxy.servers[0].sockets[0].getsockname()[1]
seen = {
    "without a proxy": curl(f"{SITE}callback"),
    "through it": curl(f"http://127.0.0.1:{port}/callback"),
}
proxy.should_exit = True
thread.join()
for name, (lines, kept) in seen.items():
    print(f"{name}: {len(lines)} Set-Cookie lines; kept {', '.join(kept) or 'nothing'}")
if [(len(lines), kept) for lines, kept in seen.values()] != [(2, ["session"]), (1, [])]:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   fastapi-proxy-lib 0.3.0
#   fastapi 0.165.0
#   httpx 0.28.1
#   uvicorn 0.54.0
#   without a proxy: 2 Set-Cookie lines; kept session
#   through it: 1 Set-Cookie lines; kept nothing
