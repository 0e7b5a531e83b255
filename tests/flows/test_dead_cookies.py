"""A session cookie without a session is deleted with the next response."""

from __future__ import annotations

import pytest

from tiktok_oauth_middleware import MemoryStore, StoreError, TikTokTokens
from tiktok_oauth_middleware._session import cookie as cookie_module
from tiktok_oauth_middleware._session.loader import _DEAD_COOKIES

from ..conftest import API, LOGOUT, PAGE, SAME_ORIGIN, make_settings
from ..support.raw_requests import Raw, Visitors

SESSION = "__Host-tiktok"
GONE = f"{SESSION}=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax; Secure"


class Counting(MemoryStore):
    """Counts reads of records, and fails on demand."""

    reads = 0
    is_down = False

    def get(self, key):
        if self.is_down:
            raise StoreError("down")
        self.reads += ":grant:" in key
        return super().get(key)


@pytest.fixture
def store(clock):
    return Counting(clock=clock)


@pytest.fixture
def world(world):
    return world.with_settings(protect=["/ruled"])


@pytest.fixture
def raw(world) -> Raw:
    with Visitors() as visitors:
        visitor = visitors.visit(world)
        visitor.log_in()
        yield visitor


@pytest.fixture
def cookie(raw) -> str:
    return raw.cookies[SESSION]


def end(world, raw, how):
    """End the session of a cookie."""
    if how == "deleted":
        TikTokTokens(world.settings, world.store, clock=world.clock).forget(raw.open_id)
    elif how == "idle":
        world.clock.advance(8 * 3600 + 1)
    elif how == "logged out elsewhere":
        raw.another().log_in()  # the record stays
        twin = raw.another()
        twin.cookies = dict(raw.cookies)
        twin.ask("POST", LOGOUT, headers=SAME_ORIGIN)
        world.clock.advance(10)
    else:
        world.with_settings(secret_keys=["gV7mQ2xLpR9sTzBn4KcW8yJf3HdA6uEo"])
    world.clock.advance(2)


WAYS = ["deleted", "idle", "logged out elsewhere", "keys"]


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/", PAGE),
        ("/who", API),
        ("/private", PAGE),
        ("/private", API),
        ("/ruled/x", PAGE),
        ("/ruled/x", API),
        ("/nowhere", PAGE),
    ],
)
def test_deleted(world, raw, how, path, headers):
    """Every response of the app, a guard or a rule deletes the cookie once."""
    end(world, raw, how)
    answer = raw.ask("GET", path, headers=headers)
    assert answer.all("set-cookie") == [GONE]
    assert answer.all("cache-control") == ["no-store"]
    assert SESSION not in raw.cookies
    assert raw.ask("GET", path, headers=headers).all("set-cookie") == []


@pytest.mark.parametrize("path", ["/", "/who", "/private"])
def test_a_living_one_stays(raw, cookie, path):
    """The cookie of a valid session is never deleted."""
    assert raw.ask("GET", path).all("set-cookie") == []
    assert raw.cookies[SESSION] == cookie


def test_a_failing_store_deletes_nothing(world, raw, cookie):
    """If the store fails, the cookie is not deleted."""
    world.clock.advance(2)
    world.store.is_down = True
    answer = raw.ask("GET", "/who")
    assert (answer.status, answer.all("set-cookie")) == (503, [])
    world.store.is_down = False
    assert raw.open_id is not None


def test_a_record_that_does_not_open_deletes_nothing(world, raw, cookie):
    """A worker without the key of a record does not delete its cookies."""
    [row] = [name for name in world.store.keys("") if ":grant:" in name]
    before = world.store.get(row)
    world.store.compare_and_set(row, before, b"\x01sealed elsewhere", 3600)
    world.clock.advance(2)
    assert raw.ask("GET", "/who").all("set-cookie") == []
    world.store.compare_and_set(row, b"\x01sealed elsewhere", before, 3600)
    assert raw.open_id is not None


def test_the_store_is_asked_once_a_second(world, raw, cookie):
    """A cookie without a session causes at most one read of the store a second."""
    end(world, raw, "deleted")
    twin = raw.another()
    before = world.store.reads
    for _ in range(5):
        twin.cookies = {SESSION: cookie}
        assert twin.ask("GET", "/who").all("set-cookie") == [GONE]
    assert world.store.reads == before + 1
    world.clock.advance(1)
    twin.cookies = {SESSION: cookie}
    twin.ask("GET", "/who")
    assert world.store.reads == before + 2


def test_bounded(world, raw, cookie):
    """The number of remembered cookies without a session is bounded."""
    app = getattr(world.app, "wsgi_app", world.app)
    sessions = app._core.sessions
    for number in range(3 * _DEAD_COOKIES):
        sessions._note_dead(b"%d" % number, world.clock())
        assert len(sessions._dead) <= _DEAD_COOKIES


