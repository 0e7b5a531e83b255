"""Functions that decode a request target as servers do.

Each works like one or more real servers, according to their source; the tests of
servers use the real ones.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from .targets import Target

HEADERS = ("daphne-root-path", "x-script-name", "x-forwarded-prefix", "script-name")


def _claims(target: Target) -> list[tuple[str, str]]:
    return [(name, target.claimed) for name in HEADERS] if target.claimed else []


def _scope(
    target: Target, path: str, raw_path: bytes | None, root: str
) -> dict[str, Any]:
    _, _, query = target.raw.partition(b"?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "https",
        "path": path,
        "query_string": query,
        "root_path": root,
        "headers": [
            (b"host", b"app.example.com"),
            (b"accept", b"*/*"),
            *((n.encode(), v.encode()) for n, v in _claims(target)),
        ],
        "server": ("app.example.com", 443),
        "client": ("192.0.2.1", 50000),
        "state": {},
        "extensions": {},
    }
    if raw_path is not None:
        scope["raw_path"] = raw_path
    return scope


def uvicorn(target: Target, root: str) -> dict[str, Any]:
    """The mount point is added to a path from which a proxy removed it."""
    raw, _, _ = target.raw.partition(b"?")
    path = root + unquote(raw.decode("latin-1"))
    return _scope(target, path, root.encode() + raw, root)


def hypercorn(target: Target, root: str) -> dict[str, Any]:
    """The path is unchanged, as with granian and gunicorn."""
    raw, _, _ = target.raw.partition(b"?")
    return _scope(target, unquote(raw.decode("latin-1")), raw, root)


def daphne(target: Target, root: str) -> dict[str, Any]:
    """A client's header sets the mount point."""
    raw, _, _ = target.raw.partition(b"?")
    root = unquote(target.claimed) or root
    return _scope(target, unquote(raw.decode("latin-1")), raw, root)


def without_raw(target: Target, root: str) -> dict[str, Any]:
    """A server, or a bridge from WSGI, without raw_path."""
    raw, _, _ = target.raw.partition(b"?")
    return _scope(target, unquote_to_bytes(raw).decode("utf-8", "replace"), None, root)


def _environ(target: Target, path: str, root: str) -> dict[str, Any]:
    environ = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": root,
        "PATH_INFO": path,
        "QUERY_STRING": target.raw.partition(b"?")[2].decode("latin-1"),
        "SERVER_NAME": "app.example.com",
        "SERVER_PORT": "443",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "app.example.com",
        "HTTP_ACCEPT": "*/*",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in _claims(target):
        environ["HTTP_" + name.upper().replace("-", "_")] = value
    return environ


def gunicorn(target: Target, root: str) -> dict[str, Any]:
    """Bytes are passed on, decoded once."""
    raw = target.raw.partition(b"?")[0].partition(b"#")[0]
    return _environ(target, unquote_to_bytes(raw).decode("latin-1"), root)


def waitress(target: Target, root: str) -> dict[str, Any]:
    """Slashes at the beginning are joined."""
    path = unquote_to_bytes(target.raw.partition(b"?")[0]).decode("latin-1")
    return _environ(target, "/" + path.lstrip("/"), root)


def cheroot(target: Target, root: str) -> dict[str, Any]:
    """An encoded slash stays encoded."""
    atoms = re.split(b"(?i)%2F", target.raw.partition(b"?")[0])
    path = b"%2F".join(map(unquote_to_bytes, atoms)).decode("latin-1")
    return _environ(target, path if path.startswith("/") else "/" + path, root)


def wsgiref(target: Target, root: str) -> dict[str, Any]:
    """The path is decoded as Latin-1, with the same result."""
    raw = target.raw.partition(b"?")[0].decode("latin-1")
    return _environ(target, unquote(raw, "iso-8859-1"), root)


def werkzeug(target: Target, root: str) -> dict[str, Any]:
    """The path is decoded as UTF-8 and encoded again: invalid bytes become U+FFFD."""
    try:
        path = urlsplit(target.raw.decode("latin-1")).path
    except ValueError:
        path = "/"
    return _environ(target, unquote(path).encode().decode("latin-1"), root)


Reader = Callable[[Target, str], dict[str, Any]]
ASGI: tuple[Reader, ...] = (uvicorn, hypercorn, daphne, without_raw)
WSGI: tuple[Reader, ...] = (gunicorn, waitress, cheroot, wsgiref, werkzeug)
