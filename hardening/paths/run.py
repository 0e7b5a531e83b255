"""Sends targets to an app, bare and wrapped, and compares the views they reach."""

from __future__ import annotations

import asyncio
import logging
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tiktok_oauth_middleware import (
    MemoryStore,
    TikTokOAuthMiddleware,
    TikTokOAuthWSGIMiddleware,
    TikTokSettings,
)

from . import apps, servers
from .targets import Target, targets


@dataclass
class Outcome:
    """The result of one app's targets."""

    name: str
    tried: int = 0
    #: How many targets reached a protected view of the bare app.
    reached: int = 0
    #: How many reached a public view of the bare app and of the wrapped one.
    public: int = 0
    #: Server and target of those that reached a protected view in spite of the rules.
    leaked: list[tuple[str, Target]] = field(default_factory=list)


@contextmanager
def _silenced(logger: logging.Logger) -> Iterator[None]:
    before = logger.level, logger.disabled
    logger.setLevel(logging.CRITICAL)
    # BlackSheep sets the level of its logger again when an app is made.
    logger.disabled = True
    try:
        yield
    finally:
        logger.setLevel(before[0])
        logger.disabled = before[1]


def differ(app: apps.App, count: int, seed: int) -> Outcome:
    """Send `count` random targets to an app, decoded as each server does."""
    with tempfile.TemporaryDirectory() as where, ExitStack() as stack:
        for name in ("tiktok_oauth_middleware", "blacksheep.server", "django"):
            stack.enter_context(_silenced(logging.getLogger(name)))
        files = apps.folder(Path(where))
        if app.needs == "django":
            stack.enter_context(_django(files, app))
        bare, wrapped = _made(app, files)
        asked = (bare, wrapped)
        outcome = Outcome(app.name)
        prefixes = (*app.prefixes, *((app.root,) if app.root else ()), apps.PREFIX)
        everything = [*targets(count, seed, tuple(dict.fromkeys(prefixes)))]
        if app.is_wsgi:
            for reader in servers.WSGI:
                for target in everything:
                    seen = [_wsgi(each, reader(target, app.root)) for each in asked]
                    _count(outcome, reader.__name__, target, *seen)
        else:
            asyncio.run(_all_asgi(app, asked, everything, outcome))
        return outcome


async def _all_asgi(
    app: apps.App, asked: tuple[Any, Any], everything: list[Target], outcome: Outcome
) -> None:
    for each in asked:
        inner = getattr(each, "app", each)
        if app.name.startswith("blacksheep") and hasattr(inner, "start"):
            await inner.start()
    for reader in servers.ASGI:
        for target in everything:
            seen = [await _asgi(each, reader(target, app.root)) for each in asked]
            _count(outcome, reader.__name__, target, *seen)


def _count(
    outcome: Outcome, server: str, target: Target, bare: bytes, wrapped: bytes
) -> None:
    outcome.tried += 1
    outcome.reached += apps.SECRET.encode() in bare
    outcome.public += apps.OPEN.encode() in bare and apps.OPEN.encode() in wrapped
    if apps.SECRET.encode() in wrapped:
        outcome.leaked.append((server, target))


def _made(app: apps.App, files: Path) -> tuple[Any, Any]:
    mount = app.root or (apps.PREFIX if app.wrap in _MOUNTS else "")
    settings = TikTokSettings(
        client_key="awexampleclientkey",
        client_secret="the-client-secret-of-tests",
        redirect_uri=f"https://app.example.com{mount}/auth/tiktok/callback",
        secret_keys=[secrets.token_urlsafe(32)],
        store="memory://",
        **apps.RULES,  # type: ignore[arg-type]
    )
    kind: Any = TikTokOAuthWSGIMiddleware if app.is_wsgi else TikTokOAuthMiddleware

    def guarded(inner: Any) -> Any:
        return kind(inner, settings, store=MemoryStore())

    def direct(inner: Any, wrap: Any) -> Any:
        return wrap(inner)

    put = app.wrap or direct
    return (put(app.make(files), lambda inner: inner), put(app.make(files), guarded))


_MOUNTS = (apps.below_starlette, apps.below_dispatcher)


@contextmanager
def _django(files: Path, app: apps.App) -> Iterator[None]:
    import django
    from django.conf import settings
    from django.test import override_settings

    if not settings.configured:
        hosts = ["app.example.com", "testserver"]
        settings.configure(ALLOWED_HOSTS=hosts, LOGGING_CONFIG=None)
        django.setup()
    script = apps.PREFIX if app.prefixes else None
    urls = apps._django_urls(files)
    with override_settings(ROOT_URLCONF=urls, FORCE_SCRIPT_NAME=script):
        yield


async def _asgi(app: Any, scope: dict[str, Any]) -> bytes:
    """Return an app's response body; b"" if the app raises."""
    sent: list[bytes] = []
    incoming = [{"type": "http.request", "body": b"", "more_body": False}]
    answered = asyncio.Event()

    async def receive() -> Any:
        if incoming:
            return incoming.pop()
        # As servers do: Quart 0.23 does not return before the client is gone.
        await answered.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))
        if message["type"] == "http.response.body" and not message.get("more_body"):
            answered.set()

    try:
        await app(scope, receive, send)
    except Exception:
        return b""
    return b"".join(sent)


def _wsgi(app: Any, environ: dict[str, Any]) -> bytes:
    def start_response(*_: Any) -> Any:
        return lambda _: None

    try:
        body = app(environ, start_response)
        try:
            return b"".join(body)
        finally:
            getattr(body, "close", lambda: None)()
    except Exception:
        return b""
