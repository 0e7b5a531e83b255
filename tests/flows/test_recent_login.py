"""Guards that require a recent login, and what counts as one."""

from __future__ import annotations

import json

import pytest

from tiktok_oauth_middleware._web.guard import guard

from ..conftest import API, LOGIN, ORIGIN, PAGE, kept, query_of
from ..support.deciding_app import serve
from ..support.raw_requests import a_scope, drive

#: One backend of every kind is enough, since these tests do not depend on the store.
pytestmark = pytest.mark.parametrize("store", ["memory"], indirect=True)

#: The `max_age` of these tests, in seconds.
MAX_AGE = 300
AGAIN = f"{LOGIN}?next=/danger&choose_account=1"
FORM = {
    **PAGE,
    "content-type": "application/x-www-form-urlencoded",
    "origin": ORIGIN,
    "referer": f"{ORIGIN}/danger?page=2",
    "sec-fetch-site": "same-origin",
}


def guarding(world, *scopes, max_age=MAX_AGE):
    """Set the world's app, each of whose pages requires a recent login."""

    def decide(auth):
        challenge = guard(auth, scopes, max_age)
        facts = {"logged_in_at": auth.logged_in_at, "open_id": auth.open_id}
        return challenge.status if challenge else 200, json.dumps(facts).encode()

    serve(world, decide)


def follow(raw, location, **choice):
    """Follow a redirect to TikTok and back; return the callback's answer."""
    path, _, query = location.partition("?")
    assert path == LOGIN
    return raw.log_in(query.encode(), **choice).location


