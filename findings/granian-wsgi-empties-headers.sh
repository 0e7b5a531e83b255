#!/usr/bin/env bash
# granian 2.8.9, WSGI: a header with one letter beyond ASCII arrives as an empty string.
#
# Values of headers may contain such bytes (RFC 9110, 5.5: obs-text), and PEP 3333 says that a
# server hands them over as Latin-1. granian's WSGI interface sets the whole variable to ""
# instead, and its ASGI interface passes the bytes on. Browsers send UTF-8 in Cookie when a script
# has set a cookie to a name such as José: then HTTP_COOKIE is "", all cookies of the site are
# gone, and that user alone is logged out, at every request, with nothing in a log. Names of users
# that a proxy puts into a header are lost in the same way. This affects anyone who serves Flask
# or Django by it. Our middleware cannot read a cookie that it does not get; the page of servers
# says so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet granian==2.8.9
cd "$folder"
cat >pages.py <<'PYTHON'
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["HTTP_COOKIE"].encode("latin-1")]
PYTHON
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
venv/bin/pip list 2>/dev/null | grep -iE '^granian '
venv/bin/granian --interface wsgi --host 127.0.0.1 --port "$port" pages:app >log 2>&1 &
trap 'kill "$!" 2>/dev/null; wait 2>/dev/null; rm -rf "$folder"' EXIT
python3 - "$port" <<'PYTHON'
import sys
import time
from http.client import HTTPConnection


def cookies_that_arrive(cookies):
    for _ in range(100):
        try:
            connection = HTTPConnection("127.0.0.1", int(sys.argv[1]))
            connection.request("GET", "/", headers={"Cookie": cookies.encode()})
            return connection.getresponse().read().decode()
        except ConnectionRefusedError:
            time.sleep(0.1)
    raise SystemExit("the server did not start")


plain = cookies_that_arrive("session=1; name=Jose")
accent = cookies_that_arrive("session=1; name=José")
print("name=Jose:", repr(plain))
print("name=José:", repr(accent))
if (plain, accent) != ("session=1; name=Jose", ""):
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   granian    2.8.9
#   name=Jose: 'session=1; name=Jose'
#   name=José: ''