def test_a_login_is_not_undone(world, raw, cookie):
    """The response that signs a user in sets its cookie, whatever cookie was sent."""
    end(world, raw, "deleted")
    raw.log_in()
    assert raw.cookies[SESSION] != cookie
    assert raw.open_id is not None


def test_beside_a_login(world, raw, cookie):
    """A response to a request that met a login of the same browser, and arrives after
    that login's, does not delete the new cookie; some seconds later the old one is.
    """
    raw.log_in()
    assert raw.cookies[SESSION] != cookie
    twin = raw.another()
    for seconds, answered in ((0, []), (8, []), (3, [GONE])):
        world.clock.advance(seconds)
        twin.cookies = {SESSION: cookie}
        answer = twin.ask("GET", "/who")
        assert answer.all("set-cookie") == answered
    assert raw.open_id is not None


def test_on_loopback(world, raw):
    """On loopback, where ports share cookies, another app's cookie is not deleted."""
    origin = "http://localhost:8000"
    world.with_settings(redirect_uri=f"{origin}/auth/tiktok/callback")
    theirs = make_settings(redirect_uri=f"{origin}/auth/tiktok/callback")
    assert theirs.is_loopback
    raw.cookies = {"tiktok": "A" * 64 + "." + "A" * 22}
    assert raw.ask("GET", "/who").all("set-cookie") == []


def test_verified_once(world, raw, monkeypatch):
    """A forged cookie is verified once with each key in a request."""
    keys = ["gV7mQ2xLpR9sTzBn4KcW8yJf3HdA6uEo", "Qw8nE4rTz6uYi2oPa9sDf3gHj7kLx5cV"]
    world.with_settings(secret_keys=keys)
    raw.ask("GET", "/who")  # the first one compares the cookies of middlewares
    compared = []

    def compare(found, given):
        compared.append(given)
        return found == given

    monkeypatch.setattr(cookie_module.hmac, "compare_digest", compare)
    raw.cookies = {SESSION: f"{'A' * 64}.{'B' * 22}"}
    assert raw.ask("GET", "/who").all("set-cookie") == [GONE]
    assert compared == [b"B" * 22] * len(keys)


# --- heads ---------------------------------------------------------------------------


def wrapped(world, headers, before=lambda: None):
    """Return a middleware around an app that answers with these headers."""
    from tiktok_oauth_middleware import TikTokOAuthMiddleware, TikTokOAuthWSGIMiddleware

    options = {
        "store": world.store,
        "clock": world.clock,
        "transport": world.tiktok.transport,
    }

    def wsgi(environ, start_response):
        before()
        start_response("200 OK", [*headers])
        return [b"text"]

    async def asgi(scope, receive, send):
        before()
        head = [(k.encode(), v.encode()) for k, v in headers]
        start = {"type": "http.response.start", "status": 200, "headers": head}
        await send(start)
        await send({"type": "http.response.body", "body": b"text"})
        assert start["headers"] is head

    if world.interface == "wsgi":
        return TikTokOAuthWSGIMiddleware(wsgi, world.settings, **options)
    return TikTokOAuthMiddleware(asgi, world.settings, **options)


def ask(world, cookie, headers, before=lambda: None):
    with Visitors() as visitors:
        app = wrapped(world, headers, before)
        visitor = visitors.knock(app, is_wsgi=world.interface == "wsgi")
        visitor.cookies = {SESSION: cookie}
        return visitor.ask("GET", "/")


def test_the_apps_own(world, raw, cookie):
    """If the app sets a cookie of that name, its value stays."""
    end(world, raw, "deleted")
    own = ("set-cookie", f"{SESSION}=mine; Path=/; Secure")
    answer = ask(world, cookie, [own, ("cache-control", "max-age=60")])
    assert answer.all("set-cookie") == [own[1]]
    assert answer.all("cache-control") == ["max-age=60"]


def test_beside_the_apps_others(world, raw, cookie):
    """The app's other cookies stay, after the deletion, and the answer is not
    cached.
    """
    end(world, raw, "deleted")
    own = ("Set-Cookie", "theme=dark")
    caching = [
        ("Cache-Control", "public, max-age=60"),
        ("CDN-Cache-Control", "max-age=60"),
        ("Vary", "Accept"),
    ]
    answer = ask(world, cookie, [own, *caching, ("content-type", "text/plain")])
    assert answer.all("set-cookie") == [GONE, "theme=dark"]
    assert answer.all("cache-control") == ["no-store"]
    assert answer.all("cdn-cache-control") == []
    assert answer.all("vary") == ["Accept"]
    assert answer.all("content-type") == ["text/plain"]


def test_a_late_head(world, raw, cookie):
    """A response that begins late does not delete the cookie, since a login may have
    come before it.
    """
    end(world, raw, "deleted")
    late = ask(world, cookie, [], before=lambda: world.clock.advance(1))
    assert late.all("set-cookie") == []
