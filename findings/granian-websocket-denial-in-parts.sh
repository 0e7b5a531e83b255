#!/usr/bin/env bash
# granian 2.8.9, ASGI: a refused WebSocket whose response comes in parts is an error and a 403.
#
# granian lists the extension websocket.http.response, by which an app answers a handshake with a
# response of its own, such as a 401 that says where to log in. Its body may come in several
# messages, as that of a normal response (more_body). granian takes one message: with more_body it
# raises "Unsupported ASGI message" in the app, and the client gets a bare 403 without the headers.
# A Starlette app that refuses with a StreamingResponse, or whose middleware sends the body in two
# steps, is affected. uvicorn and hypercorn take both. Our middleware refuses with one message,
# as its unit tests check.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet granian==2.8.9
cd "$folder"
cat >sockets.py <<'PYTHON'
async def app(scope, receive, send):
    if scope["type"] != "websocket":
        return
    assert "websocket.http.response" in scope["extensions"]
    await receive()
    kind = "websocket.http.response"
    headers = [(b"x-login", b"/login")]
    await send({"type": f"{kind}.start", "status": 401, "headers": headers})
    if scope["path"] == "/parts":
        await send({"type": f"{kind}.body", "body": b"log ", "more_body": True})
        await send({"type": f"{kind}.body", "body": b"in"})
    else:
        await send({"type": f"{kind}.body", "body": b"log in"})
PYTHON
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
venv/bin/pip list 2>/dev/null | grep -iE '^granian '
venv/bin/granian --interface asgi --host 127.0.0.1 --port "$port" sockets:app >log 2>&1 &
trap 'kill "$!" 2>/dev/null; wait 2>/dev/null; rm -rf "$folder"' EXIT
python3 - "$port" <<'PYTHON'
import base64
import os
import sys
import time
from http.client import HTTPConnection


def open_socket(path):
    for _ in range(100):
        try:
            connection = HTTPConnection("127.0.0.1", int(sys.argv[1]))
            key = base64.b64encode(os.urandom(16)).decode()
            headers = {"Connection": "Upgrade", "Upgrade": "websocket"}
            headers |= {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": key}
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.headers["X-Login"], answer.read().decode()
        except ConnectionRefusedError:
            time.sleep(0.1)
    raise SystemExit("the server did not start")


whole, parts = open_socket("/whole"), open_socket("/parts")
print("in one message: ", whole)
print("in two messages:", parts)
if (whole, parts) != ((401, "/login", "log in"), (403, None, "")):
    raise SystemExit("the behaviour has changed")
PYTHON
grep -o "RuntimeError: .*" log
# Seen:
#   granian    2.8.9
#   in one message:  (401, '/login', 'log in')
#   in two messages: (403, None, '')
#   RuntimeError: Unsupported ASGI message
