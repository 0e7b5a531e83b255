"""Measures how long users wait, here and with Authlib, for a TikTok 80 or 20 ms away.

A time is wall-clock time, and is given in round trips, so that it says how often a
message crossed the distance; the CPU time of both sides is in it. The callback loads
the profile too. *Documented* and *tuned* are as in `logins`.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from tiktok_oauth_middleware import MemoryStore, TikTokOAuthMiddleware
from tiktok_oauth_middleware._oauth.ahead import PAUSE

from . import peers
from .far_tiktok import FarTikTok
from .logins import Due, authlib_refresh, begun, finished
from .row import Row
from .world import reading, receive, scope_of, settings

#: The maximum number of measurements of each case for each distance.
_REPEATS = 9
#: The shortest time a person spends on TikTok's page, in round trips.
_CONSENT_ROUND_TRIPS = 6
#: The number of callbacks in a block whose CPU time is measured.
_EACH_BLOCK = 20

#: The preparation of a call, and the call: only the latter is timed.
Case = tuple[Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]]
_LIBRARY = "Authlib's Starlette client, "


async def rows(rounds: int) -> AsyncIterator[Row]:
    """Measure each case at each distance, then CPU time without a distance."""
    with FarTikTok() as tiktok:
        shared = ssl.create_default_context()
        for milliseconds in (80, 20):
            tiktok.be_away(milliseconds / 1000)
            async for row in _distance_rows(tiktok, shared, milliseconds, rounds):
                yield row
        tiktok.be_away(0)
        for row in await _cpu_rows(tiktok, shared, rounds):
            yield row


def _ours(
    tiktok: FarTikTok, *, is_far: bool = True, **options: Any
) -> TikTokOAuthMiddleware:
    return TikTokOAuthMiddleware(
        reading,
        settings(endpoints=tiktok.endpoints(is_far=is_far), **options),
        store=MemoryStore(),
    )


def _by_hand(tiktok: FarTikTok, *, is_far: bool = True, **options: Any) -> Any:
    endpoints = tiktok.endpoints(is_far=is_far)
    return peers.AuthlibLogin(endpoints.token, endpoints.user_info, **options).app


async def _distance_rows(
    tiktok: FarTikTok, shared: ssl.SSLContext, milliseconds: int, rounds: int
) -> AsyncIterator[Row]:
    ours, alone = _ours(tiktok), _ours(tiktok, connect_ahead=False)
    due = Due(tiktok.endpoints())
    for app in (ours, alone, due.app):
        await app._core.service.warm()
    cases: dict[str, Case] = {
        "callback, a connection at hand": _callback_of(ours),
        "callback": _callback_of(alone),
        "callback, tuned": _callback_of(_by_hand(tiktok, verify=shared)),
        "callback, documented": _callback_of(_by_hand(tiktok)),
        "refresh": _refresh_of(due),
        "refresh, tuned": authlib_refresh(tiktok.endpoints(), verify=shared),
        "refresh, documented": authlib_refresh(tiktok.endpoints()),
    }
    spent, connections = await _measure(tiktok, cases, milliseconds / 1000, rounds)
    for what, target, goal, goal_of_ratio in (
        ("callback, a connection at hand", "N1", 2.4, 0.38),
        ("callback", "N2", 4.4, 0.70),
        ("refresh", "N3", 1.3, 0.40),
    ):
        peer = what.partition(",")[0]
        where = f"{what}, TikTok {milliseconds} ms away"
        yield Row(
            target=target,
            what=f"{where}, round trips",
            figure=statistics.median(spent[what]),
            unit="RTT",
            goal=goal,
            spread=(min(spent[what]), max(spent[what])),
        )
        for name in ("tuned", "documented"):
            mine, theirs = spent[what], spent[f"{peer}, {name}"]
            yield Row(
                target=target,
                what=where,
                figure=statistics.median(mine) / statistics.median(theirs),
                unit="x",
                goal=goal_of_ratio,
                ours=statistics.median(mine) * milliseconds,
                peer=statistics.median(theirs) * milliseconds,
                peer_name=_LIBRARY + name,
                curve=f"waiting, {milliseconds} ms",
            )
        yield Row(
            what=f"{where}, new connections while a user waits",
            figure=connections[what],
            unit="1",
            peer=connections[f"{peer}, tuned"],
            peer_name=_LIBRARY + "tuned",
        )
    await ours.aclose()
    await alone.aclose()
    await due.app.aclose()


def _callback_of(app: Any) -> Case:
    return begun(app), finished(app)


def _refresh_of(due: Due) -> Case:
    async def prepare() -> str:
        cookie = await due.signed_in()
        await due.app(scope_of(cookie), receive, _ignore)
        due.now += 86400 + 30  # expired: the request has to wait
        return cookie

    async def call(cookie: str) -> None:
        await due.requested(cookie)

    return prepare, call


async def _ignore(_: Any) -> None:
    """Take a message of an app."""


async def _measure(
    tiktok: FarTikTok, cases: dict[str, Case], round_trip: float, rounds: int
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Return the round trips of each case, and the connections opened during it."""
    draw = random.Random(1)
    spent: dict[str, list[float]] = {name: [] for name in cases}
    opened: dict[str, float] = {}
    names = list(cases)
    for number in range(min(rounds, _REPEATS) + 1):
        draw.shuffle(names)
        for name in names:
            prepare, call = cases[name]
            if "at hand" in name:
                # A process opens one every two seconds at most.
                await asyncio.sleep(PAUSE)
            thing = await prepare()
            await asyncio.sleep(_CONSENT_ROUND_TRIPS * round_trip)
            before = tiktok.counts()["connections"]
            began = time.perf_counter()
            await call(thing)
            took = time.perf_counter() - began
            opened[name] = tiktok.counts()["connections"] - before
            if number:  # the first round warms up
                spent[name].append(took / round_trip)
    return spent, opened


