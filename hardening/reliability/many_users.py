"""A hundred thousand users in one store: scanned, iterated over, swept and listed.

The figures are those of a job (`TikTokTokens`), with the memory that it needs in
addition to the process's. The scan is the store's own: it reads all rows and decrypts
none. For a million users:

    python -m hardening.reliability many_users --scale 10 --store sqlite
"""

from __future__ import annotations

import resource
import sqlite3
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from tiktok_oauth_middleware import SQLiteStore, SQLStore, TikTokTokens
from tiktok_oauth_middleware._core.backends.one_step import run as finish
from tiktok_oauth_middleware._core.backends.threads import ThreadBackend
from tiktok_oauth_middleware._core.secret import Secret
from tiktok_oauth_middleware._session.record import Session, UserRecord, record_id
from tiktok_oauth_middleware._session.service import SessionService

from .figure import Result, Run, opened
from .world import START, Clock, Plan, watcher

if TYPE_CHECKING:
    from tiktok_oauth_middleware._session.records import Records

T = TypeVar("T")
_LIFE = 86400
_LISTED = 100_000


def run(args: Run) -> Iterator[Result]:
    """Yield: users, seconds and memory, for each store."""
    for store in args.stores:
        yield _users(args, store)


def _record(number: int) -> UserRecord:
    start = int(START)
    return UserRecord(
        open_id=f"-000user{number:08d}{'x' * 20}",
        access_token=Secret(f"act.{number:064d}"),
        issued_at=start,
        expires_at=start + _LIFE,
        refresh_token=Secret(f"rft.{number:064d}"),
        refresh_expires_at=start + 365 * 86400,
        scopes="user.info.basic,video.list",
        profile='{"display_name": "A user", "avatar_url": "https://example.com/a.jpg"}',
        sessions=(Session(f"{number:064x}", start, start),),
    )


def _fill(store: Any, records: Records, client_key: str, users: int) -> None:
    """Write the users, many at a time if the store is a database."""
    made = ((record_id(client_key, r.open_id), r) for r in map(_record, range(users)))
    if isinstance(store, SQLiteStore):
        store.get("")  # creates the file
        handle = sqlite3.connect(store._path, isolation_level=None)
        handle.execute("BEGIN")
        rows = ((records._key(name), record) for name, record in made)
        handle.executemany(
            "INSERT INTO entries VALUES (?, ?, ?)",
            (
                (key, records._box.seal(record.pack(), key), START + 400 * 86400)
                for key, record in rows
            ),
        )
        handle.execute("COMMIT")
        handle.close()
        return
    if not isinstance(store, SQLStore):
        for name, record in made:
            finish(records.create(name, record))
        return
    import sqlalchemy as sa

    end = int((START + 400 * 86400) * 1000)
    engine = sa.create_engine(store._source._url)
    for some in batched(made, 1000):
        keys = [records._key(name) for name, _ in some]
        rows = [
            {
                "key": key.encode() if engine.name == "mysql" else key,
                "value": records._box.seal(record.pack(), key),
                "expires": end,
                "mark": b"8 bytes.",
            }
            for key, (_, record) in zip(keys, some, strict=True)
        ]
        with engine.begin() as connection:
            connection.execute(sa.insert(store.table), rows)
    engine.dispose()


def batched(items: Iterable[T], length: int) -> Iterator[list[T]]:
    """Yield lists of items: `itertools.batched` of Python 3.12."""
    found = iter(items)
    while some := [*islice(found, length)]:
        yield some


def _users(args: Run, store: str) -> Result:
    users = args.times(100_000, 500)
    clock = Clock()
    fake = watcher(clock)
    with opened(store) as url:
        plan = Plan(store=url, store_timeout=args.store_timeout)
        rows = plan.open_store(clock)
        options: dict[str, Any] = {"store": rows, "clock": clock}
        settings = plan.settings()
        service = SessionService(settings, ThreadBackend(), **options)
        began = time.monotonic()
        _fill(rows, service.records, settings.client_key, users)
        filled = time.monotonic() - began
        tokens = TikTokTokens(settings, **options, transport=fake.transport)
        tokens.sessions("")  # imports what is needed
        before = _memory()
        began = time.monotonic()
        scanned = sum(map(len, rows.rows(f"{service.records.space}:grant:")))
        scan_seconds = time.monotonic() - began
        began = time.monotonic()
        iterated = sum(1 for _ in tokens.iter_users())
        iterate_seconds = time.monotonic() - began
        iterate_memory = _memory() - before
        began = time.monotonic()
        swept = tokens.refresh_expiring(3600)
        sweep_seconds = time.monotonic() - began
        sweep_memory = _memory() - before
        began = time.monotonic()
        # A list of a million is not measured, since no program should need it.
        listed = len(tokens.users()) if users <= _LISTED else iterated
        list_seconds = time.monotonic() - began
        tokens.close()
        rows.close()
    nothing_due = (swept.refreshed, swept.failed, swept.ended) == (0, 0, 0)
    figures = {
        "users": users,
        "listed": listed,
        "unreadable": swept.unreadable,
        "scanned": scanned,
        "iterated": iterated,
        "fill_s": filled,
        "scan_s": scan_seconds,
        "iterate_s": iterate_seconds,
        "iterate_mb": iterate_memory / 1024,
        "list_s": list_seconds,
        "sweep_s": sweep_seconds,
        "sweep_mb": sweep_memory / 1024,
    }
    is_complete = listed == iterated == scanned == users
    passed = is_complete and nothing_due and not swept.unreadable
    return Result(name=f"many_users[{store}]", passed=passed, figures=figures)


def _memory() -> int:
    """Return the largest memory of this process so far, in kB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
