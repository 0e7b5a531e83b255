"""An app that answers with the result of a function of the request's user."""

from __future__ import annotations


def serve(world, decide):
    """Set an app that answers with the status and body that `decide` returns.

    Args:
        world: its app is replaced.
        decide: takes the `TikTokAuth` of a request. A WebSocket is closed after it.
    """
    if world.interface == "wsgi":

        def wsgi_app(environ, start_response):
            status, body = decide(environ["tiktok.auth"])
            start_response(f"{status} X", [])
            return [body]

        world.app.wsgi_app.app = wsgi_app
        return

    async def app(scope, receive, send):
        status, body = decide(scope["tiktok"])
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})
            return
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": body})

    world.app.app = app
