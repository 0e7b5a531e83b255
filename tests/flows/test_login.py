"""The limits of a login: its cookie, its lifetime, and its pages.

The journey itself is in `test_journey`, the cookies of many logins in
`test_login_cookies`; here each limit is tried on both of its sides.
"""

from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from tiktok_oauth_middleware import MemoryStore, StoreError
from tiktok_oauth_middleware._core.backends.one_step import run
from tiktok_oauth_middleware._core.http import Request
from tiktok_oauth_middleware._core.secret import Secret
from tiktok_oauth_middleware._oauth.authorize import read_callback
from tiktok_oauth_middleware._session.record import Session
from tiktok_oauth_middleware._web.conclude_login import login_id_of
from tiktok_oauth_middleware._web.transaction import LoginTransaction
from tiktok_oauth_middleware._web.unfinished_login import error_of

from ..conftest import CALLBACK, LOGIN, another_core, kept, query_of

SESSION = "__Host-tiktok"
PREFIX = "__Host-tiktok-login-"


@pytest.fixture
def store(clock):
    """Return a store in memory: none of this depends on the store."""
    return MemoryStore(clock=clock)


def set_cookies(response):
    """Return a response's cookies: the value and attributes by name."""
    found = {}
    for header in response.headers.get_list("set-cookie"):
        pair, _, attributes = header.partition("; ")
        name, _, value = pair.partition("=")
        found[name] = (value, attributes)
    return found


def deleted(response):
    """Return the names of the cookies that a response deletes, in order."""
    return [n for n, (v, a) in set_cookies(response).items() if not v and "Age=0" in a]


def state_of(url):
    return query_of(url)["state"]


def under_way(browser):
    return {n: v for n, v in browser.cookies().items() if n.startswith(PREFIX)}


# --- the cookie of a login ---------------------------------------------------------


class TestPacked:
    LOGIN = LoginTransaction(
        state=Secret("s"),
        verifier=Secret("v"),
        return_to="/t",
        created_at=5,
        requested="video.list",
    )
    PROMPTED = replace(LOGIN, prompt="again")

    def unpack(self, packed):
        return LoginTransaction.unpack(packed, state=Secret("s"), created_at=5)

    def test_round_trip(self):
        """A packed login unpacks to the same, with its state and time."""
        assert self.unpack(self.LOGIN.pack()) == self.LOGIN
        assert self.unpack(self.PROMPTED.pack()) == self.PROMPTED

    @pytest.mark.parametrize(
        "packed",
        [
            b"",
            b"2\nv\n/t\nvideo.list",
            b"2\nv\n/t\nvideo.list\n",
            b"\nv\n/t\nvideo.list\n",
            b"3\nv\n/t\nvideo.list",
            b"3\nv\n/t\nvideo.list\n\n",
            b"3\nv\n/t\nvideo.list\nsomething",
            b"3\nv\n/t\n\xff\n",
        ],
    )
    def test_no_other(self, packed):
        """Another version or other fields are not read as a login."""
        assert self.unpack(packed) is None

    def test_no_state(self):
        """The state itself is not in the cookie."""
        login = replace(self.LOGIN, state="of-this-login")
        assert b"of-this-login" not in login.pack()

    def test_name(self):
        """A login's name is twelve characters of the hash of its state."""
        assert re.fullmatch(r"[A-Za-z0-9_-]{12}", login_id_of("state"))
        assert login_id_of("state") != login_id_of("State")

    def test_state(self, browser):
        """State and verifier have 256 random bits each, and are new for every login."""
        one, other = browser.begin(), browser.begin()
        assert re.fullmatch(r"[A-Za-z0-9_-]{43}", state_of(one))
        assert state_of(one) != state_of(other)
        challenges = {query_of(url)["code_challenge"] for url in (one, other)}
        assert len(challenges) == 2

    def test_verifier(self, browser, world):
        """The verifier is 43 characters, the shortest that RFC 7636 allows."""
        sent = []
        handle = world.tiktok.provider.token

        def note(form):
            sent.append(dict(form))
            return handle(form)

        world.tiktok.provider.token = note
        browser.log_in()
        assert re.fullmatch(r"[A-Za-z0-9_-]{43}", sent[0]["code_verifier"])

    def test_age(self, browser):
        """The cookie outlives the login by twenty minutes, so that a late callback is
        not reported as another browser's.
        """
        response = browser.get(LOGIN)
        [(_, attributes)] = set_cookies(response).values()
        assert "Max-Age=1800;" in attributes


