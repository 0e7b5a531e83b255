"""A login's request to TikTok: later scopes, another account, one login at a time.

If a person consented before, TikTok shows no page and grants the scopes of that
consent; the stand-in does the same.
"""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import quote

import pytest

from tiktok_oauth_middleware import MemoryStore, TikTokOAuthMiddleware, User
from tiktok_oauth_middleware._web.login_cookies import LoginCookies
from tiktok_oauth_middleware.testing import FakeTikTok, login_as

from ..conftest import (
    API,
    CALLBACK,
    LOGIN,
    LOGOUT,
    ORIGIN,
    PAGE,
    kept,
    make_settings,
    query_of,
    starlette_app,
)

BASIC, LIST, STATS, UPLOAD = (
    "user.info.basic",
    "video.list",
    "user.info.stats",
    "video.upload",
)
DISCONNECT = "/auth/tiktok/disconnect"
SESSION = "__Host-tiktok"
CHOOSE = "__Host-tiktok-choose"


@pytest.fixture
def store(clock):
    """Return a store in memory; none of this depends on the store."""
    return MemoryStore(clock=clock)


@pytest.fixture
def grown(world):
    """Return a site whose users consented to one scope, and which can then ask
    for two.
    """
    world.with_settings(scopes=[BASIC], disconnect_path=DISCONNECT)
    world.browser().log_in()

    def grow():
        world.events.clear()
        return world.with_settings(scopes=[BASIC, LIST])

    world.grow = grow
    return world


def asks(url):
    """Return whether an authorize address asks TikTok to show its page."""
    return query_of(url).get("disable_auto_auth") == "1"


def at_tiktok(response):
    """Return the address at TikTok that a response redirects to; fail if it is
    elsewhere.
    """
    location = response.headers["location"]
    assert response.status_code == 303
    assert location.startswith("https://www.tiktok.com/v2/auth/authorize/?")
    return location


def set_names(response):
    """Return the cookies that a response sets and deletes, in order."""
    found = []
    for header in response.headers.get_list("set-cookie"):
        name, _, rest = header.partition("=")
        found.append((name, not rest.startswith(";")))
    return found


# --- scopes that came later --------------------------------------------------------


