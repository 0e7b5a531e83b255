"""The one place below the shells where WSGI and ASGI differ.

Every flow is written once, as ``async def``, and awaits only what is here, in the
client and in the stores. `Cooperative` serves ASGI: it suspends, on asyncio or Trio.
`Blocking` serves WSGI: its coroutines block and never suspend, so `run` finishes a
whole flow with one ``send(None)``: no event loop, no thread for each request. (Six
steps cost 1.4 us that way; an event loop for each request 93, a portal thread 68.)
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    asynccontextmanager,
    contextmanager,
)
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from .errors import ConfigurationError, StoreError
from .forks import renew_after_fork

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")

_THREADS = 40


def run(flow: Coroutine[Any, Any, T]) -> T:
    """Finish a coroutine that never suspends, and return its result.

    Raises:
        RuntimeError: it suspended, which under WSGI is a bug; the message says where.
    """
    try:
        flow.send(None)
    except StopIteration as finished:
        return finished.value  # type: ignore[no-any-return]
    awaited = _innermost(flow)
    flow.close()
    message = f"{awaited} suspended under WSGI, where nothing can resume it"
    raise RuntimeError(message)


def _innermost(flow: Any) -> str:
    """Return the name of the coroutine that a suspended one is waiting in."""
    while getattr(flow, "cr_await", None) is not None:
        inner = flow.cr_await
        if not hasattr(inner, "cr_await"):
            break
        flow = inner
    return getattr(flow, "__qualname__", repr(flow))


class Port(Protocol):
    """A store as flows see it: the same four words, awaitable."""

    async def get(self, key: str) -> bytes | None:
        """Return the value, or None if there is none."""
        ...

    async def compare_and_set(
        self, key: str, old: bytes | None, new: bytes | None, ttl: float
    ) -> bool:
        """Replace `old` by `new`; say whether `old` was there to be replaced."""
        ...

    def lock(self, key: str, ttl: float) -> AbstractAsyncContextManager[bool]:
        """Hold the lock inside, if nobody else does; does not wait."""
        ...

    async def keys(self, prefix: str) -> list[str]:
        """Return the keys that begin with `prefix`, if the store can list them."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class Runtime(Protocol):
    """What flows need of the world they run in."""

    def port(self, store: Any) -> Port:
        """Return a store's awaitable face."""
        ...

    async def offload(self, work: Callable[..., T], *args: Any) -> T:
        """Return ``work(*args)``, which may take long, without holding others up."""
        ...

    async def timed(self, seconds: float, call: Callable[[], Any]) -> Any:
        """Return what `call` gives; a TimeoutError if it takes longer in total."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...

    def lock(self, key: str, *, wait: bool = True) -> AbstractAsyncContextManager[bool]:
        """Hold this process's lock for `key` inside; False if busy and not waiting."""
        ...

    async def shielded(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return what `work` gives; it runs to its end even if we are cancelled."""
        ...

    async def shared(self, make: Callable[[], T], owner: object, name: str) -> T:
        """Return what `make` made the first time it was asked for here."""
        ...

    async def settle(self, seconds: float) -> None:
        """Wait for shielded work whose request has gone, for so long at most."""
        ...

    def taken_back(self, owner: object, name: str) -> Any:
        """Return what `shared` made, which is then not shared any more; or None."""
        ...

    async def tell(self, callback: Callable[[Any], Any], event: Any) -> None:
        """Call an app's callback, which may be an ``async def`` where that works."""
        ...

    @property
    def is_blocking(self) -> bool:
        """Which family of HTTP client goes with it."""
        ...


class _Locks:
    """Locks by key that are gone when nobody holds or awaits them."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._by_key: weakref.WeakValueDictionary[str, _Cell] = (
            weakref.WeakValueDictionary()
        )
        self._guard = threading.Lock()

    def cell(self, key: str) -> _Cell:
        with self._guard:
            found = self._by_key.get(key)
            if found is None:
                found = self._by_key[key] = _Cell(self._make())
            return found


class _Cell:
    """A lock that can be referred to weakly, whatever kind it is."""

    __slots__ = ("__weakref__", "lock")

    def __init__(self, lock: Any) -> None:
        self.lock = lock


# --- WSGI --------------------------------------------------------------------------


class Blocking:
    """The world of WSGI: threads, and calls that block."""

    is_blocking = True

    def __init__(self) -> None:
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Begin anew: no lock is held, and no client made."""
        self._locks = _Locks(threading.Lock)
        self._shared: weakref.WeakKeyDictionary[Any, dict[str, Any]] = (
            weakref.WeakKeyDictionary()
        )
        self._making = threading.Lock()

    def port(self, store: Any) -> Port:
        if _is_async(store):
            message = (
                "store has async methods; under WSGI a store must block: use one with"
                " plain methods"
            )
            raise ConfigurationError(message)
        return _BlockingPort(store)

    async def offload(self, work: Callable[..., T], *args: Any) -> T:
        return work(*args)

    async def timed(self, seconds: float, call: Callable[[], Any]) -> Any:
        """Run the call in a thread of its own: socket time-outs bound one read each.

        A peer that sends a byte now and then would hold the request for ever; here
        the thread is left behind and its result dropped. It costs about 60 us, once a
        login or refresh.
        """
        outcome: list[tuple[bool, Any]] = []

        def work() -> None:
            try:
                outcome.append((True, call()))
            except BaseException as error:  # noqa: BLE001 - handed to the caller
                outcome.append((False, error))

        thread = threading.Thread(target=work, name="tiktok-call", daemon=True)
        thread.start()
        thread.join(seconds)
        if not outcome:
            raise TimeoutError
        succeeded, result = outcome[0]
        if succeeded:
            return result
        raise result

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 - this is the blocking world

    @asynccontextmanager
    async def lock(self, key: str, *, wait: bool = True) -> AsyncIterator[bool]:
        cell = self._locks.cell(key)
        held = cell.lock.acquire(blocking=wait)
        try:
            yield held
        finally:
            if held:
                cell.lock.release()

    async def shielded(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return await work()

    async def shared(self, make: Callable[[], T], owner: object, name: str) -> T:
        with self._making:
            made = self._shared.setdefault(owner, {})
            if name not in made:
                made[name] = make()
            return made[name]  # type: ignore[no-any-return]

    async def settle(self, seconds: float) -> None:
        """Return: nothing runs that nobody waits for."""

    def taken_back(self, owner: object, name: str) -> Any:
        return self._shared.get(owner, {}).pop(name, None)

    async def tell(self, callback: Callable[[Any], Any], event: Any) -> None:
        callback(event)


class _BlockingPort:
    def __init__(self, store: Any) -> None:
        self._store = store

    async def get(self, key: str) -> bytes | None:
        with _store_errors():
            return self._store.get(key)  # type: ignore[no-any-return]

    async def compare_and_set(
        self, key: str, old: bytes | None, new: bytes | None, ttl: float
    ) -> bool:
        with _store_errors():
            return self._store.compare_and_set(key, old, new, ttl)  # type: ignore[no-any-return]

    @asynccontextmanager
    async def lock(self, key: str, ttl: float) -> AsyncIterator[bool]:
        with self._store.lock(key, ttl) as held:
            yield held

    async def keys(self, prefix: str) -> list[str]:
        with _store_errors():
            return _listing(self._store, "keys")(prefix)  # type: ignore[no-any-return]

    async def close(self) -> None:
        self._store.close()


# --- ASGI --------------------------------------------------------------------------


class Cooperative:
    """The world of ASGI: one event loop, or several, of asyncio or Trio."""

    is_blocking = False

    def __init__(self) -> None:
        # What belongs to a loop, by the loop's own token: it dies with the loop.
        self._by_loop: Any = None
        self._running: set[asyncio.Task[Any]] = set()

    def _here(self) -> dict[str, Any]:
        """Return what belongs to the running event loop."""
        from anyio.lowlevel import RunVar  # noqa: PLC0415 - imports asyncio

        if self._by_loop is None:
            self._by_loop = RunVar("tiktok_oauth_middleware")
        try:
            return self._by_loop.get()[id(self)]  # type: ignore[no-any-return]
        except LookupError:
            pass
        here = self._by_loop.get({})
        here[id(self)] = {}
        self._by_loop.set(here)
        return here[id(self)]  # type: ignore[no-any-return]

    def port(self, store: Any) -> Port:
        if _is_async(store):
            return store  # type: ignore[no-any-return]
        if hasattr(store, "aget"):
            return _TwinPort(store, self)
        return _ThreadPort(store, self)

    async def offload(self, work: Callable[..., T], *args: Any) -> T:
        from anyio import CapacityLimiter, to_thread  # noqa: PLC0415

        here = self._here()
        if "threads" not in here:
            # Of our own: an app whose views fill the usual ones must not hold up a
            # refreshed token on its way to the store.
            here["threads"] = CapacityLimiter(_THREADS)
        return await to_thread.run_sync(work, *args, limiter=here["threads"])

    async def timed(self, seconds: float, call: Callable[[], Any]) -> Any:
        from anyio import fail_after  # noqa: PLC0415

        with fail_after(seconds):
            return await call()

    async def sleep(self, seconds: float) -> None:
        from anyio import sleep  # noqa: PLC0415

        await sleep(seconds)

    @asynccontextmanager
    async def lock(self, key: str, *, wait: bool = True) -> AsyncIterator[bool]:
        from anyio import Lock, WouldBlock  # noqa: PLC0415

        here = self._here()
        if "locks" not in here:
            here["locks"] = _Locks(Lock)
        cell = here["locks"].cell(key)
        try:
            await cell.lock.acquire() if wait else cell.lock.acquire_nowait()
        except WouldBlock:
            yield False
            return
        try:
            yield True
        finally:
            cell.lock.release()

    async def shielded(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Let `work` finish whatever happens to the request that began it.

        A cancel scope of anyio holds off anyio's cancellation, not a bare
        ``task.cancel()``; on asyncio the work is therefore a task of its own.
        """
        import asyncio  # noqa: PLC0415

        from anyio import CancelScope  # noqa: PLC0415

        if not _on_asyncio():
            with CancelScope(shield=True):
                return await work()
        task = asyncio.ensure_future(work())
        self._running.add(task)
        task.add_done_callback(self._finished)
        return await asyncio.shield(task)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # looked at: whoever waited has it, or has gone

    async def shared(self, make: Callable[[], T], owner: object, name: str) -> T:
        made: dict[Any, Any] = self._here().setdefault("made", {})
        key = (id(owner), name)
        if key not in made:
            async with self.lock(f"making {name}"):
                if key not in made:
                    made[key] = await self.offload(make)
        return made[key]  # type: ignore[no-any-return]

    async def settle(self, seconds: float) -> None:
        import asyncio  # noqa: PLC0415

        if not _on_asyncio():
            return
        here = asyncio.get_running_loop()
        tasks = [task for task in self._running if task.get_loop() is here]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)

    def taken_back(self, owner: object, name: str) -> Any:
        return self._here().get("made", {}).pop((id(owner), name), None)

    async def tell(self, callback: Callable[[Any], Any], event: Any) -> None:
        told = callback(event)
        if isinstance(told, Awaitable):
            await told


class _ThreadPort:
    """A blocking store in an event loop: what may take long goes through a thread.

    A trip through a thread costs 52 us and more, a read of SQLite 10: a store whose
    reads never wait for long says so in ``waits``, and they stay in the loop.
    """

    def __init__(self, store: Any, runtime: Cooperative) -> None:
        self._store = store
        self._runtime = runtime
        self._waits = getattr(store, "waits", "always")

    async def get(self, key: str) -> bytes | None:
        if self._waits == "always":
            return await self._runtime.offload(self._store.get, key)
        return self._store.get(key)  # type: ignore[no-any-return]

    async def compare_and_set(
        self, key: str, old: bytes | None, new: bytes | None, ttl: float
    ) -> bool:
        swap = self._store.compare_and_set
        if self._waits == "never":
            return swap(key, old, new, ttl)  # type: ignore[no-any-return]
        return await self._runtime.offload(swap, key, old, new, ttl)

    @asynccontextmanager
    async def lock(self, key: str, ttl: float) -> AsyncIterator[bool]:
        lock = self._store.lock(key, ttl)
        held = await self._runtime.offload(lock.__enter__)
        try:
            yield held
        finally:
            from anyio import CancelScope  # noqa: PLC0415

            with CancelScope(shield=True):
                await self._runtime.offload(lock.__exit__, None, None, None)

    async def keys(self, prefix: str) -> list[str]:
        with _store_errors():
            return await self._runtime.offload(_listing(self._store, "keys"), prefix)

    async def close(self) -> None:
        await self._runtime.offload(self._store.close)


class _TwinPort:
    """A store with async twins for asyncio; under Trio its blocking half in threads."""

    def __init__(self, store: Any, runtime: Cooperative) -> None:
        self._store = store
        self._thread = _ThreadPort(store, runtime)

    async def get(self, key: str) -> bytes | None:
        if _on_asyncio():
            return await self._store.aget(key)  # type: ignore[no-any-return]
        return await self._thread.get(key)

    async def compare_and_set(
        self, key: str, old: bytes | None, new: bytes | None, ttl: float
    ) -> bool:
        if _on_asyncio():
            return await self._store.acompare_and_set(key, old, new, ttl)  # type: ignore[no-any-return]
        return await self._thread.compare_and_set(key, old, new, ttl)

    def lock(self, key: str, ttl: float) -> AbstractAsyncContextManager[bool]:
        if _on_asyncio():
            return self._store.alock(key, ttl)  # type: ignore[no-any-return]
        return self._thread.lock(key, ttl)

    async def keys(self, prefix: str) -> list[str]:
        if _on_asyncio():
            return await _listing(self._store, "akeys")(prefix)  # type: ignore[no-any-return]
        return await self._thread.keys(prefix)

    async def close(self) -> None:
        if _on_asyncio():
            await self._store.aclose()
        else:
            await self._thread.close()


def _listing(store: Any, word: str) -> Any:
    """Return a store's method that lists keys, which not every store has."""
    method = getattr(store, word, None)
    if method is None:
        message = f"the store can not list its users: it has no {word}(prefix)"
        raise StoreError(message)
    return method


def _on_asyncio() -> bool:
    """Whether an asyncio task is running; otherwise it is Trio's."""
    import asyncio  # noqa: PLC0415

    try:
        return asyncio.current_task() is not None
    except RuntimeError:
        return False


def _is_async(store: Any) -> bool:
    from inspect import iscoroutinefunction  # noqa: PLC0415

    return iscoroutinefunction(store.get)


@contextmanager
def _store_errors() -> Iterator[None]:
    """Turn what a third party's store raises by itself into our own error."""
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        message = f"the store raised {type(error).__name__}"
        raise StoreError(message) from error