# --- how long ----------------------------------------------------------------------


class TestAge:
    @pytest.mark.parametrize(
        ("later", "status"), [(600, 303), (601, 400), (-60, 303), (-61, 400)]
    )
    def test_limits(self, browser, world, later, status):
        """A login must be finished within 600 s; its time may be at most 60 s in the
        future.
        """
        callback = browser.consent(browser.begin())
        now = world.clock()
        world.tiktok.provider.clock = lambda: now  # TikTok's clock stays
        world.clock.advance(later)
        assert browser.get(callback).status_code == status

    def test_used_for(self, browser, world, store):
        """The mark of a used login is kept for as long as its callback would be
        accepted.
        """
        url = browser.begin()
        name = login_id_of(state_of(url))
        browser.get(browser.consent(url))
        [key] = [k for k in store.keys("tiktok:") if name in k]
        world.clock.advance(659)
        assert store.get(key)
        world.clock.advance(1)
        assert store.get(key) is None

    def test_late_cookie_is_deleted(self, browser, world):
        """The cookies of a login that came too late are deleted, too."""
        callback = browser.consent(browser.begin())
        names = list(under_way(browser))
        world.clock.advance(601)
        assert deleted(browser.get(callback)) == names


# --- the length of a query ---------------------------------------------------------


def answered(world, path, query):
    """Request one of the middleware's paths without a client, as clients refuse such
    long URLs.
    """

    async def no_body(limit):
        return b""

    core = another_core(world)
    request = Request(
        method="GET", path=path, mount="", query=query, headers=[], read=no_body
    )
    return run(core.respond(request, core.mount_points.at(""))).status


@pytest.mark.parametrize(("length", "status"), [(65536, 303), (65537, 414)])
def test_login_query(world, length, status):
    """A login with a query of 64 kB is accepted; with one byte more it is refused."""
    assert answered(world, LOGIN, b"a=" + b"x" * (length - 2)) == status


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT"])
def test_callback_method(browser, method):
    """Another method than GET at the callback gets 405 with Allow."""
    response = browser.client.request(method, CALLBACK)
    assert response.status_code == 405
    assert response.headers["allow"] == "GET"


@pytest.mark.parametrize(("length", "status"), [(65536, 403), (65537, 414)])
def test_callback_query(world, length, status):
    """A callback with a query of 64 kB is read; with one byte more it is refused."""
    query = b"error=access_denied&a="
    assert answered(world, CALLBACK, query + b"x" * (length - len(query))) == status


# --- what the pages say ---------------------------------------------------------


