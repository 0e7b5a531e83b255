"""A slow peer of an event loop does not delay other requests.

A real uvicorn with one process serves requests at a steady rate. Then TikTok's token
endpoint hangs for users who log in, the store hangs for signed-in users, and clients
send only the first byte of a webhook. Requests that wait for the peer are answered at
their deadline, and all others as before.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from benchmarks.redis_server import RedisServer
from tests.support.ports import free_port
from tiktok_oauth_middleware.testing.server import StandIn

from .crew import context, end, started
from .figure import Result, Run, percentile
from .served import serving, uvicorn
from .wire import ask
from .world import LOGIN, WEBHOOK, Answer, person, plan_for, watcher

_RATE = 50
_SLOW = 20
_APART_SECONDS = 0.05
_P99_SECONDS = 0.05
_TIMEOUT = 2.0
#: The timeout of the stores.
_STORE_SECONDS = 2.0
_OVER = 1.1
_USERS = 20

Ask = Callable[[], Coroutine[Any, Any, Answer]]


class _Seen(NamedTuple):
    seconds: float
    status: int


def run(args: Run) -> Iterator[Result]:
    """Yield results for no slow peer, TikTok, the store and clients, for each store."""
    for store in args.stores:
        with TemporaryDirectory(prefix="reliability-") as folder:
            yield from _on(store, Path(folder), args)


def _on(store: str, folder: Path, args: Run) -> Iterator[Result]:
    fake = watcher(time.time)
    redis = RedisServer(str(folder)) if store == "redis" else None
    if redis:
        redis.start()
    url = redis.url if redis else f"sqlite:///{folder / 'tokens.sqlite3'}"
    port = free_port()
    try:
        with StandIn(fake) as stand_in:
            plan = plan_for(url, stand_in, timeout=_TIMEOUT)
            with serving(plan, uvicorn(port), port, folder / "server.log"):
                yield from asyncio.run(_phases(store, url, redis, port, fake, args))
    finally:
        if redis:
            redis.thaw()
            redis.kill()


async def _phases(
    store: str, url: str, redis: RedisServer | None, port: int, fake: Any, args: Run
) -> list[Result]:
    seconds = args.times(20, 3)
    cookies = [await _log_in(port, fake, number) for number in range(_USERS)]
    stranger = [("/", ""), (LOGIN, "")]
    anybody = stranger + [("/", cookie) for cookie in cookies]
    results = []

    async def phase(
        name: str, others: list[tuple[str, str]], slow: list[Ask], least: float
    ) -> None:
        # In another process, so that the load does not delay it.
        ours, theirs = context.Pipe()
        load = started(_load, port, others, max(seconds, least + 1.5), theirs)
        await asyncio.to_thread(ours.recv)
        waiting = []
        for one in slow:  # like real users, not all in one millisecond
            waiting.append(asyncio.create_task(_timed(one)))
            await asyncio.sleep(_APART_SECONDS)
        late = await asyncio.gather(*waiting)
        seen = await asyncio.to_thread(ours.recv)
        end([load])
        results.append(_result(f"slow_peers.{name}[{store}]", seen, late, least))

    await phase("nobody", anybody, [], 0)
    begun = [await ask(port, LOGIN) for _ in range(_SLOW)]
    fake.fail("token", times=_SLOW, delay=3 * _TIMEOUT)
    await phase("tiktok", anybody, [_callback(port, fake, b) for b in begun], _TIMEOUT)
    fake.clear_faults()
    await phase("clients", anybody, [_half(port) for _ in range(_SLOW)], 0)
    # Readers of a SQLite file do not wait for a writer, so logins are used there.
    begun = [await ask(port, LOGIN) for _ in range(_SLOW)]
    slow: list[Ask] = [_callback(port, fake, b) for b in begun]
    if redis:
        slow = [lambda c=cookie: ask(port, "/", c) for cookie in cookies]
        await asyncio.sleep(1.1)  # then no cached session is fresh
    with _hanging(url, redis):
        others = stranger if redis else anybody
        await phase("store", others, slow, _STORE_SECONDS)
    return results


def _result(name: str, seen: list[_Seen], late: list[_Seen], deadline: float) -> Result:
    others = [one.seconds for one in seen]
    bad = sum(one.status not in (200, 303) for one in seen)
    figures: dict[str, Any] = {
        "requests": len(seen),
        "bad": bad,
        "p50_ms": percentile(others, 0.5) * 1000,
        "p99_ms": percentile(others, 0.99) * 1000,
        "max_ms": max(others) * 1000,
    }
    passed = not bad and percentile(others, 0.99) <= _P99_SECONDS
    if late and deadline:
        slowest = max(one.seconds for one in late)
        statuses = sorted({one.status for one in late})
        figures |= {"waiting": len(late), "deadline_s": deadline}
        figures |= {"slowest_s": slowest, "answered": statuses}
        passed = passed and slowest <= deadline * _OVER and statuses == [503]
    return Result(name=name, passed=passed, figures=figures)


def _load(port: int, others: list[tuple[str, str]], seconds: float, pipe: Any) -> None:
    """Send requests at a steady rate, independent of answers; return the answers."""

    async def load() -> list[_Seen]:
        for url, cookie in others:  # to warm up, not measured
            await ask(port, url, cookie)
        pipe.send("begun")
        began, running = time.monotonic(), []
        for number in range(round(seconds * _RATE)):
            await asyncio.sleep(max(0.0, began + number / _RATE - time.monotonic()))
            url, cookie = others[number % len(others)]
            one = partial(ask, port, url, cookie)
            running.append(asyncio.create_task(_timed(one)))
        return list(await asyncio.gather(*running))

    pipe.send(asyncio.run(load()))


async def _timed(one: Ask) -> _Seen:
    began = time.monotonic()
    answer = await one()
    return _Seen(time.monotonic() - began, answer.status)


async def _log_in(port: int, fake: Any, number: int) -> str:
    begun = await ask(port, LOGIN)
    done = await _callback(port, fake, begun, number)()
    if done.status != 303:
        message = f"a login ended with {done.status}"
        raise RuntimeError(message)
    return done.cookies


def _callback(port: int, fake: Any, begun: Answer, number: int = 0) -> Ask:
    callback = urlsplit(fake.consent(begun.header("location"), person=person(number)))
    url = f"{callback.path}?{callback.query}"
    return lambda: ask(port, url, begun.cookies)


def _half(port: int) -> Ask:
    async def send() -> Answer:
        """Send a webhook's head and one byte of its body; disconnect at the end."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"POST {WEBHOOK} HTTP/1.1\r\nhost: app.example.com\r\n"
        writer.write(f"{head}content-length: 60000\r\n\r\n{{".encode())
        with suppress(TimeoutError):
            await asyncio.wait_for(reader.read(), _TIMEOUT)
        writer.close()
        return Answer(0, [], b"")

    return send


@contextmanager
def _hanging(url: str, redis: RedisServer | None) -> Iterator[None]:
    """Make the store hang: freeze it, or lock its file from another process."""
    if redis:
        redis.freeze()
        yield
        redis.thaw()
        return
    path = url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")