class TestScopeAddedLater:
    def test_reaches(self, grown):
        """A user who consented before sees TikTok's page once, and then has the scope."""
        browser = grown.grow().browser()
        first = browser.begin("?next=/private")
        assert not asks(first)
        answer = browser.get(browser.consent(first))
        second = at_tiktok(answer)
        assert asks(second)
        assert query_of(second)["scope"] == f"{BASIC},{LIST}"
        last = browser.get(browser.consent(second))
        assert last.headers["location"] == "/private"
        assert browser.me()["scopes"] == [BASIC, LIST]

    def test_signed_in_at_once(self, grown):
        """A user who closes the page is signed in with the earlier consent."""
        browser = grown.grow().browser()
        answer = browser.get(browser.consent(browser.begin()))
        assert at_tiktok(answer)
        assert set_names(answer)[-1] == (SESSION, True)
        assert browser.me()["scopes"] == [BASIC]

    def test_new_state(self, grown):
        """The second redirect is a new login, with its own state, challenge and
        cookie.
        """
        browser = grown.grow().browser()
        first = browser.begin()
        callback = browser.consent(first)
        second = at_tiktok(browser.get(callback))
        for name in ("state", "code_challenge"):
            assert query_of(first)[name] != query_of(second)[name]

    def test_denied(self, grown):
        """A user who denies the scope reaches the target, and is not asked again."""
        browser = grown.grow().browser()
        second = at_tiktok(browser.get(browser.consent(browser.begin("?next=/who"))))
        last = browser.get(browser.consent(second, scopes=[BASIC]))
        assert last.headers["location"] == "/who"
        for one in (browser, grown.browser()):
            assert one.log_in("?next=/who").headers["location"] == "/who"
            assert one.signed_in

    def test_page_may_ask(self, grown):
        """A page that needs the denied scope asks for it once, as for any scope."""
        browser = grown.grow().browser()
        second = at_tiktok(browser.get(browser.consent(browser.begin())))
        browser.get(browser.consent(second, scopes=[BASIC]))
        asked = browser.get("/videos").headers["location"]
        assert query_of(asked) == {"next": "/videos", "scopes": LIST}
        url = at_tiktok(browser.get(asked))
        browser.get(browser.consent(url, scopes=[BASIC]))
        assert browser.get("/videos").status_code == 403

    def test_cancelled(self, grown):
        """A user who cancels stays signed in, and is not redirected again."""
        browser = grown.grow().browser()
        second = at_tiktok(browser.get(browser.consent(browser.begin("?next=/who"))))
        last = browser.get(browser.consent(second, deny=True))
        assert (last.status_code, last.headers["location"]) == (303, "/who")
        assert browser.me()["scopes"] == [BASIC]
        assert browser.log_in("?next=/who").headers["location"] == "/who"

    def test_other_error(self, grown):
        """After another error of the second login the user also reaches the target, and
        the scope does not count as denied.
        """
        browser = grown.grow().browser()
        second = at_tiktok(browser.get(browser.consent(browser.begin("?next=/who"))))
        state = query_of(second)["state"]
        last = browser.get(f"{CALLBACK}?error=server_error&state={state}")
        assert last.headers["location"] == "/who"
        assert browser.signed_in
        assert at_tiktok(browser.log_in())

    def test_cancelled_elsewhere_signed_out(self, grown):
        """A user who logged out meanwhile gets the page of a cancelled login."""
        browser = grown.grow().browser()
        second = at_tiktok(browser.get(browser.consent(browser.begin())))
        del browser.client.cookies[SESSION]
        callback = browser.consent(second, deny=True)
        assert browser.get(callback).status_code == 403

    def test_no_loop(self, grown):
        """A second login that grants no further scopes is not followed by a third."""
        browser = grown.grow().browser()
        second = at_tiktok(browser.get(browser.consent(browser.begin())))
        last = browser.get(browser.consent(second, scopes=[]))
        assert last.headers["location"] == "/"
        assert last.status_code == 303

    @pytest.mark.parametrize("ends", ["idle", "lifetime"])
    def test_remembered(self, grown, ends):
        """Denied scopes are kept after the record was deleted with its last session."""
        browser = grown.grow().browser()
        second = at_tiktok(browser.get(browser.consent(browser.begin())))
        browser.get(browser.consent(second, scopes=[BASIC]))
        days = {"idle": 1, "lifetime": 31}[ends]
        grown.clock.advance(days * 86400)
        assert kept(grown) is None
        assert browser.log_in().headers["location"] == "/"
        assert browser.signed_in

    def test_granted_after_all(self, grown):
        """A scope that was denied and then granted counts as granted."""
        browser = grown.grow().browser()
        second = at_tiktok(browser.get(browser.consent(browser.begin())))
        browser.get(browser.consent(second, scopes=[BASIC]))
        browser.log_in(f"?scopes={LIST}")
        assert browser.me()["scopes"] == [BASIC, LIST]
        grown.with_settings(scopes=[BASIC, LIST, STATS])
        browser = grown.browser()
        assert at_tiktok(browser.log_in())

    @pytest.mark.parametrize("how", ["disconnect", "withdrawal", "forget"])
    def test_forgotten(self, grown, how):
        """A user's denied scopes are deleted with the rest of the user's data."""
        world = grown.grow()
        world.with_settings(webhook_path="/hook")
        browser = world.browser()
        second = at_tiktok(browser.get(browser.consent(browser.begin())))
        browser.get(browser.consent(second, scopes=[BASIC]))
        assert any("denied" in key for key in world.store.keys(""))
        world.clock.advance(100)
        if how == "disconnect":
            browser.post(DISCONNECT)
        elif how == "withdrawal":
            headers, body = world.tiktok.disconnect()
            browser.client.post("/hook", content=body, headers=headers)
        else:
            from tiktok_oauth_middleware import TikTokTokens

            tokens = TikTokTokens(world.settings, world.store, clock=world.clock)
            assert tokens.forget(world.tiktok.people[0].open_id)
        assert kept(world) is None
        assert not any("denied" in key for key in world.store.keys(""))

    def test_other_person(self, grown):
        """A scope that one user denied is still requested from the next user."""
        world = grown.grow()
        browser = world.browser()
        second = at_tiktok(browser.get(browser.consent(browser.begin())))
        browser.get(browser.consent(second, scopes=[BASIC]))
        other, person = world.browser(), world.tiktok.people[1]
        world.tiktok.provider.agree(
            world.tiktok.ask(browser.begin().partition("?")[2]), person, [BASIC]
        )
        answer = other.get(other.consent(other.begin(), person=person))
        assert at_tiktok(answer)

    @pytest.mark.parametrize(
        ("query", "options"),
        [
            (f"?scopes={UPLOAD}", {}),
            ("?choose_account=1", {}),
            ("", {"always_ask_consent": True}),
        ],
    )
    def test_shown_already(self, grown, query, options):
        """A login for which TikTok showed its page is not followed by a second one."""
        world = grown.grow()
        browser = world.with_settings(**options).browser()
        first = browser.begin(query)
        assert asks(first)
        last = browser.get(browser.consent(first, scopes=[BASIC]))
        assert last.headers["location"] == "/"
        browser = world.with_settings(always_ask_consent=False).browser()
        assert browser.log_in().headers["location"] == "/"

    def test_all_granted(self, world):
        """A login whose scopes are all granted redirects to TikTok only once."""
        browser = world.browser()
        assert browser.log_in().headers["location"] == "/"
        assert browser.log_in().headers["location"] == "/"

    def test_callback_repeated(self, grown):
        """If the first callback is sent twice, it signs in once and redirects both
        times.
        """
        browser = grown.grow().browser()
        callback = browser.consent(browser.begin())
        cookies = dict(browser.cookies())
        assert at_tiktok(browser.get(callback))
        again = grown.browser(**cookies)
        second = at_tiktok(again.get(callback))
        assert again.me()["scopes"] == [BASIC]
        assert grown.count("authorization_code") == 2  # one of them by the fixture
        last = again.get(again.consent(second))
        assert last.headers["location"] == "/"
        assert again.me()["scopes"] == [BASIC, LIST]

    def test_events(self, grown):
        """Each of the two callbacks emits a login; the second one has all the
        scopes.
        """
        browser = grown.grow().browser()
        second = at_tiktok(browser.get(browser.consent(browser.begin())))
        browser.get(browser.consent(second))
        assert [e.name for e in grown.events] == ["login", "login"]
        assert [sorted(e.scopes) for e in grown.events] == [[BASIC], [BASIC, LIST]]
        assert len(kept(grown).sessions) == 2  # one of them by the fixture

    def test_store_fails(self, grown, monkeypatch):
        """A login succeeds even if the store cannot read the denied scopes."""
        world = grown.grow()
        browser = world.browser()
        callback = browser.consent(browser.begin())
        get = type(world.store).get

        def broken(store, key):
            if "denied" in key:
                raise OSError
            return get(store, key)

        monkeypatch.setattr(type(world.store), "get", broken)
        assert browser.get(callback).headers["location"] == "/"
        assert browser.signed_in

    def test_sealed(self, grown):
        """A stored decision names neither user nor scope in plain text."""
        browser = grown.grow().browser()
        second = at_tiktok(browser.get(browser.consent(browser.begin())))
        browser.get(browser.consent(second, scopes=[BASIC]))
        [key] = [key for key in grown.store.keys("") if "denied" in key]
        row = grown.store.get(key)
        assert LIST.encode() not in row
        assert grown.tiktok.people[0].open_id not in key

    def test_long_address(self, grown):
        """An address that just fits a login's cookies survives both redirects."""
        browser = grown.grow().browser()
        target = "/who?" + "x" * 1900
        second = at_tiktok(
            browser.get(browser.consent(browser.begin(f"?next={quote(target)}")))
        )
        last = browser.get(browser.consent(second))
        assert last.headers["location"] == target

    def test_login_as(self, settings, clock):
        """login_as follows the second redirect, with the same scopes ticked."""
        fake = FakeTikTok.for_settings(settings, clock=clock)
        from starlette.testclient import TestClient

        for scopes in ([BASIC], None):
            app = TikTokOAuthMiddleware(
                starlette_app(), settings, transport=fake.transport, clock=clock
            )
            with TestClient(app, base_url=ORIGIN) as client:
                answer = login_as(client, fake, scopes=scopes, next="/who")
                assert answer.headers["location"] == "/who"
                wanted = scopes or [BASIC, LIST]
                assert client.get("/who", headers=API).json()["scopes"] == wanted


