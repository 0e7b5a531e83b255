#!/usr/bin/env bash
# asgiref 3.13.0, WsgiToAsgi: a warning at each request where `send` is not an async def.
#
# ASGI requires of `send` only that it is callable and that its result can be awaited. asgiref's
# bridge for WSGI apps hands it to async_to_sync, which warns of every callable that is not marked
# as a coroutine function: an object with a method, a functools.partial of one that returns an
# awaitable, a function that a middleware defines without async. The app works, and its log fills
# with a line for each message. This affects anyone who wraps WsgiToAsgi in a middleware that
# passes `send` on by a plain method, as fast ones do. We hand such an adapter a coroutine
# function.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet asgiref==3.13.0
"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import warnings
from importlib.metadata import version

from asgiref.wsgi import WsgiToAsgi

print("asgiref", version("asgiref"))


def app(environ, start_response):
    start_response("200 OK", [("content-type", "text/plain")])
    return [b"hello"]


async def ask(make_send):
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": "/",
        "query_string": b"",
        "headers": [],
    }

    async def receive():
        return {"type": "http.request", "body": b""}

    sent = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        await WsgiToAsgi(app)(scope, receive, make_send(sent))
    return len(sent), len(caught), str(caught[0].message)[:60] if caught else ""


def coroutine_function(sent):
    async def send(message):
        sent.append(message)

    return send


def plain_callable(sent):
    async def keep(message):
        sent.append(message)

    return lambda message: keep(message)


async def main():
    good = await ask(coroutine_function)
    plain = await ask(plain_callable)
    print("coroutine function:", good)
    print("callable that returns an awaitable:", plain)
    assert good[0] == plain[0] and good[1] == 0 and plain[1] > 0, "changed"


asyncio.run(main())
PYTHON
# Seen:
#   asgiref 3.13.0
#   coroutine function: (3, 0, '')
#   callable that returns an awaitable: (3, 1, 'async_to_sync was passed a non-async-marked callable')