class TestShownErrorCode:
    @pytest.mark.parametrize(
        ("error", "shown"),
        [
            ("invalid_scope", "invalid_scope"),
            ("a", "a"),
            ("a" * 40, "a" * 40),
            ("a" * 41, "unknown_error"),
            ("Invalid", "unknown_error"),
            ("a b", "unknown_error"),
            ("a1", "unknown_error"),
        ],
    )
    def test_error(self, error, shown):
        """An error code in the callback is shown only if it has the form of a code."""
        callback = read_callback(f"error={quote(error)}".encode())
        assert error_of(callback).error == shown

    def test_error_on_the_page(self, browser):
        """The page names the error that TikTok sent back."""
        response = browser.get(CALLBACK + "?error=invalid_scope")
        assert "TikTok sent back: invalid_scope" in response.text

    def test_log_id(self, browser, world):
        """TikTok's log id is shown, if it sent one."""
        body = b'{"error": "invalid_client", "log_id": "20260101ABC"}'
        world.tiktok.fail("token", body=body)
        assert "TikTok&#x27;s own reference is 20260101ABC." in browser.log_in().text

    def test_no_log_id(self, browser, world):
        """If TikTok sent no log id, the page does not mention one."""
        world.tiktok.fail("token", body=b"{}")
        assert "own reference" not in browser.log_in().text

    def test_reference(self, browser):
        """The reference is eight hexadecimal digits, new every time."""
        pages = [browser.get(CALLBACK).text for _ in range(2)]
        found = [re.search(r"Reference <code>([0-9a-f]{8})</code>", p) for p in pages]
        assert found[0][1] != found[1][1]

    def test_retry_after(self, browser, world):
        """When TikTok does not answer, a program gets Retry-After."""
        world.tiktok.fail("token", status=500)
        assert browser.log_in().headers["retry-after"] == "5"
        world.tiktok.fail("token", error="invalid_client")
        assert "retry-after" not in browser.log_in().headers

    def actions(self, response):
        return re.findall(
            r'class="(?:primary|secondary)"[^>]* href="([^"]*)"', response.text
        )

    def test_actions(self, browser):
        """The page offers another try to an anonymous user, and the site to a signed-in one."""
        denied = browser.log_in(deny=True)
        assert self.actions(denied) == [LOGIN, "/"]
        browser.log_in()
        assert self.actions(browser.log_in(deny=True)) == ["/", LOGIN]

    def test_actions_to_begin(self, browser):
        """The page of a refused login links to a login that can begin."""
        image = browser.get(LOGIN, headers={"sec-fetch-dest": "image"})
        assert self.actions(image) == [LOGIN]
        foreign = browser.get(LOGIN + "?scopes=video.publish")
        assert self.actions(foreign) == [LOGIN]

    def test_all_scopes(self, browser):
        """All offered scopes may be requested at once."""
        scopes = "user.info.basic,video.list,user.info.stats,video.upload"
        assert query_of(browser.begin("?scopes=" + scopes))["scope"] == scopes

    @pytest.mark.parametrize("query", ["scopes=%FF", "scopes=a&scopes=b"])
    def test_scopes_unreadable(self, browser, query):
        """Scopes that cannot be parsed are refused, like scopes that are not
        offered.
        """
        response = browser.get(f"{LOGIN}?{query}")
        assert response.status_code == 400
        assert "does not ask for that" in response.text


class TestByForm:
    @pytest.fixture
    def posting(self, world):
        return world.with_settings(login_methods=["POST"]).browser()

    def test_form(self, posting, world):
        """If logins are posted, GET shows a form that posts."""
        response = posting.get(LOGIN + "?next=/a%20b&x='\"<")
        assert response.status_code == 405
        assert response.headers["allow"] == "POST"
        action = LOGIN + "?next=/a%20b&amp;x=&#x27;%22%3C"
        assert f'<form method="post" action="{action}">' in response.text
        assert 'href="/"' in response.text
        onward = urlsplit(world.settings.endpoints.authorize)
        policy = response.headers["content-security-policy"]
        assert f"form-action 'self' {onward.scheme}://{onward.netloc};" in policy
        assert not under_way(posting)

    def test_no_query(self, posting):
        """Without a query, the form's address has none either."""
        assert f'action="{LOGIN}">' in posting.get(LOGIN).text

    def test_posted(self, posting):
        """Posting the form begins the login."""
        assert posting.post(LOGIN).status_code == 303

    def test_other_method(self, posting):
        """Other methods get Allow, without a form."""
        response = posting.client.request("PUT", LOGIN)
        assert response.status_code == 405
        assert response.headers["allow"] == "POST"
        assert "<form" not in response.text


# --- scopes ------------------------------------------------------------------------


