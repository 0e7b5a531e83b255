"""A store's methods as coroutines, whatever kind of store it is.

A store may block, be written for asyncio, or have both kinds of method (``get`` and
``aget``); flows await the same methods of the adapter in each case. An exception of a
third party's store becomes a `StoreError`, so that no request ends in a 500 because of
it.
"""

from __future__ import annotations

import sys
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterator,
    Sequence,
)
from contextlib import (
    AbstractContextManager,
    aclosing,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from inspect import iscoroutinefunction
from typing import Any

from tiktok_oauth_middleware.errors import ConfigurationError, StoreError

from .leases import renewed_by_thread
from .log import logger
from .tracebacks import forget_causes

#: Runs a call that may block, where it does not block the event loop.
Offload = Callable[..., Awaitable[Any]]


class LockHandle:
    """The answer to a request for a lock: true if the lock was obtained."""

    def __init__(
        self,
        lock: Any,
        call: Offload,
        *,
        is_held: bool,
        renew_blocking: Callable[[float], object] | None = None,
    ) -> None:
        self._lock = lock
        self._call = call
        self._is_held = is_held
        self._renew_blocking = renew_blocking

    def __bool__(self) -> bool:
        return self._is_held

    async def renew(self, ttl: float) -> bool:
        """Keep the lock for `ttl` seconds from now, if the store can renew locks.

        Returns:
            False if the lock was lost.

        Raises:
            StoreError: The store failed.
        """
        if not hasattr(self._lock, "renew"):
            return True
        with _store_errors():
            return await self._call(self._lock.renew, ttl) is not False

    def keep_renewed(self, ttl: float) -> AbstractContextManager[bool]:
        """Renew the lock by a thread inside the block; False if that is impossible."""
        if not self._is_held or self._renew_blocking is None:
            return nullcontext(enter_result=False)
        return renewed_by_thread(self._renew_here, ttl)

    def _renew_here(self, ttl: float) -> object:
        with _store_errors():
            return self._renew_blocking and self._renew_blocking(ttl)


def _keeps_none(error: BaseException) -> bool:
    del error
    return False


class StoreAdapter:
    """The methods of a store as coroutines, and ``keys`` if the store has it."""

    def __init__(
        self,
        store: Any,
        offload: Offload | None,
        on_asyncio: Callable[[], bool],
        keeps: Callable[[BaseException], bool] = _keeps_none,
    ) -> None:
        """Adapt a store.

        A call in a thread costs 52 us and more, a read of SQLite 10: reads of a store
        whose ``waits`` says that they are quick are made in the event loop.

        Args:
            store: A `Store`, an `AsyncStore`, or one that is both.
            offload: Runs calls that block; None where they may block (WSGI).
            on_asyncio: Whether an asyncio task is running.
            keeps: Whether an exception that ends a call is raised later by the caller;
                the call is then made again.

        Raises:
            ConfigurationError: The store is async, and `offload` is None.
        """
        self._store = store
        self._offload = offload
        self._on_asyncio = on_asyncio
        self._keeps = keeps
        self._is_async = iscoroutinefunction(store.get)
        self._waits = getattr(store, "waits", "always")
        self._has_async_methods = getattr(
            store, "has_async_methods", hasattr(store, "aget")
        )
        #: Whether a read needs no thread.
        self._reads_directly = (
            not self._is_async and self._blocking("get") == self._call_here
        )
        #: Whether its locks can be renewed, and may therefore be short leases.
        self.renews: bool = bool(getattr(store, "renews", False))
        if self._is_async and offload is None:
            message = (
                "store has async methods; under WSGI a store must block: use one with"
                " plain methods"
            )
            raise ConfigurationError(message)

    async def get(self, key: str) -> bytes | None:
        """Return the value, or None if there is none."""
        # Not through `_call`: its four steps cost 2 us, and requests wait for this.
        handled = sys.exception()
        while True:
            try:
                if self._reads_directly:
                    return self._store.get(key)  # type: ignore[no-any-return]
                found: bytes | None = await (
                    self._store.aget(key)
                    if self._uses_async_methods()
                    else self._call("get", key)
                )
            except (StoreError, ConfigurationError) as error:
                forget_causes(error, handled)
                raise
            except BaseException as error:
                if _is_of_store(error):
                    raise _foreign(error) from error
                if not self._keeps(error):
                    raise
            else:
                return found

    async def compare_and_set(
        self, key: str, old: bytes | None, new: bytes | None, ttl: float
    ) -> bool:
        """Replace `old` with `new`; return whether `old` was there."""
        swapped: bool = await self._call("compare_and_set", key, old, new, ttl)
        return swapped

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the value of each row, in the order of the keys."""
        many = self._batch_method("get_many", "get")
        if many is None:
            return [await self.get(key) for key in keys]
        found: list[bytes | None] = await self._call(many, keys)
        return found

    async def create_many(self, rows: Sequence[tuple[str, bytes, float]]) -> list[bool]:
        """Write each row that does not exist; return which were written, in order."""
        many = self._batch_method("create_many", "compare_and_set")
        if many is None:
            swap = self.compare_and_set
            return [await swap(key, None, value, ttl) for key, value, ttl in rows]
        created: list[bool] = await self._call(many, rows)
        return created

    def _batch_method(self, many: str, single: str) -> str | None:
        """Return `many`, if the class that defines `single` has that method too.

        As with ``rows``, a subclass that overrides one row's method must not be
        bypassed.
        """
        prefix = "a" if self._in_loop() and not self._is_async else ""
        owner = _owner(self._store, f"{prefix}{many}")
        same = owner is not None and owner is _owner(self._store, f"{prefix}{single}")
        return many if same else None

    @asynccontextmanager
    async def lock(self, key: str, ttl: float) -> AsyncIterator[LockHandle]:
        """Try to take the lock for the block, without waiting."""
        call: Offload = _await
        if self._is_async or self._uses_async_methods():
            method = "lock" if self._is_async else "alock"
            lock = getattr(self._store, method)(key, ttl)
            enter, leave = lock.__aenter__, lock.__aexit__
            renew_blocking = getattr(lock, "renew_blocking", None)
        else:
            lock, call = self._store.lock(key, ttl), self._blocking("lock")
            enter, leave = lock.__enter__, lock.__exit__
            renew_blocking = getattr(lock, "renew", None)
        with _store_errors():
            is_held = await call(enter)
        try:
            yield LockHandle(
                lock, call, is_held=bool(is_held), renew_blocking=renew_blocking
            )
        finally:
            # The work under the lock is done, so a failure here must not fail it. The
            # next holder waits until the lease ends.
            try:
                with _store_errors():
                    await call(leave, None, None, None)
            except (StoreError, ConfigurationError) as error:
                logger.warning(
                    "a lock could not be released: %s",
                    type(error.__cause__ or error).__name__,
                )

    async def keys(self, prefix: str) -> list[str]:
        """Return the keys that begin with `prefix`, if the store can list them."""
        if getattr(self._store, "keys", None) is None:
            message = "the store cannot list its users: it has no keys(prefix)"
            raise StoreError(message)
        found: list[str] = await self._call("keys", prefix)
        return found

    async def pages(self, prefix: str) -> AsyncGenerator[list[str], None]:
        """Yield the keys that begin with `prefix` in lists, each read when needed.

        If the store has no ``pages(prefix)``, all keys are in one list.
        """
        name = "apages" if self._in_loop() and not self._is_async else "pages"
        listing = getattr(self._store, name, None)
        if listing is None:
            yield await self.keys(prefix)
            return
        async with aclosing(self._each_page(listing(prefix))) as found:
            async for page in found:
                yield page

    async def rows(self, prefix: str) -> AsyncGenerator[list[tuple[str, bytes]], None]:
        """Yield the rows whose keys begin with `prefix`, each list read when needed.

        If the store has no ``rows(prefix)``, each row is read by its key.
        """
        listing = self._row_listing()
        if listing is None:
            async with aclosing(self.pages(prefix)) as pages:
                async for keys in pages:
                    rows = [(key, await self.get(key)) for key in keys]
                    yield [(key, value) for key, value in rows if value is not None]
            return
        async with aclosing(self._each_page(listing(prefix))) as found:
            async for page in found:
                yield page

    def _row_listing(self) -> Callable[[str], Any] | None:
        """Return the store's ``rows``, if the class of its ``get`` defines it too.

        A subclass that overrides reading or listing must not be bypassed by ``rows``.
        """
        in_loop = self._in_loop()
        names = (
            ("arows", "aget", "akeys", "apages")
            if in_loop and not self._is_async
            else ("rows", "get", "keys", "pages")
        )
        owners = {_owner(self._store, name) for name in names}
        if owners == {None} or len(owners) > 1:
            return None
        listing: Callable[[str], Any] = getattr(self._store, names[0])
        return listing

    def _in_loop(self) -> bool:
        return self._is_async or self._uses_async_methods()

    async def _each_page(self, found: Any) -> AsyncGenerator[Any, None]:
        """Yield what a store's generator yields, and close it.

        Trio warns of async generators that are left to the garbage collector.
        """
        in_loop, call = self._in_loop(), self._blocking("keys")
        try:
            while True:
                with _store_errors():
                    page = await (
                        anext(found, None) if in_loop else call(next, found, None)
                    )
                if page is None:
                    return
                yield page
        finally:
            close = getattr(found, "aclose" if in_loop else "close", None)
            if close is not None:  # it may be another kind of iterator
                with _store_errors():
                    await (close() if in_loop else call(close))

    async def close(self) -> None:
        """Close the connections."""
        await self._call("close")

    async def _call(self, method: str, *args: Any) -> Any:
        with _store_errors():
            if self._is_async:
                return await getattr(self._store, method)(*args)
            if self._uses_async_methods():
                return await getattr(self._store, f"a{method}")(*args)
            return await self._blocking(method)(getattr(self._store, method), *args)

    def _uses_async_methods(self) -> bool:
        return (
            self._has_async_methods and self._offload is not None and self._on_asyncio()
        )

    def _blocking(self, method: str) -> Offload:
        """Return the function that calls a method that blocks."""
        quick = self._waits == "never" or (self._waits == "writes" and method == "get")
        return self._call_here if quick or self._offload is None else self._offload

    async def _call_here(self, call: Callable[..., Any], *args: Any) -> Any:
        while True:
            try:
                return call(*args)
            except BaseException as error:
                if not self._keeps(error):
                    raise


def _owner(store: object, name: str) -> object:
    """Return the class that defines a method of a store; the store if it does."""
    if name in getattr(store, "__dict__", ()):
        return store
    kinds = (kind for kind in type(store).__mro__ if name in vars(kind))
    return next(kinds, None)


async def _await(call: Callable[..., Awaitable[Any]], *args: Any) -> Any:
    return await call(*args)


@contextmanager
def _store_errors() -> Iterator[None]:
    """Turn exceptions of a third party's store into `StoreError`."""
    handled = sys.exception()
    try:
        yield
    except (StoreError, ConfigurationError) as error:
        forget_causes(error, handled)
        raise
    except BaseException as error:
        if _is_of_store(error):
            raise _foreign(error) from error
        raise


def _is_of_store(error: BaseException) -> bool:
    """Whether an exception comes from the store, rather than from our own caller.

    A driver may have tasks of its own, as psycopg does. The end of `asyncio.run`
    cancels those too, and then the task that waits for them gets CancelledError
    although nothing cancels it: a call that has failed, and may succeed when repeated.
    """
    if isinstance(error, Exception):
        return True
    import asyncio

    if not isinstance(error, asyncio.CancelledError):
        return False
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no event loop of asyncio runs here
        return False
    return task is not None and not task.cancelling()


def _foreign(error: BaseException) -> StoreError:
    return StoreError(f"the store raised {type(error).__name__}")
