#!/usr/bin/env bash
# hypercorn 0.18.0, WSGI, with Flask 3.1.3: a response without a body is a 500.
#
# PEP 3333 lets an app return an iterable without any chunk, and Werkzeug returns one for HEAD, 204
# and 304. hypercorn sends the head of a WSGI response with its first chunk; if there is none it
# sends none, and answers 500 with nothing in the log. So a Flask app's `return "", 204`, each
# static file that the browser has already, and every health check by HEAD fail, while all pages
# work. gunicorn answers all three. This affects anyone who serves a Flask app by hypercorn's WSGI
# mode, which it chooses by itself for such an app. Our middleware's own responses have a chunk,
# also an empty one, and it passes an app's iterable on as it is; the page of servers names the
# pair.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet Hypercorn==0.18.0 gunicorn==27.0.1 Flask==3.1.3
cd "$folder"
mkdir static
echo "body { margin: 0 }" >static/style.css
cat >pages.py <<'PYTHON'
from flask import Flask

app = Flask(__name__)


@app.get("/")
def page():
    return "a page"


@app.delete("/")
def delete():
    return "", 204
PYTHON
venv/bin/pip list 2>/dev/null | grep -iE '^(hypercorn|gunicorn|flask) '
export HOME="$folder"
venv/bin/python - <<'PYTHON'
import socket
import subprocess
import time
from http.client import HTTPConnection


def request(port, method, path, headers={}):
    for _ in range(100):
        try:
            connection = HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
        except ConnectionRefusedError:
            time.sleep(0.1)
        else:
            answer.read()
            return answer
    raise SystemExit("the server did not start")


def statuses_from(*command):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with open("log", "w") as log:
        command = [*command, "--bind", f"127.0.0.1:{port}", "pages:app"]
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        tag = request(port, "GET", "/static/style.css").headers["ETag"]
        known = {"If-None-Match": tag}
        return {
            "GET": request(port, "GET", "/").status,
            "HEAD": request(port, "HEAD", "/").status,
            "DELETE": request(port, "DELETE", "/").status,
            "a file again": request(port, "GET", "/static/style.css", known).status,
        }
    finally:
        server.terminate()
        server.wait()


hypercorn = statuses_from("venv/bin/hypercorn")
gunicorn = statuses_from("venv/bin/gunicorn")
print("hypercorn:", hypercorn)
print("gunicorn: ", gunicorn)
if [*hypercorn.values()] != [200, 500, 500, 500] or [*gunicorn.values()] != [200, 200, 204, 304]:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   Flask        3.1.3
#   gunicorn     27.0.1
#   Hypercorn    0.18.0
#   hypercorn: {'GET': 200, 'HEAD': 500, 'DELETE': 500, 'a file again': 500}
#   gunicorn:  {'GET': 200, 'HEAD': 200, 'DELETE': 204, 'a file again': 304}