class TestScopes:
    def test_order(self, browser, world):
        """A request to TikTok lists the settings' scopes first, in their order."""
        browser = world.with_settings(
            scopes=["video.list", "user.info.basic"]
        ).browser()
        url = browser.begin("?scopes=video.upload,user.info.stats,video.list")
        asked = "video.list,user.info.basic,user.info.stats,video.upload"
        assert query_of(url)["scope"] == asked

    def test_no_question_again(self, browser):
        """TikTok is not asked to show its page without a further scope."""
        assert "disable_auto_auth" not in query_of(browser.begin())

    def test_denied(self, browser, world):
        """A further scope that was requested and not granted counts as denied."""
        browser.log_in()
        usual = ["user.info.basic", "video.list"]
        browser.log_in("?scopes=video.upload", scopes=usual)
        assert kept(world).denied == "video.upload"

    def test_denied_adds_up(self, browser, world):
        """Denied scopes are remembered until they are granted."""
        browser.log_in()
        usual = ["user.info.basic", "video.list"]
        browser.log_in("?scopes=video.upload", scopes=usual)
        browser.log_in("?scopes=user.info.stats", scopes=usual)
        assert kept(world).denied == "user.info.stats,video.upload"
        browser.log_in("?scopes=video.upload", scopes=[*usual, "video.upload"])
        assert kept(world).denied == "user.info.stats"

    def test_plain_login_forgets(self, browser, world):
        """A login without scopes of its own clears the denied scopes."""
        browser.log_in()
        browser.log_in("?scopes=video.upload", scopes=["user.info.basic"])
        browser.log_in()
        assert kept(world).denied == ""

    def test_new_browser(self, browser, world):
        """A page may request a scope again that the login itself requested."""
        usual = ["user.info.basic", "video.list"]
        browser.log_in("?scopes=video.upload", scopes=usual)
        assert kept(world).denied == ""


# --- what TikTok answers -----------------------------------------------------------


def answer_with(world, **changes):
    """Have TikTok's next exchanges answer with some fields changed or left out."""
    handle = world.tiktok.provider.token

    def token(form):
        answer = handle(form) | changes
        return {name: value for name, value in answer.items() if value is not None}

    world.tiktok.provider.token = token


class TestAnswer:
    @pytest.mark.parametrize(
        ("life", "refresh", "status"),
        [(0, None, 502), (1, None, 303), (0, "rft.x", 303)],
    )
    def test_ended_already(self, browser, world, life, refresh, status):
        """A token that has ended and cannot be renewed signs no user in."""
        answer_with(world, expires_in=life, refresh_token=refresh)
        response = browser.log_in()
        assert response.status_code == status
        assert (SESSION in browser.cookies()) is (status == 303)

    def test_times(self, browser, world):
        """Lifetimes are stored as times of expiry."""
        answer_with(world, expires_in=7200, refresh_expires_in=15552000)
        browser.log_in()
        record, now = kept(world), world.clock()
        assert (record.issued_at, record.expires_at) == (now, now + 7200)
        assert record.refresh_expires_at == now + 15552000

    def test_no_refresh(self, browser, world):
        """After an answer without a refresh token, the record has none."""
        answer_with(world, refresh_token=None, refresh_expires_in=None)
        browser.log_in()
        record = kept(world)
        assert record.refresh_token == ""
        assert record.refresh_expires_at is None
        assert browser.signed_in

    @pytest.mark.parametrize("scope", [None, ""])
    def test_no_scope(self, browser, world, scope):
        """A login whose answer names no scope grants none."""
        answer_with(world, scope=scope)
        browser.log_in()
        assert browser.me()["scopes"] == []
        assert world.tiktok.count("user_info") == 0

    def test_fetch_user(self, world):
        """With fetch_user=False no profile is requested."""
        browser = world.with_settings(fetch_user=False).browser()
        browser.log_in()
        assert browser.me()["name"] is None
        assert world.tiktok.count("user_info") == 0

    def test_profile(self, browser, world):
        """The profile is read during the login, and is that of the user who
        logged in.
        """
        person = world.tiktok.people[1]
        browser.log_in(person=person)
        assert browser.me()["name"] == person.display_name

    def test_cookie_age(self, world):
        """The session's cookie lasts as long as a session may."""
        browser = world.with_settings(session_lifetime=86400).browser()
        value, attributes = set_cookies(browser.log_in())[SESSION]
        assert value
        assert attributes.startswith("Max-Age=86400;")


# --- writing it --------------------------------------------------------------------


