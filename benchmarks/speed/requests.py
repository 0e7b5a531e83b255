"""Requests under ASGI: signed in, anonymous and hostile; the peers are sessions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from starlette.requests import HTTPConnection
from starsessions import InMemoryStore
from starsessions import SessionMiddleware as Starsessions
from starsessions.session import load_session

from tiktok_oauth_middleware import MemoryStore, TikTokOAuthMiddleware

from . import peers
from .rounds import Block, Cost, compare
from .row import Row
from .world import (
    BODY,
    COOKIE,
    FOREIGN,
    RULES,
    TOKEN,
    bare,
    head,
    reading,
    receive,
    scope_of,
    seen,
    send,
    settings,
    sign_in,
)

_MANY = 10_000
FORGED = "A" * 64 + "." + "B" * 22
FORGED_SESSION = "A" * 400 + "." + "B" * 6 + "." + "C" * 27
_JUNK = "J" * 4000
_SIXTY = "; ".join(f"c{number}=v{number:019d}" for number in range(60))


def asking(app: Any, cookies: Sequence[str], path: str = "/app/page") -> Block:
    """Return a block that calls an app, each time with the next Cookie header."""
    scopes = [scope_of(cookie, path) for cookie in cookies]
    place = 0

    async def block(calls: int) -> None:
        nonlocal place
        for _ in range(calls):
            await app(scopes[place % len(scopes)].copy(), receive, send)
            place += 1

    return block


async def rows(rounds: int) -> AsyncIterator[Row]:
    """Measure all cases in the same rounds."""
    now = 1_767_225_600.0
    store = MemoryStore(clock=lambda: now)
    ours = TikTokOAuthMiddleware(
        reading,
        settings(),
        store=store,
        # A clock that stands still: every cached session stays fresh, as for users with
        # more than one request a second. It is written in C, like `time.time`.
        clock=now.__pos__,
    )
    ruled = TikTokOAuthMiddleware(
        reading, settings(**RULES), store=store, clock=now.__pos__
    )
    people = sign_in(ours, store, _MANY, now)
    starlette, with_user = peers.session_app(), peers.session_and_user_app()
    theirs = [peers.session_cookies(starlette, cookie[-36:]) for cookie in people]
    star = _starsessions()
    await _check(ours, people, starlette, theirs)
    await _check_rules(ruled)
    cases = {
        "bare": asking(bare, [FOREIGN]),
        "bare, no cookie": asking(bare, [""]),
        "one": asking(ours, people[:1]),
        "one, peer": asking(starlette, theirs[:1]),
        "one, with user": asking(with_user, theirs[:1]),
        "one, starsessions": asking(star, [await _star_cookie(star)]),
        "one, open": asking(ruled, people[:1]),
        "one, protected": asking(ruled, people[:1], "/members/page"),
        "many": asking(ours, people),
        "many, peer": asking(starlette, theirs),
        "nobody": asking(ours, [""]),
        "nobody, peer": asking(starlette, [""]),
        "foreign": asking(ours, [FOREIGN]),
        "foreign, peer": asking(starlette, [FOREIGN]),
        "forged": asking(ours, [f"{FOREIGN}; {COOKIE}={FORGED}"]),
        "forged, peer": asking(starlette, [f"{FOREIGN}; session={FORGED_SESSION}"]),
        "junk": asking(ours, [f"{FOREIGN}; {COOKIE}={_JUNK}"]),
        "junk, peer": asking(starlette, [f"{FOREIGN}; session={_JUNK}"]),
        "sixty": asking(ours, [_SIXTY]),
        "sixty, peer": asking(starlette, [_SIXTY]),
    }
    found = await compare(cases, rounds=rounds)
    for target, name, goal, what in (
        ("T1", "one", 0.15, "authenticated, fresh in memory, one session"),
        ("T1", "many", 0.25, "the same, spread over 10,000 sessions"),
        ("T2", "nobody", 0.35, "anonymous, no cookie"),
        ("T2", "foreign", 0.25, "anonymous, four foreign cookies"),
        ("T14", "forged", 0.25, "a forged cookie"),
        ("T14", "junk", 0.15, "4 kB of junk in the session cookie"),
        ("T14", "sixty", 0.10, "60 foreign cookies"),
    ):
        yield _row(found, name, f"{name}, peer", target, goal, what)
    for peer in ("with user", "starsessions"):
        yield _row(found, "one", f"one, {peer}", "", None, "authenticated, one session")
    for name in ("open", "protected"):
        what = f"authenticated, one session, path rules, a path that is {name}"
        yield _row(found, f"one, {name}", "one, peer", "", None, what)
    value = people[0].rpartition("=")[2]
    yield Row(
        target="T12",
        what="the session cookie's value",
        figure=len(value),
        unit="B",
        goal=110,
        peer=len(peers.session_value(starlette, peers.token_of("x" * 36))),
        peer_name="SessionMiddleware",
    )


def _row(
    found: dict[str, Cost],
    name: str,
    peer: str,
    target: str,
    goal: float | None,
    what: str,
) -> Row:
    base = found["bare, no cookie" if name == "nobody" else "bare"]
    ours, theirs = found[name].over(base), found[peer].over(base)
    names = {
        "one, with user": "SessionMiddleware and AuthenticationMiddleware",
        "one, starsessions": "starsessions in memory",
    }
    return Row(
        target=target,
        what=what,
        figure=ours / theirs,
        unit="x",
        goal=goal,
        ours=ours,
        peer=theirs,
        peer_name=names.get(peer, "SessionMiddleware"),
        spread=(found[name].low - base.median, found[name].high - base.median),
        curve="a request, ASGI" if target in ("T1", "T2") else "",
    )


async def _check(ours: Any, people: list[str], starlette: Any, theirs: Any) -> None:
    """Check that signed-in requests are authenticated, and forged ones are not."""
    for cookie in people:
        seen[0] = None
        await ours(scope_of(cookie), receive, send)
        if seen[0] is None or not str(seen[0]).startswith(TOKEN):
            message = "a signed-in user was anonymous"
            raise AssertionError(message)
    flipped = people[0][:-1] + ("A" if people[0][-1] != "A" else "B")
    await ours(scope_of(flipped), receive, send)
    if seen[0] is not None:
        message = "a forged cookie signed a user in"
        raise AssertionError(message)
    await starlette(scope_of(theirs[0]), receive, send)
    if not str(seen[0]).startswith(TOKEN):
        message = "the peer signed no user in"
        raise AssertionError(message)


async def _check_rules(ruled: Any) -> None:
    """Check that path rules refuse an anonymous request, and leave other paths open."""
    for path, token in (("/members/page", "no app was called"), ("/app/page", None)):
        seen[0] = "no app was called"
        await ruled(scope_of("", path), receive, send)
        if seen[0] != token:
            message = f"path rules decided wrongly about {path}"
            raise AssertionError(message)


async def _read_starsession(scope: Any, receive: Any, send: Any) -> None:
    await load_session(HTTPConnection(scope))
    session = scope["session"]
    seen[0], seen[1] = session.get("access_token"), session.get("scopes")
    await send(head())
    await send(BODY)


async def _write_starsession(scope: Any, receive: Any, send: Any) -> None:
    await load_session(HTTPConnection(scope))
    scope["session"].update(peers.token_of("x" * 36))
    await send(head())
    await send(BODY)


def _starsessions() -> Starsessions:
    return Starsessions(_read_starsession, store=InMemoryStore(), lifetime=86400)


async def _star_cookie(star: Starsessions) -> str:
    return await starsession_cookie(star.store)


async def starsession_cookie(store: Any) -> str:
    """Sign a user in to a store of starsessions; return the Cookie header."""
    headers: list[tuple[bytes, bytes]] = []

    async def taking(message: Any) -> None:
        headers.extend(message.get("headers", ()))

    app = Starsessions(_write_starsession, store=store, lifetime=86400)
    await app(scope_of(""), receive, taking)
    found = dict(headers)[b"set-cookie"].decode()
    return f"{FOREIGN}; {found.partition(';')[0]}"


def starsession_app(store: Any) -> Starsessions:
    """Return an app that reads its session from a store of starsessions."""
    return Starsessions(_read_starsession, store=store, lifetime=86400)
