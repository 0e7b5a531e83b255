#!/usr/bin/env bash
# aiohttp-asgi 0.7.1: Firefox's WebSockets arrive as requests for a page.
#
# Connection is a list (RFC 9110, 7.6.1), and the handshake of a WebSocket has "upgrade" somewhere
# in it (RFC 6455, 4.2.1): Chromium sends "Upgrade", Firefox "keep-alive, Upgrade". aiohttp-asgi
# compares the whole value with "upgrade", so that Firefox's handshake reaches the app as an
# ordinary GET, which no route fits: a 404, and nothing in the log that speaks of WebSockets. By the
# same header it decides on http_version, which is "1.0" for most requests of HTTP/1.1. uvicorn is
# right in both. This affects anyone who puts a Starlette or FastAPI app into an aiohttp server by
# it: the chat works for those who wrote it, and not for their visitors with Firefox. Our middleware
# protects a page and a socket alike, so nobody gets in by it. (After one kind of ordinary response
# this server keeps a core busy for ever; what kind is not said here.)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet aiohttp-asgi==0.7.1 aiohttp==3.14.5 uvicorn==0.54.0 \
    websockets==17.4 starlette==1.10.0
cd "$folder"
cat >pages.py <<'PYTHON'
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute


async def version(request):
    return PlainTextResponse(request.scope["http_version"])


async def chat(websocket):
    await websocket.accept()
    await websocket.close()


app = Starlette(routes=[Route("/version", version), WebSocketRoute("/chat", chat)])
PYTHON
venv/bin/pip list 2>/dev/null | grep -iE '^(aiohttp-asgi|aiohttp|uvicorn|starlette) '
export PYTHONPATH="$folder"
venv/bin/python - <<'PYTHON'
import socket
import subprocess
import time
from http.client import HTTPResponse

HANDSHAKE = (
    "GET /chat HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: {}\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
PAGE = "GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n"


def answers_from(*command):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with open("log", "w") as log:
        command = [part.format(port) for part in command]
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        values = ("Upgrade", "keep-alive, Upgrade")
        statuses = {value: answer(port, HANDSHAKE.format(value)).status for value in values}
        return statuses, answer(port, PAGE).read()
    finally:
        server.terminate()
        server.wait()


def answer(port, request):
    for _ in range(300):
        try:
            connection = socket.create_connection(("127.0.0.1", port), timeout=30)
        except ConnectionRefusedError:
            time.sleep(0.1)
        else:
            with connection:
                connection.sendall(request.encode())
                response = HTTPResponse(connection)
                response.begin()
                return response
    raise SystemExit("the server did not start")


aiohttp = answers_from(
    "venv/bin/aiohttp-asgi", "pages:app", "--address", "127.0.0.1", "--port", "{}"
)
uvicorn = answers_from("venv/bin/uvicorn", "--http", "h11", "--port", "{}", "pages:app")
print("aiohttp-asgi:", *aiohttp)
print("uvicorn:     ", *uvicorn)
statuses = {"Upgrade": 101, "keep-alive, Upgrade": 101}
if uvicorn != (statuses, b"1.1") or aiohttp != (statuses | {"keep-alive, Upgrade": 404}, b"1.0"):
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   aiohttp           3.14.5
#   aiohttp-asgi      0.7.1
#   starlette         1.10.0
#   uvicorn           0.54.0
#   aiohttp-asgi: {'Upgrade': 101, 'keep-alive, Upgrade': 404} b'1.0'
#   uvicorn:      {'Upgrade': 101, 'keep-alive, Upgrade': 101} b'1.1'
