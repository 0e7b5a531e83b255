"""Pools of `SQLStore`: statements go directly to the driver's connections.

SQLAlchemy only connects, with all options of its URL. Statements do not go through its
`Connection`, which takes two to six times the CPU time of the query (six times in an
event loop, where it switches between greenlets). Its pool is not used either, which
saves a tenth of a read's time.
"""

from __future__ import annotations

import asyncio
import queue
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from .database_errors import (
    ConflictError,
    ConnectionLostError,
    ExecutionError,
    is_answer,
    is_conflict,
    needs_new_connection,
)
from .loop_drivers import LOOP_DRIVERS, in_background
from .sql_connections import LoopConnections, ProcessConnections, driver_error

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

    from .table import Result, Statement

T = TypeVar("T")

#: The most connections of one process or event loop. PostgreSQL accepts a hundred by
#: default, so eight processes with twenty each would be refused; a read uses one for
#: 0.5 ms.
_POOL = 8
#: Seconds by which connecting may take longer than a statement: libpq's shortest
#: timeout is two.
_CONNECT_EXTRA_SECONDS = 2
#: Error classes for a row that exists already: the drivers' usual one, and asyncpg's.
_EXISTS = frozenset({"IntegrityError", "IntegrityConstraintViolationError"})


class _Turn:
    """The permission to use a connection; its holder puts it back into the queue.

    A turn that is lost is replaced when it is collected: a signal's handler may raise
    between any two steps of the holder, and a pool without turns would be of no use
    until the process ends.
    """

    __slots__ = ("_turns",)

    def __init__(self, turns: Any) -> None:
        self._turns = weakref.ref(turns)

    def end(self) -> None:
        """Let another call have the turn."""
        turns = self._turns()
        if turns is not None:
            turns.put_nowait(self)

    def __del__(self) -> None:
        turns = self._turns()
        if turns is not None:
            turns.put_nowait(_Turn(turns))


class _Idle:
    """Idle connections; the one used last is reused first.

    Args:
        turns: An empty queue, filled here; its items are of `_Turn`.
        dialect: The dialect of SQLAlchemy.
        terminate: Closes a connection without waiting for the server.
    """

    def __init__(
        self, turns: Any, dialect: Any, terminate: Callable[[Any], object]
    ) -> None:
        self.turns = turns
        #: Connections, each with the generation in which it was made.
        self._kept: list[tuple[Any, int]] = []
        self._generation = 0
        self._dialect = dialect
        self._terminate = terminate
        for _ in range(_POOL):
            turns.put_nowait(_Turn(turns))

    def take(self) -> tuple[Any, int]:
        """Return a connection (None if one must be made), and its generation."""
        try:
            return self._kept.pop()
        except IndexError:
            return None, self._generation

    def give_back(
        self, turn: _Turn, connection: Any, generation: int, *, is_clean: bool
    ) -> None:
        """Keep a connection for the next statement, or close it; end the turn.

        Args:
            turn: The turn in which it was used.
            connection: One that was taken or made, or None if that failed.
            generation: What `take` returned with it.
            is_clean: Whether no answer is pending that the next statement would read.
        """
        if connection is not None:
            if is_clean and generation == self._generation:
                self._kept.append((connection, generation))
            else:
                self._drop(connection)
        turn.end()

    def failed(self, error: Exception, connection: Any) -> ExecutionError:
        """Return the error of a statement; drop connections that may also fail."""
        if connection is None:
            return ExecutionError(driver_error(error))
        is_lost = needs_new_connection(error)
        if is_lost or self._dialect.is_disconnect(error, connection, None):
            # The others are as old, and lead to the same server.
            for each in self.taken():
                self._drop(each)
            return ConnectionLostError(error)
        return ConflictError(error) if is_conflict(error) else ExecutionError(error)

    def taken(self) -> list[Any]:
        """Remove and return all idle connections, to be closed.

        Those in use are closed when their statements have ended.
        """
        self._generation += 1
        found = []
        with suppress(IndexError):
            while True:
                found.append(self._kept.pop()[0])
        return found

    def _drop(self, connection: Any) -> None:
        with suppress(Exception):  # PyMySQL raises if it is closed already
            self._terminate(connection)


def _exists_already(error: Exception) -> bool:
    return any(kind.__name__ in _EXISTS for kind in type(error).__mro__)


