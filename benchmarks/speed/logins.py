"""Compares login redirect, callback and refresh with the same by hand on Authlib.

TikTok's token endpoint is a process of its own, reached over real connections. Peers
"as documented" make a client for each call, and with it a TLS context; "tuned" they
share one context. Only the thread's own CPU time counts.
"""

from __future__ import annotations

import asyncio
import gc
import random
import ssl
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from authlib.integrations.httpx_client import AsyncOAuth2Client
from httpx_oauth.oauth2 import BaseOAuth2

from tiktok_oauth_middleware import (
    MemoryStore,
    TikTokEndpoints,
    TikTokOAuthMiddleware,
)

from . import peers
from .rounds import Cost, compare, cost_of
from .row import Row
from .tiktok_server import TokenServer
from .world import (
    SCOPES,
    bare,
    reading,
    receive,
    scope_of,
    seen,
    send,
    settings,
)

_EACH_ROUND = 20
#: How many requests wait for one refresh. Not 10: the time of all ten would be less
#: than the variation of that of one refresh.
_STORM = (1, 100, 1000)
LOGIN, CALLBACK = "/auth/tiktok/login", "/auth/tiktok/callback"


async def answered(app: Any, path: str, query: str = "", cookies: str = "") -> Any:
    """Return the status, location and cookies of an app's response."""
    heads: list[Any] = []

    async def taking(message: Any) -> None:
        if message["type"] == "http.response.start":
            heads.append(message)

    scope = scope_of(cookies, path)
    scope["query_string"] = query.encode()
    await app(scope, receive, taking)
    headers = heads[0]["headers"]
    location = next((v.decode() for k, v in headers if k.lower() == b"location"), "")
    jar = [
        v.decode().partition(";")[0] for k, v in headers if k.lower() == b"set-cookie"
    ]
    return heads[0]["status"], location, [c for c in jar if not c.endswith("=")]


async def rows(rounds: int) -> AsyncIterator[Row]:
    """Measure each step beside its peers."""
    with TokenServer() as server:
        shared = ssl.create_default_context()
        token_url = server.endpoints.token
        ours = TikTokOAuthMiddleware(
            reading,
            settings(endpoints=server.endpoints, fetch_user=False),
            store=MemoryStore(),
        )
        tuned = peers.AuthlibLogin(token_url, verify=shared).app
        documented = peers.AuthlibLogin(token_url).app
        async for row in _login_rows(rounds, ours, tuned, documented):
            yield row
        cases = {"ours": ours, "tuned": tuned, "documented": documented}
        found = await _prepared(
            {name: (begun(app), finished(app)) for name, app in cases.items()}, rounds
        )
        for name, goal in (("tuned", 0.70), ("documented", 0.05)):
            yield _row("T7", "callback", found, name, goal)
        yield await _one_call(server, ours)
        async for row in _refresh_rows(rounds, server, shared):
            yield row
        await ours.aclose()


async def _login_rows(
    rounds: int, ours: Any, tuned: Any, documented: Any
) -> AsyncIterator[Row]:
    by_hand = BaseOAuth2("awexampleclientkey", "secret", peers.AUTHORIZE, "https://x/")

    async def httpx_oauth(calls: int) -> None:
        for _ in range(calls):
            await by_hand.get_authorization_url(
                "https://app.example.com/auth/tiktok/callback", "s" * 43, [*SCOPES]
            )

    def asking(app: Any) -> Callable[[int], Awaitable[None]]:
        scope = scope_of("", LOGIN)

        async def block(calls: int) -> None:
            for _ in range(calls):
                await app(scope.copy(), receive, send)

        return block

    status, location, cookies = await answered(ours, LOGIN)
    if status != 303 or "client_key=" not in location or not cookies:
        message = "the login did not lead to TikTok"
        raise AssertionError(message)
    found = await compare(
        {
            "bare": asking(bare),
            "ours": asking(ours),
            "tuned": asking(tuned),
            "documented": asking(documented),
            "httpx-oauth, the URL only": httpx_oauth,
        },
        rounds=rounds,
    )
    for name, goal in (("tuned", 0.10), ("documented", 0.001)):
        yield _row("T6", "login redirect", found, name, goal)
    yield _row("", "login redirect", found, "httpx-oauth, the URL only", None)


def _row(
    target: str, what: str, found: dict[str, Cost], name: str, goal: float | None
) -> Row:
    ours, theirs = found["ours"], found[name]
    library = "" if "httpx" in name else "Authlib's Starlette client, "
    return Row(
        target=target,
        what=what,
        figure=ours.median / theirs.median,
        unit="x",
        goal=goal,
        ours=ours.median,
        peer=theirs.median,
        peer_name=library + name,
        spread=(ours.low, ours.high),
    )


# --- what has to be prepared for each call ------------------------------------------

Prepare = Callable[[], Awaitable[Any]]
Call = Callable[[Any], Awaitable[None]]


async def _prepared(
    cases: dict[str, tuple[Prepare, Call]], rounds: int, each: int = _EACH_ROUND
) -> dict[str, Cost]:
    """Return the cost of each call, without the cost of the calls before it."""
    draw = random.Random(1)
    spent: dict[str, list[float]] = {name: [] for name in cases}
    names = list(cases)
    for number in range(rounds + 1):
        draw.shuffle(names)
        for name in names:
            prepare, call = cases[name]
            # A full garbage collection of all libraries that this process has loaded
            # takes 46 ms, and fell into some blocks. What is made from here on is
            # collected.
            gc.collect()
            things = [await prepare() for _ in range(each)]
            began = time.thread_time_ns()
            for thing in things:
                await call(thing)
            took = (time.thread_time_ns() - began) / each / 1000
            if number:  # the first round warms up
                spent[name].append(took)
    return {name: cost_of(values) for name, values in spent.items()}


