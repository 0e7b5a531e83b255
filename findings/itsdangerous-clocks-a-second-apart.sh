#!/usr/bin/env bash
# itsdangerous 2.2.0: a session signed on a server whose clock is a second ahead is refused.
#
# A signature has the time at which it was made, and loads(max_age=...) refuses one that is too
# old. It also refuses one whose time is in the future, by a second or more, as SignatureExpired,
# "age -1 < 0 seconds"; its documentation does not say so. With two servers behind a load
# balancer, one of which is ahead by a second, a user who logs in there and is redirected to the
# other is anonymous, is sent to the login again, and so on; a second later all is well. Flask's
# sessions and Starlette's, on which most apps with FastAPI build, take such a cookie for no
# cookie, without a line in a log. Django's signatures have no such limit, and Fernet allows a
# minute. This affects anyone who runs more than one host, or containers that were paused. Our
# middleware uses itsdangerous for the signature only, and lets the clocks of two workers differ
# by 60 seconds during a login.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet itsdangerous==2.2.0 flask==3.1.3 starlette==1.10.0 \
    httpx==0.28.1 httpx2==2.16.2 cryptography==50.0.2 django==5.2.19
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import time
from importlib.metadata import version
from unittest import mock

from cryptography.fernet import Fernet
from django.conf import settings
from django.core import signing
from flask import Flask, session
from itsdangerous import SignatureExpired, TimestampSigner
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

for name in ("itsdangerous", "flask", "starlette", "cryptography", "django"):
    print(name, version(name))
settings.configure()
now = int(time.time())


def clock(ahead):
    """Let this process see another server's clock."""
    return mock.patch("time.time", return_value=now + 0.5 + ahead)


def with_itsdangerous():
    with clock(ahead=1):
        signed = TimestampSigner("key").sign("ada")
    with clock(ahead=0):
        try:
            return TimestampSigner("key").unsign(signed, max_age=3600).decode()
        except SignatureExpired as error:
            return f"SignatureExpired: {error}"


def with_flask():
    app = Flask("app")
    app.secret_key = "key"

    @app.get("/login")
    def login():
        session["user"] = "ada"
        return "welcome"

    @app.get("/who")
    def who():
        return str(session.get("user"))

    browser = app.test_client()
    with clock(ahead=1):
        browser.get("/login")
    with clock(ahead=0):
        return browser.get("/who").text


def with_starlette():
    async def login(request):
        request.session["user"] = "ada"
        return PlainTextResponse("welcome")

    async def who(request):
        return PlainTextResponse(str(request.session.get("user")))

    routes = [Route("/login", login), Route("/who", who)]
    app = Starlette(routes=routes, middleware=[Middleware(SessionMiddleware, secret_key="key")])
    browser = TestClient(app)
    with clock(ahead=1):
        browser.get("/login")
    with clock(ahead=0):
        return browser.get("/who").text


def with_django():
    with clock(ahead=1):
        signed = signing.TimestampSigner(key="key").sign("ada")
    with clock(ahead=0):
        return signing.TimestampSigner(key="key").unsign(signed, max_age=3600)


def with_fernet():
    fernet = Fernet(Fernet.generate_key())
    token = fernet.encrypt_at_time(b"ada", now + 1)
    return fernet.decrypt_at_time(token, 3600, now).decode()


seen = {
    "itsdangerous": with_itsdangerous(),
    "Flask": with_flask(),
    "Starlette": with_starlette(),
    "Django": with_django(),
    "Fernet": with_fernet(),
}
for name, found in seen.items():
    print(f"{name}: {found}")
if [*seen.values()][1:] != ["None", "None", "ada", "ada"] or "age -1 < 0" not in seen["itsdangerous"]:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   itsdangerous 2.2.0
#   flask 3.1.3
#   starlette 1.10.0
#   cryptography 50.0.2
#   django 5.2.19
#   itsdangerous: SignatureExpired: Signature age -1 < 0 seconds
#   Flask: None
#   Starlette: None
#   Django: ada
#   Fernet: ada
