#!/usr/bin/env bash
# granian 2.8.9, WSGI: at SIGTERM it does not wait for a request whose client has gone.
#
# granian finishes the requests under way before it ends, but once a client has closed its
# connection, its request no longer counts: the process ends in the middle of the view, whose
# thread is not waited for. gunicorn with threads waits for the view in both cases. This affects
# everyone who changes something in a view that takes a while, such as calling another service and
# storing its answer: at a deployment, what a person began who has closed the page, or whose proxy
# gave up, is cut off. In our WSGI middleware the tokens of a refresh would be lost that way; a
# thread that is not a daemon waits until they are stored, and Python waits for that thread.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet granian==2.8.9 gunicorn==27.0.1
cd "$folder"
cat >page.py <<'PYTHON'
import time
from pathlib import Path


def app(environ, start_response):
    Path("begun").touch()
    time.sleep(3)
    Path("finished").touch()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
PYTHON
cat >stop.py <<'PYTHON'
import socket
import subprocess
import time
from pathlib import Path

SERVERS = {
    "granian": "granian --interface wsgi --port {port} page:app",
    "gunicorn": "gunicorn --bind 127.0.0.1:{port} --threads 4 page:app",
}


def connect(port):
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), 20)
        except ConnectionRefusedError:
            time.sleep(0.1)


def is_finished(command, leaves):
    """Return whether a request that has begun is finished when the server has ended."""
    for name in ("begun", "finished"):
        Path(name).unlink(missing_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = command.format(port=port).split()
    with open("log", "a") as log:
        server = subprocess.Popen([f"venv/bin/{words[0]}", *words[1:]], stdout=log, stderr=log)
    client = connect(port)
    client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    while not Path("begun").exists():
        time.sleep(0.05)
    if leaves:
        client.close()
        time.sleep(0.5)
    server.terminate()
    if not leaves:
        client.settimeout(60)
        client.recv(1000)
        client.close()
    server.wait(60)
    return Path("finished").exists()


seen = {
    name: (is_finished(command, leaves=False), is_finished(command, leaves=True))
    for name, command in SERVERS.items()
}
for name, (stayed, left) in seen.items():
    print(f"{name}: finished if the client waits {stayed}, if it has gone {left}")
if seen != {"granian": (True, False), "gunicorn": (True, True)}:
    raise SystemExit("the behaviour has changed")
PYTHON
venv/bin/pip list 2>/dev/null | grep -iE '^(granian|gunicorn) '
venv/bin/python stop.py
# Seen:
#   granian  2.8.9
#   gunicorn 27.0.1
#   granian: finished if the client waits True, if it has gone False
#   gunicorn: finished if the client waits True, if it has gone True
