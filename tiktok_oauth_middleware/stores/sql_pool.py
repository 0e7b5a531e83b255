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
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from .database_errors import (
    ConflictError,
    ConnectionLostError,
    ExecutionError,
    is_answer,
    is_conflict,
    needs_new_connection,
)
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
#: Seconds to wait for a server to confirm that a connection is closed.
_CLOSE_SECONDS = 1
#: Tasks in the background, since an event loop does not keep tasks alive.
_TASKS: set[asyncio.Task[Any]] = set()
#: Connections of psycopg whose statements are being cancelled in such a task.
_LEFT: set[Any] = set()
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
        """Return a connection, or None if one must be made, and its generation."""
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
        """Return a new connection; if there is none, end the turn.

        Connecting goes on if the caller is cancelled, and the connection is then kept
        for other callers. A driver whose connecting is cancelled may leave the
        connection open at the server until garbage is collected.
        """
        connecting = _in_background(self._connect())
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
        # Drivers that limit the time themselves clean up better.
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


class _LoopDriver(NamedTuple):
    """The functions for using an asyncio driver without SQLAlchemy."""

    execute: Callable[[Any, Statement, Any], Awaitable[Result]]
    close: Callable[[Any], Awaitable[object]]
    terminate: Callable[[Any], object]


async def _psycopg(connection: Any, statement: Statement, values: Any) -> Result:
    # psycopg answers a cancellation by asking the server to cancel the statement, and
    # then waits for its answer, for five seconds each. In a task of its own, this goes
    # on without the caller. Earlier versions also cancel the task that they run in,
    # every 0.1 s, to look for other work.
    loop = asyncio.get_running_loop()
    call = loop.create_task(_execute_psycopg(connection, statement, values))
    # `asyncio.wait` would take 7 us longer.
    ended: asyncio.Future[None] = loop.create_future()

    def end(_: object) -> None:
        if not ended.done():
            ended.set_result(None)

    call.add_done_callback(end)
    try:
        await ended
    except asyncio.CancelledError:
        _LEFT.add(connection)
        call.cancel()
        _in_background(_leave_psycopg(connection, call))
        raise
    return call.result()


async def _execute_psycopg(
    connection: Any, statement: Statement, values: Any
) -> Result:
    cursor = await connection.execute(statement.text, values)
    return (await cursor.fetchall() if statement.is_query else ()), cursor.rowcount


async def _leave_psycopg(connection: Any, call: asyncio.Task[Result]) -> None:
    """Close a connection when its cancelled statement has ended, or takes too long."""
    try:
        await asyncio.wait((call,), timeout=_CLOSE_SECONDS)
        call.cancel()  # again, which ends psycopg's waiting
        # Before the connection closes, so that the event loop no longer watches it.
        with suppress(Exception, asyncio.CancelledError):
            await call
    finally:
        _LEFT.discard(connection)
        connection.pgconn.finish()


def _end_psycopg(connection: Any) -> None:
    """Close a connection, unless its statement is still being cancelled."""
    if connection not in _LEFT:
        connection.pgconn.finish()


async def _asyncpg(connection: Any, statement: Statement, values: Any) -> Result:
    if statement.is_query:
        rows = await connection.fetch(statement.text, *values)
        return rows, len(rows)
    # The command's tag ends with the number of rows: "UPDATE 1", "INSERT 0 1".
    tag = await connection.execute(statement.text, *values)
    return (), int(tag.rpartition(" ")[2])


def _end_asyncpg(connection: Any) -> None:
    """Close a connection in the background, which cancels its statement.

    Otherwise each statement that waits for a lock would keep its connection at the
    server after its caller timed out, until the server accepts no more connections.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:  # the event loop has ended
        connection.terminate()
        return
    _in_background(_close_asyncpg(connection))


def _in_background(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Begin a task for which no caller needs to wait, without the caller's context."""
    for old in _TASKS.copy():  # a copy, since other threads have event loops too
        if old.get_loop().is_closed():
            _TASKS.discard(old)
    task = asyncio.get_running_loop().create_task(work, context=Context())
    _TASKS.add(task)
    task.add_done_callback(_TASKS.discard)
    return task


async def _close_asyncpg(connection: Any) -> None:
    with suppress(Exception):  # the connection is closed in that case too
        async with asyncio.timeout(_CLOSE_SECONDS):
            await connection.close()


async def _asyncmy(connection: Any, statement: Statement, values: Any) -> Result:
    async with connection.cursor() as cursor:
        await cursor.execute(statement.text, values)
        return (await cursor.fetchall() if statement.is_query else ()), cursor.rowcount


#: By SQLAlchemy's name of the driver.
LOOP_DRIVERS: Mapping[str, _LoopDriver] = {
    "psycopg": _LoopDriver(
        _psycopg,
        lambda connection: connection.close(),
        _end_psycopg,
    ),
    "asyncpg": _LoopDriver(
        _asyncpg,
        _close_asyncpg,
        _end_asyncpg,
    ),
    "asyncmy": _LoopDriver(
        _asyncmy,
        lambda connection: connection.ensure_closed(),
        lambda connection: connection.close(),
    ),
}
