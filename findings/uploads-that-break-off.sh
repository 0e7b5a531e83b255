#!/usr/bin/env bash
# gunicorn 27.0.1 with Flask, Django or Bottle, uvicorn with Falcon or Sanic: half an upload is stored.
#
# A client says how long its upload is, and may be gone before the end: a phone loses its network, a
# page is closed. Under ASGI the app gets http.disconnect in place of the rest, and Starlette raises
# ClientDisconnect; Falcon 4.4.0 and Sanic 25.12.1 take it for the end of the body. gunicorn's
# wsgi.input ends early, as if that were all, and neither request.data of Flask 3.1.3 nor
# request.body of Django 5.2.19 or Bottle 0.13.4 compares what came with the length: the view runs,
# stores half a video or half a list, and logs a success. Nobody sees the answer, since the client is
# gone. (Falcon's issue 1808 lists the case among those to document.) A proxy that takes in the whole
# body first, as nginx does by default, hides it; a load balancer that passes bytes on, and
# proxy_request_buffering off, as guides to large uploads advise, do not. This affects anyone who
# stores uploads or imports rows; comparing the number of bytes with Content-Length helps. The only
# bodies that our middleware takes in are webhooks, and half of one does not fit its signature.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet uvicorn==0.54.0 gunicorn==27.0.1 falcon==4.4.0 \
    sanic==25.12.1 starlette==1.10.0 bottle==0.13.4 flask==3.1.3 \
    django==5.2.19
cd "$folder"
cat >pages.py <<'PYTHON'
"""The same page in several frameworks: it stores the size of the upload that it got."""
from pathlib import Path


def store(name, body):
    Path(name).write_text(str(len(body)))


def make_falcon():
    import falcon.asgi

    class Upload:
        async def on_post(self, request, response):
            store("falcon", await request.stream.read())

    app = falcon.asgi.App()
    app.add_route("/", Upload())
    return app


def make_sanic():
    from sanic import Sanic, text

    app = Sanic("pages")

    @app.post("/")
    async def upload(request):
        store("sanic", request.body)
        return text("stored")

    return app


def make_starlette():
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    async def upload(request):
        store("starlette", await request.body())
        return PlainTextResponse("stored")

    return Starlette(routes=[Route("/", upload, methods=["POST"])])


def make_bottle():
    from bottle import Bottle, request

    app = Bottle()

    @app.post("/")
    def upload():
        store("bottle", request.body.read())
        return "stored"

    return app


def make_django():
    from django.conf import settings

    settings.configure(ROOT_URLCONF="pages", ALLOWED_HOSTS=["*"], SECRET_KEY="s")
    from django.core.wsgi import get_wsgi_application
    from django.http import HttpResponse
    from django.urls import path

    def upload(request):
        store("django", request.body)
        return HttpResponse("stored")

    global urlpatterns
    urlpatterns = [path("", upload)]
    return get_wsgi_application()


def make_flask():
    from flask import Flask, request

    app = Flask("pages")

    @app.post("/")
    def upload():
        store("flask", request.data)
        return "stored"

    return app
PYTHON
venv/bin/python - <<'PYTHON'
import socket
import subprocess
import time
from importlib.metadata import version
from pathlib import Path

BODY = b"x" * 100_000
UVICORN = ["venv/bin/uvicorn", "--port", "{port}", "--factory"]
GUNICORN = ["venv/bin/gunicorn", "--threads", "2", "-b", "127.0.0.1:{port}"]


def size_stored(name, command, app):
    """Return how many bytes the page stores of an upload of which half arrives."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [word.format(port=port) for word in [*command, app]]
    with open("log", "a") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        for _ in range(300):
            try:
                client = socket.create_connection(("127.0.0.1", port))
                break
            except ConnectionRefusedError:
                time.sleep(0.1)
        client.sendall(
            b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: video/mp4\r\n"
            + b"Content-Length: %d\r\n\r\n" % len(BODY)
            + BODY[:50_000]
        )
        time.sleep(1)
        client.close()
        time.sleep(1)
    finally:
        server.terminate()
        server.wait(20)
    return Path(name).read_text() if Path(name).exists() else "nothing"


for package in ("uvicorn", "gunicorn", "falcon", "sanic", "starlette", "bottle", "flask", "django"):
    print(package, version(package))
print(f"sent: 50000 of {len(BODY)} bytes, then the connection ends; stored:")
stored = {}
for name in ("falcon", "sanic", "starlette"):
    stored[name] = size_stored(name, UVICORN, f"pages:make_{name}")
for name in ("bottle", "flask", "django"):
    stored[name] = size_stored(name, GUNICORN, f"pages:make_{name}()")
for name, size in stored.items():
    print(f"  {name}: {size}")
whole = {name for name, size in stored.items() if size == "50000"}
if whole != {*stored} - {"starlette"} or stored["starlette"] != "nothing":
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   uvicorn 0.54.0
#   gunicorn 27.0.1
#   falcon 4.4.0
#   sanic 25.12.1
#   starlette 1.10.0
#   bottle 0.13.4
#   flask 3.1.3
#   django 5.2.19
#   sent: 50000 of 100000 bytes, then the connection ends; stored:
#     falcon: 50000
#     sanic: 50000
#     starlette: nothing
#     bottle: 50000
#     flask: 50000
#     django: 50000
