"""Starlette's test client with one call into the event loop for each request.

Starlette's own transport makes eight: each wakes the loop's thread and waits for it,
which took longer than the login that a test was about. This one calls the app, and
returns when the app has returned. A client that was not entered has an event loop for
each request, as Starlette's has, but no thread for it.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import anyio
from starlette.testclient import TestClient, httpx


class AppClient(TestClient):
    """A client whose requests are sent whole, and whose answers are read whole."""

    __test__ = False

    def __init__(self, app: Any, **options: Any) -> None:
        super().__init__(app, **options)
        self._transport = _Whole(self, self._transport)


class _Whole(httpx.BaseTransport):
    def __init__(self, client: AppClient, starlette: Any) -> None:
        self._client = client
        #: For WebSockets.
        self._starlette = starlette

    def close(self) -> None:
        self._starlette.close()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url, portal = request.url, self._client.portal
        if url.scheme not in ("http", "https"):
            return self._starlette.handle_request(request)
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": request.method,
            "path": unquote(url.path),
            "raw_path": url.raw_path.partition(b"?")[0],
            "root_path": self._starlette.root_path,
            "scheme": url.scheme,
            "query_string": url.query,
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "client": self._starlette.client,
            "server": [url.host, url.port or {"http": 80, "https": 443}[url.scheme]],
            "extensions": {},
            "state": self._client.app_state.copy(),
        }
        asked = (_answer, self._client.app, scope, request.read())
        if portal is None:  # a loop for this request alone
            start, body = anyio.run(*asked, **self._client.async_backend)
        else:
            start, body = portal.call(*asked)
        return httpx.Response(
            start["status"],
            headers=start.get("headers", ()),
            stream=httpx.ByteStream(b"" if request.method == "HEAD" else body),
            request=request,
        )


async def _answer(app: Any, scope: Any, body: bytes) -> tuple[dict[str, Any], bytes]:
    incoming = [{"type": "http.request", "body": body}]
    started: list[dict[str, Any]] = []
    chunks: list[bytes] = []
    is_complete = anyio.Event()

    async def receive() -> dict[str, Any]:
        if incoming:
            return incoming.pop()
        await is_complete.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        assert not is_complete.is_set(), "a message after the whole answer"
        if message["type"] == "http.response.start":
            assert not started, "a second start of an answer"
            started.append(message)
        elif message["type"] == "http.response.body":
            assert started, "a body before its start"
            chunks.append(bytes(message.get("body", b"")))
            if not message.get("more_body", False):
                is_complete.set()

    await app(scope, receive, send)
    assert started, "the app did not answer"
    return started[0], b"".join(chunks)
