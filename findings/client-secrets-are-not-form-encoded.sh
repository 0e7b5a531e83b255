#!/usr/bin/env bash
# Authlib 1.9.10, requests-oauthlib 2.0.0: a client secret with % or + is refused as a wrong one.
#
# A client sends its id and secret in the header Authorization: Basic, and RFC 6749 (section 2.3.1)
# says to encode both as in a form before they are joined. Neither client does. Servers that follow
# the RFC decode: django-oauth-toolkit 3.4.1 answers the secret as it is with 401 invalid_client, and
# takes the encoded one; Authlib's own server decodes too, and reads another secret than Authlib's
# client was given. With letters and digits alone both forms are equal, so it works until a secret is
# rotated to one with a percent sign or another such character, and then looks like a wrong secret.
# Anyone who connects these clients to a server that follows the RFC is affected; the secret in the
# body (client_secret_post) works. TikTok takes the secret in the body, and so our client sends it
# there.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet authlib==1.9.10 requests-oauthlib==2.0.0 oauthlib==4.0.1 \
    requests==2.34.2 django-oauth-toolkit==3.4.1 django==5.2.19
cd "$folder"
cat >server.py <<'PYTHON'
import threading
from wsgiref.simple_server import WSGIRequestHandler, make_server

import django
from django.conf import settings
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application

settings.configure(
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "oauth2_provider"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "users.db"}},
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    ROOT_URLCONF="oauth2_provider.urls",
    ALLOWED_HOSTS=["*"],
    SECRET_KEY="a key of this folder only",
)
django.setup()
call_command("migrate", verbosity=0)


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


def serve(apps):
    from oauth2_provider.models import Application

    for name, secret in apps.items():
        Application.objects.create(
            client_id=name,
            client_secret=secret,
            client_type=Application.CLIENT_CONFIDENTIAL,
            authorization_grant_type=Application.GRANT_CLIENT_CREDENTIALS,
        )
    server = make_server("127.0.0.1", 0, get_wsgi_application(), handler_class=Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/token/"
PYTHON
OAUTHLIB_INSECURE_TRANSPORT=1 venv/bin/python - <<'PYTHON'
import logging
from importlib.metadata import version
from urllib.parse import quote_plus

import requests
from authlib.integrations.requests_client import OAuth2Session as AuthlibSession
from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.util import extract_basic_authorization
from oauthlib.oauth2 import BackendApplicationClient, OAuth2Error
from requests_oauthlib import OAuth2Session
from server import serve

logging.disable()
for name in ("authlib", "requests-oauthlib", "oauthlib", "django-oauth-toolkit"):
    print(name, version(name))
APPS = {"plain": "secretOfTheApp123", "percent": "secret%2Fof+the%app"}
URL = serve(APPS)


def by_hand(client_id, secret):
    data = {"grant_type": "client_credentials"}
    pair = quote_plus(client_id), quote_plus(secret)
    return requests.post(URL, data, auth=pair).json().get("error", "token")


def with_authlib(client_id, secret, method="client_secret_basic"):
    client = AuthlibSession(client_id, secret, token_endpoint_auth_method=method)
    try:
        client.fetch_token(URL, grant_type="client_credentials")
    except Exception as error:
        return error.error
    return "token"


def with_oauthlib(client_id, secret):
    client = OAuth2Session(client=BackendApplicationClient(client_id))
    try:
        client.fetch_token(URL, client_id=client_id, client_secret=secret)
    except OAuth2Error as error:
        return error.error
    return "token"


def in_the_body(client_id, secret):
    return with_authlib(client_id, secret, "client_secret_post")


seen = {}
for call in (by_hand, with_authlib, with_oauthlib, in_the_body):
    seen[call.__name__] = [call(name, secret) for name, secret in APPS.items()]
    print(f"{call.__name__}: plain secret {{}}, one with % and + {{}}".format(*seen[call.__name__]))
client = ClientAuth("percent", APPS["percent"], "client_secret_basic")
sent = client.prepare("POST", URL, {}, "grant_type=client_credentials")[1]
read = extract_basic_authorization(sent)[1]
print("Authlib's server reads the secret that Authlib's client was given:", read == APPS["percent"])
refused, taken = ["token", "invalid_client"], ["token", "token"]
if [*seen.values()] != [taken, refused, refused, taken] or read == APPS["percent"]:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   authlib 1.9.10
#   requests-oauthlib 2.0.0
#   oauthlib 4.0.1
#   django-oauth-toolkit 3.4.1
#   by_hand: plain secret token, one with % and + token
#   with_authlib: plain secret token, one with % and + invalid_client
#   with_oauthlib: plain secret token, one with % and + invalid_client
#   in_the_body: plain secret token, one with % and + token
#   Authlib's server reads the secret that Authlib's client was given: False
