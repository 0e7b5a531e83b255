#!/usr/bin/env bash
# granian 2.8.9, WSGI: an app that is a generator answers 200 without headers, always.
#
# PEP 3333 lets an app call start_response as late as before its first chunk, and its own examples
# of apps that are generators or iterators do. granian reads the status and the headers when the
# app has returned, which for a generator is before any of its code ran: a 404 becomes a 200, a
# redirect an empty page, and no cookie is set, without an error. Flask and Django call
# start_response early, and are not affected; apps written by hand are, middlewares that use yield
# are, and so are all ASGI apps bridged by a2wsgi, whose adapter is a generator. Our middleware
# asks an app for its first chunk before it returns, so that what is inside it keeps its status;
# a unit test has a generator and a guard that refuses in one.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet granian==2.8.9 a2wsgi==1.10.10
cd "$folder"
cat >pages.py <<'PYTHON'
from a2wsgi import ASGIMiddleware


async def gone(scope, receive, send):
    await send({"type": "http.response.start", "status": 410, "headers": [(b"x-from", b"app")]})
    await send({"type": "http.response.body", "body": b"gone"})


bridged = ASGIMiddleware(gone)


def generator(environ, start_response):
    start_response("410 Gone", [("X-From", "app")])
    yield b"gone"


def app(environ, start_response):
    if environ["PATH_INFO"] == "/generator":
        return generator(environ, start_response)
    if environ["PATH_INFO"] == "/bridged":
        return bridged(environ, start_response)
    start_response("410 Gone", [("X-From", "app")])
    return [b"gone"]
PYTHON
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
venv/bin/pip list 2>/dev/null | grep -iE '^(granian|a2wsgi) '
venv/bin/granian --interface wsgi --host 127.0.0.1 --port "$port" pages:app >log 2>&1 &
trap 'kill "$!" 2>/dev/null; wait 2>/dev/null; rm -rf "$folder"' EXIT
python3 - "$port" <<'PYTHON'
import sys
import time
from http.client import HTTPConnection


def get(path):
    for _ in range(100):
        try:
            connection = HTTPConnection("127.0.0.1", int(sys.argv[1]))
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.headers["X-From"], answer.read().decode()
        except ConnectionRefusedError:
            time.sleep(0.1)
    raise SystemExit("the server did not start")


seen = {path: get(path) for path in ("/list", "/generator", "/bridged")}
for path, answer in seen.items():
    print(path, answer)
lost = (200, None, "gone")
if seen != {"/list": (410, "app", "gone"), "/generator": lost, "/bridged": lost}:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   a2wsgi     1.10.10
#   granian    2.8.9
#   /list (410, 'app', 'gone')
#   /generator (200, None, 'gone')
#   /bridged (200, None, 'gone')
