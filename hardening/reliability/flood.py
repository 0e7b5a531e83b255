"""Hundreds of thousands of anonymous logins must leave no row and no memory.

A separate process begins logins without cookies, through both middlewares, each with
its own ``next``, and sometimes with junk under the names of our cookies. Some are
followed by a callback that belongs to no login. Memory is read before and after, from
the system.
"""

from __future__ import annotations

import asyncio
import gc
import random
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tiktok_oauth_middleware import MemoryStore

from .crew import context, end, started
from .figure import Result, Run, opened
from .world import CALLBACK, LOGIN, Asgi, Plan, Wsgi, rows, watcher

_LOGINS = 200_000
_GROWTH_MB = 64.0
#: Logins before memory is first read, so that everything is imported and warm.
_WARM = 2000


def run(args: Run) -> Iterator[Result]:
    """Yield a result for each store."""
    for store in ("memory", *args.stores):
        with opened(store) as url:
            ours, theirs = context.Pipe()
            logins = args.times(_LOGINS, 2000)
            plan = Plan(store=url, store_timeout=args.store_timeout)
            process = started(_flood, plan, logins, args.seed, theirs)
            theirs.close()
            figures = ours.recv()
            end([process])
        passed = (
            figures["grown_mb"] <= _GROWTH_MB
            and not figures["rows"]
            and figures["refused"] == 0
        )
        yield Result(name=f"flood[{store}]", passed=passed, figures=figures)


def _flood(plan: Plan, logins: int, seed: int, pipe: Any) -> None:
    chance = random.Random(seed)
    fake = watcher(time.time)
    store = MemoryStore() if plan.store == "memory" else None
    wsgi = Wsgi(plan, time.time, transport=fake.transport, store=store)
    asgi = Asgi(plan, time.time, transport=fake.transport, store=store)
    with asyncio.Runner() as runner:
        runner.run(_begin(wsgi, asgi, chance, _WARM))
        before = _resident_mb()
        began = time.monotonic()
        refused = runner.run(_begin(wsgi, asgi, chance, logins))
        took = time.monotonic() - began
        after = _resident_mb()
        left = len(store._values) if store else rows(plan.store)
    pipe.send(
        {
            "logins": logins,
            "refused": refused,
            "rows": left,
            "before_mb": before,
            "grown_mb": after - before,
            "each_us": took / logins * 1e6,
        }
    )


async def _begin(wsgi: Wsgi, asgi: Asgi, chance: random.Random, logins: int) -> int:
    """Begin logins through both interfaces; return how many were not sent to TikTok."""
    refused = 0
    for number in range(logins):
        cookie = _junk(chance) if number % 10 == 0 else ""
        url = f"{LOGIN}?next=/{secrets.token_hex(chance.randrange(40))}"
        answer = wsgi.ask(cookie, url) if number % 2 else await asgi.ask(cookie, url)
        refused += answer.status != 303
        if number % 20 == 0:
            state = secrets.token_urlsafe(32)
            late = wsgi.ask(answer.cookies, f"{CALLBACK}?code=x&state={state}")
            refused += late.status != 400
    return refused


def _junk(chance: random.Random) -> str:
    name = chance.choice(["__Host-tiktok", "__Host-tiktok-login-" + "x" * 12])
    return f"{name}={secrets.token_urlsafe(chance.choice([8, 64, 400]))}"


def _resident_mb() -> float:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20
