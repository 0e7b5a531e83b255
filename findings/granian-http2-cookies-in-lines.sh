#!/usr/bin/env bash
# granian 2.8.9, HTTP/2, with Litestar 2.25.0, Falcon 4.4.0 or a2wsgi 1.10.10: cookies are lost.
#
# Over HTTP/2 browsers send each cookie in a line of its own, and a server must join the lines by
# "; " before an app gets them (RFC 9113, 8.2.3). granian's ASGI interface hands them over one by
# one; hypercorn joins them. Litestar then reads the first cookie only and Falcon the last; a2wsgi
# and asgiref's WsgiToAsgi join the lines by a comma, so that a Flask app gets one cookie with the
# value "1,theme=dark". Starlette and Quart read all. This affects anyone who serves one of these
# by granian with TLS and no proxy, since browsers speak HTTP/2 over TLS only: whoever has a second
# cookie is logged out, and in development, over HTTP/1.1, all is well. Our ASGI middleware reads
# all lines; behind it the app reads its own cookies as before.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet granian==2.8.9 litestar==2.25.0 falcon==4.4.0 \
    a2wsgi==1.10.10 h2==4.4.1
cd "$folder"
cat >pages.py <<'PYTHON'
import falcon.asgi
from a2wsgi import WSGIMiddleware
from litestar import Litestar, Request, get


@get("/", media_type="text/plain")
async def show(request: Request) -> str:
    return repr(dict(request.cookies))


class Show:
    async def on_get(self, request, response):
        response.text = repr(request.cookies)


def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [repr(environ["HTTP_COOKIE"]).encode()]


litestar = Litestar([show])
falcon = falcon.asgi.App()
falcon.add_route("/", Show())
a2wsgi = WSGIMiddleware(wsgi)
PYTHON
cat >ask.py <<'PYTHON'
import socket
import subprocess
import time

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, StreamEnded


def get(port):
    for _ in range(200):
        try:
            connection = socket.create_connection(("127.0.0.1", port), 20)
            break
        except ConnectionRefusedError:
            time.sleep(0.1)
    client = H2Connection(H2Configuration(client_side=True))
    client.initiate_connection()
    head = [(":method", "GET"), (":path", "/"), (":scheme", "http")]
    head += [(":authority", "localhost"), ("cookie", "session=1"), ("cookie", "theme=dark")]
    client.send_headers(1, head, end_stream=True)
    connection.sendall(client.data_to_send())
    body = b""
    while True:
        for event in client.receive_data(connection.recv(65536)):
            if isinstance(event, DataReceived):
                body += event.data
            if isinstance(event, StreamEnded):
                return body.decode()


def page(name):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["venv/bin/granian", "--interface", "asgi", "--http", "2"]
    with open("log", "w") as log:
        command += ["--port", str(port), f"pages:{name}"]
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        return get(port)
    finally:
        server.terminate()
        server.wait()


seen = {name: page(name) for name in ("litestar", "falcon", "a2wsgi")}
for name, cookies in seen.items():
    print(f"{name}: {cookies}")
expected = {
    "litestar": "{'session': '1'}",
    "falcon": "{'theme': 'dark'}",
    "a2wsgi": "'session=1,theme=dark'",
}
if seen != expected:
    raise SystemExit("the behaviour has changed")
PYTHON
venv/bin/pip list 2>/dev/null | grep -iE '^(granian|litestar|falcon|a2wsgi|h2) '
venv/bin/python ask.py
# Seen:
#   a2wsgi            1.10.10
#   falcon            4.4.0
#   granian           2.8.9
#   h2                4.4.1
#   litestar          2.25.0
#   litestar: {'session': '1'}
#   falcon: {'theme': 'dark'}
#   a2wsgi: 'session=1,theme=dark'
