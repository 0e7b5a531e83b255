#!/usr/bin/env bash
# granian 2.8.9, ASGI, with uvicorn 0.54.0's MessageLoggerMiddleware: every request is a TypeError.
#
# ASGI's client and server are a host and a port, and the port is an integer. granian gives both
# ports as texts, "8000". Code that formats them with %d, as uvicorn's own logging middleware does
# with client, fails with each request; a comparison with 80 or 443 is false, so that a URL which
# is built from server gets a port that it should not have; and a metric or trace has a text where
# the other servers send a number, which some databases refuse. This affects anyone who moves an
# app with such a middleware from uvicorn. Our middleware reads neither of them: the site's address
# is the one in redirect_uri.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet granian==2.8.9 uvicorn==0.54.0
cd "$folder"
cat >pages.py <<'PYTHON'
from uvicorn.middleware.message_logger import MessageLoggerMiddleware


async def plain(scope, receive, send):
    if scope["type"] != "http":
        return
    types = f"{type(scope['client'][1]).__name__} {type(scope['server'][1]).__name__}"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": types.encode()})


logged = MessageLoggerMiddleware(plain)


async def app(scope, receive, send):
    inner = logged if scope.get("path") == "/logged" else plain
    await inner(scope, receive, send)
PYTHON
venv/bin/pip list 2>/dev/null | grep -iE '^(granian|uvicorn) '
venv/bin/python - <<'PYTHON'
import socket
import subprocess
import time
from http.client import HTTPConnection


def answers_of(*command):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with open("log", "w") as log:
        words = [f"venv/bin/{command[0]}", *command[1:], "--port", str(port), "pages:app"]
        server = subprocess.Popen(words, stdout=log, stderr=log)
    try:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.1)
        found = []
        for path in ("/", "/logged"):
            connection = HTTPConnection("127.0.0.1", port)
            connection.request("GET", path)
            answer = connection.getresponse()
            found.append((answer.status, answer.read().decode()))
        return found
    finally:
        server.terminate()
        server.wait()


granian = answers_of("granian", "--interface", "asgi")
uvicorn = answers_of("uvicorn")
print("granian:", granian)
print("uvicorn:", uvicorn)
if granian[0] != (200, "str str") or granian[1][0] != 500:
    raise SystemExit("the behaviour has changed")
if uvicorn != [(200, "int int"), (200, "int int")]:
    raise SystemExit("the behaviour of uvicorn has changed")
PYTHON
# Seen:
#   granian    2.8.9
#   uvicorn    0.54.0
#   granian: [(200, 'str str'), (500, 'Internal server error')]
#   uvicorn: [(200, 'int int'), (200, 'int int')]
