"""Django's test clients, with the middleware around what they test.

`django.test.Client` and `AsyncClient` call Django's handler themselves and never reach
what ``wsgi.py`` or ``asgi.py`` put around the application. Here the handler becomes the
application that is wrapped. What it answers stays the response that Django's assertions
know, with the headers and cookies that the middleware gave it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from django.core.handlers.asgi import ASGIRequest
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpResponse
from django.test import AsyncClient

_Client = TypeVar("_Client")
_Headers = list[tuple[str, str]]
#: Where in the environ or scope the application leaves what Django answered.
_ANSWER = "tiktok.testing.answer"


def wrap_client(client: _Client, wrap: Callable[[Any], Any]) -> _Client:
    """Put the middleware around what a test client of Django asks.

    Args:
        client: a ``django.test.Client`` or ``AsyncClient``, or one derived from them.
        wrap: takes the application and returns it wrapped, as ``wsgi.py`` does for a
            ``Client`` and ``asgi.py`` for an ``AsyncClient``.

    Returns:
        The same client.
    """
    given: Any = client
    kind = _ASGIHandler if isinstance(client, AsyncClient) else _WSGIHandler
    given.handler = kind(given.handler, wrap)
    return client


class _WSGIHandler:
    def __init__(self, handler: Any, wrap: Callable[[Any], Any]) -> None:
        self._handler = handler
        self._wrapped = wrap(self._application)

    def _application(
        self, environ: dict[str, Any], start_response: Any
    ) -> Iterable[bytes]:
        response = environ.pop(_ANSWER)["response"] = self._handler(environ)
        status = f"{response.status_code} {response.reason_phrase}"
        start_response(status, _headers_of(response))
        return []  # the body stays in the response

    def __call__(self, environ: dict[str, Any]) -> Any:
        answer: dict[str, Any] = {}

        def start_response(status: str, headers: _Headers, _exc: Any = None) -> None:
            answer.update(status=status, headers=headers)

        body = self._wrapped({**environ, _ANSWER: answer}, start_response)
        try:
            content = b"".join(body)
        finally:
            getattr(body, "close", lambda: None)()
        response: Any = answer.get("response")
        if response is None:
            response = _own(content, int(answer["status"][:3]))
            response.wsgi_request = WSGIRequest(environ)
        return _with_headers(response, answer["headers"])


class _ASGIHandler:
    def __init__(self, handler: Any, wrap: Callable[[Any], Any]) -> None:
        self._handler = handler
        self._wrapped = wrap(self._application)

    async def _application(self, scope: Any, _receive: Any, send: Any) -> None:
        scope = dict(scope)
        response = scope.pop(_ANSWER)["response"] = await self._handler(scope)
        headers = [(k.encode(), v.encode("latin-1")) for k, v in _headers_of(response)]
        status = response.status_code
        await send(
            {"type": "http.response.start", "status": status, "headers": headers}
        )
        await send({"type": "http.response.body"})  # the body stays in the response

    async def __call__(self, scope: dict[str, Any]) -> Any:
        answer: dict[str, Any] = {"body": b""}

        async def receive() -> dict[str, Any]:
            payload = scope.get("_body_file")
            body = payload.read() if payload else b""
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                answer.update(message)
            else:
                answer["body"] += message.get("body", b"")

        query = scope.get("query_string", b"")
        if isinstance(query, str):  # as Django's client writes it; ASGI has bytes
            scope = {**scope, "query_string": query.encode("latin-1")}
        await self._wrapped({**scope, _ANSWER: answer}, receive, send)
        response: Any = answer.get("response")
        if response is None:
            response = _own(answer["body"], answer["status"])
            response.asgi_request = ASGIRequest(scope, None)
        headers = [
            (k.decode("latin-1"), v.decode("latin-1")) for k, v in answer["headers"]
        ]
        return _with_headers(response, headers)


def _own(body: bytes, status: int) -> Any:
    """Return an answer of the middleware's own, as a response of Django's."""
    return HttpResponse(body, status=status)


def _headers_of(response: Any) -> _Headers:
    cookies = [cookie.output(header="").strip() for cookie in response.cookies.values()]
    return [*response.items(), *(("Set-Cookie", cookie) for cookie in cookies)]


def _with_headers(response: Any, headers: _Headers) -> Any:
    """Give a response the headers that it left the middleware with."""
    before = _headers_of(response)
    for name in list(response.headers):
        del response.headers[name]
    for name, value in headers:
        if name.lower() != "set-cookie":
            told = response.headers.get(name)
            response.headers[name] = value if told is None else f"{told}, {value}"
        elif (name, value) not in before:
            response.cookies.load(value)
    if "location" in response.headers:
        response.url = response.headers["location"]  # as its own redirects have it
    return response
