#!/usr/bin/env bash
# Tornado 6.6.1 with Django 5.2.19: HEAD is not answered; the connection is closed.
#
# A WSGI app may return a body for HEAD, and many do: Django's views answer it as they answer GET,
# and leave it to the server to send the head alone (RFC 9110, 9.3.2). Tornado's WSGIContainer
# writes that body to a connection that allows none, which raises HTTPOutputError; the client gets
# no status at all. gunicorn, granian and Twisted send the head. This affects anyone behind a load
# balancer or a monitor that asks with HEAD: the app is healthy and is taken out of service. Flask
# removes the body itself. Our middleware's own pages have no body for HEAD, and the page of
# servers says what other apps need on Tornado.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet tornado==6.6.1 django==5.2.19
cd "$folder"
cat >serve.py <<'PYTHON'
import asyncio
import sys

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path
from tornado.httpserver import HTTPServer
from tornado.wsgi import WSGIContainer

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1"])
urlpatterns = [path("health", lambda request: HttpResponse("well"))]


async def main():
    server = HTTPServer(WSGIContainer(get_wsgi_application()))
    server.listen(int(sys.argv[1]), "127.0.0.1")
    await asyncio.Event().wait()


asyncio.run(main())
PYTHON
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
venv/bin/pip list 2>/dev/null | grep -iE '^(tornado|django) '
venv/bin/python serve.py "$port" >log 2>&1 &
trap 'kill "$!" 2>/dev/null; wait 2>/dev/null; rm -rf "$folder"' EXIT
python3 - "$port" <<'PYTHON'
import sys
import time
from http.client import HTTPConnection, RemoteDisconnected


def ask(method):
    for _ in range(100):
        try:
            connection = HTTPConnection("127.0.0.1", int(sys.argv[1]))
            connection.request(method, "/health")
            return connection.getresponse().status
        except RemoteDisconnected:
            return "no answer"
        except ConnectionRefusedError:
            time.sleep(0.1)
    raise SystemExit("the server did not start")


get, head = ask("GET"), ask("HEAD")
print("GET: ", get)
print("HEAD:", head)
if (get, head) != (200, "no answer"):
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   Django     5.2.19
#   tornado    6.6.1
#   GET:  200
#   HEAD: no answer
