"""Threads that run freely while tokens become due: no refresh is lost or doubled.

Eight threads send requests of a few users in random order and never wait for one
another, while the clock goes on. Half of them use one WSGI app, and half one ASGI app,
each with its own event loop. All are in one process, over one store. On a free-threaded
build they run at the same time. The program also fails if an imported extension
switched the interpreter's lock back on, because the result would then prove nothing.

Rotation is strict. If a refresh token is presented twice, the token was refreshed
twice; if a session is missing at the end, or its next refresh fails, a refresh was
lost.
"""

from __future__ import annotations

import asyncio
import random
import sys
import sysconfig
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tiktok_oauth_middleware import MemoryStore

from .figure import Result, Run, opened
from .world import LIFE, Answer, Asgi, Clock, Plan, Watcher, Wsgi, log_in, person
from .world import watcher as strict_stand_in

_THREADS = 8
_USERS = 24
#: The number of clock steps in the lifetime of a token.
_STEPS = 40
#: The number of requests that the first thread sends in each step.
_REQUESTS_A_STEP = 12
_PATIENCE = 600


def run(args: Run) -> Iterator[Result]:
    """Yield one result for the memory store, and one for SQLite."""
    lives = args.times(50, 1)
    yield _figure("memory", lives, args)
    if "sqlite" in args.stores:
        yield _figure("sqlite", lives, args)


def is_locked() -> bool:
    """Return whether threads of this process run one at a time."""
    # Only Python 3.13 and newer have this function; others always have the lock.
    enabled: Callable[[], bool] = getattr(sys, "_is_gil_enabled", lambda: True)
    return enabled()


def _figure(store: str, lives: int, args: Run) -> Result:
    clock = Clock()
    fake = strict_stand_in(clock)
    found: Counter[str] = Counter()
    with opened(store) as url, _often_switching():
        plan = Plan(store=url, store_timeout=args.store_timeout)
        # Locks expire by the store's clock, whose hours pass in seconds here.
        kept = MemoryStore() if store == "memory" else plan.open_store(time.time)
        options: dict[str, Any] = {"store": kept, "transport": fake.transport}
        wsgi, asgi = Wsgi(plan, clock, **options), Asgi(plan, clock, **options)
        cookies = {
            who.open_id: log_in(wsgi, fake, who) for who in map(person, range(_USERS))
        }
        crowd = _Crowd(fake, cookies, clock, lives)
        crowd.run(wsgi, asgi, args.seed)
        found += crowd.found
        found["lost"] = _lost(wsgi, fake, cookies, clock)
        wsgi.close()
    presented = fake.presented.values()
    found["doubled"] = sum(len(times) - 1 for times in presented)
    wrong = {
        kind: found[kind] for kind in ("5xx", "signed_out", "strange", "raised", "lost")
    }
    wrong["doubled"] = found["doubled"]
    # A free-threaded build with the lock switched back on proves nothing.
    is_free_build = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    is_kept_free = not (is_free_build and is_locked())
    refreshed = len(presented) >= _USERS * lives
    figures = {
        "python": sys.version.split()[0],
        "lock": "on" if is_locked() else "off",
        "threads": _THREADS,
        "users": _USERS,
        "lives": lives,
        "requests": found["requests"],
        "refreshes": fake.refreshes,
        **wrong,
    }
    passed = not any(wrong.values()) and refreshed and is_kept_free
    return Result(name=f"free_threads[{store}]", passed=passed, figures=figures)


@contextmanager
def _often_switching() -> Iterator[None]:
    """Make threads with a shared interpreter lock switch a thousand times as often."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


class _Crowd:
    """The threads, and the faults that they found."""

    def __init__(
        self, fake: Watcher, cookies: dict[str, str], clock: Clock, lives: int
    ) -> None:
        self.found: Counter[str] = Counter()
        self._fake = fake
        self._cookies = list(cookies.items())
        self._clock = clock
        self._lives = lives
        self._guard = threading.Lock()
        self._is_over = threading.Event()

    def run(self, wsgi: Wsgi, asgi: Asgi, seed: int) -> None:
        """Run all threads until the tokens have expired the given number of times."""

        def free(number: int) -> None:
            order = random.Random(f"{seed} {number}")
            found: Counter[str] = Counter()
            try:
                if number % 2:
                    asyncio.run(self._ask_asgi(asgi, order, found))
                else:
                    self._ask_wsgi(wsgi, order, found, is_first=number == 0)
            except Exception:
                found["raised"] += 1
                traceback.print_exc()
            finally:
                if number == 0:
                    self._is_over.set()
                with self._guard:
                    self.found += found

        threads = [
            threading.Thread(target=free, args=(number,), daemon=True)
            for number in range(_THREADS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(_PATIENCE)
            if thread.is_alive():
                self.found["raised"] += 1

    def _ask_wsgi(
        self, app: Wsgi, order: random.Random, found: Counter[str], *, is_first: bool
    ) -> None:
        if not is_first:
            while not self._is_over.is_set():
                who, cookie = order.choice(self._cookies)
                self._count(app.ask(cookie), who, found)
            return
        for _ in range(self._lives * _STEPS):
            self._clock.value += LIFE / _STEPS
            for _ in range(_REQUESTS_A_STEP):
                who, cookie = order.choice(self._cookies)
                self._count(app.ask(cookie), who, found)

    async def _ask_asgi(
        self, app: Asgi, order: random.Random, found: Counter[str]
    ) -> None:
        while not self._is_over.is_set():
            some = [order.choice(self._cookies) for _ in range(4)]
            answers = await asyncio.gather(*(app.ask(cookie) for _, cookie in some))
            for answer, (who, _) in zip(answers, some, strict=True):
                self._count(answer, who, found)
        await app.wrapped.aclose()  # closes this loop's connections

    def _count(self, answer: Answer, who: str, found: Counter[str]) -> None:
        found["requests"] += 1
        if answer.status != 200:
            found["5xx"] += 1
            return
        signed_in, open_id, token = answer.who
        found["signed_out"] += not signed_in
        # Another user's token, or one that was never issued. No token is right, too: it
        # may have expired since the answer, as the clock advances.
        found["strange"] += signed_in and open_id != who
        found["strange"] += token is not None and self._fake.owners.get(token) != who


def _lost(app: Wsgi, fake: Watcher, cookies: dict[str, str], clock: Clock) -> int:
    """Return how many users' tokens cannot be refreshed any more."""
    clock.value += LIFE + 10
    lost = 0
    for who, cookie in cookies.items():
        signed_in, open_id, token = app.ask(cookie).who
        is_whole = signed_in and open_id == who and fake.owners.get(token or "") == who
        lost += not is_whole
    return lost
