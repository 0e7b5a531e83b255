"""The arguments of a figure (scale, seed, stores) and its results."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.redis_server import RedisServer
from tests.stores.databases import MariaDB, PostgreSQL, Server
from tests.support.patience import HANGS
from tiktok_oauth_middleware import SQLStore

#: The stores that processes can share, and the program that each needs.
STORES = {
    "sqlite": "",
    "redis": "redis-server",
    "postgresql": "postgresql",
    "mariadb": "mariadb-server",
    # In a project whose database is a PostgreSQL.
    "django": "postgresql",
}
SERVERS = {"postgresql": PostgreSQL, "mariadb": MariaDB, "django": PostgreSQL}


def is_installed(store: str) -> bool:
    """Return whether a store's server is installed."""
    if store in SERVERS:
        return SERVERS[store].is_installed()
    return not STORES[store] or shutil.which(STORES[store]) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of the programs."""

    scale: float
    seed: int
    #: Some of `STORES`.
    stores: Sequence[str]

    def times(self, full: int, least: int) -> int:
        """Return a number of rounds or users at this run's scale."""
        return max(least, round(full * self.scale))

    @property
    def store_timeout(self) -> float:
        """The seconds for which an app waits for a store that works.

        A target at scale 0.1 and above is for the stores' own default. A smaller run
        counts the same results on a machine that is too busy for that.
        """
        return 2.0 if self.scale >= 0.1 else HANGS


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One line: a measured figure, and whether it reaches its target."""

    name: str
    passed: bool
    figures: dict[str, Any] = field(default_factory=dict)

    def line(self, seed: int) -> str:
        """Return the result as it is printed."""
        figures = " ".join(f"{k}={_shown(v)}" for k, v in self.figures.items())
        return f"{'PASS' if self.passed else 'FAIL'} {self.name} {figures} seed={seed}"


def _shown(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


@contextmanager
def served(store: str) -> Iterator[tuple[str, Server]]:
    """Yield the URL of an empty store in a database, and its server."""
    database = SERVERS[store]()
    try:
        database.start()
        if store == "django":
            from .django_store import prepare

            url = prepare(database.port)
        else:
            url = database.url()
            # On a busy machine a server that has just started takes longer than usual.
            made = SQLStore(url, timeout=HANGS)
            made.create_table()
            made.close()
        yield url, database
    finally:
        database.remove()


@contextmanager
def opened(store: str) -> Iterator[str]:
    """Yield the URL of an empty store of this kind, which is deleted afterwards."""
    if store == "memory":
        yield "memory"
        return
    if store in SERVERS:
        with served(store) as (url, _):
            yield url
        return
    with TemporaryDirectory(prefix="reliability-") as folder:
        if store == "sqlite":
            yield f"sqlite:///{Path(folder) / 'tokens.sqlite3'}"
            return
        with RedisServer(folder) as server:
            yield server.url


def percentile(values: Iterable[float], share: float) -> float:
    """Return the percentile: the value below which this share of all values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
