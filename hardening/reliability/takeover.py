"""kill -9 of the process with a refresh's lock, and how long others wait.

The process is killed while it waits for TikTok, which never answers it. Another process
with the expired token sends requests repeatedly; the program measures the time from the
kill to its first token. It uses real time, since Redis uses that for leases.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Mapping
from statistics import median
from typing import Any

from tiktok_oauth_middleware.testing.fake import ConnectionLost, Reply
from tiktok_oauth_middleware.testing.server import StandIn

from .crew import context, shared_clock, started, ticking
from .figure import Result, Run, opened
from .world import (
    LIFE,
    Asgi,
    Plan,
    Watcher,
    Wsgi,
    log_in,
    person,
    plan_for,
)

#: The promised limit: seconds until others can refresh.
_PROMISED = 3.0
_PATIENCE = 60.0


def run(args: Run) -> Iterator[Result]:
    """Yield how long others wait, for each store."""
    for store in args.stores:
        yield _takeovers(args, store)


class _Holding(Watcher):
    """A stand-in that delays only the first refresh."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.is_holding = False
        self.arrived = threading.Event()
        self.let_go = threading.Event()

    def handle(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> Reply:
        """Answer like TikTok, except the delayed refresh."""
        if self.is_holding and b"grant_type=refresh_token" in body:
            self.is_holding = False
            self.arrived.set()
            self.let_go.wait(_PATIENCE)
            raise ConnectionLost
        return super().handle(method, url, headers, body)


def _holder(plan: Plan, now: Any, is_asgi: bool, cookie: str, pipe: Any) -> None:
    """Build an app, report that it is ready, and send one request on a signal."""
    if is_asgi:
        asyncio.run(_cooperative_holder(plan, now, cookie, pipe))
        return
    app = Wsgi(plan, ticking(now))
    pipe.send(None)
    pipe.recv()
    app.ask(cookie)


async def _cooperative_holder(plan: Plan, now: Any, cookie: str, pipe: Any) -> None:
    app = Asgi(plan, ticking(now))
    pipe.send(None)
    pipe.recv()
    await app.ask(cookie)


def _takeovers(args: Run, store: str) -> Result:
    kills = args.times(50, 2)
    now = shared_clock()
    fake = _Holding.for_settings(Plan(store="").settings(), clock=ticking(now))
    fake.access_lifetime = LIFE
    took: list[float] = []
    lost = 0
    with opened(store) as url, StandIn(fake) as stand_in:
        patience = args.store_timeout
        plan = plan_for(url, stand_in, timeout=30, store_timeout=patience)
        app = Wsgi(plan, ticking(now))
        for number in range(kills):
            cookie = log_in(app, fake, person(number))
            ours, theirs = context.Pipe()
            process = started(_holder, plan, now, bool(number % 2), cookie, theirs)
            ours.recv()
            now.value += LIFE + 10
            fake.arrived.clear()
            fake.let_go.clear()
            fake.is_holding = True
            ours.send(None)
            if not fake.arrived.wait(_PATIENCE):
                message = "the holder never asked"
                raise RuntimeError(message)
            process.kill()
            began = time.monotonic()
            lost += not _gets_a_token(app, cookie)
            took.append(time.monotonic() - began)
            fake.let_go.set()
            process.join()
        app.close()
    refreshes = fake.refreshes
    figures = {
        "kills": kills,
        "median_s": median(took),
        "max_s": max(took),
        "refreshes": refreshes,
        "lost": lost,
    }
    passed = max(took) <= _PROMISED and refreshes == kills and not lost
    return Result(name=f"takeover[{store}]", passed=passed, figures=figures)


def _gets_a_token(app: Wsgi, cookie: str) -> bool:
    give_up = time.monotonic() + _PATIENCE
    while time.monotonic() < give_up:
        answer = app.ask(cookie)
        signed_in, _, token = answer.who if answer.status == 200 else (True, "", None)
        if token is not None or not signed_in:
            return signed_in
    return False
