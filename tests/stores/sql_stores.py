"""SQL stores with a table of their own, and connections that record and fail."""

from __future__ import annotations

import uuid
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from tiktok_oauth_middleware.stores.sql import SQLStore

if TYPE_CHECKING:
    from collections.abc import Callable


def some_table() -> str:
    return f"t{uuid.uuid4().hex[:8]}"


def made(url: str, **options: Any) -> SQLStore:
    """Return a store with its own table."""
    store = SQLStore(url, table=some_table(), **options)
    store.create_table()
    return store


def kept(store: SQLStore) -> Any:
    """Return the one connection of the store, which waits for its next statement."""
    [(connection, _)] = store._source.connections()._idle._kept  # type: ignore[attr-defined]
    return connection


class Watched:
    """The connections of an engine: records statements, and may lose an answer."""

    def __init__(self, engine: sa.Engine) -> None:
        #: The number of answers that will be lost.
        self.left = 0
        #: A function that is called with each statement before it is sent.
        self.before: Callable[[str], object] = lambda _: None
        self.driver: Any = engine.dialect.loaded_dbapi
        connect = engine.raw_connection

        def watched() -> Any:
            made = connect()
            inner = WatchedConnection(made.dbapi_connection, self)
            return SimpleNamespace(dbapi_connection=inner, detach=made.detach)

        engine.raw_connection = watched  # type: ignore[method-assign]

    def lose(self, connection: Any) -> None:
        with suppress(Exception):
            connection.close()
        # As PyMySQL reports it; psycopg marks its connection as closed.
        raise self.driver.OperationalError(2013, "Lost connection")


class WatchedConnection:
    """A connection whose cursors are watched."""

    def __init__(self, inner: Any, watched: Watched) -> None:
        self._inner, self._watched = inner, watched

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def cursor(self) -> Any:
        return WatchedCursor(self._inner, self._watched)


class WatchedCursor:
    """A cursor of the driver that may lose an answer."""

    def __init__(self, connection: Any, watched: Watched) -> None:
        self._connection, self._watched = connection, watched
        self._inner = connection.cursor()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def execute(self, statement: str, values: Any) -> None:
        self._watched.before(statement)
        self._inner.execute(statement, values)
        if self._watched.left > 0:
            self._watched.left -= 1
            self._watched.lose(self._connection)