def begun(app: Any) -> Prepare:
    """Return a function that begins a login and returns its state and cookies."""

    async def prepare() -> tuple[str, str]:
        _, location, cookies = await answered(app, LOGIN)
        state = dict(parse_qsl(urlsplit(location).query))["state"]
        return state, "; ".join(cookies)

    return prepare


def finished(app: Any) -> Call:
    """Return a function that sends a login's callback and checks that it logged in."""

    async def call(login: tuple[str, str]) -> None:
        state, cookies = login
        query = f"code=AbC-1_xyz%2A1%214608.va&scopes=user.info.basic&state={state}"
        status, location, _ = await answered(app, CALLBACK, query, cookies)
        if (status, location) != (303, "/"):
            message = f"the callback did not end the login: {status}"
            raise AssertionError(message)

    return call


async def _one_call(server: TokenServer, app: Any) -> Row:
    login = await begun(app)()
    before = server.calls()
    await finished(app)(login)
    made = server.calls() - before
    what = "calls to TikTok for a callback, without the profile"
    return Row(target="T7", what=what, figure=made, unit="1", goal=1)


# --- refresh ------------------------------------------------------------------------


class Due:
    """An app whose users' tokens can be made due by moving its clock."""

    def __init__(self, endpoints: TikTokEndpoints) -> None:
        self.now = time.time()
        self.has_waited = False
        self.app = TikTokOAuthMiddleware(
            reading,
            # A connection opened ahead would wait as long as the other cases take, and
            # the server may close it just when the next login uses it.
            settings(
                endpoints=endpoints,
                fetch_user=False,
                session_idle=30 * 86400,
                connect_ahead=False,
            ),
            store=MemoryStore(clock=lambda: self.now),
            clock=lambda: self.now,
        )

    async def signed_in(self) -> str:
        """Log a new user in; return their Cookie header."""
        state, cookies = await begun(self.app)()
        query = f"code=AbC-1_xyz%2A1%214608.va&state={state}"
        _, _, jar = await answered(self.app, CALLBACK, query, cookies)
        return next(cookie for cookie in jar if "-login-" not in cookie)

    async def requested(self, cookie: str) -> None:
        """Request a page; the app must see a token, refreshed if it was due."""
        seen[0] = None
        await self.app(scope_of(cookie), receive, send)
        if seen[0] is None:
            message = "the refresh signed a user out"
            raise AssertionError(message)


async def _refresh_rows(
    rounds: int, server: TokenServer, shared: ssl.SSLContext
) -> AsyncIterator[Row]:
    ours = Due(server.endpoints)

    async def due() -> str:
        ours.has_waited = False
        return await ours.signed_in()

    async def refresh(cookie: str) -> None:
        if not ours.has_waited:  # the tokens of all users of this round become due
            ours.now += 86400 - 30
            ours.has_waited = True
        await ours.requested(cookie)

    found = await _prepared(
        {
            "ours": (due, refresh),
            "tuned": authlib_refresh(server.endpoints, verify=shared),
            "documented": authlib_refresh(server.endpoints),
        },
        rounds,
    )
    for name, goal in (("tuned", 0.75), ("documented", None)):
        row = _row("T8" if goal else "", "refresh", found, name, goal)
        yield row
    async for row in _storm_rows(server, ours):
        yield row
    await ours.app.aclose()


def authlib_refresh(endpoints: TikTokEndpoints, **options: Any) -> tuple[Prepare, Call]:
    """Return a function that refreshes with Authlib, with a client for each user."""
    stored: dict[str, Any] = {}

    async def update(token: Any, **_: Any) -> None:
        stored[token["open_id"]] = token

    async def due() -> dict[str, Any]:
        who = "11111111-2222-4333-8444-555555555555"
        return {
            "access_token": "act.old",
            "refresh_token": f"rft.{who}{0:028d}!5294.va",
            "expires_at": 1,
            "token_type": "Bearer",
        }

    async def call(token: Any) -> None:
        async with AsyncOAuth2Client(
            "awexampleclientkey",
            "the-client-secret-of-benchmarks",
            token=token,
            update_token=update,
            token_endpoint=endpoints.token,
            token_endpoint_auth_method="client_secret_post",
            **options,
        ) as client:
            await client.ensure_active_token(client.token)

    return due, call


async def _storm_rows(server: TokenServer, ours: Due) -> AsyncIterator[Row]:
    """Measure requests of one user that all wait for the same refresh."""
    for waiting in _STORM:
        costs, calls = [], []
        for _ in range(5 if waiting > 1 else 25):
            gc.collect()  # see `_prepared`
            cookie = await ours.signed_in()
            await ours.app(scope_of(cookie), receive, send)
            ours.now += 86400 + 30  # expired: every request has to wait
            before = server.calls()
            scopes = [scope_of(cookie) for _ in range(waiting)]
            began = time.thread_time_ns()
            await asyncio.gather(*(ours.app(scope, receive, send) for scope in scopes))
            costs.append((time.thread_time_ns() - began) / 1000)
            calls.append(server.calls() - before)
        if waiting == 1:
            alone = statistics.median(costs)
        each = (statistics.median(costs) - alone) / max(1, waiting - 1)
        top = waiting == _STORM[-1]
        yield Row(
            target="T8" if top else "",
            what=f"a refresh with {waiting:,} waiting requests, for each",
            figure=each if waiting > 1 else alone,
            unit="us",
            goal=15 if top else None,
            curve="waiting requests" if waiting > 1 else "",
            at=waiting if waiting > 1 else None,
        )
        if top:
            what = f"calls to TikTok for {waiting:,} requests at once"
            yield Row(target="T8", what=what, figure=max(calls), unit="1", goal=1)
