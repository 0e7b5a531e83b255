#!/usr/bin/env bash
# hypercorn 0.18.0, ProxyFixMiddleware: each request gets a copy of what the lifespan has made.
#
# A Starlette or FastAPI app makes its client for an API, its pool or its cache in the lifespan and
# yields it; a request finds it in request.state. Behind a proxy hypercorn's documentation says to
# wrap the app in its ProxyFixMiddleware. That makes a deep copy of each request's scope, the state
# included: a dict or an object of one's own is another one in each request, so that a cache is always
# empty, a limiter never limits, an asyncio.Lock lets everyone in, and no error says so. What cannot
# be copied (a client of httpx2 or redis-py, a connection, a threading.Lock) makes every request a
# TypeError, "cannot pickle ...", from copy.deepcopy. Without the middleware all works, so that it
# shows behind the proxy only. uvicorn reads the proxy's headers by itself, and copies nothing. This
# affects anyone who moves such an app to hypercorn behind nginx. Our object in the scope refuses to
# be copied, as the copy would not be marked as private when it is read: inside our middleware
# ProxyFixMiddleware is an error at each request, and outside it works, as the page on servers says.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet hypercorn==0.18.0 uvicorn==0.54.0 starlette==1.10.0 httpx2==2.16.2
"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import threading
from contextlib import asynccontextmanager
from importlib.metadata import version

import httpx2
from hypercorn.middleware import ProxyFixMiddleware
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

print(*(f"{name} {version(name)}" for name in ("hypercorn", "uvicorn", "starlette")))
MADE = {
    "a dict": dict,
    "an asyncio.Lock": asyncio.Lock,
    "a threading.Lock": threading.Lock,
    "a client of httpx2": httpx2.AsyncClient,
}


def found(wrap, make):
    """Return what two requests find of an object of the lifespan."""

    @asynccontextmanager
    async def lifespan(app):
        app.made = make()
        yield {"made": app.made}

    async def page(request):
        return PlainTextResponse("it" if request.state.made is request.app.made else "a copy")

    app = Starlette(routes=[Route("/", page)], lifespan=lifespan)
    with TestClient(wrap(app)) as client:
        try:
            return {client.get("/").text, client.get("/").text}.pop()
        except TypeError as error:
            return f"TypeError: {error}"


seen = {}
for wrap in (ProxyHeadersMiddleware, ProxyFixMiddleware):
    for name, make in MADE.items():
        seen[wrap.__name__, name] = found(wrap, make)
        print(f"{wrap.__name__}, {name}: {seen[wrap.__name__, name]}")
copies = {name: result for (wrap, name), result in seen.items() if wrap == "ProxyFixMiddleware"}
if (
    any(result != "it" for (wrap, _), result in seen.items() if wrap == "ProxyHeadersMiddleware")
    or [*copies.values()][:2] != ["a copy"] * 2
    or not all(result.startswith("TypeError: cannot pickle") for result in [*copies.values()][2:])
):
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   hypercorn 0.18.0 uvicorn 0.54.0 starlette 1.10.0
#   ProxyHeadersMiddleware, a dict: it
#   ProxyHeadersMiddleware, an asyncio.Lock: it
#   ProxyHeadersMiddleware, a threading.Lock: it
#   ProxyHeadersMiddleware, a client of httpx2: it
#   ProxyFixMiddleware, a dict: a copy
#   ProxyFixMiddleware, an asyncio.Lock: a copy
#   ProxyFixMiddleware, a threading.Lock: TypeError: cannot pickle '_thread.lock' object
#   ProxyFixMiddleware, a client of httpx2: TypeError: cannot pickle '_thread.RLock' object
