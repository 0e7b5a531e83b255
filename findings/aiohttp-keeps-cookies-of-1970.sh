#!/usr/bin/env bash
# aiohttp 3.14.5, client: a cookie that expired at the beginning of 1970 is kept for the session.
#
# A server deletes a cookie by an Expires in the past, and the usual date is "Thu, 01 Jan 1970
# 00:00:00 GMT". aiohttp's cookie jar reads it as the number 0, takes 0 for "no date", and keeps
# the cookie with its new value until the program ends; a second later in 1970 deletes it. Flask
# and Django send Max-Age=0 as well, which works. Starlette's SessionMiddleware and starsessions
# send that date alone: after a logout the client goes on sending session=null, or '', and a test
# or a crawler that asks whether the cookie is gone still finds it. requests, httpx2 and curl
# delete it. This affects anyone whose client in aiohttp logs out. Our middleware deletes its
# cookies by Max-Age=0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet aiohttp==3.14.5 requests==2.34.2 httpx2==2.16.2 \
    starlette==1.10.0 itsdangerous==2.2.0 uvicorn==0.54.0
cd "$folder"
cat >web.py <<'PYTHON'
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route


async def login(request):
    request.session["user"] = "ada"
    return PlainTextResponse("welcome")


async def logout(request):
    request.session.clear()
    return PlainTextResponse("bye")


async def cookie(request):
    return PlainTextResponse(request.headers.get("cookie", "no cookie"))


views = {"/login": login, "/logout": logout, "/cookie": cookie}
app = Starlette(
    routes=[Route(path, view) for path, view in views.items()],
    middleware=[Middleware(SessionMiddleware, secret_key="key")],
)
PYTHON
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
venv/bin/uvicorn --port "$port" --log-level error web:app &
trap 'kill "$!" 2>/dev/null; wait 2>/dev/null; rm -rf "$folder"' EXIT
venv/bin/python - "$port" <<'PYTHON'
import asyncio
import socket
import sys
import time
from importlib.metadata import version

import aiohttp
import httpx2
import requests

for name in ("aiohttp", "requests", "httpx2", "starlette"):
    print(name, version(name))
SITE = f"http://127.0.0.1:{sys.argv[1]}"
for _ in range(100):
    try:
        socket.create_connection(("127.0.0.1", int(sys.argv[1]))).close()
        break
    except ConnectionRefusedError:
        time.sleep(0.1)


async def with_aiohttp():
    jar = aiohttp.CookieJar(unsafe=True)  # for an address without a name
    async with aiohttp.ClientSession(cookie_jar=jar) as client:
        for path in ("/login", "/logout", "/cookie"):
            async with client.get(SITE + path) as answer:
                text = await answer.text()
    return text


def with_requests():
    with requests.Session() as client:
        return [client.get(SITE + path).text for path in ("/login", "/logout", "/cookie")][-1]


def with_httpx2():
    with httpx2.Client() as client:
        return [client.get(SITE + path).text for path in ("/login", "/logout", "/cookie")][-1]


seen = {
    "aiohttp": asyncio.run(with_aiohttp()),
    "requests": with_requests(),
    "httpx2": with_httpx2(),
}
for name, sent in seen.items():
    print(f"{name} sends after the logout: {sent}")
if [*seen.values()] != ["session=null", "no cookie", "no cookie"]:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   aiohttp 3.14.5
#   requests 2.34.2
#   httpx2 2.16.2
#   starlette 1.10.0
#   aiohttp sends after the logout: session=null
#   requests sends after the logout: no cookie
#   httpx2 sends after the logout: no cookie