class TestGuard:
    def test_recent(self, world, raw):
        """A login is recent for `max_age` seconds, including the last."""
        guarding(world)
        raw.log_in()
        world.clock.advance(MAX_AGE)
        assert raw.ask("GET", "/danger", headers=PAGE).status == 200
        world.clock.advance(1)
        assert raw.ask("GET", "/danger", headers=PAGE).status == 303

    def test_one_trip(self, world, raw):
        """After an older login the browser is sent to TikTok's page once, and back to
        the page.
        """
        guarding(world)
        raw.log_in()
        world.clock.advance(MAX_AGE + 1)
        answer = raw.ask("GET", "/danger", headers=PAGE)
        assert answer.location == AGAIN
        authorize = raw.begin(answer.location.partition("?")[2].encode())
        assert query_of(authorize)["disable_auto_auth"] == "1"
        path, query = raw.consent(authorize)
        assert raw.ask("GET", path, query=query).location == "/danger"
        landed = raw.ask("GET", "/danger", headers=PAGE)
        assert landed.status == 200
        assert json.loads(landed.body)["logged_in_at"] == world.clock()

    def test_anonymous(self, world, raw):
        """An anonymous request is sent to the usual login, for which TikTok may show no
        page.
        """
        guarding(world)
        answer = raw.ask("GET", "/danger", headers=PAGE)
        assert answer.location == f"{LOGIN}?next=/danger"
        assert follow(raw, answer.location) == "/danger"
        assert raw.ask("GET", "/danger", headers=PAGE).status == 200

    def test_program(self, world, raw):
        """A program gets 401 with a specific error, the limit, and the login's URL."""
        guarding(world)
        raw.log_in()
        world.clock.advance(MAX_AGE + 1)
        answer = raw.ask("GET", "/danger", headers=API)
        assert answer.status == 401
        assert answer.one("www-authenticate") == "Cookie"
        assert json.loads(answer.body) == {
            "error": "reauthentication_required",
            "max_age": MAX_AGE,
            "login_url": f"{LOGIN}?choose_account=1",
        }
        assert follow(raw, f"{LOGIN}?choose_account=1") == "/"
        assert raw.ask("GET", "/danger", headers=API).status == 200

    @pytest.mark.parametrize("purpose", ["prefetch", "prefetch;prerender"])
    def test_prefetch(self, world, raw, purpose):
        """A prefetch of a page gets the same answer as a program."""
        guarding(world)
        raw.log_in()
        world.clock.advance(MAX_AGE + 1)
        answer = raw.ask("GET", "/danger", headers={**PAGE, "sec-purpose": purpose})
        assert answer.status == 401
        assert json.loads(answer.body)["error"] == "reauthentication_required"

    def test_head(self, world, raw):
        """HEAD gets the same answer as GET."""
        guarding(world)
        raw.log_in()
        world.clock.advance(MAX_AGE + 1)
        assert raw.ask("HEAD", "/danger", headers=PAGE).location == AGAIN

    def test_form(self, world, raw):
        """A posted form is not redirected: a page explains, and its login returns to
        the form.
        """
        guarding(world)
        raw.log_in()
        world.clock.advance(MAX_AGE + 1)
        answer = raw.ask("POST", "/send", headers=FORM, body=b"text=long")
        assert answer.status == 401
        assert "Please log in once more" in answer.text
        back = f"{LOGIN}?next=/danger%3Fpage%3D2&amp;choose_account=1"
        assert f'href="{back}"' in answer.text
        assert raw.ask("GET", "/who-else", headers=API).status == 401

    def test_cancelled(self, world, raw):
        """A person who cancels at TikTok stays signed in, and is still refused."""
        guarding(world)
        raw.log_in()
        before = kept(world).sessions
        world.clock.advance(MAX_AGE + 1)
        authorize = raw.begin(AGAIN.partition("?")[2].encode())
        path, query = raw.consent(authorize, deny=True)
        answer = raw.ask("GET", path, query=query, headers=PAGE)
        assert answer.status == 403
        assert "choose_account=1" in answer.text  # in the link "Try again"
        assert raw.ask("GET", "/danger", headers=API).status == 401
        assert kept(world).sessions[0].digest == before[0].digest

    def test_unfinished(self, world, raw):
        """A login that was not completed is not repeated automatically."""
        guarding(world)
        raw.log_in()
        world.clock.advance(MAX_AGE + 1)
        answer = raw.ask("GET", "/danger", headers=PAGE)
        raw.begin(answer.location.partition("?")[2].encode())
        answer = raw.ask("GET", "/danger", headers=PAGE)
        assert answer.status == 401
        assert "The login was not finished" in answer.text
        assert AGAIN.replace("&", "&amp;") in answer.text

    @pytest.mark.parametrize("interface", ["asyncio"], indirect=True)
    @pytest.mark.parametrize("has_response", [True, False])
    def test_socket(self, world, raw, has_response):
        """A WebSocket is refused before it is accepted, with 401 or with 4401."""
        guarding(world)
        raw.log_in()
        world.clock.advance(MAX_AGE + 1)
        cookie = "; ".join(f"{n}={v}" for n, v in raw.cookies.items()).encode()
        lines = [(b"cookie", cookie), (b"origin", ORIGIN.encode())]
        scope = a_scope("/x", lines, type="websocket", scheme="wss", subprotocols=[])
        if has_response:
            scope["extensions"] = {"websocket.http.response": {}}
        sent = raw.portal.call(drive, world.app, scope, [{"type": "websocket.connect"}])
        if has_response:
            assert sent[0]["status"] == 401
            error = json.loads(sent[1]["body"])["error"]
            assert error == "reauthentication_required"
        else:
            assert sent == [{"type": "websocket.close", "code": 4401}]


