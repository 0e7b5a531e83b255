#!/usr/bin/env bash
# granian 2.8.9, hypercorn 0.18.0, bjoern 3.2.2 and asgiref 3.13.0, WSGI: there is no write().
#
# start_response must return write(), by which older apps send their body (PEP 3333). These four
# return None: an app that uses it ends in "'NoneType' object is not callable", and each page is a
# 500. gunicorn, uWSGI, waitress, cheroot, gevent, Twisted, Tornado and a2wsgi have it. Trac sends
# its pages that way. This affects anyone who moves such an app from mod_wsgi or uWSGI to one of
# the four. Our middleware passes on what an app writes to the server's write(), and needs none
# itself: with it around such an app the 500 is the same there.
# Needs a C compiler and libev (Debian: libev-dev) to build bjoern.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet granian==2.8.9 Hypercorn==0.18.0 bjoern==3.2.2 \
    asgiref==3.13.0 uvicorn==0.54.0 gunicorn==27.0.1
cd "$folder"
cat >pages.py <<'PYTHON'
from asgiref.wsgi import WsgiToAsgi


def app(environ, start_response):
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    write(b"a page")
    return []


bridged = WsgiToAsgi(app)
PYTHON
venv/bin/pip list 2>/dev/null | grep -iE '^(granian|hypercorn|bjoern|asgiref|gunicorn) '
export HOME="$folder" PYTHONPATH="$folder"
venv/bin/python - <<'PYTHON'
import socket
import subprocess
import time
from http.client import HTTPConnection

BJOERN = "import sys, bjoern, pages; bjoern.run(pages.app, '127.0.0.1', int(sys.argv[1]))"
SERVERS = {
    "gunicorn": ["gunicorn", "--bind", "127.0.0.1:{}", "pages:app"],
    "granian": ["granian", "--interface", "wsgi", "--port", "{}", "pages:app"],
    "hypercorn": ["hypercorn", "--bind", "127.0.0.1:{}", "wsgi:pages:app"],
    "bjoern": ["python", "-c", BJOERN, "{}"],
    "asgiref": ["uvicorn", "--port", "{}", "pages:bridged"],
}


def answer_from(name, *command):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [f"venv/bin/{name}", *(part.format(port) for part in command)]
    with open("log", "w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        for _ in range(300):
            try:
                connection = HTTPConnection("127.0.0.1", port, timeout=30)
                connection.request("GET", "/")
                return connection.getresponse().status
            except ConnectionRefusedError:
                time.sleep(0.1)
        raise SystemExit("the server did not start")
    finally:
        server.terminate()
        server.wait()


found = {name: answer_from(*command) for name, command in SERVERS.items()}
print(found)
if found != dict.fromkeys(SERVERS, 500) | {"gunicorn": 200}:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   asgiref    3.13.0
#   bjoern     3.2.2
#   granian    2.8.9
#   gunicorn   27.0.1
#   Hypercorn  0.18.0
#   {'gunicorn': 200, 'granian': 500, 'hypercorn': 500, 'bjoern': 500, 'asgiref': 500}
