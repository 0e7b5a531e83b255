"""The connections of `DjangoStore`: the project's, and in a transaction a second one.

The transaction of the calling thread decides which connection a statement uses:

- Outside a transaction, the project's connection, where each statement is a transaction
  by itself. The middleware is outside, also with ``ATOMIC_REQUESTS``, which wraps only
  the view.
- Inside a transaction (``atomic``, ``ATOMIC_REQUESTS``), the store's own connection.
  TikTok has rotated the refresh token by then. If the view's transaction contained the
  new token, a rollback would lose it and sign the user out. Reads use this connection
  as well, because a REPEATABLE READ transaction sees old rows. SQLite has one writer at
  a time: if the view has written before, or has read without WAL, the store can only
  read, and a refresh is refused before TikTok is asked.
- Inside the transaction that Django's `TestCase` wraps around a test, the project's
  connection, so that a test sees its rows and leaves none.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from typing import Any

from tiktok_oauth_middleware._core.fork import register_after_fork
from tiktok_oauth_middleware.errors import ConfigurationError

from .database_errors import (
    ConflictError,
    ConnectionLostError,
    ExecutionError,
    is_conflict,
    needs_new_connection,
)
from .registry import missing_library
from .table import BlockingDatabaseConnections, Result, Statement

try:
    from django.core.exceptions import ImproperlyConfigured
    from django.core.signals import request_finished
    from django.db import (
        Error,
        IntegrityError,
        InterfaceError,
        OperationalError,
        connections,
        transaction,
    )
    from django.utils.connection import ConnectionDoesNotExist
except ModuleNotFoundError as missing:
    raise missing_library("django://") from missing

_VENDORS = ("postgresql", "mysql", "sqlite")
#: Seconds that the store's own connection waits while SQLite has another writer: the
#: view that called the store.
_SQLITE_SECONDS = 1.0


class DjangoConnections(BlockingDatabaseConnections):
    """Connections to one of the project's databases.

    Raises:
        ConfigurationError: Django has no settings yet, or there is no such database, or
            the store does not support it.
    """

    #: Seconds. The project's own settings limit a statement; from this, `Rows` decides
    #: whether a connection was lost or a statement waited.
    timeout = 2.0

    def __init__(self, alias: str) -> None:
        try:
            connection: Any = connections[alias]
        except ConnectionDoesNotExist as unknown:
            known = ", ".join(connections)
            message = f"store is django://{alias}, and DATABASES has only {known}"
            raise ConfigurationError(message) from unknown
        except ImproperlyConfigured as error:
            message = (
                f"store is django://{alias}, and Django has no such settings here: use"
                " manage.py (manage.py tiktok check), or call django.setup() first"
            )
            raise ConfigurationError(message) from error
        self.vendor: str = connection.vendor
        if self.vendor not in _VENDORS:
            message = (
                f"store is django://{alias}, which is {self.vendor}; DjangoStore"
                " supports PostgreSQL, MySQL, MariaDB and SQLite"
            )
            raise ConfigurationError(message)
        self.alias = alias
        self.quote_name = connection.ops.quote_name
        self._own = threading.local()
        register_after_fork(self)
        # By a weak reference: a store that is dropped needs no disconnecting.
        request_finished.connect(self._request_finished)

    def after_fork(self) -> None:
        """Drop the parent's connections in a child, without closing them."""
        self._own = threading.local()

    async def execute(
        self, statement: Statement, values: Mapping[str, object]
    ) -> Result:
        try:
            return self._execute(statement, values)
        except IntegrityError:
            return (), 0
        except Error as error:
            cause = error.__cause__ or error
            if is_conflict(cause) and not self.is_in_transaction():
                raise ConflictError(cause) from error
            if self._dropped(error, cause):
                raise ConnectionLostError(cause) from error
            raise ExecutionError(cause) from error
        except ImproperlyConfigured as error:
            raise ExecutionError(error) from error

    def is_in_transaction(self) -> bool:
        """Whether the project's connection of this thread is in a transaction."""
        return bool(connections[self.alias].in_atomic_block)

    def close(self) -> None:
        """Close the store's own connection of this thread; Django closes the others."""
        own = self._own.__dict__.pop("connection", None)
        if own is not None:
            own.close()

    def is_bound_to_thread(self) -> bool:
        """Whether other threads do not see this thread's rows."""
        connection = connections[self.alias]
        return not _is_outside_transactions(connection) or _is_memory(connection)

    def close_thread(self) -> None:
        """Close both connections of a thread that Django does not manage."""
        self.close()
        connections[self.alias].close()

    def _request_finished(self, **_: object) -> None:
        self.close()

    def _execute(self, statement: Statement, values: Mapping[str, object]) -> Result:
        given = statement.parameters(values)
        connection = self._connection()
        # A write may fail, and must not break a test's transaction.
        if connection.in_atomic_block and not statement.is_query:
            savepoint: Any = transaction.atomic(using=self.alias)
        else:
            savepoint = contextlib.nullcontext()
        with savepoint, connection.cursor() as cursor:
            cursor.execute(statement.text, given)
            rows = cursor.fetchall() if statement.is_query else ()
            return rows, cursor.rowcount

    def _connection(self) -> Any:
        """Return the connection to use in the transaction that the thread is in."""
        connection: Any = connections[self.alias]
        if (
            _is_outside_transactions(connection)
            or _is_in_test(connection)
            or _is_memory(connection)
        ):
            self.close()
            return connection
        own = getattr(self._own, "connection", None)
        if own is None:
            own = connections.create_connection(self.alias)
            if own.vendor == "sqlite":
                options = own.settings_dict.get("OPTIONS", {})
                own.settings_dict = {
                    **own.settings_dict,
                    "OPTIONS": {**options, "timeout": _SQLITE_SECONDS},
                }
            self._own.connection = own
        return own

    def _dropped(self, error: Exception, cause: BaseException) -> bool:
        """Drop the connection if it may be lost; return whether a new one may help."""
        connection = self._connection()
        is_lost = isinstance(error, OperationalError | InterfaceError)
        is_lost = is_lost or needs_new_connection(cause)
        if not is_lost or connection.in_atomic_block or self.vendor == "sqlite":
            return False
        if connection.connection is None:  # it could not be made at all
            return False
        # PyMySQL raises if a connection is closed already; Django drops it then too.
        with contextlib.suppress(Error):
            connection.close()
        return True


def _is_outside_transactions(connection: Any) -> bool:
    """Whether a statement is a transaction of its own."""
    if connection.in_atomic_block:
        return False
    return connection.connection is None or bool(connection.get_autocommit())


def _is_in_test(connection: Any) -> bool:
    """Whether all open transactions are inside that of a `TestCase`."""
    blocks = connection.atomic_blocks
    return bool(blocks) and getattr(blocks[0], "_from_testcase", False)


def _is_memory(connection: Any) -> bool:
    """Whether the database lives in one connection."""
    return connection.vendor == "sqlite" and bool(connection.is_in_memory_db())
