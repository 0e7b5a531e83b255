#!/usr/bin/env bash
# apig-wsgi 2.20.0 and azure-functions 1.26.0: only one line of a repeated header is sent.
#
# Vary, Link, Cache-Control, Content-Security-Policy and others may come in several lines, and
# middlewares add theirs to those of the app: compression adds Vary: Accept-Encoding to an app's
# Vary: Cookie. For HTTP APIs apig-wsgi makes a dictionary of the headers, and so does Azure's
# converter: the last line wins, the others are lost without an error. A cache in front then does
# not know that a page varies by cookie, and a second Content-Security-Policy replaces the first.
# (Both send every Set-Cookie line; Mangum and serverless-wsgi keep all lines.) This affects
# anyone who adds a middleware to an app that runs there. Our middleware joins Vary and
# Cache-Control into one line each, where it sets them.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet apig-wsgi==2.20.0 azure-functions==1.26.0
"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import azure.functions as func
from apig_wsgi import make_lambda_handler
from azure.functions.http import HttpResponseConverter

for name in ("apig-wsgi", "azure-functions"):
    print(name, version(name))


def app(environ, start_response):
    headers = [
        ("Content-Type", "text/plain"),
        ("Vary", "Cookie"),
        ("Vary", "Accept-Encoding"),
    ]
    start_response("200 OK", headers)
    return [b"hello"]


event = {
    "version": "2.0",
    "rawPath": "/",
    "rawQueryString": "",
    "headers": {"host": "app.example.com", "x-forwarded-port": "443"},
    "requestContext": {
        "http": {
            "method": "GET",
            "path": "/",
            "protocol": "HTTP/1.1",
            "sourceIp": "192.0.2.1",
        },
        "stage": "$default",
    },
    "isBase64Encoded": False,
}
request = func.HttpRequest("GET", "https://app.example.com/", body=b"")
sent = HttpResponseConverter.encode(
    func.WsgiMiddleware(app).handle(request), expected_type=None
).value["headers"]
seen = {
    "apig-wsgi": make_lambda_handler(app)(event, None)["headers"]["vary"],
    "azure-functions": sent["Vary"].value,
}
for name, vary in seen.items():
    print(f"{name}: Vary: {vary}")
if {*seen.values()} != {"Accept-Encoding"}:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   apig-wsgi 2.20.0
#   azure-functions 1.26.0
#   apig-wsgi: Vary: Accept-Encoding
#   azure-functions: Vary: Accept-Encoding
