#!/usr/bin/env bash
# Starlette, Django, aiohttp, Tornado: of two cookies of one name the one of the shorter path is read.
#
# A browser sends cookies of one name side by side if their paths differ, that of the longer path
# first (RFC 6265, 5.4). Where one app is at / and another one below /shop, and both call their
# session's cookie "session", as frameworks do by default, the app below /shop gets its own cookie
# and then that of the other. Starlette 1.10.0, Django 5.2.19, Litestar, aiohttp, Tornado, Bottle,
# BlackSheep and WebOb read the last one, in which the signature is wrong there: users of /shop
# are anonymous at each click as soon as they have visited the other app, and until its cookie has
# ended. Flask, Quart, Falcon and Sanic read the first. (The RFC advises servers not to rely on
# the order; none of them says which one it takes.) Each app alone works. A name of its own for
# each app helps. This affects anyone who puts two apps on one host. Our middleware's cookie
# begins with __Host- on https, and a browser keeps one of each such name; two with different
# values are refused.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet starlette==1.10.0 itsdangerous==2.2.0 django==5.2.19 aiohttp==3.14.5 \
    tornado==6.6.1 flask==3.1.3 httpx2==2.16.2 httpx==0.28.1
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version

from aiohttp.test_utils import make_mocked_request
from django.http.cookie import parse_cookie
from flask import Flask, request
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient
from tornado.httputil import HTTPHeaders, HTTPServerRequest

for name in ("starlette", "django", "aiohttp", "tornado", "flask"):
    print(name, version(name))


async def login(request):
    request.session["user"] = "ada"
    return PlainTextResponse("welcome")


async def who(request):
    return PlainTextResponse(request.session.get("user", "anonymous"))


def app_at(path):
    return Starlette(
        routes=[Route("/login", login), Route("/who", who)],
        middleware=[Middleware(SessionMiddleware, secret_key=f"key of {path}", path=path)],
    )


site = Starlette(routes=[Mount("/shop", app_at("/shop")), Mount("/", app_at("/"))])
browser = TestClient(site)
browser.get("/shop/login")
alone = browser.get("/shop/who").text
browser.get("/login")
both = browser.get("/shop/who").text
print(f"Starlette's session below /shop: {alone}; after a login at /: {both}")

HEADER = "session=shop; session=root"
flask_app = Flask("app")
with flask_app.test_request_context(headers={"Cookie": HEADER}):
    with_flask = request.cookies["session"]
tornado_request = HTTPServerRequest("GET", "/", headers=HTTPHeaders({"Cookie": HEADER}))
seen = {
    "Django": parse_cookie(HEADER)["session"],
    "aiohttp": make_mocked_request("GET", "/", headers={"Cookie": HEADER}).cookies["session"],
    "Tornado": tornado_request.cookies["session"].value,
    "Flask": with_flask,
}
for name, cookie in seen.items():
    print(f"{name}: {cookie}")
if (alone, both, *seen.values()) != ("ada", "anonymous", "root", "root", "root", "shop"):
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   starlette 1.10.0
#   django 5.2.19
#   aiohttp 3.14.5
#   tornado 6.6.1
#   flask 3.1.3
#   Starlette's session below /shop: ada; after a login at /: anonymous
#   Django: root
#   aiohttp: root
#   Tornado: root
#   Flask: shop