class TestBoundaries:
    @pytest.mark.parametrize("max_age", [0, 0.5, 1, 9])
    def test_small(self, world, raw, max_age):
        """Even with the smallest `max_age`, the page opens right after the login."""
        guarding(world, max_age=max_age)
        raw.log_in()
        world.clock.advance(11)
        answer = raw.ask("GET", "/danger", headers=PAGE)
        assert answer.location == AGAIN
        assert follow(raw, answer.location) == "/danger"
        world.clock.advance(9)  # a slow network
        assert raw.ask("GET", "/danger", headers=PAGE).status == 200
        world.clock.advance(2)
        assert raw.ask("GET", "/danger", headers=PAGE).location == AGAIN

    @pytest.mark.parametrize(("back", "status"), [(299, 200), (301, 303), (9e8, 303)])
    def test_clock_set_back(self, world, raw, back, status):
        """A login in the future counts if a difference between servers' clocks explains
        it.
        """
        guarding(world)
        raw.log_in()
        world.clock.advance(-back)
        answer = raw.ask("GET", "/danger", headers=PAGE)
        assert answer.status == status
        if status == 303:
            assert follow(raw, answer.location) == "/danger"
            assert raw.ask("GET", "/danger", headers=PAGE).status == 200

    def test_old_cookie(self, world, raw):
        """The session from before the new login is refused, and has ended."""
        guarding(world)
        raw.log_in()
        old = raw.another()
        old.cookies = dict(raw.cookies)
        world.clock.advance(MAX_AGE + 1)
        follow(raw, raw.ask("GET", "/danger", headers=PAGE).location)
        assert raw.ask("GET", "/danger", headers=PAGE).status == 200
        answer = old.ask("GET", "/danger", headers=API)
        assert json.loads(answer.body)["error"] == "login_required"

    def test_cached_elsewhere(self, world, raw):
        """Another worker that revalidates its cached session keeps the login's time."""
        guarding(world)
        raw.log_in()
        began = world.clock()
        for _ in range(3):
            world.clock.advance(2)
            answer = raw.ask("GET", "/danger", headers=API)
            assert json.loads(answer.body)["logged_in_at"] == began
        world.start()  # another worker
        guarding(world)
        world.clock.advance(MAX_AGE)
        assert raw.ask("GET", "/danger", headers=API).status == 401

    def test_refresh(self, world, raw):
        """Neither refreshing a token nor using a session makes a login recent."""
        world.tiktok.access_lifetime = 3600
        guarding(world)
        raw.log_in()
        for _ in range(3):
            world.clock.advance(3000)
            assert raw.ask("GET", "/danger", headers=API).status == 401
        assert world.count("refresh_token")

    def test_other_browser(self, world, raw):
        """A recent login in one browser does not count in another."""
        guarding(world)
        raw.log_in()
        world.clock.advance(MAX_AGE + 1)
        other = raw.another()
        other.log_in()
        assert other.ask("GET", "/danger", headers=API).status == 200
        assert raw.ask("GET", "/danger", headers=API).status == 401


class TestScopes:
    def test_one_trip_for_both(self, world, raw):
        """A missing scope is requested in the same login."""
        guarding(world, "user.info.stats")
        raw.log_in()
        world.clock.advance(MAX_AGE + 1)
        answer = raw.ask("GET", "/danger", headers=PAGE)
        wanted = f"{LOGIN}?next=/danger&scopes=user.info.stats&choose_account=1"
        assert answer.location == wanted
        assert follow(raw, answer.location) == "/danger"
        assert raw.ask("GET", "/danger", headers=PAGE).status == 200

    def test_recent_without_scope(self, world, raw):
        """After a recent login without the scope, only the scope is requested."""
        guarding(world, "user.info.stats")
        raw.log_in()
        answer = raw.ask("GET", "/danger", headers=API)
        assert (answer.status, json.loads(answer.body)["error"]) == (
            403,
            "scope_required",
        )

    def test_denied(self, world, raw):
        """A user who denies the scope gets a page that names it: no redirect loop."""
        guarding(world, "user.info.stats")
        raw.log_in()
        world.clock.advance(MAX_AGE + 1)
        answer = raw.ask("GET", "/danger", headers=PAGE)
        follow(raw, answer.location, scopes=["user.info.basic", "video.list"])
        answer = raw.ask("GET", "/danger", headers=PAGE)
        assert answer.status == 403
        assert "user.info.stats" in answer.text

    def test_never_requested(self, world, raw):
        """If the app may not request the scope, the answer is about the scope, not the
        login's age.
        """
        guarding(world, "research.data.basic")
        raw.log_in()
        world.clock.advance(MAX_AGE + 1)
        answer = raw.ask("GET", "/danger", headers=API)
        assert answer.status == 403
        assert "login_url" not in json.loads(answer.body)
        assert raw.ask("GET", "/danger", headers=PAGE).status == 403


