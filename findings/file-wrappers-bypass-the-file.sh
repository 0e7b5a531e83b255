#!/usr/bin/env bash
# gunicorn 27.0.1 and uWSGI 2.0.31 with Flask 3.1.3: send_file of an open file sends other bytes.
#
# wsgi.file_wrapper takes any object with read(), and sends what it would read from where it stands
# (PEP 3333). Both servers take the file's descriptor instead. A file of which a line was read has
# a position in the program, and another in the system, at the end of the block that was buffered:
# gunicorn starts there and loses the rest of that block; uWSGI starts at the beginning, and sends
# the line again. For a file of gzip.open() uWSGI sends the compressed bytes, under the type of the
# plain ones, and gunicorn ends the connection after the head. waitress, and the server that Flask
# is developed on, send what read() returns. This affects downloads that skip a header, a preamble
# or a broken first line: in production they lack a few hundred rows, without an error. Our
# middleware hands the iterable of a file to the server as it is; its own pages are bytes.
# Needs a C compiler to build uWSGI.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet gunicorn==27.0.1 uwsgi==2.0.31 waitress==3.0.2 Flask==3.1.3
cd "$folder"
cat >pages.py <<'PYTHON'
import gzip

from flask import Flask, send_file

app = Flask(__name__)


@app.get("/rows")
def rows():
    file = open("rows.csv", "rb")
    file.readline()  # the names of the columns
    return send_file(file, mimetype="text/csv")


@app.get("/archive")
def archive():
    return send_file(gzip.open("rows.csv.gz"), mimetype="text/csv")
PYTHON
venv/bin/pip list 2>/dev/null | grep -iE '^(gunicorn|uwsgi|waitress|flask) '
export HOME="$folder"
venv/bin/python - <<'PYTHON'
import gzip
import socket
import subprocess
import time
from http.client import HTTPConnection, HTTPException

ROWS = [b"column", *(b"row %d" % number for number in range(3000))]
with open("rows.csv", "wb") as file, gzip.open("rows.csv.gz", "wb") as archive:
    file.write(b"\n".join(ROWS))
    archive.write(b"\n".join(ROWS))


def body(port, path):
    for _ in range(100):
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("GET", path)
            return connection.getresponse().read()
        except ConnectionRefusedError:
            time.sleep(0.1)
        except HTTPException as error:
            return type(error).__name__.encode()
    raise SystemExit("the server did not start")


def bodies_from(*command):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [part.format(port) for part in command]
    with open("log", "w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        return describe(body(port, "/rows")), describe(body(port, "/archive"))
    finally:
        server.terminate()
        server.wait()


def describe(found):
    if found.startswith(b"\x1f\x8b"):
        return "compressed bytes"
    lines = found.split(b"\n")
    return f"{len(lines)} lines" if len(lines) > 1 else found.decode()


found = {
    "gunicorn": bodies_from("venv/bin/gunicorn", "--bind", "127.0.0.1:{}", "pages:app"),
    "uWSGI": bodies_from(
        "venv/bin/uwsgi", "--http-socket", "127.0.0.1:{}", "--master", "--die-on-term",
        "--module", "pages:app"
    ),
    "waitress": bodies_from("venv/bin/waitress-serve", "--listen", "127.0.0.1:{}", "pages:app"),
}
for name, (rows, archive) in found.items():
    print(f"{name:9} rows: {rows}; archive: {archive}")
rows, archive = found["gunicorn"]
is_same = 2000 < int(rows.split()[0]) < 3000 and archive == "IncompleteRead"
is_same &= found["uWSGI"] == ("3001 lines", "compressed bytes")
if not is_same or found["waitress"] != ("3000 lines", "3001 lines"):
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   Flask        3.1.3
#   gunicorn     27.0.1
#   uWSGI        2.0.31
#   waitress     3.0.2
#   gunicorn  rows: 2476 lines; archive: IncompleteRead
#   uWSGI     rows: 3001 lines; archive: compressed bytes
#   waitress  rows: 3000 lines; archive: 3001 lines
