#!/usr/bin/env bash
# Quart 0.22.0 with hypercorn 0.18.0's ProxyFixMiddleware: each WebSocket over https is a 400.
#
# Behind a proxy with TLS, hypercorn's documentation says to wrap the app in its
# ProxyFixMiddleware. That writes the proxy's X-Forwarded-Proto into the scope as it is, so that a
# WebSocket has the scheme https, where ASGI knows ws and wss. Quart takes every scheme but those two
# for that of a page, finds no page at the WebSocket's path, and answers 400; pages work, and so do
# WebSockets in development, where no proxy sends the header. Starlette 1.10.0 accepts the WebSocket,
# and its websocket.url begins with https. uvicorn 0.54.0 turns https into wss. This affects anyone who
# serves Quart with WebSockets behind nginx or a load balancer that ends TLS. Our middleware compares a
# WebSocket's Origin with the origin in its settings, and does not read the scheme; the page on
# frameworks says what Quart needs.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet quart==0.22.0 hypercorn==0.18.0 starlette==1.10.0 \
    uvicorn==0.54.0 websockets==16.0
cd "$folder"
cat >sites.py <<'PYTHON'
from hypercorn.middleware import ProxyFixMiddleware
from quart import Quart, request, websocket
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute

quart = Quart(__name__)


@quart.get("/")
async def page():
    return request.scheme


@quart.websocket("/chat")
async def chat():
    await websocket.send(websocket.scheme)


async def starlette_chat(socket):
    await socket.accept()
    await socket.send_text(socket.url.scheme)
    await socket.close()


starlette = Starlette(routes=[WebSocketRoute("/chat", starlette_chat)])
fixed_quart = ProxyFixMiddleware(quart, mode="legacy", trusted_hops=1)
fixed_starlette = ProxyFixMiddleware(starlette, mode="legacy", trusted_hops=1)
PYTHON
venv/bin/python - <<'PYTHON'
import asyncio
import socket
import subprocess
import sys
import time
from importlib.metadata import version
from urllib.request import Request, urlopen

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

for name in ("quart", "hypercorn", "uvicorn", "starlette"):
    print(name, version(name))
HTTPS = {"X-Forwarded-Proto": "https"}


async def ask(port, headers):
    url = f"ws://127.0.0.1:{port}/chat"
    try:
        async with connect(url, additional_headers=headers, proxy=None) as chat:
            return await chat.recv()
    except InvalidStatus as error:
        return error.response.status_code


def serve(command, *, has_page=True):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [word.format(port=port) for word in command]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen([sys.executable, "-m", *command], **quiet)
    try:
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.1)
        page = None
        if has_page:
            request = Request(f"http://127.0.0.1:{port}/", headers=HTTPS)
            page = urlopen(request).read().decode()
        return page, asyncio.run(ask(port, {})), asyncio.run(ask(port, HTTPS))
    finally:
        server.terminate()
        server.wait()


HYPERCORN = ["hypercorn", "--bind", "127.0.0.1:{port}"]
UVICORN = ["uvicorn", "--port", "{port}"]
seen = {
    "hypercorn, Quart": serve([*HYPERCORN, "sites:fixed_quart"]),
    "hypercorn, Starlette": serve([*HYPERCORN, "sites:fixed_starlette"], has_page=False),
    "uvicorn, Quart": serve([*UVICORN, "sites:quart"]),
}
for name, (page, plain, behind_tls) in seen.items():
    print(f"{name}: page {page}; WebSocket without a proxy {plain}, behind TLS {behind_tls}")
if [*seen.values()] != [("https", "ws", 400), (None, "ws", "https"), ("https", "ws", "wss")]:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   quart 0.22.0
#   hypercorn 0.18.0
#   uvicorn 0.54.0
#   starlette 1.10.0
#   hypercorn, Quart: page https; WebSocket without a proxy ws, behind TLS 400
#   hypercorn, Starlette: page None; WebSocket without a proxy ws, behind TLS https
#   uvicorn, Quart: page https; WebSocket without a proxy ws, behind TLS wss