class TestWhatCounts:
    def test_silent_login(self, world, raw):
        """A login for which TikTok showed no page does not count as recent."""
        guarding(world)
        raw.log_in()
        began = world.clock()
        world.clock.advance(MAX_AGE + 1)
        before = dict(raw.cookies)
        raw.log_in()
        assert raw.cookies != before  # a new session nevertheless
        answer = raw.ask("GET", "/danger", headers=PAGE)
        assert answer.status == 303
        [session] = kept(world).sessions
        assert (session.created_at, session.logged_in_at) == (world.clock(), began)
        follow(raw, answer.location)
        assert raw.ask("GET", "/danger", headers=PAGE).status == 200

    def test_again_and_again(self, world, raw):
        """After several logins without a page, the time of the first login counts."""
        guarding(world)
        raw.log_in()
        began = world.clock()
        for _ in range(3):
            world.clock.advance(100)
            raw.log_in()
        answer = raw.ask("GET", "/danger", headers=API)
        assert json.loads(answer.body)["logged_in_at"] == began

    def test_last_seen(self, world, raw):
        """Writing when a session was last seen keeps the time of its login."""
        raw.log_in()
        began = int(world.clock())
        world.clock.advance(10)
        raw.log_in()
        world.clock.advance(600)
        assert raw.open_id is not None
        [session] = kept(world).sessions
        assert session.last_seen_at == int(world.clock())
        assert (session.created_at, session.logged_in_at) == (began + 10, began)

    @pytest.mark.parametrize(
        "query", [b"choose_account=1", b"scopes=user.info.stats"], ids=["choose", "ask"]
    )
    def test_page_was_shown(self, world, raw, query):
        """Every login for which TikTok has to show its page counts as recent."""
        guarding(world)
        raw.log_in()
        world.clock.advance(MAX_AGE + 1)
        raw.log_in(query)
        assert raw.ask("GET", "/danger", headers=API).status == 200

    def test_always_ask_consent(self, world, raw):
        """With `always_ask_consent` every login counts as recent."""
        world.with_settings(always_ask_consent=True)
        guarding(world)
        raw.log_in()
        world.clock.advance(MAX_AGE + 1)
        raw.log_in()
        assert raw.ask("GET", "/danger", headers=API).status == 200

    def test_after_logout(self, world, raw):
        """After a logout TikTok shows its page, and the login counts."""
        guarding(world)
        raw.log_in()
        world.clock.advance(MAX_AGE + 1)
        raw.ask("POST", "/auth/tiktok/logout", headers={"origin": ORIGIN})
        assert query_of(raw.begin())["disable_auto_auth"] == "1"
        raw.log_in()
        assert raw.ask("GET", "/danger", headers=API).status == 200

    def test_after_the_session_ended(self, world, raw):
        """A login without an earlier session is recent: no older time is stored."""
        guarding(world)
        raw.log_in()
        world.clock.advance(world.settings.session_idle + 1)
        raw.log_in()
        assert raw.ask("GET", "/danger", headers=API).status == 200