# --- which account -----------------------------------------------------------------


class TestChooseAccount:
    def test_after_logout(self, browser):
        """The first login after a logout lets the person choose an account; later ones
        do not.
        """
        browser.log_in()
        assert not asks(browser.begin())
        browser.log_out()
        assert asks(browser.begin())
        browser.log_in()
        assert CHOOSE not in browser.cookies()
        assert not asks(browser.begin())

    def test_until_signed_in(self, browser):
        """If a login is cancelled or abandoned, the next one offers the choice
        again.
        """
        browser.log_in()
        browser.log_out()
        browser.log_in(deny=True)
        browser.begin()
        assert asks(browser.begin())

    def test_days_later(self, browser, world):
        """The choice is still offered days later, since TikTok remembers the account
        for longer.
        """
        browser.log_in()
        browser.log_out()
        world.clock.advance(20 * 86400)
        assert asks(browser.begin())

    @pytest.mark.parametrize("fails", [False, True])
    def test_after_disconnect(self, world, fails):
        """After a disconnect, the choice is requested only if the revoke failed:
        otherwise TikTok shows its page by itself.
        """
        browser = world.with_settings(disconnect_path=DISCONNECT).browser()
        browser.log_in()
        if fails:
            world.tiktok.fail("revoke", status=500)
        browser.post(DISCONNECT)
        assert asks(browser.begin()) == fails

    def test_anonymous(self, browser):
        """An anonymous logout sets no cookie."""
        browser.log_out()
        assert browser.cookies() == {}

    def test_other_browser(self, browser, world):
        """A logout does not affect the next login in another browser."""
        browser.log_in()
        browser.log_out()
        assert not asks(world.browser().begin())

    def test_refused_logout(self, browser):
        """A logout that another site posts does not set the cookie."""
        browser.log_in()
        browser.post(LOGOUT, headers={"origin": "https://evil.example"})
        assert CHOOSE not in browser.cookies()

    def test_cookie(self, browser):
        """The cookie is short, has the attributes of our others, and precedes the
        session's.
        """
        browser.log_in()
        answer = browser.log_out()
        assert set_names(answer) == [(CHOOSE, True), (SESSION, False)]
        header = next(
            h for h in answer.headers.get_list("set-cookie") if h.startswith(CHOOSE)
        )
        assert header == (
            f"{CHOOSE}=1; Max-Age=2592000; Path=/; HttpOnly; SameSite=Lax; Secure"
        )

    def test_room(self, browser, world):
        """The cookie, seven logins and a session fit into 4,096 bytes together."""
        browser.log_in()
        browser.log_out()
        for number in range(12):
            browser.get(f"{LOGIN}?next=/{number}{'x' * 280}")
        sent = "; ".join(f"{n}={v}" for n, v in browser.cookies().items())
        assert CHOOSE in sent
        assert len(sent) + len(f"; {SESSION}=") + 87 <= 4096
        assert browser.log_in().status_code == 303

    @pytest.mark.parametrize("length", [1, 64])
    def test_names(self, length):
        """Even with the longest cookie name, an address of 2,048 bytes fits."""
        from tiktok_oauth_middleware._core.encryption import Box
        from tiktok_oauth_middleware._session.cookie import SessionCookies

        jar = SessionCookies("n" * length, [b"k" * 32], secure=True)
        cookies = LoginCookies(jar, Box(["k" * 32], "aw", "login"), 1800)
        new = cookies.begin([], "state", 5, b"x" * 2100, "purpose")
        names = [*new, jar.choose(60), jar.session("s" * 87, 60)]
        sent = "; ".join(f"{c.name}={c.value}" for c in names)
        assert len(sent) <= 4096

    def test_one_link(self, browser):
        """choose_account=1 applies to one login, whether or not a user is signed in."""
        assert asks(browser.begin("?choose_account=1"))
        browser.log_in()
        assert asks(browser.begin("?choose_account=1"))
        assert not asks(browser.begin("?choose_account=0"))
        assert not asks(browser.begin())

    @pytest.mark.parametrize(
        "query",
        [
            "choose_account=",
            "choose_account=true",
            "choose_account=2",
            "choose_account=1%00",
            "choose_account=1&choose_account=1",
            "choose_account=0&choose_account=1",
            "choose_account=%ff",
        ],
    )
    def test_nonsense(self, browser, query):
        """Any other value of choose_account gets an error page, not a redirect to
        TikTok.
        """
        answer = browser.get(f"{LOGIN}?{query}")
        assert answer.status_code == 400
        assert not answer.headers.get_list("set-cookie")

    def test_switch(self, browser, world):
        """Choosing another account signs this browser in as that user."""
        browser.log_in()
        url = browser.begin("?choose_account=1")
        browser.get(browser.consent(url, person=world.tiktok.people[1]))
        assert browser.me()["open_id"] == world.tiktok.people[1].open_id

    def test_tried_again(self, browser):
        """The link "Try again" lets the user choose again."""
        answer = browser.log_in("?choose_account=1&next=/who", deny=True)
        found = re.search(r'href="([^"]+)">Try again<', answer.text)
        link = unescape(found[1])
        assert query_of(ORIGIN + link) == {"next": "/who", "choose_account": "1"}

    def test_other_parameters_stay(self, browser):
        """choose_account changes no other parameter of the request to TikTok."""
        plain = query_of(browser.begin())
        chosen = query_of(browser.begin("?choose_account=1"))
        assert chosen.pop("disable_auto_auth") == "1"
        for name in ("client_key", "scope", "redirect_uri", "response_type"):
            assert plain[name] == chosen[name]
        assert plain.keys() == chosen.keys()


