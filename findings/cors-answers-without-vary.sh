#!/usr/bin/env bash
# Falcon 4.4.0, Litestar 2.25.0: CORS answers lack Vary: Origin, so that caches mix them up.
#
# An answer that allows one origin is for that origin only, and a cache knows it by Vary: Origin,
# which belongs on every answer of such a path, also where the request had no Origin (Fetch standard,
# "CORS protocol and HTTP caches"). Falcon's CORSMiddleware never sends it, and Litestar's CORS only
# to the origins that it allows. So a page that may be cached is stored for the one who asks first:
# with Falcon the second front end gets the answer with the first one's name, and its browser refuses
# it; with both, a link that a person opened, or a health check through the CDN, leaves an answer
# without any name, and every front end is refused until it expires. The script sees a network error,
# as for a server that is down, and a reload does not help. Starlette 1.10.0 and quart-cors 0.8.0 send
# Vary each time. This affects anyone with two front ends, or with a cache in front of an API. Our
# middleware marks what depends on a user as private, so that no shared cache stores it, and keeps the
# Vary of the app.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet falcon==4.4.0 litestar==2.25.0 starlette==1.10.0 quart==0.22.0 \
    quart-cors==0.8.0 httpx2==2.16.2
"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import logging
from importlib.metadata import version

import falcon
import falcon.asgi
import httpx2
from litestar import Litestar, get
from litestar.config.cors import CORSConfig
from quart import Quart
from quart_cors import cors
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route

logging.disable()
FRONTS = ["https://one.example", "https://two.example"]
print(*(f"{name} {version(name)}" for name in ("falcon", "litestar", "starlette", "quart-cors")))


def with_falcon():
    class Profile:
        async def on_get(self, request, response):
            response.text = "profile"

    app = falcon.asgi.App(middleware=falcon.CORSMiddleware(allow_origins=FRONTS))
    app.add_route("/profile", Profile())
    return app


def with_litestar():
    @get("/profile")
    async def profile() -> str:
        return "profile"

    return Litestar([profile], cors_config=CORSConfig(allow_origins=FRONTS))


def with_starlette():
    async def profile(request):
        return PlainTextResponse("profile")

    app = Starlette(routes=[Route("/profile", profile)])
    app.add_middleware(CORSMiddleware, allow_origins=FRONTS)
    return app


def with_quart():
    app = cors(Quart("site"), allow_origin=FRONTS)

    @app.get("/profile")
    async def profile():
        return "profile"

    return app


async def answers(app):
    """Return whom each answer allows, and whether it varies by Origin."""
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="https://api.example") as client:
        seen = []
        for origin in (*FRONTS, None):
            got = await client.get("/profile", headers={"Origin": origin} if origin else {})
            allowed = got.headers.get("access-control-allow-origin", "nobody")
            seen.append((allowed, "origin" in got.headers.get("vary", "").lower()))
    return seen


seen = {
    make.__name__.removeprefix("with_"): asyncio.run(answers(make()))
    for make in (with_falcon, with_litestar, with_starlette, with_quart)
}
for name, found in seen.items():
    varies = ["with Vary" if vary else "without Vary" for _, vary in found]
    print(f"{name}: to one {varies[0]}, to two {varies[1]}, without Origin {varies[2]}")
if any([allowed for allowed, _ in found] != [*FRONTS, "nobody"] for found in seen.values()):
    raise SystemExit("the behaviour has changed")
if {name: [vary for _, vary in found] for name, found in seen.items()} != {
    "falcon": [False, False, False],
    "litestar": [True, True, False],
    "starlette": [True, True, True],
    "quart": [True, True, True],
}:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   falcon 4.4.0 litestar 2.25.0 starlette 1.10.0 quart-cors 0.8.0
#   falcon: to one without Vary, to two without Vary, without Origin without Vary
#   litestar: to one with Vary, to two with Vary, without Origin without Vary
#   starlette: to one with Vary, to two with Vary, without Origin with Vary
#   quart: to one with Vary, to two with Vary, without Origin with Vary
