#!/usr/bin/env bash
# requests 2.34.2, httplib2 0.32.1, PyJWT 2.15.1 on Python 3.11: early hints are taken for the answer.
#
# A client must read past interim responses such as 103 Early Hints, also if it did not ask for
# them (RFC 9110, 15.2). Python's http.client reads past 100 only. So requests, its urllib3 2.8.0
# and httplib2, below Google's API client, return status 103 with an empty body for a page that
# came right after it with status 200; raise_for_status() finds nothing wrong. urllib.request
# raises HTTPError 103, and PyJWT's PyJWKClient, which fetches a provider's keys by it, ends in
# PyJWKClientConnectionError, so that no token can be checked. httpx2 and aiohttp read on. This
# affects anyone whose provider, or a proxy before it, begins to send hints: browsers get faster,
# and programs that nobody changed get no answer. Our middleware calls TikTok by httpx2.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pyjwt==2.15.1 cryptography==50.0.2 httplib2==0.32.1 \
    requests==2.34.2 urllib3==2.8.0 httpx2==2.16.2
"$folder/venv/bin/python" - <<'PYTHON'
import platform
import socket
import threading
import urllib.error
import urllib.request
from importlib.metadata import version

import httplib2
import httpx2
import jwt
import requests

print("Python", platform.python_version())
for name in ("pyjwt", "httplib2", "requests", "httpx2"):
    print(name, version(name))
KEYS = b'{"keys": [{"kty": "oct", "kid": "a", "use": "sig", "k": "c2VjcmV0"}]}'
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload; as=style\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
ANSWER = HINTS + HEAD + b"Content-Length: %d\r\n\r\n" % len(KEYS) + KEYS
server = socket.create_server(("127.0.0.1", 0))
URL = f"http://127.0.0.1:{server.getsockname()[1]}/keys"


def serve():
    while True:
        connection, _ = server.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(ANSWER)


threading.Thread(target=serve, daemon=True).start()


def by_pyjwt():
    return [key.key_id for key in jwt.PyJWKClient(URL).get_signing_keys()]


def by_urllib():
    return urllib.request.urlopen(URL).status


def by_httplib2():
    response, body = httplib2.Http().request(URL)
    return response.status, len(body)


def by_requests():
    response = requests.get(URL, timeout=10)
    return response.status_code, len(response.content)


def by_httpx2():
    response = httpx2.get(URL)
    return response.status_code, len(response.content)


seen = {}
for read in (by_pyjwt, by_urllib, by_httplib2, by_requests, by_httpx2):
    try:
        seen[read.__name__] = read()
    except (jwt.PyJWTError, urllib.error.HTTPError) as error:
        seen[read.__name__] = type(error).__name__
    print(f"{read.__name__}: {seen[read.__name__]}")
if seen != {
    "by_pyjwt": "PyJWKClientConnectionError",
    "by_urllib": "HTTPError",
    "by_httplib2": (103, 0),
    "by_requests": (103, 0),
    "by_httpx2": (200, len(KEYS)),
}:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   Python 3.11.7
#   pyjwt 2.15.1
#   httplib2 0.32.1
#   requests 2.34.2
#   httpx2 2.16.2
#   by_pyjwt: PyJWKClientConnectionError
#   by_urllib: HTTPError
#   by_httplib2: (103, 0)
#   by_requests: (103, 0)
#   by_httpx2: (200, 69)
