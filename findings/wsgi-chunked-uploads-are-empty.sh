#!/usr/bin/env bash
# Flask 3.1.3 on Tornado 6.6.1, Twisted 26.10.0 or hypercorn 0.18.0: an upload in chunks is empty.
#
# A client that streams an upload sends no Content-Length but chunks: curl -T -, Go, Node and
# requests with a generator do. A WSGI server may mark that it ends wsgi.input where the body ends
# (wsgi.input_terminated), or set CONTENT_LENGTH itself; without either Werkzeug takes the body to
# be empty, as reading could block. gunicorn, cheroot, granian, gevent and bjoern set the mark, and
# waitress sets both. The three in the title, and the bridges a2wsgi 1.10.10 and asgiref 3.13.0,
# know where the body ends and say nothing: request.data, form and files are empty, and an endpoint
# that stores what it gets stores nothing and answers 200. This affects anyone who moves a Flask app
# to one of them, as the upload works in development. Our middleware reads such a body where the
# server marks its end; elsewhere a webhook in chunks is empty for it too, and is refused, since its
# signature does not match; the page of servers says so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet Flask==3.1.3 tornado==6.6.1 Twisted==26.10.0 \
    Hypercorn==0.18.0 a2wsgi==1.10.10 asgiref==3.13.0 uvicorn==0.54.0 gunicorn==27.0.1
cd "$folder"
cat >pages.py <<'PYTHON'
from a2wsgi import WSGIMiddleware
from asgiref.wsgi import WsgiToAsgi
from flask import Flask, request

app = Flask(__name__)


@app.put("/")
def upload():
    return request.get_data()


by_a2wsgi = WSGIMiddleware(app)
by_asgiref = WsgiToAsgi(app)
PYTHON
cat >on_tornado.py <<'PYTHON'
import sys

from pages import app
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.wsgi import WSGIContainer

HTTPServer(WSGIContainer(app)).listen(int(sys.argv[1]), "127.0.0.1")
IOLoop.current().start()
PYTHON
venv/bin/pip list 2>/dev/null |
    grep -iE '^(flask|tornado|twisted|hypercorn|a2wsgi|asgiref|gunicorn) '
export HOME="$folder" PYTHONPATH="$folder"
venv/bin/python - <<'PYTHON'
import socket
import subprocess
import time
from http.client import HTTPConnection

SERVERS = {
    "gunicorn": "gunicorn --bind 127.0.0.1:{} pages:app",
    "Tornado": "python on_tornado.py {}",
    "Twisted": "twist web --listen tcp:{}:interface=127.0.0.1 --wsgi pages.app",
    "hypercorn": "hypercorn --bind 127.0.0.1:{} pages:app",
    "a2wsgi": "uvicorn --port {} pages:by_a2wsgi",
    "asgiref": "uvicorn --port {} pages:by_asgiref",
}


def upload_to(command):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with open("log", "w") as log:
        command = f"venv/bin/{command.format(port)}".split()
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        for _ in range(300):
            try:
                connection = HTTPConnection("127.0.0.1", port, timeout=30)
                connection.request("PUT", "/", iter([b"part 1, ", b"part 2"]))
                answer = connection.getresponse()
            except ConnectionRefusedError:
                time.sleep(0.1)
            else:
                return answer.status, answer.read()
        raise SystemExit("the server did not start")
    finally:
        server.terminate()
        server.wait()


found = {name: upload_to(command) for name, command in SERVERS.items()}
for name, (status, body) in found.items():
    print(f"{name}: {status} {body}")
expected = dict.fromkeys(SERVERS, (200, b"")) | {"gunicorn": (200, b"part 1, part 2")}
if found != expected:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   a2wsgi            1.10.10
#   asgiref           3.13.0
#   Flask             3.1.3
#   gunicorn          27.0.1
#   Hypercorn         0.18.0
#   tornado           6.6.1
#   Twisted           26.10.0
#   gunicorn: 200 b'part 1, part 2'
#   Tornado: 200 b''
#   Twisted: 200 b''
#   hypercorn: 200 b''
#   a2wsgi: 200 b''
#   asgiref: 200 b''
