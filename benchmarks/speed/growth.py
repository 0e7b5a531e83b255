"""Measures how cost grows with the number of users: memory, time, store, collector."""

from __future__ import annotations

import gc
import random
import time
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory

from tiktok_oauth_middleware import MemoryStore, SQLiteStore, TikTokOAuthMiddleware

from .requests import asking
from .rounds import compare
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

_USERS = (1, 100, 10_000, 100_000)
_LIMITS = (1024, 4096, 8192, 16384, 32768)


async def rows(rounds: int) -> AsyncIterator[Row]:
    """Measure at each number of users, then at each size of the table."""
    for users in _USERS:
        async for row in _at(users, rounds):
            yield row
    async for row in _table_rows(rounds):
        yield row


async def _at(users: int, rounds: int) -> AsyncIterator[Row]:
    now = 1_767_225_600.0
    gc.collect()
    gc.freeze()  # older objects belong to no user
    tracemalloc.start()
    store = MemoryStore(clock=lambda: now)
    app = TikTokOAuthMiddleware(reading, settings(), store=store, clock=lambda: now)
    before = tracemalloc.get_traced_memory()[0]
    cookies = sign_in(app, store, users, now)
    random.Random(1).shuffle(cookies)
    # Kept by the benchmark itself or by any store, so not counted.
    held = sum(map(_size, cookies)) + sum(map(_size, store._values.values()))
    await _check(app, cookies)
    gc.collect()
    each = (tracemalloc.get_traced_memory()[0] - before - held) / users
    tracemalloc.stop()
    top = users == _USERS[-1]
    what = f"memory for each of {users:,} users, above the sealed record"
    if users > 1:
        yield Row(
            target="T11" if top else "",
            what=what,
            figure=each,
            unit="B",
            goal=700 if top else None,
        )
    # As one text: a list of 100,000 would dominate the garbage collection.
    together = "\n".join(cookies)
    del cookies
    yield Row(
        target="T11" if top else "",
        what=f"a full garbage collection with {users:,} users in memory",
        figure=_collect(),
        unit="ms",
        goal=3 if top else None,
    )
    gc.unfreeze()
    cookies = together.split("\n")
    # The session cache has room for all users; `_table_rows` measures smaller ones.
    app = TikTokOAuthMiddleware(
        reading,
        settings(remembered_sessions=200_000),
        store=store,
        clock=lambda: now,
    )
    await _check(app, cookies)
    found = await compare(
        {"bare": asking(bare, [FOREIGN]), "ours": asking(app, cookies)},
        rounds=min(rounds, 7),
    )
    yield Row(
        what=f"a request, spread over {users:,} sessions",
        figure=found["ours"].over(found["bare"]),
        unit="us",
        curve="sessions",
        at=users,
    )
    if users > 1:
        yield Row(
            what=f"SQLite's file for each of {users:,} users",
            figure=_file_bytes(users) / users,
            unit="B",
        )


async def _check(app: TikTokOAuthMiddleware, cookies: list[str]) -> None:
    """Check that every user is signed in; this also fills the table."""
    for cookie in cookies:
        seen[0] = None
        await app(scope_of(cookie), receive, send)
        if seen[0] is None:
            message = "a signed-in user was anonymous"
            raise AssertionError(message)


def _size(text: str | bytes) -> int:
    return len(text) + (49 if isinstance(text, str) else 33) + 8


def _collect() -> float:
    times = []
    for _ in range(5):
        began = time.perf_counter()
        gc.collect()
        times.append(time.perf_counter() - began)
    return min(times) * 1000


def _file_bytes(users: int) -> int:
    """Return the size of SQLite's file with this many users in it."""
    with TemporaryDirectory(prefix="speed-") as folder:
        path = Path(folder) / "tokens.sqlite3"
        store = SQLiteStore(path)
        app = TikTokOAuthMiddleware(reading, settings(), store=store)
        handle = store._connection().handle
        handle.execute("PRAGMA synchronous = OFF")
        sign_in(app, store, users)
        handle.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        store.close()
        return path.stat().st_size


async def _table_rows(rounds: int) -> AsyncIterator[Row]:
    """Measure tables smaller and larger than the number of sessions in use."""
    people = 20_000
    now = 1_767_225_600.0
    blocks = {"bare": asking(bare, [FOREIGN])}
    for limit in _LIMITS:
        store = MemoryStore(clock=lambda: now)
        app = TikTokOAuthMiddleware(
            reading,
            settings(remembered_sessions=limit),
            store=store,
            clock=lambda: now,
        )
        cookies = random.Random(1).choices(
            sign_in(app, store, people, now), k=5 * people
        )
        for cookie in cookies:
            await app(scope_of(cookie), receive, send)
        blocks[str(limit)] = asking(app, cookies)
    found = await compare(blocks, rounds=min(rounds, 7))
    for limit in _LIMITS:
        yield Row(
            what=f"one of {people:,} sessions at random, {limit:,} kept in memory",
            figure=found[str(limit)].over(found["bare"]),
            unit="us",
        )
