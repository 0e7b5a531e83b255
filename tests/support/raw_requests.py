"""Sends an app requests that no browser or client library would send.

A client between a test and an app normalizes paths, headers and cookies. Here they
reach the middleware as from a server: the path decoded, header lines unchanged, repeated
headers separate under ASGI and joined under WSGI.
"""

from __future__ import annotations

import io
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote_from_bytes, urlsplit
from wsgiref.util import setup_testing_defaults

import anyio
from anyio.from_thread import start_blocking_portal

from ..conftest import LOGIN, ORIGIN, World

Pairs = list[tuple[str, str]]


@dataclass
class Answer:
    """A response; for a WebSocket, the messages that the app sent."""

    status: int
    headers: Pairs = field(default_factory=list)
    body: bytes = b""
    messages: list[Any] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name]

    def one(self, name: str) -> str | None:
        values = self.all(name)
        assert len(values) <= 1, (name, values)
        return values[0] if values else None

    @property
    def location(self) -> str:
        found = self.one("location")
        assert found is not None, (self.status, self.body)
        return found

    @property
    def set_cookies(self) -> dict[str, str]:
        """The values by name; "" means a deletion."""
        pairs = (line.partition(";")[0] for line in self.all("set-cookie"))
        return {name: value for name, _, value in (p.partition("=") for p in pairs)}

    @property
    def text(self) -> str:
        return self.body.decode()


class Raw:
    """One visitor of a world, with cookies and nothing else of a browser."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.cookies: dict[str, str] = {}
        self.portal: Any = None

    def another(self) -> Raw:
        """Return a visitor without cookies."""
        visitor = Raw(self.world)
        visitor.portal = self.portal
        return visitor

    def ask(
        self,
        method: str = "GET",
        path: str = "/",
        *,
        query: bytes = b"",
        headers: Any = (),
        cookie: Any = None,
        mount: str = "",
        body: bytes = b"",
    ) -> Answer:
        """Send one request; keep the cookies that the answer sets.

        Args:
            method: sent unchanged.
            path: decoded; under ASGI with or without the mount point.
            query: sent unchanged.
            headers: pairs or a mapping of texts.
            cookie: one Cookie header, or a list of them; the visitor's own if None.
            mount: ``root_path``, ``SCRIPT_NAME``.
            body: the request's body.
        """
        pairs = list(headers.items() if isinstance(headers, dict) else headers)
        lines = [(n.lower().encode(), v.encode("latin-1")) for n, v in pairs]
        if cookie is None and self.cookies:
            cookie = "; ".join(f"{n}={v}" for n, v in self.cookies.items()).encode()
        sent = [cookie] if isinstance(cookie, bytes) else cookie or []
        lines += [(b"cookie", line) for line in sent]
        call = self._wsgi if self.world.interface == "wsgi" else self._asgi
        answer = call(method, path, query, lines, mount, body)
        for name, value in answer.set_cookies.items():
            if value:
                self.cookies[name] = value
            else:
                self.cookies.pop(name, None)
        return answer

    def begin(self, query: bytes = b"", **options: Any) -> str:
        """Open the login path; return the address at TikTok."""
        answer = self.ask("GET", LOGIN, query=query, **options)
        assert answer.status == 303, answer.body
        return answer.location

    def consent(self, authorize: str, **choice: Any) -> tuple[str, bytes]:
        """Consent at TikTok; return the callback's path and query."""
        callback = urlsplit(self.world.tiktok.consent(authorize, **choice))
        return callback.path, callback.query.encode()

    def log_in(self, query: bytes = b"", **choice: Any) -> Answer:
        """Log in at TikTok; return the callback's answer."""
        path, answer = self.consent(self.begin(query), **choice)
        return self.ask("GET", path, query=answer)

    @property
    def open_id(self) -> str | None:
        return self.seen_by("/who")

    def seen_by(self, path: str, **options: Any) -> str | None:
        """Return the user that the app sees, or None."""
        import json

        answer = self.ask("GET", path, **options)
        assert answer.status == 200, answer.body
        found: str | None = json.loads(answer.body)["open_id"]
        return found

    # --- what a server does --------------------------------------------------------

    def _asgi(self, method, path, query, lines, mount, body):
        scope = a_scope(path, lines, method=method, query_string=query, root_path=mount)
        messages = [{"type": "http.request", "body": body, "more_body": False}]
        sent = self.portal.call(drive, self.world.app, scope, messages)
        head, *rest = sent
        return Answer(
            head["status"],
            [(k.decode("latin-1"), v.decode("latin-1")) for k, v in head["headers"]],
            b"".join(m.get("body", b"") for m in rest),
        )

    def connect(self, path: str, *, headers: Any = (), cookie: Any = None) -> list[Any]:
        """Open a WebSocket; return the messages that came back."""
        lines = [(n.lower().encode(), v.encode("latin-1")) for n, v in headers]
        if cookie is None and self.cookies:
            cookie = "; ".join(f"{n}={v}" for n, v in self.cookies.items()).encode()
        lines += [(b"cookie", cookie)] if cookie else []
        scope = a_scope(path, lines, type="websocket", scheme="wss", subprotocols=[])
        del scope["method"]
        messages = [{"type": "websocket.connect"}]
        return self.portal.call(drive, self.world.app, scope, messages)

    def _wsgi(self, method, path, query, lines, mount, body):
        environ = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": mount,
            "PATH_INFO": path.encode().decode("latin-1"),
            "QUERY_STRING": query.decode("latin-1"),
            "wsgi.url_scheme": "https",
            "wsgi.input": io.BytesIO(body),
            "CONTENT_LENGTH": str(len(body)),
        }
        for name, value in lines:
            key = "HTTP_" + name.decode().upper().replace("-", "_")
            between = "; " if name == b"cookie" else ","
            text = value.decode("latin-1")
            environ[key] = f"{environ[key]}{between}{text}" if key in environ else text
        setup_testing_defaults(environ)
        environ["wsgi.errors"] = io.StringIO()
        started = []

        def start_response(status, headers, exc_info=None):
            started[:] = [int(status[:3]), headers]
            return lambda data: None

        chunks = self.world.app.wsgi_app(environ, start_response)
        try:
            content = b"".join(chunks)
        finally:
            if hasattr(chunks, "close"):
                chunks.close()
        return Answer(started[0], list(started[1]), content)


