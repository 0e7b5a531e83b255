#!/usr/bin/env bash
# gevent 26.9.0, pywsgi: a 304 with Content-Length becomes a 500.
#
# RFC 9110, 8.6, lets a server send in a 304 the Content-Length that the 200 would have had, and
# object storage and other servers do. gevent's WSGI server allows no value but 0 there, and
# answers 500 Internal Server Error instead. waitress, gunicorn and Tornado answer 304.
# This affects anyone who passes on responses of another server, as an app in front of a bucket
# does: the first visit works, and each later one, with If-None-Match, fails. Our middleware sends
# no 304 of its own, and leaves those of an app as they are.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet gevent==26.9.0
cd "$folder"
cat >serve.py <<'PYTHON'
import sys

from gevent.pywsgi import WSGIServer


def app(environ, start_response):
    headers = [("ETag", '"a"'), ("Content-Length", "5")]
    if environ.get("HTTP_IF_NONE_MATCH") == '"a"':
        start_response("304 Not Modified", headers)
        return []
    start_response("200 OK", headers)
    return [b"hello"]


WSGIServer(("127.0.0.1", int(sys.argv[1])), app).serve_forever()
PYTHON
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
venv/bin/pip list 2>/dev/null | grep -iE '^gevent '
venv/bin/python serve.py "$port" >log 2>&1 &
trap 'kill "$!" 2>/dev/null; wait 2>/dev/null; rm -rf "$folder"' EXIT
python3 - "$port" <<'PYTHON'
import sys
import time
from http.client import HTTPConnection


def status(headers):
    for _ in range(100):
        try:
            connection = HTTPConnection("127.0.0.1", int(sys.argv[1]))
            connection.request("GET", "/", headers=headers)
            return connection.getresponse().status
        except ConnectionRefusedError:
            time.sleep(0.1)
    raise SystemExit("the server did not start")


first, again = status({}), status({"If-None-Match": '"a"'})
print("first visit:", first)
print("next visit: ", again)
if (first, again) != (200, 500):
    raise SystemExit("the behaviour has changed")
PYTHON
grep -o "Invalid Content-Length.*" log | tail -1
# Seen:
#   gevent         26.9.0
#   first visit: 200
#   next visit:  500
#   Invalid Content-Length for 304 response: '5' (must be absent or zero)"
