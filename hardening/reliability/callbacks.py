"""Twenty equal callbacks at once, over four processes: one exchange.

A code works once at TikTok and a failed attempt uses it up. So the program counts both
the requests to TikTok and the sessions.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tiktok_oauth_middleware.testing.server import StandIn

from .crew import context, end, reading, shared_clock, started
from .figure import Result, Run, opened
from .world import Asgi, Plan, Wsgi, begin, person, plan_for, watcher

_PROCESSES = 4
_EACH = 5
_PATIENCE = 60


def run(args: Run) -> Iterator[Result]:
    """Yield a result for each store."""
    for store in args.stores:
        yield _measured(args, store)


def _measured(args: Run, store: str) -> Result:
    rounds = args.times(200, 5)
    now = shared_clock()
    fake = watcher(reading(now))
    with opened(store) as url, StandIn(fake) as stand_in:
        plan = plan_for(url, stand_in, store_timeout=args.store_timeout)
        app = Wsgi(plan, reading(now))
        logins = [begin(app, fake, person(number)) for number in range(rounds)]
        statuses = _all_at_once(plan, now, logins)
        app.close()
    exchanges = fake.count("token", grant_type="authorization_code")
    figures = {
        "rounds": rounds,
        "callbacks": statuses.total(),
        "exchanges": exchanges,
        "signed_in": statuses[303],
        "refused": statuses[400],
        "5xx": sum(n for status, n in statuses.items() if status >= 500),
    }
    # Each of them has the login's cookie, and must be signed in.
    all_signed_in = statuses[303] == statuses.total() > 0
    passed = exchanges == rounds and all_signed_in and not figures["5xx"]
    return Result(name=f"callbacks[{store}]", passed=passed, figures=figures)


def _all_at_once(plan: Plan, now: Any, logins: list[tuple[str, str]]) -> Counter[int]:
    barrier, answers = context.Barrier(_PROCESSES), context.Queue()
    crew = [
        started(_work, number, plan, now, logins, barrier, answers)
        for number in range(_PROCESSES)
    ]
    found: Counter[int] = Counter()
    for _ in crew:
        found += answers.get(timeout=_PATIENCE + len(logins))
    end(crew)
    return found


def _work(
    number: int,
    plan: Plan,
    now: Any,
    logins: list[tuple[str, str]],
    barrier: Any,
    answers: Any,
) -> None:
    finish = (_tasks_of if number % 2 else _threads_of)(plan, reading(now))
    found: Counter[int] = Counter()
    for cookies, callback in logins:
        barrier.wait(_PATIENCE)
        found.update(finish(cookies, callback))
    answers.put(found)


Finish = Callable[[str, str], list[int]]


def _threads_of(plan: Plan, clock: Callable[[], float]) -> Finish:
    app, pool = Wsgi(plan, clock), ThreadPoolExecutor(_EACH)

    def finish(cookies: str, callback: str) -> list[int]:
        return list(pool.map(lambda _: app.ask(cookies, callback).status, range(_EACH)))

    return finish


def _tasks_of(plan: Plan, clock: Callable[[], float]) -> Finish:
    app, runner = Asgi(plan, clock), asyncio.Runner()

    async def all_at_once(cookies: str, callback: str) -> list[int]:
        asked = (app.ask(cookies, callback) for _ in range(_EACH))
        return [answer.status for answer in await asyncio.gather(*asked)]

    return lambda cookies, callback: runner.run(all_at_once(cookies, callback))
