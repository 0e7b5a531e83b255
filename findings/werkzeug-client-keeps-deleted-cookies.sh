#!/usr/bin/env bash
# Werkzeug 3.1.9, test client (Flask's too): a cookie stays after its end, and after a logout.
#
# A cookie ends with its Max-Age or at its Expires, and a server deletes it by an end that is past
# (RFC 6265, 5.3). Werkzeug's test client knows two lines that delete, Max-Age=0 and the first
# second of 1970, as Flask writes them. Any other past end leaves a cookie with an empty value,
# which is sent with each request, and no cookie ends while the client exists. Falcon 4.4.0 deletes
# by the present time, Beaker 1.14.1 by a year ago: after their logouts a test that asks whether the
# cookie is gone fails, and one that waits for the end of a login finds it alive. A cookie for
# Domain=.example.com, with the dot that older code writes and browsers ignore, is never sent; one
# with Secure is sent to http:// too. This affects anyone who tests with this client an app that is
# not all Flask's own: a WSGI app beside or around it, or a cookie that an extension writes. Our
# middleware deletes its cookies by Max-Age=0, and the end of a session is in the store, where a
# test reaches it by moving the clock.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet werkzeug==3.1.9 falcon==4.4.0 Beaker==1.14.1
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import time
from importlib.metadata import version

import falcon
from beaker.middleware import SessionMiddleware
from werkzeug.test import Client
from werkzeug.wrappers import Request, Response

for name in ("werkzeug", "falcon", "Beaker"):
    print(name, version(name))


class Falcon:
    def on_get_login(self, request, response):
        response.set_cookie("session", "ada", secure=False)

    def on_get_logout(self, request, response):
        response.unset_cookie("session", path="")

    def on_get(self, request, response):
        response.text = request.get_header("Cookie", default="no cookie")


def falcon_app():
    app, views = falcon.App(), Falcon()
    app.add_route("/", views)
    app.add_route("/login", views, suffix="login")
    app.add_route("/logout", views, suffix="logout")
    return app


@Request.application
def beaker_views(request):
    session = request.environ["beaker.session"]
    if request.path == "/login":
        session["user"] = "ada"
        session.save()
    elif request.path == "/logout":
        session.delete()
    return Response(request.headers.get("Cookie", "no cookie").partition("=")[0])


@Request.application
def lines(request):
    response = Response(request.headers.get("Cookie", "no cookie"))
    if "line" in request.args:
        response.headers["Set-Cookie"] = request.args["line"]
    return response


def after_logout(app):
    client = Client(app)
    for path in ("/login", "/logout"):
        client.get(path)
    return client.get("/").text


def after(line, seconds=0, **address):
    client = Client(lines)
    client.get("/", query_string={"line": line}, **address)
    time.sleep(seconds)
    return client.get("/", **address).text


seen = {
    "Falcon, after the logout": after_logout(falcon_app()),
    "Beaker, after the logout": after_logout(SessionMiddleware(beaker_views, {"session.type": "memory"})),
    "Max-Age=-1": after("session=ada; Max-Age=-1"),
    "Max-Age=1, two seconds later": after("session=ada; Max-Age=1", 2),
    "Domain=.example.com": after("session=ada; Domain=.example.com", base_url="https://www.example.com"),
    "Domain=example.com": after("session=ada; Domain=example.com", base_url="https://www.example.com"),
    "Secure, by http": after("session=ada; Secure", base_url="http://www.example.com"),
    "Max-Age=0": after("session=; Max-Age=0"),
}
for name, cookie in seen.items():
    print(f"{name}: {cookie}")
if [*seen.values()] != [
    'session=""',
    "beaker.session.id",
    "session=ada",
    "session=ada",
    "no cookie",
    "session=ada",
    "session=ada",
    "no cookie",
]:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   werkzeug 3.1.9
#   falcon 4.4.0
#   Beaker 1.14.1
#   Falcon, after the logout: session=""
#   Beaker, after the logout: beaker.session.id
#   Max-Age=-1: session=ada
#   Max-Age=1, two seconds later: session=ada
#   Domain=.example.com: no cookie
#   Domain=example.com: session=ada
#   Secure, by http: session=ada
#   Max-Age=0: no cookie
