"""Requests under WSGI: signed in and anonymous, against Flask's session."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from flask import Flask, session
from flask_dance.consumer import OAuth2ConsumerBlueprint

from tiktok_oauth_middleware import MemoryStore, TikTokOAuthWSGIMiddleware

from . import peers
from .rounds import Block, compare
from .row import Row
from .world import (
    COOKIE,
    FOREIGN,
    KEY,
    RULES,
    TOKEN,
    bare_wsgi,
    environ_of,
    reading_wsgi,
    seen,
    settings,
    sign_in,
    start_response,
)


def asking(app: Any, cookies: Sequence[str], path: str = "/") -> Block:
    """Return a block that calls an app, each time with the next Cookie header."""
    environs = [environ_of(cookie, path) for cookie in cookies]
    place = 0

    async def block(calls: int) -> None:
        nonlocal place
        for _ in range(calls):
            app(environs[place % len(environs)].copy(), start_response)
            place += 1

    return block


async def rows(rounds: int) -> AsyncIterator[Row]:
    """Measure ours around a bare app, and Flask's session inside Flask."""
    now = 1_767_225_600.0
    store = MemoryStore(clock=lambda: now)
    ours = TikTokOAuthWSGIMiddleware(
        reading_wsgi,
        settings(),
        store=store,
        clock=now.__pos__,
    )
    ruled = TikTokOAuthWSGIMiddleware(
        reading_wsgi, settings(**RULES), store=store, clock=now.__pos__
    )
    people = sign_in(ours, store, 10_000, now)
    flask, dance = _flask(), _flask_dance()
    flask_cookie, dance_cookie = _flask_cookie(flask), _flask_cookie(dance)
    _check(ours, people, flask, flask_cookie)
    _check_rules(ruled)
    found = await compare(
        {
            "bare": asking(bare_wsgi, [FOREIGN]),
            "one": asking(ours, people[:1]),
            "one, open": asking(ruled, people[:1], "/app/page"),
            "one, protected": asking(ruled, people[:1], "/members/page"),
            "many": asking(ours, people),
            "nobody": asking(ours, [FOREIGN]),
            "flask": asking(flask.wsgi_app, [FOREIGN], "/bare"),
            "flask, session": asking(flask.wsgi_app, [flask_cookie]),
            "dance": asking(dance.wsgi_app, [dance_cookie]),
        },
        rounds=rounds,
    )
    base = found["bare"]
    session_cost = found["flask, session"].over(found["flask"])
    for name, what in (
        ("one", "authenticated, fresh in memory, one session"),
        ("many", "the same, spread over 10,000 sessions"),
    ):
        yield Row(
            target="T3",
            what=what,
            figure=found[name].over(base) / session_cost,
            unit="x",
            goal=0.05,
            ours=found[name].over(base),
            peer=session_cost,
            peer_name="Flask's session",
            spread=(found[name].low - base.median, found[name].high - base.median),
            curve="a request, WSGI",
        )
    yield Row(
        target="T3",
        what="anonymous, four foreign cookies",
        figure=found["nobody"].over(base),
        unit="us",
        goal=0.5,
    )
    for name in ("open", "protected"):
        cost = found[f"one, {name}"].over(base)
        yield Row(
            what=f"authenticated, one session, path rules, a path that is {name}",
            figure=cost / session_cost,
            unit="x",
            ours=cost,
            peer=session_cost,
            peer_name="Flask's session",
        )
    dance_cost = found["dance"].over(found["flask"])
    yield Row(
        what="authenticated, fresh in memory, one session",
        figure=found["one"].over(base) / dance_cost,
        unit="x",
        ours=found["one"].over(base),
        peer=dance_cost,
        peer_name="Flask-Dance, token in Flask's session",
    )


def _check_rules(ruled: Any) -> None:
    """Check that path rules refuse an anonymous request, and leave other paths open."""
    for path, token in (("/members/page", "no app was called"), ("/app/page", None)):
        seen[0] = "no app was called"
        ruled(environ_of("", path), start_response)
        if seen[0] != token:
            message = f"path rules decided wrongly about {path}"
            raise AssertionError(message)


def _flask() -> Flask:
    app = Flask(__name__)
    app.secret_key = KEY

    @app.get("/bare")
    def bare() -> str:
        return "ok"

    @app.get("/")
    def reading() -> str:
        seen[0], seen[1] = session.get("access_token"), session.get("scopes")
        return "ok"

    @app.get("/in")
    def sign_in() -> str:
        session.update(peers.token_of("x" * 36))
        session["tiktok_oauth_token"] = peers.token_of("x" * 36)
        return "ok"

    return app


def _flask_dance() -> Flask:
    app = _flask()
    blueprint = OAuth2ConsumerBlueprint(
        "tiktok",
        __name__,
        client_id="awexampleclientkey",
        client_secret="the-client-secret-of-benchmarks",
        authorization_url=peers.AUTHORIZE,
        token_url="https://open.tiktokapis.com/v2/oauth/token/",
    )
    app.register_blueprint(blueprint, url_prefix="/login")

    def reading() -> str:
        if blueprint.session.authorized:
            token = blueprint.session.token
            seen[0], seen[1] = token["access_token"], token["scopes"]
        return "ok"

    app.view_functions["reading"] = reading
    return app


def _flask_cookie(app: Flask) -> str:
    client = app.test_client()
    client.get("/in", base_url="https://app.example.com")
    found = client.get_cookie("session", domain="app.example.com")
    if found is None:
        message = "Flask set no session"
        raise AssertionError(message)
    return f"{FOREIGN}; session={found.value}"


def _check(ours: Any, people: list[str], flask: Flask, flask_cookie: str) -> None:
    """Check that signed-in requests are authenticated, and forged ones are not."""
    for cookie in people:
        seen[0] = None
        ours(environ_of(cookie), start_response)
        if not str(seen[0]).startswith(TOKEN):
            message = "a signed-in user was anonymous"
            raise AssertionError(message)
    ours(environ_of(f"{COOKIE}={'A' * 64}.{'B' * 22}"), start_response)
    if seen[0] is not None:
        message = "a forged cookie signed a user in"
        raise AssertionError(message)
    flask.wsgi_app(environ_of(flask_cookie, "/"), start_response)
    if not str(seen[0]).startswith(TOKEN):
        message = "the peer signed no user in"
        raise AssertionError(message)
