"""An app with a page of login links that carry data, for both interfaces."""

from __future__ import annotations

import json
from typing import Any

from ..conftest import Browser, World


def with_links(world: World, **options: Any) -> World:
    """Return the world with a page ``/link`` in front of its app.

    The page answers with the login link for ``world.link``, the keywords of
    ``login_url``; several links are answered in one response. Options are the
    middleware's.
    """
    world.further = {**world.further, **options}
    world.start()
    middleware = world.middleware
    inner = middleware.app
    world.link = {}  # type: ignore[attr-defined]

    def links(auth: Any) -> bytes:
        asked = world.link  # type: ignore[attr-defined]
        many = asked if isinstance(asked, list) else [asked]
        try:
            made = [auth.login_url(**each) for each in many]
        except Exception as error:  # shown to the test
            made = [f"{type(error).__name__}: {error}"]
        return json.dumps(made).encode()

    def wsgi_app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] != "/link":
            return inner(environ, start_response)
        body = links(environ["tiktok.auth"])
        start_response("200 OK", [("content-type", "application/json")])
        return [body]

    async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
        if scope.get("path") != "/link":
            await inner(scope, receive, send)
            return
        body = links(scope["tiktok"])
        head = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": body})

    middleware.app = wsgi_app if world.interface == "wsgi" else asgi_app
    return world


def link_for(browser: Browser, **asked: Any) -> str:
    """Return the login link that the page shows this browser."""
    browser.world.link = asked  # type: ignore[attr-defined]
    response = browser.get("/link")
    assert response.status_code == 200, response.text
    [link] = response.json()
    return link