async def _cpu_rows(
    tiktok: FarTikTok, shared: ssl.SSLContext, rounds: int
) -> list[Row]:
    """Measure the CPU time of login and callback, of this process and the server's."""
    ours = _ours(tiktok, is_far=False)
    await ours._core.service.warm()
    apps = {"ours": ours, "tuned": _by_hand(tiktok, is_far=False, verify=shared)}
    here: dict[str, list[float]] = {name: [] for name in apps}
    both: dict[str, list[float]] = {name: [] for name in apps}
    draw, names = random.Random(1), list(apps)
    for number in range(rounds + 1):
        draw.shuffle(names)
        for name in names:
            prepare, call = begun(apps[name]), finished(apps[name])
            before, there = time.process_time(), tiktok.counts()["seconds"]
            for _ in range(_EACH_BLOCK):
                await call(await prepare())
            took = time.process_time() - before
            if number:
                here[name].append(took / _EACH_BLOCK * 1e6)
                took += tiktok.counts()["seconds"] - there
                both[name].append(took / _EACH_BLOCK * 1e6)
    await ours.aclose()
    mine, theirs = (statistics.median(both[name]) for name in ("ours", "tuned"))
    rates = {name: 1e6 / statistics.median(values) for name, values in here.items()}
    return [
        Row(
            target="N4",
            what="login and callback over TLS, CPU time of both sides",
            figure=mine / theirs,
            unit="x",
            goal=0.55,
            ours=mine,
            peer=theirs,
            peer_name=_LIBRARY + "tuned",
            spread=(min(both["ours"]), max(both["ours"])),
        ),
        Row(
            target="S10",
            what="logins over TLS with the profile, in each second of this process's"
            " CPU time (more is better)",
            figure=rates["ours"] / rates["tuned"],
            unit="x",
            goal=1.2,
            at_least=True,
            ours=rates["ours"],
            peer=rates["tuned"],
            peer_name=_LIBRARY + "tuned",
        ),
    ]