# --- no second redirect by itself --------------------------------------------------


def follow(browser, path):
    """Open a guarded page and go to TikTok; return TikTok's address."""
    answer = browser.get(path)
    assert answer.status_code == 303
    return at_tiktok(browser.get(answer.headers["location"]))


class TestUnfinished:
    @pytest.fixture(
        params=["/private", "/videos", "/private/a%20b?c=d%26e", "/ruled/x"]
    )
    def path(self, request):
        return request.param

    @pytest.fixture
    def world(self, world):
        return world.with_settings(protect=["/ruled"])

    @pytest.mark.parametrize("after", [0, 1, 5, 599])
    def test_page(self, browser, world, path, after):
        """If the login for a page was not completed, a page says so instead of a second
        redirect.
        """
        follow(browser, path)
        world.clock.advance(after)
        answer = browser.get(path)
        assert answer.status_code == 401
        assert answer.headers["content-type"].startswith("text/html")
        assert answer.headers["www-authenticate"] == "Cookie"
        assert "The login was not finished" in answer.text
        assert not answer.headers.get_list("set-cookie")

    def test_try_again(self, browser, path):
        """The link on that page begins a login that returns to the requested page."""
        follow(browser, path)
        text = browser.get(path).text
        link = unescape(re.search(r'href="([^"]+)">Try again<', text)[1])
        url = at_tiktok(browser.get(link))
        assert browser.get(browser.consent(url)).headers["location"] == path
        assert browser.get(path).status_code == 200

    def test_first_trip_still_works(self, browser, path):
        """That page does not end the login under way: completing it signs the
        user in.
        """
        url = follow(browser, path)
        browser.get(path)
        assert browser.get(browser.consent(url)).headers["location"] == path

    def test_link_always_begins(self, browser):
        """A click on the link to the login path begins a login, even if others are
        under way.
        """
        follow(browser, "/private")
        for _ in range(3):
            assert at_tiktok(browser.get(f"{LOGIN}?next=/private"))

    def test_another_page(self, browser):
        """Other pages begin their own logins, so that tabs do not disturb each
        other.
        """
        follow(browser, "/private")
        for path in ("/private/x", "/private?x", "/videos"):
            follow(browser, path)

    def test_same_moment(self, browser):
        """Tabs that are restored at once all reach TikTok, since none has sent
        another's cookie.
        """
        answers = [browser.get("/private") for _ in range(3)]
        urls = [browser.get(a.headers["location"]) for a in answers]
        assert all(map(at_tiktok, urls))

    def test_double_click(self, browser, world):
        """A second click on the same link right after the first begins a login; a later
        one does not.
        """
        click = {**PAGE, "sec-fetch-user": "?1", "sec-fetch-site": "same-origin"}
        follow(browser, "/private")
        assert browser.get("/private", headers=click).status_code == 303
        world.clock.advance(4)
        assert browser.get("/private", headers=click).status_code == 401

    @pytest.mark.parametrize(
        "headers",
        [
            {"sec-fetch-user": "?1"},
            {"sec-fetch-site": "same-origin"},
            {"sec-fetch-user": "?1", "sec-fetch-site": "cross-site"},
            {"sec-fetch-user": "?1", "sec-fetch-site": "none"},
        ],
    )
    def test_no_double_click(self, browser, headers):
        """A request that no user clicked on a page of this site is no double click."""
        follow(browser, "/private")
        assert browser.get("/private", headers={**PAGE, **headers}).status_code == 401

    def test_too_old(self, browser, world):
        """A login that has expired no longer counts as begun."""
        follow(browser, "/private")
        world.clock.advance(601)
        assert browser.get("/private").status_code == 303

    @pytest.mark.parametrize("deny", [False, True])
    def test_came_back(self, browser, deny):
        """A login whose callback arrived no longer counts as begun, however it
        ended.
        """
        browser.get(browser.consent(follow(browser, "/private"), deny=deny))
        if not deny:
            browser.client.cookies.delete(SESSION)
        assert browser.get("/private").status_code == 303

    def test_logged_out(self, browser):
        """A logout ends the logins under way."""
        follow(browser, "/private")
        browser.log_out()
        assert browser.get("/private").status_code == 303

    def test_other_browser(self, browser, world):
        """Logins that another browser began do not count."""
        follow(browser, "/private")
        assert world.browser().get("/private").status_code == 303

    def test_programs(self, browser):
        """A program still gets its answer in JSON."""
        follow(browser, "/private")
        answer = browser.get("/private", headers=API)
        assert answer.status_code == 401
        assert answer.json()["error"] == "login_required"

    def test_scopes(self, browser):
        """A login for further scopes is not repeated either; the page names the
        scopes.
        """
        browser.log_in()
        follow(browser, "/upload")
        answer = browser.get("/upload")
        assert answer.status_code == 403
        assert "video.upload" in answer.text
        assert "Ask TikTok again" in answer.text

    def test_scopes_are_another_trip(self, browser):
        """A login for the page and one for its scopes are counted apart."""
        browser.get(f"{LOGIN}?next=/upload")
        assert browser.get("/upload").status_code == 303

    def test_foreign_cookies(self, browser, world):
        """Login cookies that the middleware did not write are ignored."""
        for value in ("", "x", "A" * 40, "A" * 3000):
            other = world.browser(**{f"{SESSION}-login-0": value})
            assert other.get("/private").status_code == 303


