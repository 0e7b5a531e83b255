#!/usr/bin/env bash
# serverless-wsgi 3.1.0 with Flask 3.1.3: all links of a new HTTP API begin with /$default.
#
# At an address of API Gateway itself serverless-wsgi puts the stage into SCRIPT_NAME. REST APIs
# have the stage in every address; HTTP APIs come with one that is named $default and is in none.
# There url_for, redirects and the paths of session cookies begin with /$default, and what a
# browser asks for there has that prefix in PATH_INFO as well: no route fits, and a cookie for
# that path is not sent. Other stages are doubled in the same way. With a custom domain none of
# this happens, so it shows on the first try at the address that AWS gave out.
# STRIP_STAGE_PATH=yes helps. This affects anyone who deploys a Flask or Django app to an HTTP
# API. Our page on serverless platforms says what to set.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet serverless-wsgi==3.1.0 flask==3.1.3
cat >"$folder/links.py" <<'PYTHON'
from importlib.metadata import version

import serverless_wsgi
from flask import Flask, url_for

for name in ("serverless-wsgi", "flask"):
    print(name, version(name))
app = Flask(__name__)


@app.get("/")
def home():
    return url_for("members")


@app.get("/members")
def members():
    return "members"


def get(path):
    event = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"host": "abc123.execute-api.eu-west-1.amazonaws.com"},
        "requestContext": {
            "http": {"method": "GET", "path": path, "sourceIp": "192.0.2.1"},
            "stage": "$default",
        },
        "isBase64Encoded": False,
    }
    return serverless_wsgi.handle_request(app, event, None)


link = get("/")["body"]
status = get(link)["statusCode"]
print("a link on the page:", link)
print("and what is there:", status)
if (link, status) != ("/$default/members", 404):
    raise SystemExit("the behaviour has changed")
PYTHON
cd "$folder"
venv/bin/python links.py
STRIP_STAGE_PATH=yes venv/bin/python - <<'PYTHON'
try:
    import links
except SystemExit:
    pass
PYTHON
# Seen:
#   serverless-wsgi 3.1.0
#   flask 3.1.3
#   a link on the page: /$default/members
#   and what is there: 404
#   serverless-wsgi 3.1.0
#   flask 3.1.3
#   a link on the page: /members
#   and what is there: 200
