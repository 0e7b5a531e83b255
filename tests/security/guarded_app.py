"""An app whose content is for members only."""

from __future__ import annotations

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
