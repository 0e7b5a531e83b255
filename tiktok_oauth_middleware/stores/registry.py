"""The table of all store kinds, with functions to open, validate and diagnose each.

A module of a store is imported when a URL names it: sqlite3, redis, SQLAlchemy and
Django cost more time to import than the rest of the package.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tiktok_oauth_middleware._core import references
from tiktok_oauth_middleware._core.findings import Finding
from tiktok_oauth_middleware._core.origins import LAST_PORT
from tiktok_oauth_middleware._core.secret import reveal
from tiktok_oauth_middleware._core.tracebacks import without_frames
from tiktok_oauth_middleware.errors import ConfigurationError

from .base import Store

if TYPE_CHECKING:
    from .sql import SQLStore

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreKind:
    """A kind of store. No column has a default, so that none can be forgotten."""

    #: The schemes of its URLs. One that ends in "+" is followed by a driver's name,
    #: such as ``postgresql+psycopg``.
    schemes: tuple[str, ...]
    #: URLs to show in the error about a wrong one.
    examples: tuple[str, ...]
    #: The name of the software that keeps the rows, for messages.
    title: str
    #: The package it needs, and the extra of this distribution that installs it; None
    #: where Python's standard library is enough.
    package: str | None
    extra: str | None
    #: Returns the fault of a URL of one of the schemes, or None.
    fault: Callable[[str], str | None]
    #: Returns the store of a URL; nothing is connected to yet.
    open: Callable[[str, Clock], Store]
    #: Makes what a store needs before its first use; returns what was done, as a
    #: sentence.
    create: Callable[[str], str]
    #: Yields the findings of ``check`` about a URL without a fault.
    diagnose: Callable[[str], Iterator[Finding]]


def open_store(url: str, *, clock: Clock = time.time) -> Store:
    """Return the store that a URL names; nothing is connected to or created yet.

    Args:
        url: A URL without a fault, see `store_fault`.
        clock: Returns seconds since 1970, for expiry; Redis uses its own clock.

    Raises:
        ConfigurationError: There is no such store, or its library is not installed.
    """
    url = reveal(url)
    fault = store_fault(url)
    failure = None if fault is None else ConfigurationError(fault)
    handled = sys.exception()
    if failure is None:
        try:
            return _kind_of(url).open(url, clock)
        except ConfigurationError as error:
            failure = without_frames(error, handled)
    # Reporters of exceptions record the locals of every frame: here, a password.
    url = ""
    raise failure


def store_fault(url: str) -> str | None:
    """Return what is wrong with the option ``store``, or None; connects to nothing.

    The URL may contain a password, so only its scheme is repeated.
    """
    scheme, separator, _ = url.partition("://")
    if not separator or not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme):
        return f"store is not the URL of a store; it must be one of {_examples()}"
    kind = KINDS.get(_scheme_key(scheme))
    if kind is None:
        return f"store begins with {scheme}://, which is unknown; use {_examples()}"
    if re.search(r"\s#", url):
        return (
            "store holds a space and a #; if a comment follows it in a file, write that"
            " on a line of its own"
        )
    if re.search(references.REFERENCE, url, re.DOTALL):
        return f"store holds {references.FAULT}"
    return kind.fault(url)


def create_store(url: str) -> str:
    """Make the tables of the store that a URL names, if it needs any.

    Safe to repeat: existing tables are not changed.

    Args:
        url: A URL without a fault, see `store_fault`.

    Returns:
        What was done, in a sentence without the URL.

    Raises:
        ConfigurationError: There is no such store, or its library is not installed.
        StoreError: The database failed, or refused.
    """
    url = reveal(url)
    fault = store_fault(url)
    if fault is not None:
        raise ConfigurationError(fault)
    return _kind_of(url).create(url)


def diagnose_store(url: str) -> Iterator[Finding]:
    """Yield the findings of ``check`` about the store of a URL without a fault.

    A value is written to the store, read and deleted.
    """
    return _kind_of(url).diagnose(url)


def missing_library(url: str, package: str | None = None) -> ConfigurationError:
    """Return the error for a URL of a store whose library is not installed.

    Args:
        url: The store's.
        package: What is missing; None for the store's own library.
    """
    scheme = url.partition("://")[0]
    # The default is for a database that has no row here, given to SQLStore itself.
    kind = KINDS.get(_scheme_key(scheme), KINDS["sqlite+"])
    message = (
        f"store is {kind.title} and {package or kind.package} is not installed: pip"
        f' install "tiktok-oauth-middleware[{kind.extra}]"'
    )
    return ConfigurationError(message)


def _kind_of(url: str) -> StoreKind:
    return KINDS[_scheme_key(url.partition("://")[0])]


def _scheme_key(scheme: str) -> str:
    """Return a scheme without the name of its driver."""
    database, plus, _ = scheme.partition("+")
    return database + plus


def _address(url: str) -> str:
    """Return the host and port of a URL, as written."""
    rest = url.partition("://")[2]
    return re.split("[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]


def _examples() -> str:
    *most, last = [url for kind in _TABLE for url in kind.examples]
    return f"{', '.join(most)} or {last}"


# --- in memory -----------------------------------------------------------------------


def _memory_fault(url: str) -> str | None:
    if url.partition("://")[2]:
        return "store has text after memory://; the memory store takes none"
    return None


def _open_memory(_: str, clock: Clock) -> Store:
    from .memory import MemoryStore

    return MemoryStore(clock=clock)


def _create_memory(_: str) -> str:
    return "a store in memory needs no tables; it lives and ends with its process"


def _diagnose_memory(_: str) -> Iterator[Finding]:
    from .diagnose import memory

    return memory()


# --- SQLite --------------------------------------------------------------------------


def _sqlite_fault(url: str) -> str | None:
    path = url.removeprefix("sqlite:///")
    if path in ("", url):
        return (
            "store names no SQLite file; it must be sqlite:///relative.sqlite3 (three"
            " slashes) or sqlite:////absolute/path.sqlite3 (four)"
        )
    if path.startswith((":memory:", "file:")) or "?" in path:
        return (
            "store has :memory:, file: or ?options, which this store does not support;"
            " use a plain path, or memory:// to keep nothing"
        )
    return None


def _open_sqlite(url: str, clock: Clock) -> Store:
    from .sqlite import SQLiteStore

    return SQLiteStore(url.removeprefix("sqlite:///"), clock=clock)


def _create_sqlite(_: str) -> str:
    # A file made here would belong to the user who runs this.
    return (
        "SQLite needs nothing from this command: the app makes the file at its first"
        " use, so that the file belongs to the app's user"
    )


def _diagnose_sqlite(url: str) -> Iterator[Finding]:
    from .diagnose import sqlite

    return sqlite(url.removeprefix("sqlite:///"))


# --- Redis ---------------------------------------------------------------------------


def _redis_fault(url: str) -> str | None:
    if url.startswith("unix://"):
        if "/" in url.removeprefix("unix://"):
            return None
        return "store names no socket; it must be unix:///path/of/redis.sock?db=0"
    address = _address(url)
    port = re.fullmatch(r"(?:\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(?::(\d{1,5}))?", address)
    if port is None or int(port[1] or 0) > LAST_PORT:
        return (
            "store names no Redis host and port; it must be redis://host:6379/0,"
            " with a password redis://:password@host:6379/0 (percent-encoded)"
        )
    return None


def _open_redis(url: str, _: Clock) -> Store:
    from .redis import RedisStore

    return RedisStore(url)


def _create_redis(_: str) -> str:
    return "Redis needs no tables"


def _diagnose_redis(url: str) -> Iterator[Finding]:
    from .diagnose import redis

    return redis(url)


# --- databases -----------------------------------------------------------------------


def _sql_fault(url: str) -> str | None:
    rest = url.partition("://")[2]
    if url.startswith("sqlite+"):
        if re.match("/[^:?]", rest):
            return None
        return (
            "store names no SQLite file; it must be sqlite+pysqlite:////absolute/path"
        )
    if not _address(url) and not rest.startswith(("/", "?")):
        return (
            "store names no database; it must be"
            " postgresql+psycopg://user:password@host:5432/database (percent-encoded)"
        )
    return None


def _open_sql(url: str, clock: Clock) -> Store:
    from .sql import SQLStore

    return SQLStore(url, clock=None if clock is time.time else clock)


def _create_sql(url: str) -> str:
    from tiktok_oauth_middleware._core.backends.command import backend_for, finish

    from .sql import SQLStore

    store = SQLStore(url)
    is_new = finish(_has_created(store), backend_for(store))
    name = store.table.fullname
    return (
        f"created the table {name}" if is_new else f"the table {name} is there already"
    )


async def _has_created(store: SQLStore) -> bool:
    if not store.needs_event_loop:
        try:
            return store.create_table()
        finally:
            store.close()
    try:
        return await store.acreate_table()
    finally:
        await store.aclose()


def _django_fault(url: str) -> str | None:
    if not re.fullmatch(r"django://[A-Za-z0-9_.-]+", url):
        return (
            "store names no database of Django's DATABASES; it must be django://default"
        )
    return None


def _open_django(url: str, clock: Clock) -> Store:
    from .django import DjangoStore

    alias = url.removeprefix("django://")
    return DjangoStore(alias, clock=None if clock is time.time else clock)


def _create_django(url: str) -> str:
    store = _open_django(url, time.time)
    try:
        store.get("tiktok:check:table")
    finally:
        store.close()
    return "Django's migrations have made the table; it is there already"


def _diagnose_database(url: str) -> Iterator[Finding]:
    from .diagnose import write_and_read

    yield write_and_read(url)


_TABLE = (
    StoreKind(
        schemes=("memory",),
        examples=("memory://",),
        title="in memory",
        package=None,
        extra=None,
        fault=_memory_fault,
        open=_open_memory,
        create=_create_memory,
        diagnose=_diagnose_memory,
    ),
    StoreKind(
        schemes=("sqlite",),
        examples=("sqlite:///relative.sqlite3", "sqlite:////absolute/path.sqlite3"),
        title="in SQLite",
        package=None,
        extra=None,
        fault=_sqlite_fault,
        open=_open_sqlite,
        create=_create_sqlite,
        diagnose=_diagnose_sqlite,
    ),
    StoreKind(
        schemes=("redis", "rediss", "unix"),
        examples=(
            "redis://host:6379/0",
            "rediss://host:6379/0",
            "unix:///path/of/redis.sock",
        ),
        title="in Redis",
        package="redis-py",
        extra="redis",
        fault=_redis_fault,
        open=_open_redis,
        create=_create_redis,
        diagnose=_diagnose_redis,
    ),
    StoreKind(
        schemes=("postgresql", "postgresql+"),
        examples=("postgresql+psycopg://user@host/database",),
        title="in PostgreSQL",
        package="SQLAlchemy",
        extra="postgres",
        fault=_sql_fault,
        open=_open_sql,
        create=_create_sql,
        diagnose=_diagnose_database,
    ),
    StoreKind(
        schemes=("mysql", "mysql+", "mariadb", "mariadb+", "sqlite+"),
        examples=("mysql+pymysql://user@host/database",),
        title="an SQL database",
        package="SQLAlchemy",
        extra="sql",
        fault=_sql_fault,
        open=_open_sql,
        create=_create_sql,
        diagnose=_diagnose_database,
    ),
    StoreKind(
        schemes=("django",),
        examples=("django://default",),
        title="a database of Django",
        package="Django",
        extra="django",
        fault=_django_fault,
        open=_open_django,
        create=_create_django,
        diagnose=_diagnose_database,
    ),
)
#: Every kind, by each of its schemes.
KINDS: Mapping[str, StoreKind] = {
    scheme: kind for kind in _TABLE for scheme in kind.schemes
}
