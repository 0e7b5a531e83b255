"""An app whose content is for members only."""

from __future__ import annotations

import json

from tiktok_oauth_middleware._web.guard import guard


def show(world, look, headers):
    """Set an app that answers with the result of `look`.

    The status is 401 if a guard refused, as with the guards of frameworks.
    """
    if world.interface == "wsgi":

        def app(environ, start_response):
            text = repr(look(environ["tiktok.auth"]))
            refused = environ["tiktok.auth"]._challenge is not None
            start_response("401 Unauthorized" if refused else "200 OK", list(headers))
            return [text.encode()]

        world.app.wsgi_app.app = app
        return

    head = [(name.encode(), value.encode()) for name, value in headers]

    async def app(scope, receive, send):
        text = repr(look(scope["tiktok"]))
        status = 200 if scope["tiktok"]._challenge is None else 401
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": text.encode()})

    world.app.app = app


SECRET = "for members only"


def members_only(way):
    """Return a view that gives the secret, with a guard before it or without."""

    def look(auth):
        if way == "guard":
            guard(auth, ())
        return SECRET

    return look


def echo_path(world):
    """Set the world's app, which answers with the path that it receives."""
    if world.interface == "wsgi":

        def app(environ, start_response):
            start_response("200 OK", [("x-app", "yes")])
            path = environ["PATH_INFO"].encode("latin-1").decode()
            return [json.dumps(path).encode()]

        world.app.wsgi_app.app = app
        return

    async def app(scope, receive, send):
        head = [(b"x-app", b"yes")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        body = json.dumps(scope["path"]).encode()
        await send({"type": "http.response.body", "body": body})

    world.app.app = app
