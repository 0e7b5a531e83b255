"""Calls of an ASGI app without a server or a client."""

from __future__ import annotations


def http_scope(path="/", headers=(), **more):
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(k.encode(), v.encode()) for k, v in headers],
        **more,
    }


async def call(app, scope, incoming=()):
    """Call an app; return what it sent."""
    messages, sent = list(incoming), []

    async def receive():
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    await app(scope, receive, send)
    return sent
