"""Drivers for event loops, used without SQLAlchemy: psycopg, asyncpg and asyncmy.

They differ in how a statement is executed, and in how a connection is closed while its
statement is still running.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from contextvars import Context
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from .table import Result, Statement

T = TypeVar("T")

#: Seconds to wait for a server to confirm that a connection is closed.
_CLOSE_SECONDS = 1
#: Tasks in the background, since an event loop does not keep tasks alive.
_TASKS: set[asyncio.Task[Any]] = set()
#: Connections of psycopg whose statements are being cancelled in such a task.
_LEFT: set[Any] = set()


class LoopDriver(NamedTuple):
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
        in_background(_leave_psycopg(connection, call))
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
    in_background(_close_asyncpg(connection))


def in_background(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
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
LOOP_DRIVERS: Mapping[str, LoopDriver] = {
    "psycopg": LoopDriver(
        _psycopg,
        lambda connection: connection.close(),
        _end_psycopg,
    ),
    "asyncpg": LoopDriver(
        _asyncpg,
        _close_asyncpg,
        _end_asyncpg,
    ),
    "asyncmy": LoopDriver(
        _asyncmy,
        lambda connection: connection.ensure_closed(),
        lambda connection: connection.close(),
    ),
}