def a_scope(path: str, lines: Any = (), **more: Any) -> dict[str, Any]:
    """Return the scope of an ASGI request."""
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "https",
        "path": path,
        "raw_path": quote_from_bytes(path.encode()).encode(),
        "query_string": b"",
        "root_path": "",
        "headers": list(lines),
        "server": ("app.example.com", 443),
        "client": ("192.0.2.1", 50000),
        "extensions": {},
        **more,
    }


async def drive(app: Any, scope: Any, messages: Any = ()) -> list[Any]:
    """Call an ASGI app; return what it sent.

    As with a server, the client waits for the whole answer and then disconnects, for
    which Quart 0.23 waits.
    """
    incoming, sent, is_answered = list(messages), [], anyio.Event()

    async def receive():
        if incoming:
            return incoming.pop(0)
        if scope["type"] == "http":
            await is_answered.wait()
            return {"type": "http.disconnect"}
        return {"type": "websocket.disconnect", "code": 1006}

    async def send(message):
        sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            is_answered.set()

    await app(scope, receive, send)
    return sent


class Visitors(ExitStack):
    """The event loop in which ASGI visitors are served; it is closed at the end."""

    def visit(self, world: World) -> Raw:
        visitor = Raw(world)
        if world.interface != "wsgi":
            portal = start_blocking_portal(backend=world.interface)
            visitor.portal = self.enter_context(portal)
            self.callback(lambda: visitor.portal.call(world.app.aclose))
        return visitor

    def knock(self, app: Any, *, is_wsgi: bool) -> Raw:
        """Return a visitor of any other app, which is not closed at the end."""
        if is_wsgi:
            return Raw(
                SimpleNamespace(interface="wsgi", app=SimpleNamespace(wsgi_app=app))
            )
        visitor = Raw(SimpleNamespace(interface="asyncio", app=app))
        visitor.portal = self.enter_context(start_blocking_portal())
        return visitor


__all__ = ["ORIGIN", "Answer", "Raw", "Visitors", "a_scope", "drive"]
