#!/usr/bin/env bash
# a2wsgi 1.10.10 and granian 2.8.9, WSGI: wsgi.input.readline(n) reads nothing, or too much.
#
# PEP 3333 gives wsgi.input the methods of a file: readline(n) returns the next line, or n bytes of
# it if it is longer. Code that reads lines from strangers passes n, so that one endless line does
# not fill the memory: importers of CSV and of events, and cgi.FieldStorage with legacy-cgi. a2wsgi
# looks only at what it has received already, which is nothing, and returns b"", the sign for the
# end: an upload of many lines is empty, without an error. Its readlines() appends a newline to a
# last line that had none. granian ignores n, and returns the whole line, however long. waitress does
# as asked. This affects apps that take wsgi.input as it is, such as those written by hand, and
# Falcon's req.stream; Flask and Django put a stream of their own around it. (A finding on cheroot
# has the like of readlines.) Our middleware reads by read(n) only.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet a2wsgi==1.10.10 uvicorn==0.54.0 granian==2.8.9 waitress==3.0.2
cd "$folder"
cat >pages.py <<'PYTHON'
from a2wsgi import WSGIMiddleware


def wsgi(environ, start_response):
    body = environ["wsgi.input"]
    if environ["PATH_INFO"] == "/long":
        lines = [body.readline(100) for _ in range(3)]
    elif environ["PATH_INFO"] == "/short":
        lines = [body.readline(4) for _ in range(3)]
    else:
        lines = body.readlines()
    answer = repr(lines).encode()
    start_response("200 OK", [("Content-Length", str(len(answer)))])
    return [answer]


asgi = WSGIMiddleware(wsgi)
PYTHON
venv/bin/python - <<'PYTHON'
import socket
import subprocess
import time
from importlib.metadata import version
from urllib.request import urlopen

for package in ("a2wsgi", "uvicorn", "granian", "waitress"):
    print(package, version(package))
SERVERS = {
    "a2wsgi on uvicorn": ["uvicorn", "--port", "{port}", "pages:asgi"],
    "granian": ["granian", "--interface", "wsgi", "--port", "{port}", "pages:wsgi"],
    "waitress": ["waitress-serve", "--listen", "127.0.0.1:{port}", "pages:wsgi"],
}


def lines_read(command):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [word.format(port=port) for word in ["venv/bin/" + command[0], *command[1:]]]
    with open("log", "a") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        for _ in range(300):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.1)
        return tuple(
            urlopen(f"http://127.0.0.1:{port}/{way}", b"one line\nanother\nend").read().decode()
            for way in ("long", "short", "all")
        )
    finally:
        server.terminate()
        server.wait(40)


seen = {name: lines_read(command) for name, command in SERVERS.items()}
for name, (long, short, everything) in seen.items():
    print(f"{name}:", f"readline(100): {long}", f"readline(4):   {short}",
          f"readlines():   {everything}", sep="\n  ")
LINES = r"[b'one line\n', b'another\n', b'end']"
if seen != {
    "a2wsgi on uvicorn": ("[b'', b'', b'']", "[b'', b'', b'']", LINES.replace("end", r"end\n")),
    "granian": (LINES, LINES, LINES),
    "waitress": (LINES, r"[b'one ', b'line', b'\n']", LINES),
}:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   a2wsgi 1.10.10
#   uvicorn 0.54.0
#   granian 2.8.9
#   waitress 3.0.2
#   a2wsgi on uvicorn:
#     readline(100): [b'', b'', b'']
#     readline(4):   [b'', b'', b'']
#     readlines():   [b'one line\n', b'another\n', b'end\n']
#   granian:
#     readline(100): [b'one line\n', b'another\n', b'end']
#     readline(4):   [b'one line\n', b'another\n', b'end']
#     readlines():   [b'one line\n', b'another\n', b'end']
#   waitress:
#     readline(100): [b'one line\n', b'another\n', b'end']
#     readline(4):   [b'one ', b'line', b'\n']
#     readlines():   [b'one line\n', b'another\n', b'end']