# --- refresh tokens ----------------------------------------------------------------


class TestRefreshTokenKept:
    def without_refresh_token(self, world, **changes):
        """Have TikTok answer the next exchange without a refresh token."""
        handle = world.tiktok.provider.token

        def token(form):
            answer = handle(form)
            del answer["refresh_token"], answer["refresh_expires_in"]
            world.tiktok.provider.token = handle
            return {**answer, **changes}

        world.tiktok.provider.token = token

    def test_kept(self, browser, world):
        """A login whose answer has no refresh token keeps the earlier one and its
        expiry.
        """
        browser.log_in()
        before = kept(world)
        world.clock.advance(100)
        self.without_refresh_token(world)
        browser.log_in()
        after = kept(world)
        assert after.access_token != before.access_token
        assert after.refresh_token == before.refresh_token
        assert after.refresh_expires_at == before.refresh_expires_at

    def test_works(self, browser, world):
        """The earlier refresh token refreshes the login's access token."""
        world.tiktok.provider.access_lifetime = 3600
        browser.log_in()
        self.without_refresh_token(world)
        browser.log_in()
        world.clock.advance(3601)
        assert browser.me()["token"]
        assert world.count("refresh_token") == 1

    def test_new_end(self, browser, world):
        """An expiry in the answer applies to the earlier refresh token."""
        browser.log_in()
        self.without_refresh_token(world, refresh_expires_in=1000)
        browser.log_in()
        assert kept(world).refresh_expires_at == int(world.clock()) + 1000

    def test_expired(self, browser, world):
        """An earlier refresh token that has expired is not kept."""
        world.with_settings(keep_grants=True)
        world.tiktok.provider.refresh_lifetime = 1000
        browser.log_in()
        world.clock.advance(1001)
        self.without_refresh_token(world)
        browser.log_in()
        assert not kept(world).refresh_token

    def test_other_person(self, browser, world):
        """No user gets another user's refresh token."""
        browser.log_in()
        self.without_refresh_token(world)
        person = world.tiktok.people[1]
        browser.log_in(person=person)
        assert not kept(world, person.open_id).refresh_token

    def test_first_login(self, browser, world):
        """A first login without a refresh token is stored without one."""
        self.without_refresh_token(world)
        browser.log_in()
        assert browser.signed_in
        assert not kept(world).refresh_token


