#!/usr/bin/env bash
# cheroot 11.1.2: wsgi.input.readlines() returns an empty list.
#
# PEP 3333 requires read, readline, readlines and iteration of wsgi.input. cheroot, the server of
# CherryPy, has a readlines whose default for its hint makes it read no byte: an upload of a CSV
# file, or of events one a line, has no lines, without an error, and the sender gets a success.
# readlines(1) returns the first byte. read() is right, as are all four on gunicorn and waitress.
# This affects apps that take wsgi.input as it is, such as those written by hand or on Falcon's
# req.stream; Flask and Django put a stream of their own around it. Our middleware reads with a
# size, and only the bodies of its own paths.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet cheroot==11.1.2
cd "$folder"
cat >pages.py <<'PYTHON'
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    body = environ["wsgi.input"]
    if environ["PATH_INFO"] == "/readlines":
        return [repr(body.readlines()).encode()]
    return [repr(body.read().splitlines(keepends=True)).encode()]
PYTHON
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
venv/bin/pip list 2>/dev/null | grep -iE '^cheroot '
venv/bin/python -m cheroot --bind "127.0.0.1:$port" pages:app >log 2>&1 &
trap 'kill "$!" 2>/dev/null; wait 2>/dev/null; rm -rf "$folder"' EXIT
python3 - "$port" <<'PYTHON'
import sys
import time
from http.client import HTTPConnection


def post(path):
    for _ in range(100):
        try:
            connection = HTTPConnection("127.0.0.1", int(sys.argv[1]))
            connection.request("POST", path, b"alice,1\nbob,2\n")
            return connection.getresponse().read().decode()
        except ConnectionRefusedError:
            time.sleep(0.1)
    raise SystemExit("the server did not start")


read, readlines = post("/read"), post("/readlines")
print("read():     ", read)
print("readlines():", readlines)
if (read, readlines) != ("[b'alice,1\\n', b'bob,2\\n']", "[]"):
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   cheroot          11.1.2
#   read():      [b'alice,1\n', b'bob,2\n']
#   readlines(): []
