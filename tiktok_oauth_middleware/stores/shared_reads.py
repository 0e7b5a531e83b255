"""Simultaneous reads of an event loop's tasks, sent to the server together.

A single read is sent immediately. Reads that begin while it is under way wait until the
end of the event loop's turn, and are then sent as one call: with fifty at once a read
of Redis takes a tenth of the CPU time, and two connections instead of fifty.

Each task gets the answer at its key's place in the list of keys. Even if a server mixed
answers up, a record could not be decrypted under another user's key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context

#: The most reads in one call: an answer has about 700 bytes, and at most 4 kB.
MOST_READS = 100

#: A value, None for a missing row, or the error of the read.
ReadResult = bytes | None | Exception


class SharedReads:
    """The reads of one event loop; those of other open loops are not combined.

    Args:
        one: Reads a key.
        several: Reads keys; returns an answer for each, in their order.
    """

    def __init__(
        self,
        one: Callable[[str], Awaitable[bytes | None]],
        several: Callable[[list[str]], Awaitable[Sequence[ReadResult]]],
    ) -> None:
        self._one = one
        self._several = several
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_busy = False
        self._waiting: list[tuple[str, asyncio.Future[bytes | None]]] = []
        # An event loop does not keep tasks alive.
        self._tasks: set[asyncio.Task[None]] = set()

    async def get(self, key: str) -> bytes | None:
        """Return the value of a key; raises what `one` would."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop and not self._adopted(loop):
            return await self._one(key)
        if not self._is_busy:
            self._is_busy = True
            try:
                return await self._one(key)
            finally:
                self._is_busy = False
        if not self._waiting:
            # The call is for several requests, so it must not have one's context
            # variables.
            loop.call_soon(self._send, context=Context())
        answer: asyncio.Future[bytes | None] = loop.create_future()
        self._waiting.append((key, answer))
        return await answer

    def _adopted(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Begin to serve a loop, unless the one before it is still open."""
        if self._loop is not None and not self._loop.is_closed():
            return False
        self._loop, self._is_busy, self._waiting = loop, False, []
        self._tasks = set()  # those of a closed loop never end
        return True

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        wanted = [(key, answer) for key, answer in waiting if not answer.done()]
        for start in range(0, len(wanted), MOST_READS):
            some = wanted[start : start + MOST_READS]
            task = asyncio.ensure_future(self._read(some))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _read(self, some: list[tuple[str, asyncio.Future[bytes | None]]]) -> None:
        try:
            try:
                found = await self._several([key for key, _ in some])
            except Exception as error:  # noqa: BLE001 - raised in each waiting task
                found = [_copy(error) for _ in some]
            for (_, answer), value in zip(some, found, strict=True):
                if answer.done():  # its task was cancelled
                    continue
                if isinstance(value, Exception):
                    answer.set_exception(value)
                else:
                    answer.set_result(value)
        finally:
            # Tasks without an answer, as when the event loop ends, must not wait
            # forever.
            for _, answer in some:
                answer.cancel()


def _copy(error: Exception) -> Exception:
    """Return a copy of an error for one task, since raising an error changes it."""
    copy = type(error)(*error.args)
    copy.__cause__ = error.__cause__
    return copy
