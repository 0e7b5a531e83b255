#!/usr/bin/env bash
# uWSGI 2.0.31: start_response with exc_info raises SystemError; error pages arrive empty.
#
# PEP 3333 says that an app that fails passes sys.exc_info() as the third argument: the server
# raises that exception if the head has been sent, and otherwise ignores it. uWSGI raises in both
# cases: the call sets the status and the headers, and ends in a SystemError ("returned a result
# with an exception set"), so the app never returns its page. A browser gets status 500 with the
# page's headers and no body; where the call was made to answer 404 or a redirect, that status
# without a body. This affects anyone whose error pages come from Bottle, Paste, WebError or a
# middleware of their own; Flask and Django answer errors as ordinary responses. Our middleware
# passes exc_info on only if the app gave it. Needs a C compiler to build uWSGI.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet uwsgi==2.0.31
cd "$folder"
cat >pages.py <<'PYTHON'
import sys


def app(environ, start_response):
    headers = [("Content-Type", "text/plain")]
    try:
        raise ValueError("no such row")
    except ValueError:
        if environ["PATH_INFO"] == "/with":
            start_response("500 Internal Server Error", headers, sys.exc_info())
        else:
            start_response("500 Internal Server Error", headers)
    return [b"The page of an error"]
PYTHON
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
venv/bin/pip list 2>/dev/null | grep -iE '^uwsgi '
venv/bin/uwsgi --http-socket "127.0.0.1:$port" --module pages:app --die-on-term >log 2>&1 &
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
            return answer.status, answer.read().decode()
        except ConnectionRefusedError:
            time.sleep(0.1)
    raise SystemExit("the server did not start")


without, with_exc_info = get("/without"), get("/with")
raised = "SystemError" in open("log").read()
print("without exc_info:", without)
print("with exc_info:   ", with_exc_info, "SystemError:", raised)
if (without[1], with_exc_info[1], raised) != ("The page of an error", "", True):
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   uWSGI      2.0.31
#   without exc_info: (500, 'The page of an error')
#   with exc_info:    (500, '') SystemError: True
