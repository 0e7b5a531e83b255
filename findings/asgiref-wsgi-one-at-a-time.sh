#!/usr/bin/env bash
# asgiref 3.13.0, WsgiToAsgi: one request at a time; each slow one stops all others.
#
# Flask's documentation recommends WsgiToAsgi for ASGI servers, and the environ that it makes says
# wsgi.multithread: True. It runs the WSGI app by sync_to_async, whose default puts all such code
# of a process into one thread: five requests of one second take five seconds. The event loop stays
# free, so that ASGI pages beside the app answer, and no log says that anything waits. a2wsgi has
# ten threads, and takes one second. Neither Flask's page nor asgiref's documentation mentions it; a
# user asked in asgiref's issue 347. This affects anyone who moves a Flask or Django app from a WSGI
# server with threads to uvicorn or hypercorn by it: one export, one upload over a slow line, or one
# login that waits for its provider, and the site stands still. Our page of frameworks advises
# a2wsgi; our own work is done on the ASGI side, before that thread.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet asgiref==3.13.0 a2wsgi==1.10.10 flask==3.1.3 uvicorn==0.54.0
cd "$folder"
cat >pages.py <<'PYTHON'
import threading
import time

from a2wsgi import WSGIMiddleware
from asgiref.wsgi import WsgiToAsgi
from flask import Flask, request

site = Flask(__name__)


@site.get("/")
def slow():
    time.sleep(1)
    return f"{threading.current_thread().name} {request.environ['wsgi.multithread']}"


asgiref = WsgiToAsgi(site)
a2wsgi = WSGIMiddleware(site)
PYTHON
venv/bin/python - <<'PYTHON'
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from urllib.request import urlopen

for package in ("asgiref", "a2wsgi", "flask", "uvicorn"):
    print(package, version(package))


def seconds(name):
    """Return how long five requests at once take, and in how many threads they ran."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with open("log", "a") as log:
        server = subprocess.Popen(
            ["venv/bin/uvicorn", "--port", str(port), f"pages:{name}"], stdout=log, stderr=log
        )

    def ask(_):
        return urlopen(f"http://127.0.0.1:{port}/").read().decode()

    try:
        for _ in range(300):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.1)
        begun = time.monotonic()
        with ThreadPoolExecutor(5) as pool:
            answers = {*pool.map(ask, range(5))}
        return round(time.monotonic() - begun), len(answers), answers.pop().split()[-1]
    finally:
        server.terminate()
        server.wait(20)


seen = {name: seconds(name) for name in ("asgiref", "a2wsgi")}
for name, (time_taken, threads, multithread) in seen.items():
    print(f"{name}: five requests of one second at once take {time_taken} s, in {threads} threads; "
          f"wsgi.multithread is {multithread}")
if seen["asgiref"] != (5, 1, "True") or seen["a2wsgi"][0] > 3:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   asgiref 3.13.0
#   a2wsgi 1.10.10
#   flask 3.1.3
#   uvicorn 0.54.0
#   asgiref: five requests of one second at once take 5 s, in 1 threads; wsgi.multithread is True
#   a2wsgi: five requests of one second at once take 1 s, in 5 threads; wsgi.multithread is True
