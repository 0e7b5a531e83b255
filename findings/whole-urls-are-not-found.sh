#!/usr/bin/env bash
# uvicorn 0.54.0 with h11, hypercorn 0.18.0, daphne 4.2.3, gunicorn 27.0.1 (asgi): whole URLs are 404.
#
# A server must accept a request whose target is a whole URL, as in GET http://app.example/page, and
# find the page /page (RFC 9112, 3.2.2). Clients send it to what they take for a proxy: where
# HTTP_PROXY or a browser's setting names the server itself, or a gateway or a monitor before it
# is set up as a forward proxy. These four give the app path = "http://app.example/page", which
# no route fits: each page is a 404, and the log shows the right URL. uvicorn with httptools, which it
# uses if it is there, and granian give /page; so do gunicorn's WSGI workers. This affects anyone who
# installs uvicorn without [standard], or moves from gunicorn's WSGI to ASGI, behind such a gateway.
# To our path rules such a path is protected, whatever it names.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet uvicorn==0.54.0 httptools==0.9.0 hypercorn==0.18.0 \
    daphne==4.2.3 gunicorn==27.0.1 granian==2.8.9 starlette==1.10.0 flask==3.1.3
cd "$folder"
export PYTHONPATH="$folder"
cat >pages.py <<'PYTHON'
from flask import Flask
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route


async def page(request):
    return PlainTextResponse("page")


asgi = Starlette(routes=[Route("/page", page)])
wsgi = Flask(__name__)


@wsgi.get("/page")
def flask_page():
    return "page"
PYTHON
venv/bin/python - <<'PYTHON'
import socket
import subprocess
import time
from importlib.metadata import version

for package in ("uvicorn", "httptools", "hypercorn", "daphne", "gunicorn", "granian", "starlette"):
    print(package, version(package))
SERVERS = {
    "uvicorn with h11": ["uvicorn", "--http", "h11", "--port", "{port}", "pages:asgi"],
    "uvicorn with httptools": ["uvicorn", "--http", "httptools", "--port", "{port}", "pages:asgi"],
    "hypercorn": ["hypercorn", "-b", "127.0.0.1:{port}", "pages:asgi"],
    "daphne": ["daphne", "-p", "{port}", "pages:asgi"],
    "granian": ["granian", "--interface", "asgi", "--port", "{port}", "pages:asgi"],
    "gunicorn, ASGI": ["gunicorn", "-k", "asgi", "-b", "127.0.0.1:{port}", "pages:asgi"],
    "gunicorn, WSGI": ["gunicorn", "-b", "127.0.0.1:{port}", "pages:wsgi"],
}


def status(command):
    """Return the status of the answer to a request with a whole URL."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [word.format(port=port) for word in ["venv/bin/" + command[0], *command[1:]]]
    with open("log", "a") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        for _ in range(300):
            try:
                client = socket.create_connection(("127.0.0.1", port))
                break
            except ConnectionRefusedError:
                time.sleep(0.1)
        client.sendall(
            b"GET http://app.example/page HTTP/1.1\r\nHost: app.example\r\nConnection: close\r\n\r\n"
        )
        client.settimeout(60)
        return client.recv(99).split()[1].decode()
    finally:
        server.kill()
        server.wait()


seen = {name: status(command) for name, command in SERVERS.items()}
for name, found in seen.items():
    print(f"{name}: {found}")
fails = {name for name, found in seen.items() if found == "404"}
if fails != {"uvicorn with h11", "hypercorn", "daphne", "gunicorn, ASGI"}:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   uvicorn 0.54.0
#   httptools 0.9.0
#   hypercorn 0.18.0
#   daphne 4.2.3
#   gunicorn 27.0.1
#   granian 2.8.9
#   starlette 1.10.0
#   uvicorn with h11: 404
#   uvicorn with httptools: 200
#   hypercorn: 404
#   daphne: 404
#   granian: 200
#   gunicorn, ASGI: 404
#   gunicorn, WSGI: 200
