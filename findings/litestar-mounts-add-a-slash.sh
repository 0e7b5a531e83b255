#!/usr/bin/env bash
# Litestar 2.25.0: a Starlette app mounted in it redirects each page out of the mount.
#
# @asgi(is_mount=True) hands requests below its path to another ASGI app. ASGI's way is to leave
# path as it is and to put the mount into root_path. Litestar cuts the mount off, sets no
# root_path, and adds a slash: /shop/page arrives as /page/. A Starlette or FastAPI app, whose route
# is /page, redirects to the path without the slash, by an address that does not have the mount in
# it: 307 to /page, which is Litestar's 404. url_for and request.url are wrong in the same way, and
# so is the path of a session's cookie. (Litestar's maintainers see the cause in Starlette's slashes:
# issue 716, and Starlette's 869.) And the mount is compared without a slash: /shopping, which a
# route of Litestar's would answer, goes to the app at /shop. Starlette's own Mount does all that
# right. This affects anyone who adds an admin, or an app in FastAPI, to a site in Litestar. Our
# middleware goes around the whole Litestar app, where paths are still complete.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet litestar==2.25.0 starlette==1.10.0 httpx2==2.16.2
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import asyncio
from importlib.metadata import version

from litestar import Litestar, asgi, get
from litestar.types import Receive, Scope, Send
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

for name in ("litestar", "starlette"):
    print(name, version(name))


async def page(request):
    return PlainTextResponse(f"page of the shop, {request.url_for('page').path}")


shop = Starlette(routes=[Route("/page", page, name="page")])


@asgi("/shop", is_mount=True, copy_scope=True)
async def mounted(scope: Scope, receive: Receive, send: Send) -> None:
    await shop(scope, receive, send)


@get("/{name:str}")
async def named(name: str) -> str:
    return f"page of the site, {name}"


SITES = {
    "litestar": Litestar([mounted, named]),
    "starlette": Starlette(routes=[Mount("/shop", shop)]),
}


async def ask(app, path):
    """Return the status of a response, and its location or its body."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "scheme": "https",
        "headers": [(b"host", b"site.example")],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 443),
    }
    await app(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], dict(sent[0]["headers"]).get(b"location", body).decode()


seen = {(name, path): asyncio.run(ask(app, path)) for name, app in SITES.items()
        for path in ("/shop/page", "/shopping", "/other") if name == "litestar" or path == "/shop/page"}
for (name, path), (status, text) in seen.items():
    print(f"{name} {path}: {status} {text}")
if [*seen.values()] != [
    (307, "https://site.example/page"),
    (404, "Not Found"),
    (200, "page of the site, other"),
    (200, "page of the shop, /shop/page"),
]:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   litestar 2.25.0
#   starlette 1.10.0
#   litestar /shop/page: 307 https://site.example/page
#   litestar /shopping: 404 Not Found
#   litestar /other: 200 page of the site, other
#   starlette /shop/page: 200 page of the shop, /shop/page
