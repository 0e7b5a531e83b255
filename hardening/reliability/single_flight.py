"""One refresh for any number of requests, in tasks of one process and in processes.

Rotation is strict, so a second refresh signs the user out and shows in both the
stand-in's count and the answers. Half of the processes serve ASGI, half WSGI. In every
second round the token has expired and all requests must wait; in the others it is about
to expire.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tiktok_oauth_middleware.testing.server import StandIn

from .crew import context, end, shared_clock, started, ticking
from .figure import Result, Run, opened
from .world import (
    LIFE,
    Answer,
    Asgi,
    Clock,
    Plan,
    Wsgi,
    log_in,
    person,
    plan_for,
    watcher,
)

_THREADS = 10
_PATIENCE = 120


def run(args: Run) -> Iterator[Result]:
    """Yield results for tasks, for processes, and with a slow token endpoint."""
    for store in args.stores:
        yield _tasks(args, store)
    processes = 8 if args.scale >= 0.1 else 4
    for store in args.stores:
        rounds, requests = args.times(50, 3), args.times(200, 20)
        counts = (processes, requests, rounds)
        yield _processes(args, store, "processes", counts)
    # At full scale, three times the lifetime of the store's lock without renewal.
    delay = 30.0 if args.scale >= 0.5 else 2.4
    for store in args.stores:
        counts = (processes, args.times(200, 20), args.times(2, 1))
        yield _processes(args, store, "slow", counts, delay=delay)


def _tally(answers: Iterable[Answer]) -> Counter[str]:
    """Count the answers by kind of fault."""
    found: Counter[str] = Counter()
    for answer in answers:
        found["requests"] += 1
        found["5xx"] += answer.status >= 500
        signed_in, _, token = answer.who if answer.status == 200 else (False, "", None)
        found["signed_out"] += not signed_in
        found["no_token"] += token is None
    return found


def _result(
    name: str, rounds: int, refreshes: int, found: Counter[str], **more: Any
) -> Result:
    wrong = {kind: found[kind] for kind in ("5xx", "signed_out", "no_token")}
    asked = {"rounds": rounds, "requests": found["requests"]}
    figures = {**more, **asked, "refreshes": refreshes, **wrong}
    passed = refreshes == rounds and not any(wrong.values()) and found["requests"] > 0
    return Result(name=f"single_flight.{name}", passed=passed, figures=figures)


# --- tasks of one process ----------------------------------------------------------


def _tasks(args: Run, store: str) -> Result:
    rounds, tasks = args.times(50, 3), args.times(500, 50)
    clock = Clock()
    fake = watcher(clock)
    with opened(store) as url:
        plan = Plan(store=url, store_timeout=args.store_timeout)
        app = Wsgi(plan, clock, transport=fake.transport)
        cookie = log_in(app, fake, person(1))
        found = asyncio.run(_rounds(plan, clock, fake, cookie, (rounds, tasks)))
        app.close()
    return _result(f"tasks[{store}]", rounds, fake.refreshes, found, tasks=tasks)


async def _rounds(
    plan: Plan, clock: Clock, fake: Any, cookie: str, counts: tuple[int, int]
) -> Counter[str]:
    rounds, tasks = counts
    app = Asgi(plan, clock, transport=fake.transport)
    found: Counter[str] = Counter()
    for number in range(rounds):
        clock.value += _until_due(number)
        found += _tally(await asyncio.gather(*(app.ask(cookie) for _ in range(tasks))))
    await app.close()
    return found


def _until_due(number: int) -> float:
    """Return the seconds until the token has expired, or is about to expire."""
    return LIFE - 60 if number % 2 else LIFE + 10


# --- processes with one store ------------------------------------------------------


def _processes(
    args: Run,
    store: str,
    name: str,
    counts: tuple[int, int, int],
    *,
    delay: float = 0,
) -> Result:
    processes, _, rounds = counts
    now = shared_clock()
    fake = watcher(ticking(now))
    with opened(store) as url, StandIn(fake) as stand_in:
        patience = args.store_timeout
        plan = plan_for(url, stand_in, timeout=10 + delay, store_timeout=patience)
        app = Wsgi(plan, ticking(now))
        cookie = log_in(app, fake, person(1))
        if delay:
            fake.fail("token", times=10**9, delay=delay)
        found = _driven(plan, now, cookie, counts)
        app.close()
    more = {"processes": processes, **({"delay": delay} if delay else {})}
    return _result(f"{name}[{store}]", rounds, fake.refreshes, found, **more)


def _driven(
    plan: Plan, now: Any, cookie: str, counts: tuple[int, int, int]
) -> Counter[str]:
    """Make all processes send requests at the same moment, in each round."""
    processes, requests, rounds = counts
    barrier, answers = context.Barrier(processes + 1), context.Queue()
    crew = [
        started(_work, plan, now, cookie, (number, requests, rounds), barrier, answers)
        for number in range(processes)
    ]
    found: Counter[str] = Counter()
    for number in range(rounds):
        now.value += _until_due(number)
        barrier.wait(_PATIENCE)
        for _ in crew:
            found += answers.get(timeout=_PATIENCE)
    end(crew)
    return found


def _work(
    plan: Plan,
    now: Any,
    cookie: str,
    counts: tuple[int, int, int],
    barrier: Any,
    answers: Any,
) -> None:
    number, requests, rounds = counts
    crowd = _tasks_of if number % 2 else _threads_of
    with_all = crowd(plan, ticking(now), cookie, requests)
    for _ in range(rounds):
        barrier.wait(_PATIENCE)
        answers.put(_tally(with_all()))


def _threads_of(
    plan: Plan, clock: Callable[[], float], cookie: str, requests: int
) -> Callable[[], list[Answer]]:
    app, pool = Wsgi(plan, clock), ThreadPoolExecutor(_THREADS)
    return lambda: list(pool.map(lambda _: app.ask(cookie), range(requests)))


def _tasks_of(
    plan: Plan, clock: Callable[[], float], cookie: str, requests: int
) -> Callable[[], list[Answer]]:
    app, runner = Asgi(plan, clock), asyncio.Runner()

    async def all_at_once() -> list[Answer]:
        return await asyncio.gather(*(app.ask(cookie) for _ in range(requests)))

    return lambda: runner.run(all_at_once())
