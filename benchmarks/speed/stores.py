"""A request that reads its session from the store: SQLite and Redis."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from starsessions.stores.redis import RedisStore as StarRedis

from benchmarks.redis_server import RedisServer
from tiktok_oauth_middleware import RedisStore, SQLiteStore, TikTokOAuthMiddleware

from . import peers
from .requests import asking, starsession_app, starsession_cookie
from .rounds import Block, compare, on_one_core
from .row import Row
from .world import (
    FOREIGN,
    bare,
    reading,
    receive,
    scope_of,
    seen,
    send,
    settings,
    sign_in,
)
from .world import forget as forget_cookie

_PEOPLE = 100
#: The number of simultaneous requests, each of another user.
_AT_ONCE = 50


class _Clock:
    """A clock that can be moved past the time for which a cached session is fresh."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


def _straight(app: Any, clock: _Clock, cookies: list[str], *, forget: bool) -> Block:
    """Return a block in which each request reads the store.

    Each user sends a request once a second: the process has verified the cookie before,
    but its cached session is no longer fresh. With `forget` it has not seen the cookie
    either.
    """
    scopes = [scope_of(cookie) for cookie in cookies]
    values = [cookie.rpartition("=")[2].encode() for cookie in cookies]
    place, began = 0, clock.now

    async def block(calls: int) -> None:
        nonlocal place
        for _ in range(calls):
            if place % len(scopes) == 0:
                clock.now += 1.01
                if clock.now > began + 200:  # before "last seen" has to be written
                    clock.now = began
                    app._core.live.clear()
            if forget:
                forget_cookie(app, values[place % len(scopes)])
            seen[0] = None
            await app(scopes[place % len(scopes)].copy(), receive, send)
            place += 1
        if seen[0] is None:
            message = "a signed-in user was anonymous"
            raise AssertionError(message)

    return block


class _OneByOne(RedisStore):
    """A store that does not combine reads that begin at the same time."""

    async def aget(self, key: str) -> bytes | None:
        return await self._get_one(key)


def _at_once(app: Any, clock: _Clock, cookies: list[str]) -> Block:
    """Return a block in which each call is fifty simultaneous requests to the store."""
    scopes = [scope_of(cookie) for cookie in cookies[:_AT_ONCE]]
    began = clock.now

    async def block(calls: int) -> None:
        for _ in range(calls):
            clock.now += 1.01
            if clock.now > began + 200:  # before "last seen" has to be written
                clock.now = began
                app._core.live.clear()
            seen[0] = None
            await asyncio.gather(
                *(app(scope.copy(), receive, send) for scope in scopes)
            )
            if seen[0] is None:
                message = "a signed-in user was anonymous"
                raise AssertionError(message)

    return block


async def rows(rounds: int) -> AsyncIterator[Row]:
    """Measure SQLite against Starlette's sessions, Redis against starsessions."""
    with TemporaryDirectory(prefix="speed-") as folder:
        seen_before, never_seen = _sqlite(folder, "a"), _sqlite(folder, "b")
        starlette = peers.session_app()
        theirs = [peers.session_cookies(starlette, "x" * 36)]
        found = await compare(
            {
                "bare": asking(bare, [FOREIGN]),
                "peer": asking(starlette, theirs),
                "seen": _straight(*seen_before, forget=False),
                "new": _straight(*never_seen, forget=True),
            },
            rounds=rounds,
        )
    base, peer = found["bare"], found["peer"].over(found["bare"])
    for target, name, goal, what in (
        ("T4", "seen", 0.8, "read from SQLite, the cookie verified before"),
        ("S2", "seen", 0.5, "the same"),
        ("S1", "new", 1.3, "read from SQLite, a new cookie: verified and opened"),
    ):
        yield Row(
            target=target,
            what=what,
            figure=found[name].over(base) / peer,
            unit="x",
            goal=goal,
            ours=found[name].over(base),
            peer=peer,
            peer_name="SessionMiddleware",
            spread=(found[name].low - base.median, found[name].high - base.median),
            curve="a request, ASGI" if target == "T4" else "",
        )
    if shutil.which("redis-server") is not None:
        with on_one_core():
            async for row in _redis(rounds):
                yield row


def _sqlite(folder: str, name: str) -> tuple[Any, _Clock, list[str]]:
    """Return an app over a new file, its clock, and its signed-in users."""
    clock = _Clock()
    store = SQLiteStore(Path(folder) / name, clock=clock)
    app = TikTokOAuthMiddleware(reading, settings(), store=store, clock=clock)
    return app, clock, sign_in(app, store, _PEOPLE, clock.now)


async def _redis(rounds: int) -> AsyncIterator[Row]:
    with TemporaryDirectory(prefix="speed-") as folder, RedisServer(folder) as server:
        clock = _Clock()
        store = RedisStore(server.url)
        app = TikTokOAuthMiddleware(reading, settings(), store=store, clock=clock)
        people = sign_in(app, store, _PEOPLE, clock.now)
        single = _OneByOne(server.url)
        apart = TikTokOAuthMiddleware(reading, settings(), store=single, clock=clock)
        star_store = StarRedis(server.url)
        star = starsession_app(star_store)
        theirs = [await starsession_cookie(star_store)]
        blocks = {
            "bare": asking(bare, [FOREIGN]),
            "peer": asking(star, theirs),
            "ours": _straight(app, clock, people, forget=False),
            "at once": _at_once(app, clock, people),
            "one by one": _at_once(apart, clock, people),
        }
        found = await compare(blocks, rounds=rounds)
        commands = await _commands(store, blocks["ours"])
        await app.aclose()
        await store.aclose()
        await apart.aclose()
        await single.aclose()
        await star_store._connection.aclose()
    base = found["bare"]
    ours, peer = found["ours"].over(base), found["peer"].over(base)
    for target, goal, what in (
        ("T4", 0.55, "read from Redis, the cookie verified before"),
        ("S2", 0.40, "the same"),
    ):
        yield Row(
            target=target,
            what=what,
            figure=ours / peer,
            unit="x",
            goal=goal,
            ours=ours,
            peer=peer,
            peer_name="starsessions with Redis",
            spread=(found["ours"].low - base.median, found["ours"].high - base.median),
            curve="a request, ASGI" if target == "T4" else "",
        )
    shared, alone = (
        found[name].median / _AT_ONCE - base.median
        for name in ("at once", "one by one")
    )
    yield Row(
        target="S9",
        what=f"read from Redis, {_AT_ONCE} at once, for each",
        figure=shared / alone,
        unit="x",
        goal=0.35,
        ours=shared,
        peer=alone,
        peer_name="a call for each",
        spread=(
            found["at once"].low / _AT_ONCE - base.median,
            found["at once"].high / _AT_ONCE - base.median,
        ),
    )
    yield Row(
        target="T4",
        what="commands to Redis for each request",
        figure=commands,
        unit="1",
        goal=1,
    )


async def _commands(store: RedisStore, block: Block) -> float:
    """Return how many commands the server counts for one request."""
    before = await _processed(store)
    asking = await _processed(store) - before
    await block(1000)
    return (await _processed(store) - before - 2 * asking) / 1000


async def _processed(store: RedisStore) -> int:
    import redis.asyncio as redis

    client = redis.Redis.from_url(store._url.reveal())
    try:
        return int((await client.info("stats"))["total_commands_processed"])
    finally:
        await client.aclose()
