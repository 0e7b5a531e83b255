#!/usr/bin/env bash
# Muffin 3.0.3 (asgi-tools 3.2.1): an app whose startup raised is served, except in debug mode.
#
# Startup handlers open the database, run checks, refuse a wrong setting. ASGI has a message for a
# startup that failed, at which servers end with an error, so that a deployment stops. Muffin and
# asgi-tools send it only with debug=True. Without it, as in production, the exception is logged, the
# server is told that the startup is complete, health checks pass, the old version is taken away, and
# requests meet an app without its database. A developer who tries it out in debug mode sees the app
# stop. Starlette 1.10.0, Quart 0.22.0 and Falcon 4.4.0 end the start. Anyone who relies on on_startup
# to stop a wrong deployment is affected. Our middleware raises when it is built with wrong settings,
# and answers a lifespan of an app that is put together wrongly with startup.failed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet muffin==3.0.3 asgi-tools==3.2.1 uvicorn==0.54.0 \
    starlette==1.10.0 quart==0.22.0 falcon==4.4.0
cd "$folder"
cat >sites.py <<'PYTHON'
import contextlib

import falcon.asgi
import muffin
from asgi_tools import App
from quart import Quart
from starlette.applications import Starlette


async def open_database(*_):
    raise RuntimeError("the database is not there")


@contextlib.asynccontextmanager
async def lifespan(app):
    await open_database()
    yield


class Opening:
    process_startup = open_database


muffin_app, debug_app, asgi_tools_app = muffin.Application(), muffin.Application(debug=True), App()
for app in (muffin_app, debug_app, asgi_tools_app):
    app.on_startup(open_database)

starlette_app = Starlette(lifespan=lifespan)
quart_app = Quart(__name__)
quart_app.before_serving(open_database)
falcon_app = falcon.asgi.App(middleware=[Opening()])
PYTHON
venv/bin/python - <<'PYTHON'
import socket
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

for name in ("muffin", "asgi-tools", "uvicorn", "starlette", "quart", "falcon"):
    print(name, version(name))


def outcome(app):
    """Return what uvicorn does with an app, and whether its log has the exception."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = Path(f"{app}.log")
    command = [sys.executable, "-m", "uvicorn", "--port", str(port), f"sites:{app}"]
    server = subprocess.Popen(command, stderr=log.open("w"), stdout=subprocess.DEVNULL)
    try:
        while server.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                return "serves", "the database is not there" in log.read_text()
            except ConnectionRefusedError:
                time.sleep(0.1)
        return "ends", "the database is not there" in log.read_text()
    finally:
        server.terminate()
        server.wait()


seen = {}
for app in ("muffin_app", "debug_app", "asgi_tools_app", "starlette_app", "quart_app", "falcon_app"):
    seen[app], is_logged = outcome(app)
    print(f"{app}: {seen[app]}; the exception is in the log: {is_logged}")
if [*seen.values()] != ["serves", "ends", "serves", "ends", "ends", "ends"]:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   muffin 3.0.3
#   asgi-tools 3.2.1
#   uvicorn 0.54.0
#   starlette 1.10.0
#   quart 0.22.0
#   falcon 4.4.0
#   muffin_app: serves; the exception is in the log: True
#   debug_app: ends; the exception is in the log: True
#   asgi_tools_app: serves; the exception is in the log: True
#   starlette_app: ends; the exception is in the log: True
#   quart_app: ends; the exception is in the log: True
#   falcon_app: ends; the exception is in the log: True
