"""Redis goes away a hundred times under load: 200 or 503, and no session is lost.

Redis is frozen (connections stay open, nothing answers) or killed and started again
with its files. Requests of signed-in users arrive at a constant fifty a second, half
through ASGI and half through WSGI, and their tokens fall due now and then. TikTok
answers slowly, so that outages happen during refreshes. Rotation is strict: if an
answer of TikTok were lost with the store, a user would be signed out.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from benchmarks.redis_server import RedisServer

from .figure import Result, Run
from .world import Answer, Asgi, Plan, Watcher, Wsgi, log_in, person, watcher

_USERS = 200
#: The rate of each interface.
_EACH_SECOND = 25
_THREADS = 100
#: The lifetime of a token. The leeway, a tenth of it, is longer than the life of a lock
#: that could not be released; with TikTok's much longer lifetimes it always is.
_LIFE = 200
_SHORTEST_LIFE = 110
#: The seconds by which the clock advances after the logins, so that the first tokens
#: are due at once, and the last ones when a run at full scale is nearly over.
_SKIPPED = 94
_LEAST_SPREAD = 5
_TIMEOUT = 2
_TIKTOK_SECONDS = 0.4
_BACK_SECONDS = 2.0
#: The store counts as available after this time without a bad answer.
_CALM_SECONDS = 0.3
_GIVE_UP = 20.0


#: A request that began this shortly before an outage may be affected by it.
_EVE_SECONDS = 0.1


class Outage(NamedTuple):
    """One outage: its start and its end."""

    down: float
    back: float


class Seen(NamedTuple):
    """One request: when it began and ended, and its result."""

    began: float
    ended: float
    outcome: str


def run(args: Run) -> Iterator[Result]:
    """Yield the one result."""
    folder = TemporaryDirectory(prefix="reliability-")
    with folder as path, RedisServer(path) as redis:
        yield _measured(args, redis)


def _measured(args: Run, redis: RedisServer) -> Result:
    chance = random.Random(args.seed)
    skipped = [0]
    fake = watcher(lambda: time.time() + skipped[0])
    plan = Plan(store=redis.url, timeout=_TIMEOUT)
    app = Wsgi(plan, fake.provider.clock, transport=fake.transport)
    spread = args.times(_LIFE - _SHORTEST_LIFE, _LEAST_SPREAD)
    # The logins before the figure may take long on a busy machine.
    usual = Plan(store=redis.url, store_timeout=args.store_timeout)
    patient = Wsgi(usual, fake.provider.clock, transport=fake.transport)
    cookies = _signed_in(patient, fake, chance, _SHORTEST_LIFE + spread)
    patient.close()
    skipped[0] = _SKIPPED
    load = _Load(plan, app, fake, cookies)
    outages = args.times(100, 6)
    fake.fail("token", times=10**9, delay=_TIKTOK_SECONDS)
    with load:
        made = [_outage(redis, chance, load, number) for number in range(outages)]
    refreshes = fake.refreshes
    fake.clear_faults()
    left = sum(app.ask(cookie).who[0] for cookie in cookies)
    app.close()
    return _result(load, made, left, refreshes, _met(fake, made))


def _result(
    load: _Load, made: list[Outage], left: int, refreshes: int, met: int
) -> Result:
    outcomes = [seen.outcome for seen in load.seen]
    bad = sorted(set(outcomes) - {"200", "503"})
    late = _late(load.seen, made)
    figures = {
        "outages": len(made),
        "requests": len(outcomes),
        "200": outcomes.count("200"),
        "503": outcomes.count("503"),
        "other": {kind: outcomes.count(kind) for kind in bad} or 0,
        "refreshes": refreshes,
        "of_them_met": met,
        "sessions": f"{left}/{_USERS}",
        "back_s_max": late,
        "slowest_s": max(seen.ended - seen.began for seen in load.seen),
    }
    passed = not bad and left == _USERS and late <= _BACK_SECONDS
    passed = passed and met > 0 and "503" in outcomes
    return Result(name="outages", passed=passed, figures=figures)


def _late(seen: list[Seen], made: list[Outage]) -> float:
    """Return the longest time after an outage after which a request still failed."""
    late = 0.0
    ends = [outage.down - _EVE_SECONDS for outage in made[1:]] + [float("inf")]
    for outage, end in zip(made, ends, strict=True):
        spoilt = [s.began for s in seen if s.outcome != "200" and s.began < end]
        late = max([late, *(began - outage.back for began in spoilt)])
    return late


def _met(fake: Watcher, made: list[Outage]) -> int:
    """Return how many refreshes had called TikTok when the store failed."""
    to_monotonic = time.monotonic() - fake.provider.clock()
    asked = [at + to_monotonic for times in fake.presented.values() for at in times]
    return sum(
        at <= outage.down <= at + _TIKTOK_SECONDS for at in asked for outage in made
    )


def _signed_in(
    app: Wsgi, fake: Watcher, chance: random.Random, longest: int
) -> list[str]:
    """Log all users in, with tokens that expire at different times."""
    cookies = []
    for number in range(_USERS):
        fake.access_lifetime = chance.randint(_SHORTEST_LIFE, longest)
        cookies.append(log_in(app, fake, person(number)))
    fake.access_lifetime = _LIFE
    return cookies


def _outage(redis: RedisServer, chance: Any, load: _Load, number: int) -> Outage:
    """Stop the store, start it again, and wait until all answers are good."""
    load.wait_for_refresh()
    time.sleep(chance.uniform(0, 0.2))
    down = time.monotonic()
    if number % 2:
        # One in five is longer than the store's timeout.
        seconds = 2.5 if chance.random() < 0.2 else chance.uniform(0.1, 1.0)
        redis.freeze()
        time.sleep(seconds)
        back = time.monotonic()
        redis.thaw()
    else:
        redis.kill()
        time.sleep(chance.uniform(0.05, 0.6))
        redis.start()
        back = time.monotonic()
    load.wait_for_calm(back)
    return Outage(down, back)


class _Load:
    """Requests at a steady rate to both interfaces, until the end of the context."""

    def __init__(
        self, plan: Plan, app: Wsgi, fake: Watcher, cookies: list[str]
    ) -> None:
        self._plan = plan
        self._app = app
        self._fake = fake
        self._cookies = cookies
        self.seen: list[Seen] = []
        self._stop = threading.Event()
        self._interfaces = [
            threading.Thread(target=self._threads),
            threading.Thread(target=lambda: asyncio.run(self._tasks())),
        ]

    def __enter__(self) -> None:
        for interface in self._interfaces:
            interface.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for interface in self._interfaces:
            interface.join()

    def wait_for_refresh(self) -> None:
        """Wait until TikTok gets a refresh token, for a second at most."""
        before, began = self._presented(), time.monotonic()
        while self._presented() == before and time.monotonic() < began + 1:
            time.sleep(0.01)

    def _presented(self) -> int:
        return sum(map(len, self._fake.presented.copy().values()))

    def wait_for_calm(self, back: float) -> None:
        """Wait until no bad answer has come for a while."""
        while time.monotonic() < back + _GIVE_UP:
            time.sleep(0.05)
            recent = self.seen[-1000:]
            last = max((s.ended for s in recent if s.outcome != "200"), default=back)
            if time.monotonic() - max(last, back) > _CALM_SECONDS:
                return

    # --- the two interfaces --------------------------------------------------------

    def _threads(self) -> None:
        with ThreadPoolExecutor(_THREADS) as pool:
            for number in range(10**9):
                if self._stop.wait(1 / _EACH_SECOND):
                    return
                pool.submit(self._one, number % _USERS)

    def _one(self, number: int) -> None:
        began = time.monotonic()
        try:
            outcome = _outcome(self._app.ask(self._cookies[number]), number)
        except Exception as error:
            outcome = type(error).__name__
        self.seen.append(Seen(began, time.monotonic(), outcome))

    async def _tasks(self) -> None:
        app = Asgi(
            self._plan, self._fake.provider.clock, transport=self._fake.transport
        )
        running: set[Any] = set()
        number = 0
        while not self._stop.is_set():
            await asyncio.sleep(1 / _EACH_SECOND)
            # In reverse order, so that both interfaces refresh each user's token.
            number += 1
            task = asyncio.create_task(self._one_task(app, -number % _USERS))
            running.add(task)
            task.add_done_callback(running.discard)
        await asyncio.gather(*running)
        await app.close()

    async def _one_task(self, app: Asgi, number: int) -> None:
        began = time.monotonic()
        try:
            outcome = _outcome(await app.ask(self._cookies[number]), number)
        except Exception as error:
            outcome = type(error).__name__
        self.seen.append(Seen(began, time.monotonic(), outcome))


def _outcome(answer: Answer, number: int) -> str:
    """Return the kind of an answer; only "200" and "503" are allowed."""
    if answer.status == 503:
        return "503" if answer.header("retry-after") else "503 without Retry-After"
    if answer.status != 200:
        return str(answer.status)
    signed_in, open_id, token = answer.who
    if not signed_in:
        return "signed out"
    if open_id != person(number).open_id:
        return "somebody else"
    return "200" if token else "no token"
