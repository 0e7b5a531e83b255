#!/usr/bin/env bash
# azure-functions 1.26.0 with Bottle 0.13.4 or a2wsgi 1.10.10: every request is a TypeError.
#
# By PEP 3333 start_response takes a third argument, exc_info, which is None if there is no error.
# Bottle and a2wsgi's ASGIMiddleware always pass it; the function that Azure's WsgiMiddleware
# hands to an app takes two arguments. So no Bottle app, and no ASGI app through a2wsgi, answers
# anything on Azure Functions, though each works on every other server. Flask and Django pass two
# arguments as long as nothing fails. This affects anyone who moves a Bottle app there, or bridges
# one. Our middleware passes a third argument only where there is something in it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet azure-functions==1.26.0 bottle==0.13.4 a2wsgi==1.10.10
"$folder/venv/bin/python" - <<'PYTHON'
import os
from importlib.metadata import version

import azure.functions as func
import bottle
from a2wsgi import ASGIMiddleware

for name in ("azure-functions", "bottle", "a2wsgi"):
    print(name, version(name))

site = bottle.Bottle()
site.get("/")(lambda: "hello")


async def asgi(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


def plain(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


seen = {}
for name, app in (("plain", plain), ("bottle", site), ("a2wsgi", ASGIMiddleware(asgi))):
    request = func.HttpRequest("GET", "https://app.example.com/", body=b"")
    try:
        seen[name] = func.WsgiMiddleware(app).handle(request).get_body().decode()
    except TypeError as error:
        seen[name] = f"TypeError: {error}"
    print(f"{name}: {seen[name]}", flush=True)
is_same = seen["plain"] == "hello" and all(
    "positional arguments" in seen[name] for name in ("bottle", "a2wsgi")
)
# a2wsgi's thread still waits for its response to be read: do not wait for it.
os._exit(0 if is_same else 1)
PYTHON
# Seen:
#   azure-functions 1.26.0
#   bottle 0.13.4
#   a2wsgi 1.10.10
#   plain: hello
#   bottle: TypeError: WsgiResponse._start_response() takes 3 positional arguments but 4 were given
#   a2wsgi: TypeError: WsgiResponse._start_response() takes 3 positional arguments but 4 were given
