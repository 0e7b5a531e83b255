#!/usr/bin/env bash
# Authlib 1.9.10: with Starlette a second tab ends the first tab's login; with Flask the cookie fills.
#
# A login that has begun has a state, which the callback must bring back. Authlib's client for
# Starlette and FastAPI removes the states of all earlier logins from the session when a new one
# begins: who opens the login in two tabs, or goes back and clicks once more, can finish only the
# last one; the other is refused with mismatching_state, which speaks of an attack. Its clients
# for Flask and Django keep each state for an hour, with the whole address of the provider. Where
# sessions are in a cookie, as Flask has them, the 26th login that nobody finished makes the
# cookie larger than the 4,096 bytes that browsers keep. From then on every login fails in the
# same way, since the browser keeps the older cookie; Werkzeug warns in the server's log, and
# nothing tells the user. A page that polls an address behind the login gets there in a minute
# after its session has ended. This affects anyone who logs people in by these clients. Our
# middleware has seven cookies of a fixed size for logins that have begun: seven tabs can be
# finished, in any order.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet authlib==1.9.10 httpx==0.28.1 httpx2==2.16.2 requests==2.34.2 \
    flask==3.1.3 starlette==1.10.0 itsdangerous==2.2.0
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version
from urllib.parse import parse_qs, urlsplit

from authlib.integrations import flask_client, starlette_client
from flask import Flask
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

for name in ("authlib", "flask", "starlette"):
    print(name, version(name))
SITE = {
    "client_id": "app",
    "client_secret": "secret",
    "authorize_url": "https://id.example.com/authorize",
    "access_token_url": "https://id.example.com/token",
    "client_kwargs": {"scope": "profile", "code_challenge_method": "S256"},
}
CALLBACK = "https://app.example.com/callback"

oauth = starlette_client.OAuth()
oauth.register("site", **SITE)


async def login(request):
    return await oauth.site.authorize_redirect(request, CALLBACK)


async def callback(request):
    try:
        await oauth.site.authorize_access_token(request)
    except starlette_client.OAuthError as error:
        return PlainTextResponse(error.error)


routes = [Route("/login", login), Route("/callback", callback)]
app = Starlette(routes=routes, middleware=[Middleware(SessionMiddleware, secret_key="k")])
client = TestClient(app, follow_redirects=False)
tabs = [client.get("/login").headers["location"] for _ in range(2)]
state = parse_qs(urlsplit(tabs[0]).query)["state"][0]
first_tab = client.get("/callback", params={"code": "c", "state": state}).text
print("Starlette, the first of two tabs:", first_tab)

site = Flask("site")
site.secret_key = "k"
oauth_of_flask = flask_client.OAuth(site)
oauth_of_flask.register("site", **SITE)
site.get("/login")(lambda: oauth_of_flask.site.authorize_redirect(CALLBACK))
browser = site.test_client()
logins = 0
size = 0
while size <= 4096:
    sent = browser.get("/login").headers["Set-Cookie"].partition(";")[0]
    logins += 1
    size = len(sent) - 1
print("Flask, logins until the cookie is larger than 4096 bytes:", logins)
if first_tab != "mismatching_state" or not 20 <= logins <= 32:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   authlib 1.9.10
#   flask 3.1.3
#   starlette 1.10.0
#   Starlette, the first of two tabs: mismatching_state
#   Flask, logins until the cookie is larger than 4096 bytes: 26
