"""A store as the flows see it: awaitable, whatever kind it is.

A store may block, or be made for asyncio, or have a twin of each word for both (``get``
and ``aget``); the flows await the same words all the same. What a third party's store
raises by itself comes out as `StoreError`, so that no request ends in a 500 over it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import (
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from inspect import iscoroutinefunction
from typing import Any

from tiktok_oauth_middleware.errors import ConfigurationError, StoreError

from .leases import renewed_by_a_thread
from .log import logger

#: Runs a call that may block where it holds nobody up.
Offload = Callable[..., Awaitable[Any]]


class LockHandle:
    """A lock that was asked for: true if it is held; it can be renewed if it can."""

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
        """Hold the lock for `ttl` seconds from now, where the store's can be renewed.

        Returns:
            False if the lock was lost.

        Raises:
            StoreError: the store failed.
        """
        if not hasattr(self._lock, "renew"):
            return True
        with _store_errors():
            return await self._call(self._lock.renew, ttl) is not False

    def kept(self, ttl: float) -> AbstractContextManager[bool]:
        """Renew the lock inside, from a thread; False if the store's can not be."""
        if self._renew_blocking is None:
            return nullcontext(False)  # noqa: FBT003 - what it gives
        return renewed_by_a_thread(self._renew_here, ttl)

    def _renew_here(self, ttl: float) -> object:
        with _store_errors():
            return self._renew_blocking and self._renew_blocking(ttl)


class StoreAdapter:
    """The four words of a store, and the one that some have beside them, awaitable."""

    def __init__(
        self, store: Any, offload: Offload | None, on_asyncio: Callable[[], bool]
    ) -> None:
        """Take the store, and how to run what blocks; None where blocking is right.

        A trip through a thread costs 52 us and more, a read of SQLite 10: a store
        whose reads never wait for long says so in ``waits``, and they are made here.

        Raises:
            ConfigurationError: the store is async, and blocking is right.
        """
        self._store = store
        self._offload = offload
        self._on_asyncio = on_asyncio
        self._is_async = iscoroutinefunction(store.get)
        self._waits = getattr(store, "waits", "always")
        self._has_async_methods = getattr(
            store, "has_async_methods", hasattr(store, "aget")
        )
        #: Whether a read may be made here and now, without a thread.
        self._reads_here = not self._is_async and self._blocking("get") is _at_once
        #: Whether its locks can be renewed, so that they may be short.
        self.renews: bool = bool(getattr(store, "renews", False))
        if self._is_async and offload is None:
            message = (
                "store has async methods; under WSGI a store must block: use one with"
                " plain methods"
            )
            raise ConfigurationError(message)

    async def get(self, key: str) -> bytes | None:
        """Return the value, or None if there is none."""
        # Not through `_ask`: its four steps cost 2 us, and a request may wait for this.
        try:
            if self._reads_here:
                return self._store.get(key)  # type: ignore[no-any-return]
            found: bytes | None = await (
                self._store.aget(key)
                if self._uses_async_methods()
                else self._ask("get", key)
            )
        except (StoreError, ConfigurationError):
            raise
        except Exception as error:
            raise _foreign(error) from error
        return found

    async def compare_and_set(
        self, key: str, old: bytes | None, new: bytes | None, ttl: float
    ) -> bool:
        """Replace `old` by `new`; say whether `old` was there to be replaced."""
        swapped: bool = await self._ask("compare_and_set", key, old, new, ttl)
        return swapped

    @asynccontextmanager
    async def lock(self, key: str, ttl: float) -> AsyncIterator[LockHandle]:
        """Hold the lock inside, if nobody else does; does not wait."""
        call: Offload = _await
        if self._is_async or self._uses_async_methods():
            word = "lock" if self._is_async else "alock"
            lock = getattr(self._store, word)(key, ttl)
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
            # What was done under the lock is done; whoever comes next waits until
            # the lease ends.
            try:
                await call(leave, None, None, None)
            except Exception as error:  # noqa: BLE001 - foreign code
                logger.warning("a lock could not be released: %s", type(error).__name__)

    async def keys(self, prefix: str) -> list[str]:
        """Return the keys that begin with `prefix`, if the store can list them."""
        if getattr(self._store, "keys", None) is None:
            message = "the store can not list its users: it has no keys(prefix)"
            raise StoreError(message)
        found: list[str] = await self._ask("keys", prefix)
        return found

    async def close(self) -> None:
        """Let go of connections."""
        await self._ask("close")

    async def _ask(self, word: str, *args: Any) -> Any:
        with _store_errors():
            if self._is_async:
                return await getattr(self._store, word)(*args)
            if self._uses_async_methods():
                return await getattr(self._store, f"a{word}")(*args)
            return await self._blocking(word)(getattr(self._store, word), *args)

    def _uses_async_methods(self) -> bool:
        return (
            self._has_async_methods and self._offload is not None and self._on_asyncio()
        )

    def _blocking(self, word: str) -> Offload:
        """Return how a word that blocks is to be called."""
        quick = self._waits == "never" or (self._waits == "writes" and word == "get")
        return _at_once if quick or self._offload is None else self._offload


async def _at_once(call: Callable[..., Any], *args: Any) -> Any:
    return call(*args)


async def _await(call: Callable[..., Awaitable[Any]], *args: Any) -> Any:
    return await call(*args)


@contextmanager
def _store_errors() -> Iterator[None]:
    """Turn what a third party's store raises by itself into our own error."""
    try:
        yield
    except (StoreError, ConfigurationError):
        raise
    except Exception as error:
        raise _foreign(error) from error


def _foreign(error: Exception) -> StoreError:
    return StoreError(f"the store raised {type(error).__name__}")
