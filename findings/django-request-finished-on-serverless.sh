#!/usr/bin/env bash
# Django 5.2.8 on serverless-wsgi 3.1.0 or azure-functions 1.26.0: request_finished is never sent.
#
# A WSGI server must call close() of a response when it is done (PEP 3333), and Django sends the
# signal request_finished from there: it closes database connections that are too old or broken,
# and apps do their own cleanup on it. Of three adapters for serverless platforms apig-wsgi
# calls close(), serverless-wsgi and Azure's WsgiMiddleware do not. Connections of an instance
# that waits for its next request stay open, so a database runs out of them with few users;
# Werkzeug's Response.call_on_close is never called either. This affects anyone who runs Django,
# or Flask with call_on_close, by one of the two. Our middleware needs no close(), and our page on
# serverless platforms says that Django does.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet django==5.2.8 serverless-wsgi==3.1.0 werkzeug==3.1.9 \
    azure-functions==1.26.0 apig-wsgi==2.20.0
cat >"$folder/finished.py" <<'PYTHON'
from importlib.metadata import version

import azure.functions as func
import django
import serverless_wsgi
from apig_wsgi import make_lambda_handler
from django.conf import settings

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="not a secret")
django.setup()

from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished
from django.http import HttpResponse
from django.urls import path

for name in ("django", "serverless-wsgi", "azure-functions", "apig-wsgi"):
    print(name, version(name))
urlpatterns = [path("", lambda request: HttpResponse("hello"))]
app, counted = WSGIHandler(), []


def count(**given):
    counted.append(given)


request_finished.connect(count)
event = {
    "resource": "/{proxy+}",
    "path": "/",
    "httpMethod": "GET",
    "headers": {"Host": "app.example.com"},
    "multiValueHeaders": {"Host": ["app.example.com"]},
    "queryStringParameters": None,
    "multiValueQueryStringParameters": None,
    "requestContext": {"stage": "prod", "identity": {"sourceIp": "192.0.2.1"}},
    "body": None,
    "isBase64Encoded": False,
}
request = func.HttpRequest(
    "GET", "https://app.example.com/", headers={"Host": "app.example.com"}, body=b""
)
calls = {
    "apig-wsgi": lambda: make_lambda_handler(app)(event, None)["statusCode"],
    "serverless-wsgi": lambda: serverless_wsgi.handle_request(app, event, None)["statusCode"],
    "azure-functions": lambda: func.WsgiMiddleware(app).handle(request).status_code,
}
seen = {}
for name, call in calls.items():
    counted.clear()
    assert call() == 200, name
    seen[name] = len(counted)
    print(f"{name}: request_finished was sent {seen[name]} times")
if seen != {"apig-wsgi": 1, "serverless-wsgi": 0, "azure-functions": 0}:
    raise SystemExit("the behaviour has changed")
PYTHON
cd "$folder"
venv/bin/python finished.py
# Seen:
#   django 5.2.8
#   serverless-wsgi 3.1.0
#   azure-functions 1.26.0
#   apig-wsgi 2.20.0
#   apig-wsgi: request_finished was sent 1 times
#   serverless-wsgi: request_finished was sent 0 times
#   azure-functions: request_finished was sent 0 times
