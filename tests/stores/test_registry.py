"""The store that a URL names, and the modules that importing it loads."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import MISSING, fields, replace
from pathlib import Path

import pytest

from tiktok_oauth_middleware import MemoryStore
from tiktok_oauth_middleware.errors import ConfigurationError
from tiktok_oauth_middleware.stores import registry
from tiktok_oauth_middleware.stores.registry import open_store, store_fault


@pytest.mark.parametrize(
    "url",
    [
        "memory://",
        "sqlite:///relative.sqlite3",
        "sqlite:////absolute/path.sqlite3",
        "redis://localhost",
        "redis://localhost:6379/0",
        "redis://user:p%40ss@host:6379/0?health_check_interval=3",
        "redis://host?db=1",
        "rediss://[::1]:6380/2",
        "unix:///run/redis.sock?db=1",
    ],
)
def test_a_good_url_has_no_fault(url: str) -> None:
    """URLs of existing kinds are accepted, without opening a store."""
    assert store_fault(url) is None


@pytest.mark.parametrize(
    ("url", "report"),
    [
        ("", "memory://"),
        ("store.sqlite3", "sqlite:///"),
        ("mssql://root:hunter2@host/db", "mssql://"),
        ("hunter2:6379", "redis://host:6379/0"),
        ("memory://hunter2", "the memory store takes none"),
        ("sqlite://hunter2.sqlite3", "three slashes"),
        ("sqlite:///", "three slashes"),
        ("sqlite:///:memory:", "memory://"),
        ("sqlite:///hunter2?mode=ro", "plain path"),
        ("redis://", "host and port"),
        ("redis://:hunter2@/0", "host and port"),
        ("redis://:hunter2@host:port/0", "host and port"),
        ("redis://:hun/ter2@host:6379/0", "host and port"),
        ("redis://host:70000", "host and port"),
        ("unix://hunter2", "socket"),
    ],
)
def test_a_bad_url_is_reported_without_its_secrets(url: str, report: str) -> None:
    """A fault names the option and the right form, without the URL's secrets."""
    fault = store_fault(url)
    assert fault is not None
    assert fault.startswith("store ")
    assert report in fault
    assert "hunter2" not in fault
    with pytest.raises(ConfigurationError) as refused:
        open_store(url)
    assert refused.value.faults == (fault,)


def test_open_store_makes_the_kind_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each URL gives the store of its kind; a path may be relative or absolute."""
    monkeypatch.chdir(tmp_path)
    assert repr(open_store("memory://")) == "MemoryStore(0 rows)"
    here = tmp_path / "x.sqlite3"
    assert repr(open_store("sqlite:///x.sqlite3")) == f"SQLiteStore({str(here)!r})"
    assert repr(open_store(f"sqlite:///{here}")) == f"SQLiteStore({str(here)!r})"
    assert not here.exists()


def test_open_store_makes_a_redis_store() -> None:
    """The three kinds of URL for Redis give a Redis store, which connects later."""
    pytest.importorskip("redis")
    for url in ("redis://host:1/0", "rediss://host/1", "unix:///run/redis.sock"):
        assert repr(open_store(url)) == f"RedisStore({url!r})"


def test_the_clock_is_handed_on() -> None:
    """A store uses the clock that is passed to open_store."""
    now = [1000.0]
    store = open_store("memory://", clock=lambda: now[0])
    store.compare_and_set("row", None, b"value", 10)
    now[0] += 11
    assert store.get("row") is None


def test_a_kind_has_every_column() -> None:
    """A kind of store that lacks a column of the table cannot be built."""
    assert fields(registry.StoreKind)
    for column in fields(registry.StoreKind):
        assert column.default is MISSING
        assert column.default_factory is MISSING


def test_a_new_row_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new row in the table is enough to open a further scheme."""
    row = replace(registry.KINDS["memory"], schemes=("toy",))
    with pytest.raises(ConfigurationError, match="toy://, which is unknown"):
        open_store("toy://")
    monkeypatch.setattr(registry, "KINDS", {**registry.KINDS, "toy": row})
    assert isinstance(open_store("toy://"), MemoryStore)


def test_an_unknown_scheme_lists_the_others() -> None:
    """The error about an unknown scheme shows a URL of every kind of store."""
    fault = store_fault("toy://") or ""
    shown = {word.partition("://")[0] for word in re.findall(r"\S+://", fault)}
    assert shown == {
        *("toy", "memory", "sqlite", "redis", "rediss", "unix"),
        *("postgresql+psycopg", "mysql+pymysql", "django"),
    }


WITHOUT_SQLALCHEMY = """
import sys
sys.modules["sqlalchemy"] = None
from tiktok_oauth_middleware.errors import ConfigurationError
from tiktok_oauth_middleware.stores.registry import open_store
from tiktok_oauth_middleware.stores.sql import SQLStore
for open_it, url in [
    (open_store, "postgresql://user:password@host/database"),
    (open_store, "postgresql+asyncpg://user:password@host/database"),
    (open_store, "mysql+pymysql://user:password@host/database"),
    (open_store, "sqlite+pysqlite:////tmp/x"),
    (SQLStore, "whatever"),
    (SQLStore, object()),
]:
    try:
        open_it(url)
    except ConfigurationError as error:
        print(error)
"""


def test_the_extra_of_a_missing_library_is_named() -> None:
    """Without SQLAlchemy, a URL of PostgreSQL says postgres, and another says sql."""
    report = subprocess.run(
        [sys.executable, "-c", WITHOUT_SQLALCHEMY],
        capture_output=True,
        text=True,
        check=True,
    )
    extras = re.findall(r'install "tiktok-oauth-middleware\[(\w+)\]"', report.stdout)
    assert extras == ["postgres", "postgres", "sql", "sql", "sql", "sql"]
    assert "password" not in report.stdout


WITHOUT_GREENLET = """
import sys
sys.modules["greenlet"] = None
from tiktok_oauth_middleware.errors import ConfigurationError
from tiktok_oauth_middleware.stores.registry import open_store
try:
    open_store("mysql+pymysql://user:password@host/database")
except ConfigurationError as error:
    print(error)
"""


def test_the_extra_of_a_missing_greenlet_is_named() -> None:
    """Without greenlet, which SQLAlchemy 2.1 does not install, the extra is named too."""
    pytest.importorskip("sqlalchemy", "2.1", reason="SQLAlchemy 2.0 installs greenlet")
    report = subprocess.run(
        [sys.executable, "-c", WITHOUT_GREENLET],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "SQLAlchemy's greenlet is not installed" in report.stdout
    assert "tiktok-oauth-middleware[sql]" in report.stdout
    assert "password" not in report.stdout


IMPORTED = """
import sys
import tiktok_oauth_middleware.stores.base
from tiktok_oauth_middleware.stores import MemoryStore
print(sorted({"sqlite3", "redis", "asyncio", "anyio"} & set(sys.modules)))
"""


def test_importing_loads_nothing_heavy() -> None:
    """Neither the protocols nor the memory store load SQLite, Redis or asyncio."""
    report = subprocess.run(
        [sys.executable, "-c", IMPORTED], capture_output=True, text=True, check=True
    )
    assert report.stdout.strip() == "[]"
