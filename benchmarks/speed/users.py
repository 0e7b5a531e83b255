"""Measures jobs over all users: lists and sweeps of each store, and due refreshes.

The peer of a list or a sweep is the same job over a store that is read record by
record, like stores without ``rows``. The jobs are also compared with the store's own
scan of all rows, and with a scan that decrypts each of them.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.redis_server import RedisServer
from tiktok_oauth_middleware import (
    MemoryStore,
    RedisStore,
    SQLiteStore,
    TikTokOAuthMiddleware,
    TikTokTokens,
)
from tiktok_oauth_middleware._core.secret import Secret

from .far_tiktok import FarTikTok
from .row import Row
from .world import login_record, reading, settings, sign_in

_USERS = 2_000
#: Users whose tokens are due in a sweep; fewer in a short run.
_DUE, _DUE_IN_SHORT = 10_000, 1_000
_FULL_ROUNDS = 11
#: Microseconds: a quarter of each job's time when the targets were set.
_GOALS = {
    ("SQLite", "users"): 25,
    ("SQLite", "sweep"): 15,
    ("Redis", "users"): 54,
    ("Redis", "sweep"): 50,
}


class _SQLiteByKey(SQLiteStore):
    """A store that is read record by record, because it overrides `get`."""

    def get(self, key: str) -> bytes | None:
        return super().get(key)


class _RedisByKey(RedisStore):
    """A Redis store that is read record by record."""

    def get(self, key: str) -> bytes | None:
        return super().get(key)


async def rows(rounds: int) -> AsyncIterator[Row]:
    """Measure lists and sweeps of both stores, then a sweep in which all are due."""
    for store in (_sqlite, _redis):
        with store() as found:
            if found is not None:
                for row in await asyncio.to_thread(_compared, *found, rounds):
                    yield row
    yield await asyncio.to_thread(_sweep_of_due, rounds)


@contextmanager
def _sqlite() -> Iterator[tuple[str, Any, Any] | None]:
    with TemporaryDirectory(prefix="speed-") as folder:
        path = Path(folder) / "tokens"
        yield "SQLite", SQLiteStore(path), _SQLiteByKey(path)


@contextmanager
def _redis() -> Iterator[tuple[str, Any, Any] | None]:
    if shutil.which("redis-server") is None:
        yield None
        return
    with TemporaryDirectory(prefix="speed-") as folder, RedisServer(folder) as server:
        yield "Redis", RedisStore(server.url), _RedisByKey(server.url)


def _compared(name: str, store: Any, by_key: Any, rounds: int) -> list[Row]:
    app = TikTokOAuthMiddleware(reading, settings(), store=store)
    if isinstance(store, SQLiteStore):
        store._connection().handle.execute("PRAGMA synchronous = OFF")
    sign_in(app, store, _USERS)
    ours, theirs = (TikTokTokens(settings(), each) for each in (store, by_key))
    records = ours._sync_service().records
    prefix, box = f"{records.space}:grant:", records._box
    cases: dict[tuple[str, str], Callable[[], int]] = {
        ("users", "ours"): lambda: len(ours.users()),
        ("users", "peer"): lambda: len(theirs.users()),
        ("sweep", "ours"): lambda: _swept(ours),
        ("sweep", "peer"): lambda: _swept(theirs),
        ("each", "ours"): lambda: sum(1 for _ in ours.iter_users()),
        ("scan", "ours"): lambda: sum(map(len, store.rows(prefix))),
        ("decrypted", "ours"): lambda: sum(
            box.open(sealed, key) is not None
            for rows in store.rows(prefix)
            for key, sealed in rows
        ),
    }
    found = _times(cases, rounds)
    store.close()
    by_key.close()
    return [
        Row(
            target="S7",
            what=f"{what}, {name}, for each user",
            figure=found[job, "ours"],
            unit="us",
            goal=_GOALS[name, job],
            ours=found[job, "ours"],
            peer=found[job, "peer"],
            peer_name="record by record",
        )
        for job, what in (("users", "users()"), ("sweep", "a sweep with nothing due"))
    ] + [
        Row(
            target=target,
            what=f"{what}, {name}, beside {beside}",
            figure=found[job, "ours"] / found[peer, "ours"],
            unit="x",
            goal=1.5 if target else None,
            ours=found[job, "ours"],
            peer=found[peer, "ours"],
            peer_name=peer_name,
        )
        for job, what in (("each", "iter_users()"), ("sweep", "a sweep"))
        for target, peer, peer_name, beside in (
            ("S4", "scan", "scan", "the store's own scan"),
            ("", "decrypted", "scan and decryption", "a scan that decrypts"),
        )
    ]


def _swept(tokens: TikTokTokens) -> int:
    done = tokens.refresh_expiring(3600)
    assert (done.refreshed, done.failed, done.unreadable) == (0, 0, 0)
    return _USERS


def _times(
    cases: dict[tuple[str, str], Callable[[], int]], rounds: int
) -> dict[tuple[str, str], float]:
    """Return the median of each case: microseconds of CPU time for each user.

    A client's waiting time for its server is not included: it waits once for each call,
    which is once for each user if records are read one by one.
    """
    spent: dict[tuple[str, str], list[float]] = {name: [] for name in cases}
    draw, names = random.Random(1), list(cases)
    for number in range(max(3, rounds) + 1):
        draw.shuffle(names)
        for name in names:
            began = time.thread_time()
            assert cases[name]() == _USERS
            took = time.thread_time() - began
            if number:  # the first round connects
                spent[name].append(took / _USERS * 1e6)
    return {name: median(values) for name, values in spent.items()}


def _sweep_of_due(rounds: int) -> Row:
    """Measure a sweep in which all tokens are due, with TikTok 80 ms away over TLS."""
    due = _DUE if rounds >= _FULL_ROUNDS else _DUE_IN_SHORT
    with FarTikTok() as tiktok:
        tiktok.be_away(0.08)
        options = settings(endpoints=tiktok.endpoints(), fetch_user=False)
        store = MemoryStore()
        with TikTokTokens(options, store) as tokens:
            service = tokens._sync_service()
            issued = time.time() - 84_000  # within a day; the leeway begins later
            for number in range(due):
                open_id = f"{number:08d}-2222-4333-8444-{secrets.token_hex(6)}"
                record = login_record(open_id, "d" * 43, issued)._replace(
                    refresh_token=Secret(f"rft.{open_id}{0:028d}!5294.va")
                )
                key = service.records._key(tokens._named(open_id))
                sealed = service.records._box.seal(record.pack(), key)
                store.compare_and_set(key, None, sealed, 1e6)
            began = time.perf_counter()
            done = tokens.refresh_expiring(7200)
            took = time.perf_counter() - began
    assert done.refreshed == due, done
    return Row(
        target="S6" if due == _DUE else "",
        what=f"a sweep that refreshes {due:,} users, TikTok 80 ms away",
        figure=took,
        unit="s",
        goal=120 if due == _DUE else None,
    )
