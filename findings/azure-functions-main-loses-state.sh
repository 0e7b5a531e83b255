#!/usr/bin/env bash
# azure-functions 1.26.0 with Starlette 1.10.0: request.state is empty in the endpoint.
#
# AsgiMiddleware(app).main, which its docstring recommends, calls the app with scope["state"] =
# None. ASGI allows a dictionary, or none at all. Starlette makes a fresh State of None for each
# Request object, so what a middleware has put into request.state (a user, a database session, a
# request id) is gone in the endpoint, without an error where the endpoint reads it with a
# default. handle_async and AsgiFunctionApp give a dictionary, and work. This affects anyone who
# follows the docstring with Starlette or FastAPI. Our recipe uses AsgiFunctionApp; our middleware
# keeps nothing in that state, so it works with both.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet azure-functions==1.26.0 starlette==1.10.0
"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
from importlib.metadata import version

import azure.functions as func
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

for name in ("azure-functions", "starlette"):
    print(name, version(name))


class WithUser:
    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        Request(scope).state.user = "alice"
        await self.app(scope, receive, send)


async def who(request):
    return PlainTextResponse(getattr(request.state, "user", "nobody"))


app = Starlette(routes=[Route("/", who)], middleware=[Middleware(WithUser)])
adapter = func.AsgiMiddleware(app)
request = func.HttpRequest("GET", "https://app.example.com/", body=b"")
main = adapter.main(request, None).get_body().decode()
awaited = asyncio.run(adapter.handle_async(request)).get_body().decode()
print("main:", main)
print("handle_async:", awaited)
if (main, awaited) != ("nobody", "alice"):
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   azure-functions 1.26.0
#   starlette 1.10.0
#   main: nobody
#   handle_async: alice
