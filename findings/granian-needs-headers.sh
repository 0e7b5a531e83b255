#!/usr/bin/env bash
# granian 2.8.9, ASGI: a response that names no headers is a 500.
#
# In http.response.start the field headers is optional: ASGI says that none are sent where it is
# missing. granian requires it, and answers 500 instead of what the app said; its log has a line
# on an unsupported message, and none that names the field. Frameworks always send the field, so
# this hits what is written by hand beside them: a health check, a 204 for a beacon, an answer of a
# middleware that refuses, a test's app. uvicorn, hypercorn, daphne and gunicorn's asgi worker
# send such a response. This affects anyone who moves such an app to granian: all pages work, and
# the load balancer takes the server out, since its check fails. Our middleware always sends a list
# of headers, and passes an app's messages on as they are.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet granian==2.8.9 uvicorn==0.54.0
cd "$folder"
cat >check.py <<'PYTHON'
async def app(scope, receive, send):
    if scope["type"] == "http":
        start = {"type": "http.response.start", "status": 204}
        if scope["path"] == "/list":
            start["headers"] = []
        await send(start)
        await send({"type": "http.response.body"})
PYTHON
venv/bin/python - <<'PYTHON'
import socket
import subprocess
import time
from http.client import HTTPConnection
from importlib.metadata import version

for package in ("granian", "uvicorn"):
    print(package, version(package))
SERVERS = {
    "granian": ["granian", "--interface", "asgi", "--port", "{port}", "check:app"],
    "uvicorn": ["uvicorn", "--port", "{port}", "check:app"],
}


def statuses(command):
    """Return the status without the field headers, and with an empty list there."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [word.format(port=port) for word in ["venv/bin/" + command[0], *command[1:]]]
    with open("log", "a") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        for _ in range(300):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.1)
        found = []
        for path in ("/", "/list"):
            client = HTTPConnection("127.0.0.1", port, timeout=30)
            client.request("GET", path)
            found.append(client.getresponse().status)
        return found
    finally:
        server.terminate()
        server.wait(30)


seen = {name: statuses(command) for name, command in SERVERS.items()}
for name, (without, empty) in seen.items():
    print(f"{name}: without headers {without}, with an empty list {empty}")
if seen != {"granian": [500, 204], "uvicorn": [204, 204]}:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   granian 2.8.9
#   uvicorn 0.54.0
#   granian: without headers 500, with an empty list 204
#   uvicorn: without headers 204, with an empty list 204
