#!/usr/bin/env bash
# Sanic 25.12.1, BlackSheep 2.6.4: a cookie's end in another zone is hours off.
#
# All set_cookie functions here take a datetime for the end of a cookie, and HTTP writes it in GMT.
# Sanic and BlackSheep write the hours of another zone as if they were GMT: with times of New York a
# session of three hours has ended before it begins, so that a login does not last for one request;
# with those of Tokyo a session of one hour lasts ten. No error says so. WebOb (Pyramid) converts
# other zones, and raises TypeError for a time in UTC, which is the usual one: datetime.now(UTC).
# Starlette (FastAPI) raises ValueError for every tzinfo but datetime.timezone.utc, also for the
# ZoneInfo of UTC, which psycopg returns. Flask 3.1.3, Django 5.2.19, Falcon 4.4.0, Bottle 0.13.4 and
# Tornado 6.6.1 convert. This affects anyone who gives a cookie the end of a token or of a row in a
# database; max_age, in seconds, is right in all. Our middleware sends Max-Age.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet sanic==25.12.1 blacksheep==2.6.4 webob==1.8.11 \
    starlette==1.10.0 flask==3.1.3 django==5.2.19 falcon==4.4.0 bottle==0.13.4 tornado==6.6.1 tzdata==2026.6
"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http.cookies import SimpleCookie
from importlib.metadata import version
from zoneinfo import ZoneInfo

import bottle
import falcon
from blacksheep import Application, Cookie, Router, text
from django.conf import settings
from django.http import HttpResponse
from flask import Response as FlaskResponse
from sanic.response import text as sanic_text
from starlette.responses import Response as StarletteResponse
from tornado.web import RequestHandler
from webob import Response as WebObResponse

settings.configure()
NAMES = ("sanic", "blacksheep", "webob", "starlette", "flask", "django", "falcon", "bottle", "tornado")
print(*(f"{name} {version(name)}" for name in NAMES))
END = datetime(2040, 1, 1, 12, tzinfo=UTC)
ENDS = {
    "UTC": END,
    "ZoneInfo UTC": END.astimezone(ZoneInfo("UTC")),
    "New York": END.astimezone(ZoneInfo("America/New_York")),
    "Tokyo": END.astimezone(ZoneInfo("Asia/Tokyo")),
}


def sanic(end):
    response = sanic_text("")
    response.add_cookie("session", "s", expires=end)
    return str(response.headers["set-cookie"])


def blacksheep(end):
    app, lines = Application(router=Router()), []

    @app.router.get("/")
    async def login():
        response = text("")
        response.set_cookie(Cookie("session", "s", expires=end))
        return response

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        lines.extend(v for k, v in message.get("headers", ()) if k.lower() == b"set-cookie")

    async def serve():
        await app.start()
        scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET"}
        scope |= {"path": "/", "raw_path": b"/", "root_path": "", "query_string": b"", "scheme": "https"}
        scope |= {"headers": [(b"host", b"localhost")], "client": ("127.0.0.1", 5), "server": ("localhost", 443)}
        await app(scope, receive, send)

    asyncio.run(serve())
    return lines[0].decode()


def header(response_class):
    def set_cookie(end):
        response = response_class()
        response.set_cookie("session", "s", expires=end)
        return response.headers["set-cookie"]

    return set_cookie


def django(end):
    response = HttpResponse()
    response.set_cookie("session", "s", expires=end)
    return response.cookies.output(header="")


def with_falcon(end):
    response = falcon.Response()
    response.set_cookie("session", "s", expires=end)
    return dict(response._wsgi_headers())["set-cookie"]


def with_bottle(end):
    response = bottle.HTTPResponse()
    response.set_cookie("session", "s", expires=end)
    return dict(response.headerlist)["Set-Cookie"]


def tornado(end):
    handler = RequestHandler.__new__(RequestHandler)
    handler.set_cookie("session", "s", expires=end)
    return handler._new_cookie.output(header="")


KINDS = dict(
    zip(
        NAMES,
        (sanic, blacksheep, header(WebObResponse), header(StarletteResponse), header(FlaskResponse), django)
        + (with_falcon, with_bottle, tornado),
        strict=True,
    )
)


def hours_off(set_cookie, end):
    try:
        line = set_cookie(end)
    except Exception as error:
        return type(error).__name__
    written = SimpleCookie(line.strip())["session"]["expires"]
    off = parsedate_to_datetime(written) - END
    # WebOb counts from now and may be a second short.
    return round(off / timedelta(hours=1))


seen = {name: [hours_off(kind, end) for end in ENDS.values()] for name, kind in KINDS.items()}
print("hours off:", ", ".join(ENDS))
for name, found in seen.items():
    print(f"{name}:", *found)
good = dict.fromkeys(NAMES[4:], [0, 0, 0, 0])
zones = [0, 0, -5, 9]
bad = {"sanic": zones, "blacksheep": zones, "webob": ["TypeError", "TypeError", 0, 0]}
bad["starlette"] = [0] + ["ValueError"] * 3
if seen != bad | good:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   sanic 25.12.1 blacksheep 2.6.4 webob 1.8.11 starlette 1.10.0 flask 3.1.3 django 5.2.19 falcon 4.4.0 bottle 0.13.4 tornado 6.6.1
#   hours off: UTC, ZoneInfo UTC, New York, Tokyo
#   sanic: 0 0 -5 9
#   blacksheep: 0 0 -5 9
#   webob: TypeError TypeError 0 0
#   starlette: 0 ValueError ValueError ValueError
#   flask: 0 0 0 0
#   django: 0 0 0 0
#   falcon: 0 0 0 0
#   bottle: 0 0 0 0
#   tornado: 0 0 0 0
