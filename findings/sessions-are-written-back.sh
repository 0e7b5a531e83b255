#!/usr/bin/env bash
# Litestar 2.25.0 and starsessions 2.2.1: a request that only reads the session undoes a login.
#
# Both write the session back to the store at the end of every request that had one, whether or
# not it was changed, as it was read at the beginning. A request that is under way while another
# one writes (a poll, a download or a slow page, while the user logs in or puts something into the
# cart) ends by writing the old session over the new one: the user was logged in, and at the next
# click is not, or what they just put into the cart is gone. Starlette's own sessions and Django's
# are written only if they were changed. It shows with slow requests only, so not in development.
# This affects anyone who keeps logins in either. Our middleware's records change under a lock,
# and a request that only reads one writes none.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet litestar==2.25.0 starsessions==2.2.1 \
    starlette==1.10.0 itsdangerous==2.2.0
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import asyncio
from importlib.metadata import version

from litestar import Litestar, Request, get
from litestar.middleware.session.server_side import ServerSideSessionConfig
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.routing import Route
from starsessions import InMemoryStore, SessionAutoloadMiddleware, SessionMiddleware

for name in ("litestar", "starsessions", "starlette"):
    print(name, version(name))


def with_litestar():
    @get("/visit")
    async def visit(request: Request) -> dict:
        request.session["visits"] = 1
        return {}

    @get("/login")
    async def login(request: Request) -> dict:
        request.session["user"] = "ada"
        return {}

    @get("/slow")
    async def slow(request: Request) -> dict:
        await asyncio.sleep(0.5)
        return {"visits": request.session.get("visits")}

    @get("/who")
    async def who(request: Request) -> dict:
        return {"user": request.session.get("user")}

    return Litestar([visit, login, slow, who], middleware=[ServerSideSessionConfig().middleware])


def with_starsessions():
    async def visit(request):
        request.session["visits"] = 1
        return JSONResponse({})

    async def login(request):
        request.session["user"] = "ada"
        return JSONResponse({})

    async def slow(request):
        await asyncio.sleep(0.5)
        return JSONResponse({"visits": request.session.get("visits")})

    async def who(request):
        return JSONResponse({"user": request.session.get("user")})

    views = {"/visit": visit, "/login": login, "/slow": slow, "/who": who}
    return Starlette(
        routes=[Route(path, view) for path, view in views.items()],
        middleware=[
            Middleware(SessionMiddleware, store=InMemoryStore(), lifetime=3600),
            Middleware(SessionAutoloadMiddleware),
        ],
    )


async def ask(app, path, cookie=b""):
    """Return the body of a response, and the cookie that it sets."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "scheme": "https",
        "headers": [(b"host", b"localhost"), (b"cookie", cookie)],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 443),
    }
    await app(scope, receive, send)
    set_cookie = dict(sent[0]["headers"]).get(b"set-cookie", b"")
    return b"".join(m.get("body", b"") for m in sent), set_cookie.partition(b";")[0]


async def story(app):
    """Return who is logged in after the login, and after a slow request has ended."""
    _, cookie = await ask(app, "/visit")
    slow = asyncio.create_task(ask(app, "/slow", cookie))
    await asyncio.sleep(0.1)
    await ask(app, "/login", cookie)
    before, _ = await ask(app, "/who", cookie)
    await slow
    after, _ = await ask(app, "/who", cookie)
    return before.decode(), after.decode()


seen = {
    "litestar": asyncio.run(story(with_litestar())),
    "starsessions": asyncio.run(story(with_starsessions())),
}
for name, (before, after) in seen.items():
    print(f"{name}: after the login {before}, after the slow request {after}")
if {*seen.values()} != {('{"user":"ada"}', '{"user":null}')}:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   litestar 2.25.0
#   starsessions 2.2.1
#   starlette 1.10.0
#   litestar: after the login {"user":"ada"}, after the slow request {"user":null}
#   starsessions: after the login {"user":"ada"}, after the slow request {"user":null}
