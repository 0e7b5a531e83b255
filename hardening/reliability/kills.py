"""kill -9 of the refreshing process, at any moment.

TikTok invalidates the old refresh token when it issues the new one. If a process dies
after that, but before the new token is on the disk, the only valid token is lost, and
no program can restore it; this window is as short as one write. With a provider that
accepts the old token for a while, no user may be lost. With a strict one, a user may be
lost only if the process died within the window, according to the stand-in: the stored
token was rotated, and its successor is not in the store. Half of the kills come at any
moment of a refresh, and half right after the stand-in committed, at the start of the
window.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sqlite3
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import closing, suppress
from statistics import median
from typing import Any

from tiktok_oauth_middleware._core.backends.one_step import run as finish
from tiktok_oauth_middleware._session.record import record_id
from tiktok_oauth_middleware.testing.server import StandIn

from .crew import context, end, reading, shared_clock, started
from .figure import Result, Run, opened, percentile
from .world import (
    LIFE,
    Asgi,
    Clock,
    Plan,
    Watcher,
    Wsgi,
    log_in,
    person,
    plan_for,
    watcher,
)

#: Long, since an answer that arrives after the timeout would also lose the user.
_TIMEOUT = 10
_GRACE = 60
_READY = 2
_CALIBRATION = 10
_WINDOW_SECONDS = 0.004
_DURABLE_MS = 5.0
#: Refreshes of one session, limited by its 30 days.
_EACH = 200


def run(args: Run) -> Iterator[Result]:
    """Yield results with grace and with strict rotation, and the window's length."""
    for grace in (_GRACE, 0):
        yield _Kills(args, grace).result(args.times(500, 10))
    yield _durable(args)


# --- the process that dies ---------------------------------------------------------


def _victim(plan: Plan, now: Any, is_asgi: bool, pipe: Any) -> None:
    """Build an app and its HTTP client, and send one request on a signal."""
    if is_asgi:
        asyncio.run(_cooperative_victim(plan, now, pipe))
    app = Wsgi(plan, reading(now))
    finish(finish(app.wrapped._core.service.client()).http.get())
    pipe.send(None)
    app.ask(pipe.recv())
    pipe.send(None)
    signal.pause()


async def _cooperative_victim(plan: Plan, now: Any, pipe: Any) -> None:
    app = Asgi(plan, reading(now))
    await (await app.wrapped._core.service.client()).http.get()
    pipe.send(None)
    await app.ask(pipe.recv())
    pipe.send(None)
    signal.pause()


