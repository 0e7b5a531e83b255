#!/usr/bin/env bash
# serverless-wsgi 3.1.0: only the last line of a repeated request header arrives.
#
# A header may come in several lines, which mean the same as one line with commas (RFC 9110, 5.3);
# each proxy may add its own line of X-Forwarded-For, Via or Forwarded. REST APIs, and load
# balancers with multi value headers, list all lines in multiValueHeaders. serverless-wsgi reads
# that list, and writes the lines one over the other into the environ: only the last one reaches
# the app, so the address of the client is the proxy's, and of two lines of If-None-Match or
# Accept-Language one counts. apig-wsgi and Mangum join them. This affects anyone who runs Flask or
# Django by it behind a proxy of their own. Our middleware reads Cookie, of which a browser sends
# one line, and no forwarded header; the page on serverless platforms says what this adapter does.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet serverless-wsgi==3.1.0 apig-wsgi==2.20.0
"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import serverless_wsgi
from apig_wsgi import make_lambda_handler

for name in ("serverless-wsgi", "apig-wsgi"):
    print(name, version(name))


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["HTTP_X_FORWARDED_FOR"].encode()]


lines = {"Host": ["app.example.com"], "X-Forwarded-For": ["192.0.2.7", "198.51.100.1"]}
event = {
    "version": "1.0",
    "resource": "/{proxy+}",
    "path": "/",
    "httpMethod": "GET",
    "headers": {name: values[-1] for name, values in lines.items()},
    "multiValueHeaders": lines,
    "queryStringParameters": None,
    "multiValueQueryStringParameters": None,
    "requestContext": {
        "httpMethod": "GET",
        "path": "/",
        "stage": "prod",
        "identity": {"sourceIp": "198.51.100.1"},
    },
    "body": None,
    "isBase64Encoded": False,
}
seen = {
    "serverless-wsgi": serverless_wsgi.handle_request(app, event, None)["body"],
    "apig-wsgi": make_lambda_handler(app)(event, None)["body"],
}
for name, value in seen.items():
    print(f"{name}: {value}")
if seen != {"serverless-wsgi": "198.51.100.1", "apig-wsgi": "192.0.2.7,198.51.100.1"}:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   serverless-wsgi 3.1.0
#   apig-wsgi 2.20.0
#   serverless-wsgi: 198.51.100.1
#   apig-wsgi: 192.0.2.7,198.51.100.1
