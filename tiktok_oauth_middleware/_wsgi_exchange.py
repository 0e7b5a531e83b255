"""Requests of WSGI for the core, and the core's responses as WSGI returns them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING

from ._core.http import NO_CONTENT, Request, Response, environ_headers
from ._core.without_query import without_query
from ._web.mount import MountPoint
from .auth import TikTokAuth

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def decoded_native(native: str) -> str:
    """Return a path of UTF-8, which PEP 3333 gives as Latin-1."""
    if native.isascii():
        return native
    return native.encode("latin-1").decode("utf-8", "replace")


def decoded_path(environ: WSGIEnvironment) -> str:
    """Return the path that the app sees, without the mount point; "/" for none."""
    return decoded_native(environ.get("PATH_INFO", "")) or "/"


def wsgi_request(
    environ: WSGIEnvironment, mount_point: MountPoint, path: str = ""
) -> Request:
    """Return the request; `path` is the decoded path, if it is known already."""

    async def read(limit: int) -> bytes | None:
        return _read_body(environ, limit)

    query = environ.get("QUERY_STRING", "").encode("latin-1", "replace")

    def for_app(auth: TikTokAuth) -> WSGIEnvironment:
        return {**without_query(environ, query), "tiktok.auth": auth}

    return Request(
        environ["REQUEST_METHOD"],
        path or decoded_path(environ),
        mount_point.mount,
        query,
        environ_headers(environ),
        read,
        for_app,
    )


def _read_body(environ: WSGIEnvironment, limit: int) -> bytes | None:
    """Return the body; None if it is longer than `limit` bytes."""
    length = environ.get("CONTENT_LENGTH")
    if not length and environ.get("wsgi.input_terminated"):
        # A chunked body, on servers that mark its end (PEP 3333 does not define that).
        chunked: bytes = environ["wsgi.input"].read(limit + 1)
        return None if len(chunked) > limit else chunked
    length = length or "0"
    if not re.fullmatch(r"[0-9]{1,10}", length) or int(length) > limit:
        return None
    body: bytes = environ["wsgi.input"].read(int(length))
    return body


def start_own_response(
    environ: WSGIEnvironment,
    start_response: StartResponse,
    response: Response,
) -> Iterable[bytes]:
    """Start our response; return its body."""
    headers = [*response.headers]
    if response.status != NO_CONTENT:
        headers.append(("content-length", str(len(response.body))))
    start_response(_status_line(response.status), headers)
    return [b"" if environ["REQUEST_METHOD"] == "HEAD" else response.body]


@lru_cache(maxsize=64)
def _status_line(status: int) -> str:
    """Return a status of ours with its phrase."""
    return f"{status} {HTTPStatus(status).phrase}"
