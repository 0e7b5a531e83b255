"""Five hundred users at once, in tasks and in threads, each get their own token.

The stand-in records each access token's user. A tenth of the requests arrive when
tokens are due, so refreshes of many users run at the same time through one HTTP client.
One process cannot do all of them within its store's timeouts; a 503 reveals nothing
about any user, and is counted separately.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .figure import Result, Run, opened
from .world import (
    LIFE,
    Answer,
    Asgi,
    Clock,
    Plan,
    Watcher,
    Wsgi,
    log_in,
    person,
    watcher,
)

_THREADS = 32
_AT_ONCE = 500
_WAVES = 10


def run(args: Run) -> Iterator[Result]:
    """Yield a result for threads and one for tasks, for each store."""
    for store in args.stores:
        yield _measured(args, store)


def _measured(args: Run, store: str) -> Result:
    users, each = args.times(500, 30), args.times(200, 10)
    clock = Clock()
    fake = watcher(clock)
    found: Counter[str] = Counter()
    with opened(store) as url:
        plan = Plan(store=url, store_timeout=args.store_timeout)
        app = Wsgi(plan, clock, transport=fake.transport)
        cookies = [log_in(app, fake, person(number)) for number in range(users)]
        order = [number for number in range(users) for _ in range(each)]
        random.Random(args.seed).shuffle(order)
        world = (clock, fake, cookies)
        found += _threads(app, world, order)
        found += asyncio.run(_tasks(plan, world, order))
        app.close()
    wrong = {kind: found[kind] for kind in ("another", "signed_out", "other")}
    asked = {"users": users, "requests": found["requests"]}
    figures = {**asked, "refreshes": fake.refreshes, **wrong, "503": found["503"]}
    passed = not any(wrong.values()) and found["requests"] == 2 * users * each
    return Result(name=f"isolation[{store}]", passed=passed, figures=figures)


def _tally(fake: Watcher, number: int, answer: Answer) -> Counter[str]:
    open_id = person(number).open_id
    if answer.status != 200:
        kind = "503" if answer.status == 503 else "other"
        return Counter({"requests": 1, kind: 1})
    signed_in, seen, token = answer.who
    if not signed_in or token is None:
        return Counter(requests=1, signed_out=1)
    if (seen, fake.owners.get(token)) != (open_id, open_id):
        return Counter(requests=1, another=1)
    return Counter(requests=1)


def _waves(clock: Clock, order: list[int]) -> Iterator[list[int]]:
    """Divide the requests into waves; before each, tokens fall due or expire."""
    size = -(-len(order) // _WAVES)
    for number in range(_WAVES):
        clock.value += LIFE - 60 if number % 2 else LIFE + 10
        yield order[number * size : (number + 1) * size]


World = tuple[Clock, Watcher, list[str]]


def _threads(app: Wsgi, world: World, order: list[int]) -> Counter[str]:
    clock, fake, cookies = world
    found: Counter[str] = Counter()
    with ThreadPoolExecutor(_THREADS) as pool:
        for wave in _waves(clock, order):
            answers = pool.map(app.ask, [cookies[number] for number in wave])
            for number, answer in zip(wave, answers, strict=True):
                found += _tally(fake, number, answer)
    return found


async def _tasks(plan: Plan, world: World, order: list[int]) -> Counter[str]:
    clock, fake, cookies = world
    app = Asgi(plan, clock, transport=fake.transport)
    found: Counter[str] = Counter()
    for wave in _waves(clock, order):
        for first in range(0, len(wave), _AT_ONCE):
            part = wave[first : first + _AT_ONCE]
            asked: Any = (app.ask(cookies[number]) for number in part)
            answers = await asyncio.gather(*asked)
            for number, answer in zip(part, answers, strict=True):
                found += _tally(fake, number, answer)
    await app.close()
    return found
