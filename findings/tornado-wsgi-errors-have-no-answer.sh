#!/usr/bin/env bash
# Tornado 6.6.1, WSGIContainer: an app that raises leaves its client waiting.
#
# A WSGI server answers 500 when an app raises before its first chunk, and ends the connection when
# it raises later. Tornado logs the exception and does neither: the connection stays open, and the
# client waits as long as it likes, a browser for minutes; a proxy in front reports a timeout, so
# that the search begins at the network. gunicorn and waitress answer 500 at once. Flask and Django
# make a response of most exceptions of a view; it hurts where none of them is there: in a
# middleware around the app, in a generator that streams, with Bottle's catchall=False, and in apps
# written by hand. Our middleware makes responses of its own errors, and lets those of an app pass
# to the server; the page of servers says what Tornado does.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet tornado==6.6.1 Flask==3.1.3 waitress==3.0.2
cd "$folder"
cat >pages.py <<'PYTHON'
from flask import Flask

app = Flask(__name__)


@app.get("/rows")
def rows():
    def lines():
        yield "row 1\n"
        raise ValueError("the database is gone")

    return lines()


class Middleware:
    def __init__(self, app):
        self.app = app

    def __call__(self, environ, start_response):
        if environ["PATH_INFO"] == "/limit":
            raise KeyError("no such limit")
        return self.app(environ, start_response)


app.wsgi_app = Middleware(app.wsgi_app)
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
venv/bin/pip list 2>/dev/null | grep -iE '^(tornado|flask|waitress) '
venv/bin/python - <<'PYTHON'
import socket
import subprocess
import time
from http.client import HTTPConnection, IncompleteRead


def answers_from(command):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with open("log", "w") as log:
        command = f"venv/bin/{command.format(port)}".split()
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        return {path: answer(port, path) for path in ("/missing", "/limit", "/rows")}
    finally:
        server.terminate()
        server.wait()


def answer(port, path):
    for _ in range(300):
        connection = HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
        except ConnectionRefusedError:
            time.sleep(0.1)
        except TimeoutError:
            return "nothing for 10 s"
        except IncompleteRead:
            return f"{response.status}, cut off"
        else:
            return response.status
    raise SystemExit("the server did not start")


tornado = answers_from("python on_tornado.py {}")
waitress = answers_from("waitress-serve --listen=127.0.0.1:{} pages:app")
print("Tornado: ", tornado)
print("waitress:", waitress)
nothing = "nothing for 10 s"
if [*tornado.values()] != [404, nothing, nothing]:
    raise SystemExit("the behaviour has changed")
if [*waitress.values()] != [404, 500, "200, cut off"]:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   Flask        3.1.3
#   tornado      6.6.1
#   waitress     3.0.2
#   Tornado:  {'/missing': 404, '/limit': 'nothing for 10 s', '/rows': 'nothing for 10 s'}
#   waitress: {'/missing': 404, '/limit': 500, '/rows': '200, cut off'}