# --- the event ---------------------------------------------------------------------


class TestLoginEvent:
    def test_user(self, browser, world):
        """The login event has the profile, and says whether the user is new."""
        browser.log_in()
        [event] = world.events
        person = world.tiktok.people[0]
        assert isinstance(event.user, User)
        assert event.user.open_id == person.open_id
        assert event.user.display_name == person.display_name
        assert event.is_new is True

    def test_user_with_a_record_is_not_new(self, browser, world):
        """A user with a stored record is not new, not even in another browser."""
        browser.log_in()
        browser.log_in()
        world.browser().log_in()
        assert [e.is_new for e in world.events] == [True, False, False]

    def test_gone(self, browser, world):
        """A user whose record was deleted with the last session is new again."""
        browser.log_in()
        browser.log_out()
        browser.log_in()
        logins = [e for e in world.events if e.name == "login"]
        assert [e.is_new for e in logins] == [True, True]

    def test_kept(self, world):
        """With `keep_grants` such a user is not new."""
        browser = world.with_settings(keep_grants=True).browser()
        browser.log_in()
        browser.log_out()
        browser.log_in()
        logins = [e for e in world.events if e.name == "login"]
        assert [e.is_new for e in logins] == [True, False]

    def test_profile_of_before(self, browser, world):
        """If TikTok does not return the profile, the event has the stored one."""
        browser.log_in()
        world.tiktok.fail("user_info", status=503)
        browser.log_in()
        name = world.tiktok.people[0].display_name
        assert [e.user.display_name for e in world.events] == [name, name]

    def test_without_profile(self, world):
        """Without a profile the user has only an open_id."""
        browser = world.with_settings(fetch_user=False).browser()
        browser.log_in()
        [event] = world.events
        assert event.user == User(open_id=world.tiktok.people[0].open_id)

    def test_others(self, browser, world):
        """Other events have no profile, and do not say whether the user is new."""
        browser.log_in(deny=True)
        browser.log_in()
        browser.log_out()
        others = [e for e in world.events if e.name != "login"]
        assert len(others) == 2
        assert all(e.user is None and e.is_new is None for e in others)

    def test_no_secret(self, browser, world):
        """The event's repr shows no token."""
        browser.log_in()
        grant = kept(world)
        for secret in (grant.access_token, grant.refresh_token):
            assert secret.reveal() not in repr(world.events)


