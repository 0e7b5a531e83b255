#!/usr/bin/env bash
# azure-functions 1.26.0, WsgiMiddleware: after one line on wsgi.errors every request fails.
#
# PEP 3333 gives an app wsgi.errors for messages to an operator, such as warnings; the server
# writes it to a log. Azure's adapter keeps one buffer for all requests: if anything is in it when
# a response is there, the adapter raises an exception instead of returning that response, and it
# never empties the buffer. So a single warning costs its own response and all later ones, until
# the instance is replaced. This affects anyone who runs a WSGI app by WsgiFunctionApp or a kept
# WsgiMiddleware whose framework or middleware writes there, as Bottle does with each traceback
# and Flask's logger where logging is not set up. Our page on serverless platforms says to log by
# `logging` there, and our middleware writes nothing to it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet azure-functions==1.26.0
"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import azure.functions as func

print("azure-functions", version("azure-functions"))


def app(environ, start_response):
    if environ["PATH_INFO"] == "/old-link":
        environ["wsgi.errors"].write("warning: this link is old\n")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


adapter = func.WsgiMiddleware(app)
seen = []
for path in ("/", "/old-link", "/", "/"):
    request = func.HttpRequest("GET", f"https://app.example.com{path}", body=b"")
    try:
        seen.append(adapter.handle(request).status_code)
    except Exception as error:
        seen.append(type(error).__name__)
    print(path, seen[-1])
if seen != [200, "Exception", "Exception", "Exception"]:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   azure-functions 1.26.0
#   / 200
#   /old-link Exception
#   / Exception
#   / Exception