class TestRules:
    """The paths of `protect_recent`."""

    @pytest.fixture
    def ruled(self, world, raw):
        """Return a visitor whose login is too old."""
        world.with_settings(
            protect=["/ruled"],
            protect_recent=["/ruled/pay"],
            protect_max_age=60,
            public=["/ruled/pay/help"],
        )
        raw.log_in()
        world.clock.advance(61)
        return raw

    @pytest.mark.parametrize(
        "path",
        ["/ruled/pay", "/ruled/pay/x", "/RULED/Pay", "/ruled//pay", "/ruled/x/../pay"],
    )
    def test_refused(self, ruled, path):
        """A program is refused under every reading of the path; the answer names the
        limit.
        """
        answer = ruled.ask("GET", path, headers=API)
        assert answer.status == 401
        assert json.loads(answer.body)["error"] == "reauthentication_required"
        assert json.loads(answer.body)["max_age"] == 60

    @pytest.mark.parametrize("path", ["/ruled/x", "/ruled/pay/help", "/ruled/payee"])
    def test_other_paths(self, ruled, path):
        """Other paths, and public paths below the rule, accept any login."""
        assert ruled.ask("GET", path, headers=API).status == 200

    def test_one_trip(self, ruled):
        """A browser is sent to TikTok's page only once, and back."""
        answer = ruled.ask("GET", "/ruled/pay/x", headers=PAGE)
        assert answer.location == f"{LOGIN}?next=/ruled/pay/x&choose_account=1"
        assert follow(ruled, answer.location) == "/ruled/pay/x"
        assert ruled.ask("GET", "/ruled/pay/x", headers=PAGE).status == 200

    def test_anonymous(self, ruled):
        """A path with only this rule needs a login."""
        anonymous = ruled.another()
        answer = anonymous.ask("GET", "/ruled/pay", headers=API)
        assert json.loads(answer.body)["error"] == "login_required"

    def test_alone(self, world, raw):
        """A rule in `protect_recent` need not be in `protect`, too."""
        world.with_settings(protect_recent=["/ruled"])
        assert raw.ask("GET", "/ruled/x", headers=API).status == 401
        raw.log_in()
        assert raw.ask("GET", "/ruled/x", headers=API).status == 200
        world.clock.advance(301)
        assert raw.ask("GET", "/ruled/x", headers=API).status == 401
        assert raw.ask("GET", "/who", headers=API).status == 200

    def test_form(self, ruled):
        """A posted form gets the page that explains the refusal."""
        answer = ruled.ask("POST", "/ruled/pay", headers=FORM, body=b"a=b")
        assert answer.status == 401
        assert "Please log in once more" in answer.text

    def test_preflight(self, ruled):
        """A CORS preflight has no cookie, and reaches the app as with every rule."""
        headers = [
            ("origin", "https://other.example"),
            ("access-control-request-method", "PUT"),
        ]
        answer = ruled.ask("OPTIONS", "/ruled/pay", headers=headers)
        assert answer.status == 401  # the app does not answer preflights
        assert answer.one("location") is None

    def test_private(self, ruled):
        """The refusal is kept out of shared caches."""
        answer = ruled.ask("GET", "/ruled/pay", headers=API)
        assert answer.one("cache-control") == "no-store"


class TestPosted:
    """Logins that a form begins, since `login_methods` has no GET."""

    def test_button(self, world, raw):
        """The login path's page has a form that posts the guard's requirements."""
        world.with_settings(login_methods=["POST"])
        guarding(world)
        own = {**PAGE, "origin": ORIGIN, "sec-fetch-site": "same-origin"}

        def post(query):
            sent = raw.ask("POST", LOGIN, query=query, headers=own)
            assert sent.status == 303
            path, answer = raw.consent(sent.location)
            assert raw.ask("GET", path, query=answer).status == 303
            return sent.location

        post(b"")
        world.clock.advance(MAX_AGE + 1)
        location = raw.ask("GET", "/danger", headers=PAGE).location
        assert location == AGAIN
        query = location.partition("?")[2]
        page = raw.ask("GET", LOGIN, query=query.encode(), headers=PAGE)
        assert f'action="{LOGIN}?{query}"'.replace("&", "&amp;") in page.text
        assert query_of(post(query.encode()))["disable_auto_auth"] == "1"
        assert raw.ask("GET", "/danger", headers=PAGE).status == 200
