#!/usr/bin/env bash
# requests 2.34.2 and httpx2 2.16.2: a cookie that is set and then deleted in one response stays.
#
# A browser takes the Set-Cookie lines of a response in their order (RFC 6265, 5.2 and 5.3), so
# that the last one for a name decides. Both clients use http.cookiejar of Python's standard
# library, which carries out all deletions of a response first and then sets the other cookies: a
# line that sets a session and a later one that deletes it leave the session. Responses have both
# where two layers write: a session's middleware renews its cookie at each request, and the logout
# page inside or outside of it deletes it. Starlette's test client, which is httpx2, keeps the
# cookie too, so that a test of the logout fails where browsers are logged out; with the lines in the
# other order all agree. curl and aiohttp do as browsers. This affects tests, crawlers and programs
# that log out. Our middleware sends one line for each of its cookies in a response.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet requests==2.34.2 httpx2==2.16.2 aiohttp==3.14.5 starlette==1.10.0
cd "$folder"
venv/bin/python -W ignore - <<'PYTHON'
import asyncio
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version

import aiohttp
import httpx2
import requests
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

for name in ("requests", "httpx2", "aiohttp", "starlette"):
    print(name, version(name))


class Site(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        if self.path == "/logout":
            self.send_header("Set-Cookie", "session=renewed; Path=/")
            self.send_header("Set-Cookie", "session=; Path=/; Max-Age=0")
        body = self.headers.get("Cookie", "").encode()
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


server = HTTPServer(("127.0.0.1", 0), Site)
threading.Thread(target=server.serve_forever, daemon=True).start()
SITE = f"http://127.0.0.1:{server.server_port}"


async def with_aiohttp():
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as session:
        await (await session.get(SITE + "/logout")).read()
        return await (await session.get(SITE + "/")).text()


async def logout(request):
    response = PlainTextResponse("bye")
    response.set_cookie("session", "renewed")
    response.delete_cookie("session")
    return response


async def who(request):
    return PlainTextResponse(request.headers.get("cookie", ""))


seen = {}
with requests.Session() as session:
    session.get(SITE + "/logout")
    seen["requests"] = session.get(SITE + "/").text
with httpx2.Client() as client:
    client.get(SITE + "/logout")
    seen["httpx2"] = client.get(SITE + "/").text
tests = TestClient(Starlette(routes=[Route("/logout", logout), Route("/", who)]))
tests.get("/logout")
seen["Starlette's test client"] = tests.get("/").text
seen["aiohttp"] = asyncio.run(with_aiohttp())
for name, cookie in seen.items():
    print(f"{name}: {cookie or 'no cookie'}")
server.shutdown()
kept = {name for name, cookie in seen.items() if cookie == "session=renewed"}
if kept != {"requests", "httpx2", "Starlette's test client"} or seen["aiohttp"]:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   requests 2.34.2
#   httpx2 2.16.2
#   aiohttp 3.14.5
#   starlette 1.10.0
#   requests: session=renewed
#   httpx2: session=renewed
#   Starlette's test client: session=renewed
#   aiohttp: no cookie
