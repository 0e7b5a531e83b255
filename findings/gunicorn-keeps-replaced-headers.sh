#!/usr/bin/env bash
# gunicorn 27.0.1, WSGI: an error page is sent with the headers of the page that it replaces.
#
# If an app fails after start_response, it may call it again with exc_info, and the server must
# replace the headers that it has kept so far (PEP 3333). gunicorn replaces the status and adds
# the new headers to the old ones: the response has both values of Content-Type, the cookies of
# the page that was never shown, and its Cache-Control, so that an error page can be cached for as
# long as the page would have been. waitress replaces them. This affects anyone whose
# middleware turns exceptions of a streaming app into error pages. Our middleware keeps the head
# until the app returns or writes, and passes on the last one only.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet gunicorn==27.0.1 waitress==3.0.2
cd "$folder"
cat >pages.py <<'PYTHON'
import sys


def app(environ, start_response):
    page = [("Content-Type", "text/csv"), ("Cache-Control", "max-age=3600")]
    start_response("200 OK", page)
    try:
        raise ValueError("no rows")
    except ValueError:
        start_response("500 Oh", [("Content-Type", "text/plain")], sys.exc_info())
    return [b"an error"]
PYTHON
venv/bin/pip list 2>/dev/null | grep -iE '^(gunicorn|waitress) '
export HOME="$folder"
venv/bin/python - <<'PYTHON'
import socket
import subprocess
import time
from http.client import HTTPConnection


def headers_from(*command):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with open("log", "w") as log:
        address = f"127.0.0.1:{port}"
        command = [f"venv/bin/{command[0]}", *command[1:], address, "pages:app"]
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        for _ in range(100):
            try:
                connection = HTTPConnection("127.0.0.1", port)
                connection.request("GET", "/")
                answer = connection.getresponse()
            except ConnectionRefusedError:
                time.sleep(0.1)
            else:
                headers = answer.headers
                types, age = headers.get_all("Content-Type"), headers["Cache-Control"]
                return answer.status, types, age
        raise SystemExit("the server did not start")
    finally:
        server.terminate()
        server.wait()


gunicorn = headers_from("gunicorn", "--bind")
waitress = headers_from("waitress-serve", "--listen")
print("gunicorn:", gunicorn)
print("waitress:", waitress)
is_same = gunicorn == (500, ["text/csv", "text/plain"], "max-age=3600")
if not is_same or waitress != (500, ["text/plain"], None):
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   gunicorn   27.0.1
#   waitress   3.0.2
#   gunicorn: (500, ['text/csv', 'text/plain'], 'max-age=3600')
#   waitress: (500, ['text/plain'], None)
