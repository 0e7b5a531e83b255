#!/usr/bin/env bash
# Bottle 0.13.4: if the first cookie is called version, path or comment, all cookies are lost.
#
# A cookie may have any token for its name (RFC 6265, 4.1.1), also that of an attribute: version,
# path, domain, comment, expires or secure. Bottle reads the Cookie header by Python's
# http.cookies.SimpleCookie, which takes such a name for an attribute of the cookie before it, and
# returns no cookie at all, without an error, where none is before it. So one cookie "version=2",
# which another app of the same domain or a script has set, logs the user out at each request
# until it is gone; whether it comes first depends on the time and the path at which it was set.
# Any code that calls SimpleCookie itself is the same. Flask, Django, Starlette and aiohttp read
# all cookies; Tornado and WebOb lose the one with such a name. This affects Bottle apps that
# share a domain with others. Our middleware reads the header by itself, so that its own login
# works in front of Bottle.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet bottle==0.13.4 flask==3.1.3 webob==1.8.11 legacy-cgi==2.6.4
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version
from io import BytesIO

import bottle
import webob
from flask import Flask, request

for name in ("bottle", "flask", "webob"):
    print(name, version(name))


def with_bottle():
    app = bottle.Bottle()
    app.get("/")(lambda: bottle.request.get_cookie("session") or "anonymous")
    return app


def with_flask():
    app = Flask("app")
    app.get("/")(lambda: request.cookies.get("session", "anonymous"))
    return app


def with_webob(environ, start_response):
    cookies = webob.Request(environ).cookies
    return webob.Response(cookies.get("session", "anonymous"))(environ, start_response)


def ask(app, cookies):
    environ = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/",
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "localhost",
        "HTTP_COOKIE": cookies,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(),
        "wsgi.errors": BytesIO(),
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    return b"".join(app(environ, lambda status, headers, exc_info=None: None)).decode()


apps = {"bottle": with_bottle(), "webob": with_webob, "flask": with_flask()}
seen = {}
for name, app in apps.items():
    seen[name] = (
        ask(app, "session=ada; version=2"),
        ask(app, "version=2; session=ada"),
        ask(app, "comment=yes; session=ada"),
    )
    print(name, *seen[name])
if seen != {
    "bottle": ("ada", "anonymous", "anonymous"),
    "webob": ("ada", "ada", "ada"),
    "flask": ("ada", "ada", "ada"),
}:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   bottle 0.13.4
#   flask 3.1.3
#   webob 1.8.11
#   bottle ada anonymous anonymous
#   webob ada ada ada
#   flask ada ada ada
