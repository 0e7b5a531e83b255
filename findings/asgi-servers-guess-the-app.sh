#!/usr/bin/env bash
# uvicorn 0.54.0, hypercorn 0.18.0, daphne 4.2.3: an app that is a method is a 500 at each request.
#
# An ASGI app is a callable that returns an awaitable: a function, an object with __call__, a bound
# method, or a functools.partial of one of them. uvicorn takes an app that is neither an async
# function nor an object with an async __call__ for one of ASGI 2, calls it with the scope alone and
# answers 500: `app = site.handle` and partial(site) fail, though both are async. partial(site) also
# fails on daphne, in the same way, and on hypercorn, which takes it for WSGI. An async function's
# partial works on all of them, and gunicorn's asgi worker and granian ask nothing. This affects
# anyone whose app is an object with a method, or gets its settings by partial, and middlewares
# that are plain functions. uvicorn --interface asgi3 helps, and an `async def` around the app on
# each. Our middleware is an object with an async __call__, and calls what it wraps without asking
# what it is.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet uvicorn==0.54.0 Hypercorn==0.18.0 daphne==4.2.3 \
    gunicorn==27.0.1 granian==2.8.9
cd "$folder"
cat >pages.py <<'PYTHON'
from functools import partial


class Site:
    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            raise ValueError(scope["type"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a page"})

    async def handle(self, scope, receive, send):
        await self(scope, receive, send)


itself = Site()
method = Site().handle
with_settings = partial(Site())
PYTHON
venv/bin/pip list 2>/dev/null | grep -iE '^(uvicorn|hypercorn|daphne|gunicorn|granian) '
export HOME="$folder" PYTHONPATH="$folder"
venv/bin/python - <<'PYTHON'
import socket
import subprocess
import time
from http.client import HTTPConnection

SERVERS = {
    "uvicorn": "uvicorn --port {}",
    "hypercorn": "hypercorn --bind 127.0.0.1:{}",
    "daphne": "daphne -b 127.0.0.1 -p {}",
    "gunicorn": "gunicorn --worker-class asgi --bind 127.0.0.1:{}",
    "granian": "granian --interface asgi --host 127.0.0.1 --port {}",
}


def status_from(command, app):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = f"venv/bin/{command.format(port)} pages:{app}"
    with open("log", "w") as log:
        server = subprocess.Popen(command.split(), stdout=log, stderr=log)
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


found = {}
for name, command in SERVERS.items():
    apps = ("itself", "method", "with_settings")
    found[name] = [status_from(command, app) for app in apps]
    print(f"{name}:", *(f"{app} {status}" for app, status in zip(apps, found[name])))
expected = {
    "uvicorn": [200, 500, 500],
    "hypercorn": [200, 200, 500],
    "daphne": [200, 200, 500],
    "gunicorn": [200, 200, 200],
    "granian": [200, 200, 200],
}
if found != expected:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   daphne            4.2.3
#   granian           2.8.9
#   gunicorn          27.0.1
#   Hypercorn         0.18.0
#   uvicorn           0.54.0
#   uvicorn: itself 200 method 500 with_settings 500
#   hypercorn: itself 200 method 200 with_settings 500
#   daphne: itself 200 method 200 with_settings 500
#   gunicorn: itself 200 method 200 with_settings 200
#   granian: itself 200 method 200 with_settings 200