class PooledConnections(ProcessConnections):
    """Connections of this process, from an engine that the store made."""

    def __init__(self, engine: Engine, timeout: float) -> None:
        super().__init__(engine, timeout)
        dialect = engine.dialect
        self._idle = _Idle(queue.SimpleQueue(), dialect, dialect.do_terminate)

    async def execute(
        self, statement: Statement, values: Mapping[str, object]
    ) -> Result:
        idle, is_clean = self._idle, False
        try:
            turn = idle.turns.get(timeout=self.timeout)
        except queue.Empty:
            message = f"all {_POOL} connections are in use"
            raise ExecutionError(TimeoutError(message)) from None
        connection, generation = None, 0
        try:
            connection, generation = idle.take()
            if connection is None:
                connection = _detached(self.engine.raw_connection())
            cursor = connection.cursor()
            cursor.execute(statement.text, statement.parameters(values))
            rows = cursor.fetchall() if statement.is_query else ()
            count = cursor.rowcount
            cursor.close()
            is_clean = True
        except Exception as error:
            is_clean = is_answer(error)
            if _exists_already(error):
                return (), 0
            raise idle.failed(error, connection) from error
        else:
            return rows, count
        finally:
            idle.give_back(turn, connection, generation, is_clean=is_clean)

    def close(self) -> None:
        for connection in self._idle.taken():
            with suppress(Exception):
                self.engine.dialect.do_close(connection)


class PooledLoopConnections(LoopConnections):
    """Connections of one event loop, from an engine that the store made."""

    def __init__(self, engine: AsyncEngine, timeout: float) -> None:
        super().__init__(engine, timeout)
        self._driver = driver = LOOP_DRIVERS[engine.dialect.driver]
        self._idle = _Idle(
            asyncio.Queue(),
            engine.dialect,
            lambda connection: driver.terminate(connection.driver_connection),
        )

    async def execute(
        self, statement: Statement, values: Mapping[str, object]
    ) -> Result:
        idle, is_clean = self._idle, False
        try:
            async with asyncio.timeout(self.timeout):
                turn = await idle.turns.get()
                connection, generation = idle.take()
                if connection is None:
                    connection = await self._connected(turn, generation)
                try:
                    result = await self._driver.execute(
                        connection.driver_connection,
                        statement,
                        statement.parameters(values),
                    )
                    is_clean = True
                except Exception as error:
                    is_clean = is_answer(error)
                    if _exists_already(error):
                        return (), 0
                    raise idle.failed(error, connection) from error
                else:
                    return result
                finally:
                    idle.give_back(turn, connection, generation, is_clean=is_clean)
        except TimeoutError as error:
            raise ExecutionError(error) from error

    async def _connected(self, turn: _Turn, generation: int) -> Any:
        """Return a new connection; if connecting fails, end the turn.

        Connecting goes on if the caller is cancelled, and the connection is then kept
        for other callers. A driver whose connecting is cancelled may leave the
        connection open at the server until garbage is collected.
        """
        connecting = in_background(self._connect())
        try:
            await asyncio.wait((connecting,))
        except asyncio.CancelledError:
            connecting.add_done_callback(partial(self._keep, turn, generation))
            raise
        try:
            return connecting.result()
        except BaseException as error:
            self._idle.give_back(turn, None, generation, is_clean=False)
            if not isinstance(error, Exception):
                raise
            raise ExecutionError(driver_error(error)) from error

    async def _connect(self) -> Any:
        # Later than the driver's own timeout, because a driver that gives up by itself
        # cleans up better.
        async with asyncio.timeout(self.timeout + _CONNECT_EXTRA_SECONDS):
            return _detached(await self.engine.raw_connection())

    def _keep(
        self, turn: _Turn, generation: int, connecting: asyncio.Task[Any]
    ) -> None:
        has_failed = connecting.cancelled() or connecting.exception() is not None
        connection = None if has_failed else connecting.result()
        self._idle.give_back(turn, connection, generation, is_clean=True)

    async def close(self) -> None:
        for connection in self._idle.taken():
            with suppress(Exception):
                await self._driver.close(connection.driver_connection)


def _detached(connection: Any) -> Any:
    """Return the driver's connection, detached from SQLAlchemy."""
    found = connection.dbapi_connection
    connection.detach()
    return found
