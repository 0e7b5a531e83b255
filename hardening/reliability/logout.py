"""Logouts take effect in all processes within a second; disconnects if TikTok fails.

A process may use a cached session for at most a second. Eight processes, half ASGI and
half WSGI, send requests of users without a pause, while a ninth process logs the users
out. They record when the last request began that was still authenticated. Clocks are
real.

A disconnect waits for TikTok, which fails in seven ways, once with a valid access token
and once with an expired one that must be renewed first.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

from tiktok_oauth_middleware.testing.server import StandIn

from .crew import context, end, started
from .figure import Result, Run, opened, percentile
from .world import (
    DISCONNECT,
    LIFE,
    LOGOUT,
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

_PROCESSES = 8
_BATCH = 50
_SEEN_SECONDS = 1.0
#: Seconds after the last logout during which requests continue.
_LOOK_SECONDS = 1.6
_DISCONNECT_SECONDS = 3.0
_FAULTS: dict[str, dict[str, Any]] = {
    "500": {"status": 500},
    "hang": {"delay": 5, "status": 500},
    "disconnect": {"disconnect": True},
    "bad_json": {"body": b'{"error": '},
    "429": {"status": 429, "headers": {"retry-after": "30"}},
    "invalid_client": {"error": "invalid_client"},
    "lost_answer": {},
}


def run(args: Run) -> Iterator[Result]:
    """Yield: logouts, for each store; disconnects."""
    for store in args.stores:
        yield _logouts(args, store)
    yield _disconnects(args)


# --- logout ------------------------------------------------------------------------


def _logouts(args: Run, store: str) -> Result:
    logouts = args.times(1000, 20)
    processes = _PROCESSES if args.scale >= 0.1 else 4
    chance = random.Random(args.seed)
    fake = watcher()
    late: list[float] = []
    with opened(store) as url:
        plan = Plan(store=url, store_timeout=args.store_timeout)
        app = Wsgi(plan, time.time, transport=fake.transport)
        pipes, crew = _crew(plan, processes)
        for first in range(0, logouts, _BATCH):
            people = range(first, min(first + _BATCH, logouts))
            cookies = [log_in(app, fake, person(number)) for number in people]
            late += _batch(app, cookies, pipes, chance)
        for pipe in pipes:
            pipe.send(None)
        end(crew)
        app.close()
    figures = {
        "logouts": len(late),
        "processes": processes,
        "late": sum(seconds > _SEEN_SECONDS for seconds in late),
        "p50_s": percentile(late, 0.5),
        "max_s": max(late),
    }
    passed = not figures["late"] and len(late) == logouts
    return Result(name=f"logout.seen[{store}]", passed=passed, figures=figures)


def _crew(plan: Plan, processes: int) -> tuple[list[Any], list[Any]]:
    pairs = [context.Pipe() for _ in range(processes)]
    crew = [
        started(_look, number, plan, theirs) for number, (_, theirs) in enumerate(pairs)
    ]
    return [ours for ours, _ in pairs], crew


def _batch(app: Wsgi, cookies: list[str], pipes: list[Any], chance: Any) -> list[float]:
    """Log users out one by one; return for how long each was still authenticated."""
    for pipe in pipes:
        pipe.send(cookies)
    knew = [pipe.recv() for pipe in pipes]
    if not all(knew):
        message = "a user who logged in was not signed in"
        raise RuntimeError(message)
    gone = []
    for cookie in cookies:
        time.sleep(chance.uniform(0, 0.02))
        app.ask(cookie, LOGOUT, post=True)
        gone.append(time.monotonic())
    last = [pipe.recv() for pipe in pipes]
    seen = zip(*last, strict=True)
    return [max(0.0, max(s) - at) for s, at in zip(seen, gone, strict=True)]


def _look(number: int, plan: Plan, pipe: Any) -> None:
    """Send requests of all users of a batch repeatedly, until all are signed out."""
    sweep = (_tasks_of if number % 2 else _threads_of)(plan)
    while (cookies := pipe.recv()) is not None:
        last = [0.0] * len(cookies)
        sweep(cookies, last)
        pipe.send(all(last))
        deadline = time.monotonic() + len(cookies) * 0.05 + _LOOK_SECONDS
        while time.monotonic() < deadline and sweep(cookies, last):
            time.sleep(0.01)
        pipe.send(last)


Sweep = Callable[[list[str], list[float]], int]


def _threads_of(plan: Plan) -> Sweep:
    app = Wsgi(plan, time.time)

    def sweep(cookies: list[str], last: list[float]) -> int:
        asked = ((time.monotonic(), app.ask(cookie)) for cookie in cookies)
        return _noted(list(asked), last)

    return sweep


def _tasks_of(plan: Plan) -> Sweep:
    app, runner = Asgi(plan, time.time), asyncio.Runner()

    async def all_of(cookies: list[str]) -> list[tuple[float, Answer]]:
        return [(time.monotonic(), await app.ask(cookie)) for cookie in cookies]

    return lambda cookies, last: _noted(runner.run(all_of(cookies)), last)


def _noted(asked: list[tuple[float, Answer]], last: list[float]) -> int:
    """Record when each user was last authenticated; return how many still are."""
    signed_in = 0
    for number, (began, answer) in enumerate(asked):
        if answer.status != 200 or answer.who[0]:
            last[number] = began
            signed_in += 1
    return signed_in


# --- disconnect --------------------------------------------------------------------


def _disconnects(args: Run) -> Result:
    clock = Clock()
    fake = watcher(clock)
    took: dict[str, float] = {}
    wrong: list[str] = []
    with opened("sqlite") as url, StandIn(fake) as stand_in:
        plan = plan_for(url, stand_in, store_timeout=args.store_timeout)
        interfaces = {"wsgi": _by_threads(plan, clock), "asgi": _by_tasks(plan, clock)}
        app = Wsgi(plan, clock)
        for name in _FAULTS:
            for has_ended in (False, True):
                for interface, post in interfaces.items():
                    cookie = log_in(app, fake, person(1))
                    clock.value += LIFE + 10 if has_ended else 10
                    _fail(fake, name, has_ended=has_ended)
                    began = time.monotonic()
                    answer = post(cookie)
                    case = f"{name}/{'ended' if has_ended else 'good'}/{interface}"
                    took[case] = time.monotonic() - began
                    fake.clear_faults()
                    if not _is_out(answer) or app.ask(cookie).who[0]:
                        wrong.append(case)
        app.close()
    slowest = max(took, key=lambda case: took[case])
    figures = {"ways": len(_FAULTS), "cases": len(took), "wrong": wrong or 0}
    figures |= {"slowest": slowest, "max_s": took[slowest]}
    passed = not wrong and took[slowest] <= _DISCONNECT_SECONDS
    return Result(name="logout.disconnect", passed=passed, figures=figures)


def _fail(fake: Any, name: str, *, has_ended: bool) -> None:
    """Make the revoke fail, and the refresh before it, except if its answer is lost."""
    if name == "lost_answer":
        fake.lose_answer("revoke", times=9)
        return
    for endpoint in ("revoke", "token") if has_ended else ("revoke",):
        fake.fail(endpoint, times=9, **_FAULTS[name])


def _is_out(answer: Answer) -> bool:
    """Return whether an answer deletes the session cookie."""
    deleted = [v for n, v in answer.headers if n.lower() == "set-cookie"]
    return answer.status in (303, 502) and any(
        v.startswith("__Host-tiktok=;") for v in deleted
    )


def _by_threads(plan: Plan, clock: Clock) -> Callable[[str], Answer]:
    app = Wsgi(plan, clock)
    return lambda cookie: app.ask(cookie, DISCONNECT, post=True)


def _by_tasks(plan: Plan, clock: Clock) -> Callable[[str], Answer]:
    app, runner = Asgi(plan, clock), asyncio.Runner()
    return lambda cookie: runner.run(app.ask(cookie, DISCONNECT, post=True))
