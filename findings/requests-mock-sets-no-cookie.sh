#!/usr/bin/env bash
# requests-mock 1.12.1: in a test no cookie of a response gets into the session.
#
# A requests.Session keeps the cookies of its responses and sends them with later requests. Where
# requests-mock answers, response.cookies has the cookie, as its documentation shows, and
# session.cookies stays empty, whether the cookie is given by headers= or by cookies=, and after a
# redirect too. So in a test of a client that logs in, the request after the login is sent without the
# session's cookie: a matcher that asks for the cookie never matches, so that the login looks broken,
# and a test which says that no cookie is sent after the logout passes whatever the client does.
# responses 0.26.3 and a server of one's own put the cookie into the session. This affects anyone
# whose client logs in by a cookie, and moves its tests from responses, or to a real server. Our
# fixtures call the app itself, with the cookies of the client that the test uses.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet requests-mock==1.12.1 responses==0.26.3 requests==2.34.2
"$folder/venv/bin/python" - <<'PYTHON'
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version

import requests
import requests_mock
import responses

SITE = "http://site.example"
COOKIE = {"Set-Cookie": "session=s; Path=/"}
print(*(f"{name} {version(name)}" for name in ("requests-mock", "responses", "requests")))


def cookies(site, last_request, path="/login"):
    """Log in; return the cookies of the answer, of the session and of the next request."""
    with requests.Session() as session:
        answer = session.get(site + path)
        kept = dict(session.cookies)
        session.get(site + "/profile")
        return dict(answer.cookies), kept, last_request().headers.get("Cookie")


def with_requests_mock(path="/login", **login):
    with requests_mock.Mocker() as mock:
        mock.get(SITE + "/login", **login)
        mock.get(SITE + "/begin", status_code=303, headers={"Location": "/profile", **COOKIE})
        mock.get(SITE + "/profile")
        return cookies(SITE, lambda: mock.last_request, path)


def with_responses():
    with responses.RequestsMock() as mock:
        mock.get(SITE + "/login", headers=COOKIE)
        mock.get(SITE + "/profile")
        return cookies(SITE, lambda: mock.calls[-1].request)


def with_a_server():
    last = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            last.append(self)
            self.send_response(200)
            if self.path == "/login":
                self.send_header("Set-Cookie", COOKIE["Set-Cookie"])
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        seen = cookies(f"http://127.0.0.1:{server.server_port}", lambda: last[-1])
        server.shutdown()
    return seen


seen = {
    "requests-mock, headers=": with_requests_mock(headers=COOKIE),
    "requests-mock, cookies=": with_requests_mock(cookies={"session": "s"}),
    "requests-mock, redirect": with_requests_mock("/begin"),
    "responses": with_responses(),
    "a server": with_a_server(),
}
for name, (answer, session, sent) in seen.items():
    print(f"{name}: answer {answer}, session {session}, next request {sent}")
mine, good = {"session": "s"}, ({"session": "s"}, {"session": "s"}, "session=s")
wrong = {"requests-mock, redirect": ({}, {}, None)}
expected = {name: wrong.get(name, (mine, {}, None)) if "mock" in name else good for name in seen}
if seen != expected:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   requests-mock 1.12.1 responses 0.26.3 requests 2.34.2
#   requests-mock, headers=: answer {'session': 's'}, session {}, next request None
#   requests-mock, cookies=: answer {'session': 's'}, session {}, next request None
#   requests-mock, redirect: answer {}, session {}, next request None
#   responses: answer {'session': 's'}, session {'session': 's'}, next request session=s
#   a server: answer {'session': 's'}, session {'session': 's'}, next request session=s
