#!/usr/bin/env bash
# Tornado 6.6.1, WSGIContainer with an executor: the chunks of a response come from many threads.
#
# Without an executor the container runs an app in the event loop, so its documentation advises a
# ThreadPoolExecutor. With one, it takes each chunk of the app's iterable by a call of its own, in
# whichever thread is free, and without the context variables of the call before. With one user
# that is the same thread each time; with several at once, a response that is made row by row from
# an SQLite connection ends in "SQLite objects created in a thread can only be used in that same
# thread", and the client gets no answer. Django's connections, which belong to threads, are
# opened again in the next thread and stay open there; a request's id that a log takes from a
# context variable is gone. gunicorn, waitress, cheroot, Twisted and granian make a whole response
# in one thread. This affects anyone who streams from a WSGI app there: it works until two people
# use it. Our middleware keeps a request's user in the environ, and no chunk of its own needs a
# thread; the page about servers warns of it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet tornado==6.6.1 waitress==3.0.2
cd "$folder"
cat >pages.py <<'PYTHON'
import sqlite3
import time


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    for (number,) in sqlite3.connect(":memory:").execute("VALUES (1), (2), (3), (4)"):
        time.sleep(0.05)
        yield f"{number};".encode()
PYTHON
cat >serve.py <<'PYTHON'
import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

from pages import app
from tornado.httpserver import HTTPServer
from tornado.wsgi import WSGIContainer


async def main():
    server = HTTPServer(WSGIContainer(app, ThreadPoolExecutor(4)))
    server.listen(int(sys.argv[1]), "127.0.0.1")
    await asyncio.Event().wait()


asyncio.run(main())
PYTHON
venv/bin/pip list 2>/dev/null | grep -iE '^(tornado|waitress) '
venv/bin/python - <<'PYTHON'
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, RemoteDisconnected


def get(port):
    try:
        connection = HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/")
        return connection.getresponse().read().decode()
    except (RemoteDisconnected, TimeoutError):
        return "no answer"


def pages_from(*command):
    """Return how many of eight clients at once got the page."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with open("log", "w") as log:
        words = [word.format(port=port) for word in command]
        server = subprocess.Popen([f"venv/bin/{words[0]}", *words[1:]], stdout=log, stderr=log)
    try:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.1)
        with ThreadPoolExecutor(8) as clients:
            return [*clients.map(get, [port] * 8)].count("1;2;3;4;")
    finally:
        server.terminate()
        server.wait()


waitress = pages_from("waitress-serve", "--listen", "127.0.0.1:{port}", "pages:app")
tornado = pages_from("python", "serve.py", "{port}")
is_named = "can only be used in that same thread" in open("log").read()
print("waitress: all of eight clients got the page:", waitress == 8)
print("tornado:  all of eight clients got the page:", tornado == 8)
print("SQLite names the thread:", is_named)
if (waitress == 8, tornado == 8, is_named) != (True, False, True):
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   tornado    6.6.1
#   waitress   3.0.2
#   waitress: all of eight clients got the page: True
#   tornado:  all of eight clients got the page: False
#   SQLite names the thread: True
