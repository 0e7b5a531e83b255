#!/usr/bin/env bash
# gunicorn 27.0.1 (asgi) and daphne 4.2.3: headers that can be read once are lost; so are Sanic's.
#
# ASGI allows any iterable as the headers of http.response.start, so also a generator, and Sanic
# 25.12 sends one. gunicorn's asgi worker and daphne go over the headers twice, and find nothing
# the second time: the response arrives with its status and its body, without Content-Type,
# Location and cookies, and without an error. A redirect leads nowhere, and a login sets no
# cookie. uvicorn, hypercorn and granian send the headers. This affects anyone who moves a Sanic
# app to gunicorn's worker, and authors of middlewares that change headers by a generator
# expression. Our middleware sends lists, and reads an app's headers once where it reads them;
# a unit test has an app with a generator.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet gunicorn==27.0.1 daphne==4.2.3 uvicorn==0.54.0 sanic==25.12.1
cd "$folder"
cat >pages.py <<'PYTHON'
from sanic import Sanic, redirect

login = Sanic("login")


@login.get("/")
async def start(request):
    response = redirect("/welcome")
    response.add_cookie("session", "1")
    return response


async def plain(scope, receive, send):
    names = (b"location", b"set-cookie")
    headers = ((name, b"a") for name in names)
    await send({"type": "http.response.start", "status": 302, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
PYTHON
venv/bin/pip list 2>/dev/null | grep -iE '^(gunicorn|daphne|uvicorn|sanic) '
export HOME="$folder"
venv/bin/python - <<'PYTHON'
import socket
import subprocess
import time
from http.client import HTTPConnection


def headers_from(app, *command):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [part.format(port) for part in (*command, f"pages:{app}")]
    with open("log", "w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        for _ in range(300):
            try:
                connection = HTTPConnection("127.0.0.1", port, timeout=30)
                connection.request("GET", "/")
                answer = connection.getresponse()
            except ConnectionRefusedError:
                time.sleep(0.1)
            else:
                names = {name.lower() for name in answer.headers}
                return answer.status, sorted(names & {"location", "set-cookie"})
        raise SystemExit("the server did not start")
    finally:
        server.terminate()
        server.wait()


gunicorn = ("venv/bin/gunicorn", "--worker-class", "asgi", "--bind", "127.0.0.1:{}")
daphne = ("venv/bin/daphne", "-b", "127.0.0.1", "-p", "{}")
uvicorn = ("venv/bin/uvicorn", "--port", "{}")
lost, sent = (302, []), (302, ["location", "set-cookie"])
expected = {
    ("Sanic on gunicorn", "login", gunicorn): lost,
    ("a generator on gunicorn", "plain", gunicorn): lost,
    ("a generator on daphne", "plain", daphne): lost,
    ("Sanic on uvicorn", "login", uvicorn): sent,
}
changed = False
for (name, app, command), seen in expected.items():
    found = headers_from(app, *command)
    changed = changed or found != seen
    print(f"{name}: {found}")
if changed:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   daphne            4.2.3
#   gunicorn          27.0.1
#   sanic             25.12.1
#   uvicorn           0.54.0
#   Sanic on gunicorn: (302, [])
#   a generator on gunicorn: (302, [])
#   a generator on daphne: (302, [])
#   Sanic on uvicorn: (302, ['location', 'set-cookie'])
