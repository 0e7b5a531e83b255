#!/usr/bin/env bash
# BlackSheep 2.6.4: with CORS switched on, the site's own forms are a 400.
#
# A browser sends Origin with each POST, PUT and DELETE, also to the page's own site (Fetch standard,
# "append a request Origin header"); a request is cross-origin only if that is another origin than the
# site's. app.use_cors() takes every request with an Origin for a cross-origin one: if it gets the
# other sites that may call the API, or no site, since single routes get a policy, then the site's own
# login form, logout form and scripts are answered 400, "The origin of the request is not enabled by
# CORS rules." Without an Origin they work, as with curl and in a test client, so that only a browser
# shows it. Starlette 1.10.0, Litestar 2.25.0 and Falcon 4.4.0 pass such a request on, without CORS
# headers. This affects anyone who opens the API of a site with forms to a front end elsewhere; the
# site's own origin in the list helps. Our login and logout paths are answered before BlackSheep sees
# them; the page on CORS says what BlackSheep needs.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet blacksheep==2.6.4 starlette==1.10.0 litestar==2.25.0 falcon==4.4.0 httpx2==2.16.2
"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import logging
from importlib.metadata import version

import falcon
import falcon.asgi
import httpx2
from blacksheep import Application, Router, text
from litestar import Litestar, post
from litestar.config.cors import CORSConfig
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route

logging.disable()
SITE, FRONT = "https://site.example", "https://front.example"
print(*(f"{name} {version(name)}" for name in ("blacksheep", "starlette", "litestar", "falcon")))


async def blacksheep(origins):
    app = Application(router=Router())
    app.use_cors(allow_methods="*", allow_origins=origins)

    @app.router.post("/logout")
    async def logout():
        return text("bye")

    await app.start()
    return app


async def with_starlette(origins):
    async def logout(request):
        return PlainTextResponse("bye")

    app = Starlette(routes=[Route("/logout", logout, methods=["POST"])])
    app.add_middleware(CORSMiddleware, allow_origins=origins)
    return app


async def with_litestar(origins):
    @post("/logout", status_code=200)
    async def logout() -> str:
        return "bye"

    return Litestar([logout], cors_config=CORSConfig(allow_origins=origins))


async def with_falcon(origins):
    class Logout:
        async def on_post(self, request, response):
            response.text = "bye"

    app = falcon.asgi.App(middleware=falcon.CORSMiddleware(allow_origins=origins))
    app.add_route("/logout", Logout())
    return app


async def statuses(make, origins):
    """Return the status of a form that is posted from each origin, and from none."""
    transport = httpx2.ASGITransport(await make(origins))
    async with httpx2.AsyncClient(transport=transport, base_url=SITE) as client:
        posted = [
            await client.post("/logout", headers={"Origin": origin} if origin else {})
            for origin in (SITE, FRONT, None)
        ]
    return [answer.status_code for answer in posted]


seen = {
    make.__name__.removeprefix("with_"): asyncio.run(statuses(make, [FRONT]))
    for make in (blacksheep, with_starlette, with_litestar, with_falcon)
}
seen["blacksheep, both listed"] = asyncio.run(statuses(blacksheep, [FRONT, SITE]))
for name, (own, front, none) in seen.items():
    print(f"{name}: from the site's own page {own}, from the front end {front}, without Origin {none}")
good = [200, 200, 200]
if seen != dict.fromkeys(seen, good) | {"blacksheep": [400, 200, 200]}:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   blacksheep 2.6.4 starlette 1.10.0 litestar 2.25.0 falcon 4.4.0
#   blacksheep: from the site's own page 400, from the front end 200, without Origin 200
#   starlette: from the site's own page 200, from the front end 200, without Origin 200
#   litestar: from the site's own page 200, from the front end 200, without Origin 200
#   falcon: from the site's own page 200, from the front end 200, without Origin 200
#   blacksheep, both listed: from the site's own page 200, from the front end 200, without Origin 200