class _Kills:
    """One user, and processes that refresh the user's token and are killed in turn."""

    def __init__(self, args: Run, grace: float) -> None:
        self._chance = random.Random(args.seed)
        self._now = shared_clock()
        self._fake: Watcher = watcher(reading(self._now))
        self._fake.grace = grace
        self._grace = grace
        self._store_timeout = args.store_timeout
        self._ready: deque[tuple[Any, Any]] = deque()
        self._started = 0
        self._found: Counter[str] = Counter()
        self._cookie = ""

    def result(self, kills: int) -> Result:
        with opened("sqlite") as url, StandIn(self._fake) as stand_in:
            self._plan = plan_for(
                url,
                stand_in,
                timeout=_TIMEOUT,
                store_timeout=self._store_timeout,
            )
            self._file = url.removeprefix("sqlite:///")
            self._app = Wsgi(self._plan, reading(self._now))
            self._come_back()
            longest = 1.3 * self._usual_seconds()
            for number in range(kills):
                if number % _EACH == 0:
                    self._come_back()
                self._kill_one(longest)
            end([process for process, _ in self._ready if not process.kill()])
            self._app.close()
        return self._result(kills)

    def _result(self, kills: int) -> Result:
        found = self._found
        moments = {kind: found[kind] for kind in ("early", "window", "stored")}
        bad = {kind: found[kind] for kind in ("unaccounted", "damaged", "5xx")}
        figures = {"kills": kills, **moments, "lost": found["lost"], **bad}
        allowed = 0 if self._grace else found["window"]
        passed = found["lost"] <= allowed and not any(bad.values())
        name = "grace" if self._grace else "strict"
        return Result(name=f"kills.{name}", passed=passed, figures=figures)

    # --- victims -------------------------------------------------------------------

    def _next_victim(self) -> tuple[Any, Any]:
        """Return a process that is ready, while others start."""
        while len(self._ready) < _READY:
            ours, theirs = context.Pipe()
            is_asgi = bool(self._started % 2)
            process = started(_victim, self._plan, self._now, is_asgi, theirs)
            theirs.close()
            self._ready.append((process, ours))
            self._started += 1
        process, pipe = self._ready.popleft()
        pipe.recv()
        return process, pipe

    def _usual_seconds(self) -> float:
        """Return the seconds of a refresh whose process is not killed."""
        took = []
        for _ in range(_CALIBRATION):
            process, pipe = self._next_victim()
            self._now.value += LIFE - 60
            began = time.monotonic()
            pipe.send(self._cookie)
            pipe.recv()
            took.append(time.monotonic() - began)
            self._bury(process, pipe)
        return median(took)

    def _bury(self, process: Any, pipe: Any) -> None:
        process.kill()
        process.join()
        pipe.close()

    # --- one kill ------------------------------------------------------------------

    def _kill_one(self, longest: float) -> None:
        process, pipe = self._next_victim()
        self._now.value += self._chance.choice([LIFE - 60, LIFE + 10])
        before = self._stored()
        self._fake.committed.clear()
        pipe.send(self._cookie)
        if self._chance.random() < 0.5:
            time.sleep(self._chance.uniform(0, longest))
        else:
            self._fake.committed.wait(3)
            time.sleep(self._chance.uniform(0, _WINDOW_SECONDS))
        self._bury(process, pipe)
        after = self._stored()
        self._found["damaged"] += not self._is_whole()
        self._go_on(before, after)

    def _go_on(self, before: str, after: str) -> None:
        """Send the user's request to another process after the dead one's lock expired.

        If TikTok refuses that refresh, the request is sent again when the dead process
        can no longer store an answer: until then nobody is signed out.
        """
        refresh = self._app.wrapped._core.service.refresh
        self._now.value += refresh._lease + 1
        was_rotated = after in self._fake.successors
        answer = self._app.ask(self._cookie)
        self._found["5xx"] += answer.status >= 500
        if answer.status == 200 and self._stored() == after == before:
            self._now.value += refresh.longest + 2
            answer = self._app.ask(self._cookie)
            self._found["5xx"] += answer.status >= 500
        signed_in, _, token = answer.who if answer.status == 200 else (True, "", "")
        if not signed_in:
            # The dead process's request may have been processed only now; a refused
            # refresh has rotated nothing.
            was_rotated = after in self._fake.successors
        unstored = "window" if was_rotated else "early"
        moment = unstored if after == before else "stored"
        self._found[moment] += 1
        if not signed_in:
            self._found["lost"] += 1
            self._found["unaccounted"] += moment != "window"
            self._come_back()
        self._found["unaccounted"] += signed_in and token is None

    def _come_back(self) -> None:
        """Log in again, which must succeed."""
        try:
            self._cookie = log_in(self._app, self._fake, person(1))
        except RuntimeError:
            self._found["5xx"] += 1

    def _stored(self) -> str:
        """Return the refresh token in the store; "" if there is none."""
        records = self._app.wrapped._core.service.records
        named = record_id(self._fake.provider.client_key, person(1).open_id)
        versioned = finish(records.load(named))
        return versioned.record.refresh_token.reveal() if versioned else ""

    def _is_whole(self) -> bool:
        with suppress(sqlite3.Error), closing(sqlite3.connect(self._file)) as database:
            return database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return False


# --- the window --------------------------------------------------------------------


def _durable(args: Run) -> Result:
    """Measure the write after TikTok's answer, in a process that does nothing else.

    The write returns when SQLite has the row on the disk.
    """
    refreshes = args.times(2000, 50)
    clock = Clock()
    fake = watcher(clock)
    took: list[float] = []
    with opened("sqlite") as url:
        plan = Plan(store=url, store_timeout=args.store_timeout)
        app = Wsgi(plan, clock, transport=fake.transport)
        _time_writes(app.wrapped._core.service.records, took)
        cookie = ""
        for number in range(refreshes):
            if number % _EACH == 0:
                cookie = log_in(app, fake, person(number))
            clock.value += LIFE - 60
            app.ask(cookie)
        app.close()
    middle, late = (percentile(took, share) * 1000 for share in (0.5, 0.99))
    figures = {"writes": len(took), "p50_ms": middle, "p99_ms": late}
    figures["max_ms"] = max(took) * 1000
    # A few writes on a busy machine do not show the 99th percentile.
    in_time = late <= _DURABLE_MS or args.scale < 0.5
    passed = in_time and len(took) == fake.refreshes
    return Result(name="kills.durable", passed=passed, figures=figures)


def _time_writes(records: Any, took: list[float]) -> None:
    """Make a process measure each write of new tokens."""
    replace = records.replace

    async def timed(versioned: Any, record: Any) -> Any:
        began = time.perf_counter()
        written = await replace(versioned, record)
        if record.refresh_token != versioned.record.refresh_token:
            took.append(time.perf_counter() - began)
        return written

    records.replace = timed