class Restless(MemoryStore):
    """A store in which another writer changes the record first, a number of times."""

    def __init__(self, clock, times):
        super().__init__(clock=clock)
        self.times = times
        self.tries = 0

    def compare_and_set(self, key, old, new, ttl):
        if ":grant:" in key and new is not None:
            self.tries += 1
            if self.tries <= self.times:
                return False
        return super().compare_and_set(key, old, new, ttl)


class Forgetful(MemoryStore):
    """A store that writes a record and then fails, a number of times."""

    def __init__(self, clock):
        super().__init__(clock=clock)
        self.loses = 0

    def compare_and_set(self, key, old, new, ttl):
        done = super().compare_and_set(key, old, new, ttl)
        if self.loses and ":grant:" in key:
            self.loses -= 1
            message = "the answer was lost"
            raise StoreError(message)
        return done


class TestWritten:
    @pytest.mark.parametrize(("times", "status"), [(99, 303), (100, 503)])
    def test_swaps(self, world, clock, times, status):
        """Writing a record that others change is tried a hundred times, then it is a
        StoreError.
        """
        world.store = Restless(clock, times)
        browser = world.start().browser()
        assert browser.log_in().status_code == status
        assert world.store.tries == 100
        assert world.count("authorization_code") == 1

    @pytest.mark.parametrize("is_first", [True, False])
    def test_answer_lost(self, world, clock, is_first):
        """A login succeeds if the store wrote it, even though the store's answer was
        lost.
        """
        world.store = Forgetful(clock)
        browser = world.start().browser()
        if not is_first:
            browser.log_in()
        world.store.loses = 1
        assert browser.log_in().status_code == 303
        assert world.store.loses == 0
        assert browser.signed_in
        assert len(kept(world).sessions) == 1

    def test_none_of_the_user(self, browser, world):
        """A login ends this browser's previous session, but not the user's other
        sessions.
        """
        other = world.browser()
        other.log_in()
        browser.log_in()
        browser.log_in()
        assert len(kept(world).sessions) == 2
        assert other.signed_in

    def test_fifty(self, browser, world):
        """A user has at most fifty sessions; the oldest are ended first."""
        first = world.browser()
        first.log_in()
        second = world.browser()
        second.log_in()
        for _ in range(49):
            world.browser().log_in()
        assert len(kept(world).sessions) == 50
        assert not first.signed_in
        assert second.signed_in

    def test_ended_sessions_go(self, browser, world):
        """Ended sessions are removed from the record when their user logs in again."""
        browser.log_in()
        world.clock.advance(8 * 3600 + 1)
        world.browser().log_in()
        [session] = kept(world).sessions
        assert isinstance(session, Session)
        assert (session.created_at, session.last_seen_at) == (
            world.clock(),
            world.clock(),
        )

    def test_error_is_reported(self, browser, world, store, monkeypatch):
        """If the store fails, the callback gets 503, and can be sent again
        afterwards.
        """
        callback = browser.consent(browser.begin())

        def fail(*_):
            raise StoreError("down")

        with monkeypatch.context() as patched:
            patched.setattr(store, "compare_and_set", fail)
            assert browser.get(callback).status_code == 503
        assert browser.get(callback).status_code == 303

    def test_lost_answer(self, browser, store, monkeypatch):
        """If the store cannot be read after a lost answer, a later login still
        succeeds.
        """
        browser.log_in()
        callback = browser.consent(browser.begin())
        swap = store.compare_and_set

        def lose(key, *values):
            swapped = swap(key, *values)
            if ":grant:" in key:
                patched.setattr(store, "get", fail)
                raise StoreError("the answer was lost")
            return swapped

        def fail(*_):
            raise StoreError("down")

        with monkeypatch.context() as patched:
            patched.setattr(store, "compare_and_set", lose)
            assert browser.get(callback).status_code == 503
        assert not browser.signed_in
        browser.log_in()
        assert browser.signed_in

    def test_query_of_callback(self, browser):
        """A callback contains state and code, and no parameter of the middleware's."""
        callback = browser.consent(browser.begin("?next=/a"))
        assert set(parse_qs(urlsplit(callback).query)) == {"code", "scopes", "state"}
