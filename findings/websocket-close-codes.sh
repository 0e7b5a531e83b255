#!/usr/bin/env bash
# hypercorn 0.18.0, daphne 4.2.3, uvicorn 0.54.0: a WebSocket's close code is wrong.
#
# ASGI's websocket.disconnect has the code that the client sent, and 1005 if it sent none; 1006
# is for connections that broke (RFC 6455, 7.1.5). hypercorn says 1006 whatever the client sent, so
# that each page that was left looks like a lost network. daphne says None where no code was sent,
# which is no int: an app that compares or stores it fails. uvicorn says 1005 for a connection that
# broke. gunicorn's asgi worker has all three right. This affects apps that keep a player's seat
# or resume an upload after 1006 only, and apps that end a session after 1000: they work on the
# server that they were written on. Our middleware ignores the code, and passes it on; the page on
# WebSockets says that it differs.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet hypercorn==0.18.0 daphne==4.2.3 uvicorn==0.54.0 \
    gunicorn==27.0.1 websockets==17.4
cd "$folder"
cat >sockets.py <<'PYTHON'
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    await receive()
    await send({"type": "websocket.accept"})
    message = await receive()
    with open(f"seen{scope['path'].replace('/', '.')}", "w") as seen:
        seen.write(repr(message.get("code") and int(message["code"])))
PYTHON
venv/bin/pip list 2>/dev/null | grep -iE '^(hypercorn|daphne|uvicorn|gunicorn|websockets) '
export HOME="$folder"
venv/bin/python - <<'PYTHON'
import base64
import os
import socket
import struct
import subprocess
import time
from pathlib import Path


def open_socket(port, path):
    connection = socket.create_connection(("127.0.0.1", port))
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [f"GET /{path} HTTP/1.1", "Host: localhost", "Connection: Upgrade"]
    lines += ["Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}"]
    connection.sendall("\r\n".join([*lines, "", ""]).encode())
    assert b" 101 " in connection.recv(4096)
    return connection


def code_at(port, path, payload):
    """Return the code that the app gets; a payload of None breaks the connection."""
    connection = open_socket(port, path)
    if payload is not None:
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[n % 4] for n, byte in enumerate(payload))
        connection.sendall(bytes([0x88, 0x80 | len(payload)]) + mask + masked)
        time.sleep(0.5)
    connection.close()
    for _ in range(100):
        try:
            return Path(f"seen.{path}").read_text()
        except FileNotFoundError:
            time.sleep(0.1)
    return "nothing"


def codes_on(*command):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with open("log", "w") as log:
        words = [word.format(port=port) for word in command]
        server = subprocess.Popen([f"venv/bin/{words[0]}", *words[1:]], stdout=log, stderr=log)
    try:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.1)
        name = command[0]
        given = {"3001": struct.pack("!H", 3001), "none": b"", "broken": None}
        return [code_at(port, f"{name}.{path}", payload) for path, payload in given.items()]
    finally:
        server.terminate()
        server.wait()


seen = {
    "hypercorn": codes_on("hypercorn", "-b", "127.0.0.1:{port}", "sockets:app"),
    "daphne": codes_on("daphne", "-b", "127.0.0.1", "-p", "{port}", "sockets:app"),
    "uvicorn": codes_on("uvicorn", "--port", "{port}", "sockets:app"),
    "gunicorn": codes_on("gunicorn", "-k", "asgi", "-b", "127.0.0.1:{port}", "sockets:app"),
}
print("closed with 3001, closed without a code, connection broken")
for name, codes in seen.items():
    print(f"{name}:", ", ".join(codes))
expected = {
    "hypercorn": ["1006", "1006", "1006"],
    "daphne": ["3001", "None", "1006"],
    "uvicorn": ["3001", "1005", "1005"],
    "gunicorn": ["3001", "1005", "1006"],
}
if seen != expected:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   daphne            4.2.3
#   gunicorn          27.0.1
#   Hypercorn         0.18.0
#   uvicorn           0.54.0
#   websockets        17.4
#   closed with 3001, closed without a code, connection broken
#   hypercorn: 1006, 1006, 1006
#   daphne: 3001, None, 1006
#   uvicorn: 3001, 1005, 1005
#   gunicorn: 3001, 1005, 1006
