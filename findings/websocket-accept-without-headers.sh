#!/usr/bin/env bash
# daphne 4.2.3 and granian 2.8.9: headers of websocket.accept are not sent.
#
# An app may add headers to the answer that opens a WebSocket (ASGI, websocket.accept: headers),
# most often a cookie; Starlette's accept(headers=...) does. daphne and granian send the
# handshake without them, and say nothing. (daphne names no spec_version, which means 2.0, where
# the field is not defined; granian names 2.3, where it is.) hypercorn, uvicorn and gunicorn's asgi
# worker send them. This affects apps that give a socket's client a cookie or a version there:
# it works in development on uvicorn, and is lost with Channels' server. Our middleware sets no
# cookie there; it sets them in responses to HTTP requests only.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet daphne==4.2.3 granian==2.8.9 hypercorn==0.18.0
cd "$folder"
cat >sockets.py <<'PYTHON'
async def app(scope, receive, send):
    if scope["type"] != "websocket":
        return
    await receive()
    headers = [(b"set-cookie", b"seat=7; Path=/")]
    await send({"type": "websocket.accept", "headers": headers})
    await receive()
PYTHON
venv/bin/pip list 2>/dev/null | grep -iE '^(daphne|granian|hypercorn) '
venv/bin/python - <<'PYTHON'
import base64
import os
import socket
import subprocess
import time


def sends_headers(*command):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with open("log", "w") as log:
        words = [word.format(port=port) for word in command]
        server = subprocess.Popen([f"venv/bin/{words[0]}", *words[1:]], stdout=log, stderr=log)
    try:
        for _ in range(200):
            try:
                connection = socket.create_connection(("127.0.0.1", port))
                break
            except ConnectionRefusedError:
                time.sleep(0.1)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = ["GET / HTTP/1.1", "Host: localhost", "Connection: Upgrade"]
        lines += ["Upgrade: websocket", "Sec-WebSocket-Version: 13"]
        lines += [f"Sec-WebSocket-Key: {key}", "", ""]
        connection.sendall("\r\n".join(lines).encode())
        head = connection.recv(4096)
        connection.close()
        assert b" 101 " in head, head
        return b"seat=7" in head
    finally:
        server.terminate()
        server.wait()


seen = {
    "daphne": sends_headers("daphne", "-b", "127.0.0.1", "-p", "{port}", "sockets:app"),
    "granian": sends_headers(
        "granian", "--interface", "asgi", "--port", "{port}", "sockets:app"
    ),
    "hypercorn": sends_headers("hypercorn", "-b", "127.0.0.1:{port}", "sockets:app"),
}
for name, sent in seen.items():
    print(f"{name} sends the cookie:", sent)
if seen != {"daphne": False, "granian": False, "hypercorn": True}:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   daphne            4.2.3
#   granian           2.8.9
#   Hypercorn         0.18.0
#   daphne sends the cookie: False
#   granian sends the cookie: False
#   hypercorn sends the cookie: True