# --- whole addresses as `next` -----------------------------------------------------


class TestWholeAddress:
    @pytest.mark.parametrize(
        ("address", "target"),
        [
            (ORIGIN, "/"),
            (ORIGIN + "/", "/"),
            (ORIGIN + "/who", "/who"),
            (ORIGIN + "/who?a=b&c=d%20e", "/who?a=b&c=d%20e"),
            (ORIGIN + "/who#part", "/who#part"),
            (ORIGIN + "?a=b", "/?a=b"),
            (ORIGIN + "#part", "/#part"),
            (ORIGIN + ":443/who", "/who"),
            (ORIGIN + "/who?u=https://evil.example/", "/who?u=https://evil.example/"),
        ],
    )
    def test_own(self, browser, address, target):
        """Of an address at this site's own origin, the path and query are used."""
        answer = browser.log_in(f"?next={quote(address, safe='')}")
        assert answer.headers["location"] == target
        answer = browser.log_out(f"?next={quote(address, safe='')}")
        assert answer.headers["location"] == target

    @pytest.mark.parametrize(
        "address",
        [
            "http://app.example.com/who",
            "https://app.example.com:8443/who",
            "https://app.example.com:80/who",
            "https://app.example.com:/who",
            "https://app.example.com:0443/who",
            "https://app.example.com./who",
            "https://app.example.com.evil.example/who",
            "https://app.example.comevil.example/who",
            "https://app.example.com@evil.example/who",
            "https://app.example.com:443@evil.example/who",
            "https://app.example.com:pw@evil.example/who",
            "https://user@app.example.com/who",
            "https://evil.example/https://app.example.com/who",
            "https://app.example.com\\evil.example/who",
            "https://app.example.com\\@evil.example/who",
            "https://app.example.com//evil.example/who",
            "https://app.example.com/\\evil.example/who",
            "https://app.example.com/\t/evil.example/who",
            "https://app.example.com\t/who",
            "https://app.example.com/who\n",
            "https://app.example.com%2f/who",
            "https://app.example.com%00/who",
            "https:/app.example.com/who",
            "https:app.example.com/who",
            "https:\\\\app.example.com/who",
            "\thttps://app.example.com/who",
            " https://app.example.com/who",
            "https\t://app.example.com/who",
            "//app.example.com/who",
            "https://app.example.com/../auth/tiktok/login",
            "https://app.example.com/auth/tiktok/login",
            "https://app.example.com/auth/tiktok/logout?x",
            "https://APP.example.com/who",
            "HTTPS://app.example.com/who",
            "https://app.example.com" + "/x" * 1100,
        ],
    )
    def test_others(self, browser, address):
        """Any other address is refused, as without the option."""
        answer = browser.log_in(f"?next={quote(address, safe='')}")
        assert answer.headers["location"] == "/"
        answer = browser.log_out(f"?next={quote(address, safe='')}")
        assert answer.headers["location"] == "/"

    def test_port(self, world):
        """The origin of a site at another port contains that port."""
        world.with_settings(redirect_uri=f"https://app.example.com:8443{CALLBACK}")
        browser = world.browser()
        for address, target in (
            ("https://app.example.com:8443/who", "/who"),
            ("https://app.example.com/who", "/"),
            ("https://app.example.com:443/who", "/"),
        ):
            path = f"{LOGOUT}?next={quote(address, safe='')}"
            origin = "https://app.example.com:8443"
            sent = browser.post(path, headers={"origin": origin})
            assert sent.headers["location"] == target

    def test_link(self, settings):
        """login_url accepts a whole address, and writes only its path."""
        from tiktok_oauth_middleware._core.backends.threads import ThreadBackend
        from tiktok_oauth_middleware._session.service import SessionService
        from tiktok_oauth_middleware._web.app import Core

        core = Core(
            SessionService(
                settings,
                ThreadBackend(),
                store=None,
                on_event=None,
                transport=None,
                clock=int,
            )
        )
        site = core.mount_points.at("")
        assert site.login_url(f"{ORIGIN}/who?a=b") == f"{LOGIN}?next=/who%3Fa%3Db"
        other = "https://evil.example/who"
        assert query_of(ORIGIN + site.login_url(other)) == {"next": other}
        chosen = site.login_url("/who", ["video.list"], choose_account=True)
        assert query_of(ORIGIN + chosen) == {
            "next": "/who",
            "scopes": "video.list",
            "choose_account": "1",
        }

    def test_in_an_app(self):
        """An app can write login_url(next=str(request.url))."""
        from starlette.applications import Starlette
        from starlette.responses import PlainTextResponse
        from starlette.routing import Route
        from starlette.testclient import TestClient

        async def link(request):
            auth = request.scope["tiktok"]
            return PlainTextResponse(auth.login_url(next=str(request.url)))

        app = TikTokOAuthMiddleware(
            Starlette(routes=[Route("/page", link)]), make_settings()
        )
        with TestClient(app, base_url=ORIGIN) as client:
            assert client.get("/page?x=1").text == f"{LOGIN}?next=/page%3Fx%3D1"
