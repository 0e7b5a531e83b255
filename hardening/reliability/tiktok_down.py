"""TikTok is down for half an hour, while a thousand sessions need fresh tokens.

The clock is simulated, so no time is spent waiting. Two apps share one store, as two
workers would, and each second a hundred requests come at once, several of them often
from the same session; at a small scale as many as there are sessions. Back-off is
checked by the time between calls: two calls for one session must be at least 3/4 of the
doubling wait apart, up to a minute.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Iterator
from typing import Any

from .figure import Result, Run, opened
from .world import LIFE, Asgi, Clock, Plan, Watcher, Wsgi, log_in, person, watcher

_REQUESTS = 100
_BACK_SECONDS = 60
#: Without the jitter, which is up to a quarter in both directions and at most a minute
#: in all.
_LONGEST_STEP = 48
#: The ways in which TikTok fails, in turn.
_FAULTS: tuple[dict[str, Any], ...] = (
    {"status": 503},
    {"disconnect": True},
    {"status": 500, "body": b"<html>bad gateway</html>"},
    {"status": 429},
    {"error": "server_error"},
)


def run(args: Run) -> Iterator[Result]:
    """Yield a result for SQLite, since the figure does not depend on the store."""
    yield asyncio.run(_measured(args))


async def _measured(args: Run) -> Result:
    clock = Clock()
    fake = watcher(clock)
    with opened("sqlite") as url:
        plan = Plan(store=url, store_timeout=args.store_timeout)
        cookies = _signed_in(plan, clock, fake, args.times(1000, 30))
        apps = [Asgi(plan, clock, transport=fake.transport) for _ in range(2)]
        load = _Load(apps, cookies, random.Random(args.seed))
        clock.value += LIFE - 200
        _break(fake)
        for _ in range(args.times(1800, 300)):
            clock.value += 1
            await load.second()
        fake.clear_faults()
        back = clock.value
        late = await _recovered(load, clock)
        for app in apps:
            await app.close()
    calls, hasty = _steps(fake, back)
    figures = {
        "sessions": len(cookies),
        "down_s": args.times(1800, 300),
        "requests": load.requests,
        "calls": calls,
        "calls_before_their_step": hasty,
        "lost": load.lost,
        "not_200": load.failed,
        "recovered_s": late,
    }
    bad = hasty or load.lost or load.failed
    passed = not bad and late <= _BACK_SECONDS and calls > 0
    return Result(name="tiktok_down", passed=passed, figures=figures)


def _signed_in(plan: Plan, clock: Clock, fake: Watcher, users: int) -> list[str]:
    app = Wsgi(plan, clock, transport=fake.transport)
    cookies = [log_in(app, fake, person(number)) for number in range(users)]
    app.close()
    return cookies


def _break(fake: Watcher) -> None:
    """Make TikTok fail in every way, in turn, until its faults are cleared."""
    for fault in itertools.islice(itertools.cycle(_FAULTS), 500):
        fake.fail("token", times=7, **fault)
    fake.fail("token", times=10**9, status=503)


class _Load:
    """Requests of signed-in users, and their results."""

    def __init__(self, apps: list[Asgi], cookies: list[str], chance: Any) -> None:
        self._apps = apps
        self._cookies = cookies
        self._chance = chance
        self.requests = self.lost = self.failed = 0

    async def second(self) -> None:
        """Send a hundred requests at once, of random users; one for each, if fewer."""
        count = min(_REQUESTS, len(self._cookies))
        await self.ask(self._chance.choices(self._cookies, k=count))

    async def everybody(self) -> int:
        """Send one request of each user; return how many have a token."""
        return await self.ask(self._cookies)

    async def ask(self, cookies: list[str]) -> int:
        apps = itertools.cycle(self._apps)
        asked = (app.ask(cookie) for app, cookie in zip(apps, cookies, strict=False))
        good = 0
        for answer in await asyncio.gather(*asked):
            self.requests += 1
            self.failed += answer.status != 200
            signed_in, _, token = answer.who if answer.status == 200 else (True, "", "")
            self.lost += not signed_in
            good += bool(token)
        return good


async def _recovered(load: _Load, clock: Clock) -> float:
    """Return the seconds of the clock until every user has a token."""
    began, everybody = clock.value, len(load._cookies)
    while clock.value - began < 3 * _BACK_SECONDS:
        clock.value += 1
        if await load.everybody() == everybody:
            break
    return clock.value - began


def _steps(fake: Watcher, back: float) -> tuple[int, int]:
    """Return the number of failed calls, and of those that came too early."""
    calls = hasty = 0
    for times in fake.presented.values():
        vain = [at for at in times if at <= back]
        calls += len(vain)
        for failures, (one, other) in enumerate(itertools.pairwise(vain), 1):
            step = max(1.0, 0.75 * min(2 ** (failures - 1), _LONGEST_STEP))
            hasty += other - one < step
    return calls, hasty
