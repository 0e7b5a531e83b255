#!/usr/bin/env bash
# requests-oauthlib 2.0.0: a refresh sends the arguments of the API call to the token endpoint.
#
# With auto_refresh_url a call whose token has expired is preceded by a refresh. The call's own
# arguments become fields of the refresh's form: params={"q": "cats"} arrives at the provider as a
# field "params" with the text of a Python dictionary, json= likewise, and each get() adds
# allow_redirects=True. A provider must ignore fields that it does not know (RFC 6749, 3.2). With
# one that does not, the first call after each expiry fails, while a refresh by hand works; and a
# comment or a search of a user stands in the logs of a server that it was not meant for. (Issues
# 264, 390, 451 and 491 of requests-oauthlib, open.) This affects
# anyone who calls an API with auto_refresh_url, also by Flask-Dance. Our middleware builds the form
# of a refresh from its own four fields.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet requests-oauthlib==2.0.0 oauthlib==4.0.1 requests==2.34.2
"$folder/venv/bin/python" - <<'PYTHON'
import os
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from urllib.parse import parse_qs

os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"  # for http on this machine
from requests_oauthlib import OAuth2Session

for name in ("requests-oauthlib", "oauthlib", "requests"):
    print(name, version(name))
forms = []


class Provider(BaseHTTPRequestHandler):
    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer(b"{}")

    def do_POST(self):
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self.path == "/token":
            forms.append(parse_qs(text))
            self.answer(b'{"access_token": "new", "token_type": "Bearer", "expires_in": 3600}')
        else:
            self.answer(b"{}")

    def log_message(self, *args):
        pass


server = HTTPServer(("127.0.0.1", 0), Provider)
threading.Thread(target=server.serve_forever, daemon=True).start()
SITE = f"http://127.0.0.1:{server.server_port}"


def session():
    return OAuth2Session(
        "client", auto_refresh_url=SITE + "/token", auto_refresh_kwargs={"client_id": "client"},
        token_updater=lambda token: None,
        token={"access_token": "old", "refresh_token": "r", "token_type": "Bearer", "expires_in": -10},
    )


session().get(SITE + "/videos", params={"q": "cats"})
session().post(SITE + "/comment", json={"text": "a private message"})
for form in forms:
    print("the token endpoint got", *(f"{name}={form[name][0]}" for name in sorted(form)), sep="\n  ")
server.shutdown()
own = [{*form} - {"client_id", "grant_type", "refresh_token"} for form in forms]
if own != [{"allow_redirects", "params"}, {"json"}]:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   requests-oauthlib 2.0.0
#   oauthlib 4.0.1
#   requests 2.34.2
#   the token endpoint got
#     allow_redirects=True
#     client_id=client
#     grant_type=refresh_token
#     params={'q': 'cats'}
#     refresh_token=r
#   the token endpoint got
#     client_id=client
#     grant_type=refresh_token
#     json={'text': 'a private message'}
#     refresh_token=r
