"""CWE-352: data carried through a login comes from the browser that logs in.

Any page can send a browser to a link that carries data. If such a link worked in every
browser, an attacker could make a victim log in with the attacker's invitation. So a
link is bound to the browser that it was made for.
"""

from __future__ import annotations

import base64
import json
import re
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from tiktok_oauth_middleware import MemoryStore
from tiktok_oauth_middleware._web.carried import LINK_SECONDS, LONGEST_DATA

from ..conftest import LOGIN, PAGE, make_settings
from ..support.carried_links import link_for, with_links

CARRY = {"invite": "k9x2-moon"}
CARRY_COOKIE = "__Host-tiktok-carry"


@pytest.fixture
def store(clock):
    """Return a store in memory; links are not stored anywhere."""
    return MemoryStore(clock=clock)


@pytest.fixture
def logins(world):
    """Return the logins with which `on_login` was called."""
    asked = []

    def on_login(login):
        asked.append(login)

    with_links(world, on_login=on_login)
    return asked


def changed(link, **changes):
    """Return a link with a changed query; a name whose value is None is removed."""
    query = {**dict(parse_qsl(urlsplit(link).query)), **changes}
    return f"{LOGIN}?{urlencode({k: v for k, v in query.items() if v is not None})}"


def assert_refused(response):
    """Assert that a link began no login, and that the page says why."""
    assert response.status_code == 400
    assert "Please open that link again" in response.text
    assert "-login-" not in response.headers.get("set-cookie", "")


class TestOwnBrowser:
    def test_reaches(self, world, logins):
        """Data that a login link carries reaches `on_login`."""
        browser = world.browser()
        carried = {"invite": "k9x2-moon", "plan": 'grün\n"x"\u2028', "": "\x00"}
        link = link_for(browser, next="/private", carry=carried)
        answer = browser.get(browser.consent(browser.get(link).headers["location"]))
        assert answer.headers["location"] == "/private"
        assert logins[0].carried == carried

    def test_in_no_url(self, world, logins):
        """No URL of the login contains the data, in plain text or in base64."""
        browser = world.browser()
        link = link_for(browser, carry=CARRY)
        authorize = browser.get(link).headers["location"]
        callback = browser.consent(authorize)
        last = browser.get(callback).headers["location"]
        words = [*CARRY, *CARRY.values(), json.dumps(CARRY, separators=(",", ":"))]
        forms = {*words} | {
            base64.urlsafe_b64encode(b"xxx"[:pad] + word.encode()).decode()[4:-4]
            for word in words
            for pad in range(3)
        }
        for url in (link, authorize, callback, last):
            assert not [form for form in forms if len(form) > 3 and form in url]

    def test_several_links(self, world, logins):
        """Several links of one page, and those of later pages, all work."""
        browser = world.browser()
        world.link = [{"carry": {"n": str(n)}} for n in range(3)]
        links = browser.get("/link").json()
        links.append(link_for(browser, carry={"n": "3"}))
        for link in links:
            url = browser.get(link).headers["location"]
            assert url.startswith("https://www.tiktok.com/")
        browser.get(browser.consent(browser.get(links[1]).headers["location"]))
        assert logins[0].carried == {"n": "1"}

    def test_guard_carries_nothing(self, world, logins):
        """A login that a guard begins carries no data, even after a page with such
        links.
        """
        browser = world.browser()
        link_for(browser, carry=CARRY)
        redirect = browser.get("/private").headers["location"]
        assert "carried" not in redirect
        browser.get(browser.consent(browser.get(redirect).headers["location"]))
        assert logins[0].carried == {}

    def test_cookie(self, world, logins):
        """The cookie that binds links is random, HttpOnly, and valid for an hour."""
        browser = world.browser()
        world.link = {"carry": CARRY}
        response = browser.get("/link")
        [header] = response.headers.get_list("set-cookie")
        assert re.fullmatch(
            rf"{CARRY_COOKIE}=[A-Za-z0-9_-]{{22}}; Max-Age={LINK_SECONDS}; Path=/;"
            " HttpOnly; SameSite=Lax; Secure",
            header,
        )
        assert response.headers["cache-control"] == "no-store"
        other = world.browser().get("/link").headers["set-cookie"]
        assert other.partition(";")[0] != header.partition(";")[0]

    def test_no_carry_no_cookie(self, world, logins):
        """A link without data sets no cookie."""
        browser = world.browser()
        for asked in ({}, {"carry": None}, {"carry": {}}, {"choose_account": True}):
            world.link = asked
            response = browser.get("/link")
            assert "set-cookie" not in response.headers
            assert "carried" not in response.json()[0]

    def test_scopes_and_account(self, world, logins):
        """Data can be carried together with further scopes and another account."""
        browser = world.browser()
        link = link_for(
            browser, carry=CARRY, scopes=["user.info.stats"], choose_account=True
        )
        authorize = browser.get(link).headers["location"]
        assert "user.info.stats" in authorize
        assert "disable_auto_auth=1" in authorize
        browser.get(browser.consent(authorize))
        assert logins[0].carried == CARRY

    def test_by_form(self, world, logins):
        """If logins are posted, the page at the link has a form that posts the data."""
        world.with_settings(login_methods=["POST"])
        with_links(world)
        browser = world.browser()
        link = link_for(browser, carry=CARRY)
        page = browser.get(link)
        action = page.text.partition('action="')[2].partition('"')[0]
        answer = browser.post(action.replace("&amp;", "&"))
        browser.get(browser.consent(answer.headers["location"]))
        assert logins[0].carried == CARRY

    def test_longest(self, world, logins):
        """Data of the greatest length is carried together with a long address and every
        scope.
        """
        browser = world.browser()
        room = LONGEST_DATA - len('{"a":""}')
        for value in (room * "x", room // 2 * "ü"):
            asked = {"next": "/" + 900 * "y", "scopes": ["user.info.stats"]}
            link = link_for(browser, carry={"a": value}, **asked)
            browser.get(browser.consent(browser.get(link).headers["location"]))
            assert logins[-1].carried == {"a": value}
            cookies = "; ".join(f"{k}={v}" for k, v in browser.cookies().items())
            assert len(cookies) <= 4096

    def test_long_address(self, world, logins):
        """If both do not fit, the address is dropped, and not the data."""
        browser = world.browser()
        asked = {"next": "/" + 2040 * "y", "carry": {"a": 500 * "x"}}
        link = link_for(browser, **asked)
        browser.get(browser.consent(browser.get(link).headers["location"]))
        assert logins[-1].carried == {"a": 500 * "x"}

    def test_try_again(self, world, logins):
        """The link "Try again" on the page of a failed login keeps the
        data.
        """
        browser = world.browser()
        link = link_for(browser, next="/private", carry=CARRY)
        page = browser.get(
            browser.consent(browser.get(link).headers["location"], deny=True)
        )
        again = page.text.partition('href="')[2].partition('"')[0]
        again = again.replace("&amp;", "&")
        browser.get(browser.consent(browser.get(again).headers["location"]))
        assert logins[0].carried == CARRY
        assert logins[0].next == "/private"

    def test_no_on_login(self, world, caplog):
        """Without an `on_login` the data is dropped, and the log says so."""
        with_links(world)
        link_for(world.browser(), carry=CARRY)
        assert "there is no on_login" in caplog.text


class TestWrong:
    @pytest.mark.parametrize(
        ("carry", "words"),
        [
            ({"a": 505 * "x"}, "takes 513 bytes as JSON; a login carries 512 at most"),
            ({"a": 253 * "ü"}, "a login carries 512 at most"),
            ({"a": 1}, "there is a int in it"),
            ({"a": None}, "there is a NoneType in it"),
            ({1: "a"}, "there is a int in it"),
            ({"a": ["b"]}, "there is a list in it"),
            ("invite", "got a str"),
            ([("a", "b")], "got a list"),
            ({"a": "\ud800"}, "lone surrogate"),
        ],
        ids=str,
    )
    def test_value_error(self, world, logins, carry, words):
        """Data that cannot be carried raises a ValueError that says what is wrong."""
        world.link = {"carry": carry}
        response = world.browser().get("/link")
        [text] = response.json()
        assert text.startswith("ValueError: carry ")
        assert words in text
        assert "set-cookie" not in response.headers


class TestHostilePage:
    def test_foreign_link(self, world, logins):
        """A link made for the attacker's browser begins no login in the victim's."""
        link = link_for(world.browser(), carry=CARRY)
        assert_refused(world.browser().get(link))

    def test_victim_has_links(self, world, logins):
        """It begins none either if the victim's browser has its own links."""
        link = link_for(world.browser(), carry=CARRY)
        victim = world.browser()
        own = link_for(victim, carry={"invite": "own"})
        assert_refused(victim.get(link))
        victim.get(victim.consent(victim.get(own).headers["location"]))
        assert [login.carried for login in logins] == [{"invite": "own"}]

    def test_sealed_part_moved(self, world, logins):
        """The sealed part of a foreign link does not open in a link of the victim's."""
        stolen = dict(parse_qsl(urlsplit(link_for(world.browser(), carry=CARRY)).query))
        victim = world.browser()
        own = link_for(victim, carry={"invite": "own"})
        assert_refused(victim.get(changed(own, carried=stolen["carried"])))

    @pytest.mark.parametrize(
        "changes",
        [
            {"next": "/elsewhere"},
            {"next": None},
            {"scopes": "user.info.stats"},
            {"carried": ""},
            {"carried": "abc"},
            {"carried": "ü"},
            {"carried": 5000 * "A"},
        ],
        ids=str,
    )
    def test_altered(self, world, logins, changes):
        """A link with another address, other scopes or other data is refused."""
        browser = world.browser()
        link = link_for(browser, next="/private", carry=CARRY)
        assert_refused(browser.get(changed(link, **changes)))

    def test_every_bit(self, world, logins):
        """One changed character anywhere in the sealed part is refused."""
        browser = world.browser()
        link = link_for(browser, carry=CARRY)
        sealed = dict(parse_qsl(urlsplit(link).query))["carried"]
        for at in range(0, len(sealed), 3):
            other = "A" if sealed[at] != "A" else "B"
            altered = sealed[:at] + other + sealed[at + 1 :]
            assert_refused(browser.get(changed(link, carried=altered)))

    def test_repeated(self, world, logins):
        """A link with two values of carried data is refused."""
        browser = world.browser()
        link = link_for(browser, carry=CARRY)
        assert_refused(browser.get(f"{link}&carried=abc"))
        assert_refused(browser.get(link + "&" + urlsplit(link).query))

    def test_stripped(self, world, logins):
        """A link from which the data was removed is an ordinary login link."""
        browser = world.browser()
        link = link_for(browser, carry=CARRY)
        url = browser.get(changed(link, carried=None)).headers["location"]
        browser.get(browser.consent(url))
        assert logins[0].carried == {}

    def test_embedded(self, world, logins):
        """An image, a frame or a prefetch of the link begins no login."""
        browser = world.browser()
        link = link_for(browser, carry=CARRY)
        for header in (
            {"sec-fetch-dest": "image"},
            {"sec-fetch-dest": "iframe"},
            {"sec-purpose": "prefetch"},
        ):
            response = browser.get(link, headers={**PAGE, **header})
            assert response.status_code == 403
        assert logins == []

    def test_page_links_to_this_site(self, world, logins):
        """The page about a refused link links only to this site."""
        browser = world.browser()
        link = link_for(world.browser(), carry=CARRY)
        for referer in (
            "https://evil.example/x",
            "https://app.example.com//evil.example",
            "https://app.example.com/\\evil.example",
        ):
            page = browser.get(link, headers={**PAGE, "referer": referer})
            assert "evil.example" not in page.text
        own = "https://app.example.com/invitation/k9x2?a=b"
        page = browser.get(link, headers={**PAGE, "referer": own})
        assert 'href="/invitation/k9x2?a=b"' in page.text


class TestTime:
    def test_too_old(self, world, logins):
        """A link is refused an hour after the sealed time in it."""
        browser = world.browser()
        link = link_for(browser, carry=CARRY)
        world.clock.advance(LINK_SECONDS)
        assert browser.get(link).status_code == 303
        world.clock.advance(1)
        assert_refused(browser.get(link))

    def test_from_the_future(self, world, logins):
        """A link whose time is more than a minute ahead is refused, too."""
        browser = world.browser()
        world.clock.advance(61)
        link = link_for(browser, carry=CARRY)
        world.clock.advance(-61)
        assert_refused(browser.get(link))


class TestSecondUser:
    """Another person at the same browser."""

    def test_after_logout(self, world, logins):
        """A link that was made before a logout does not work afterwards."""
        browser = world.browser()
        browser.log_in()
        link = link_for(browser, carry=CARRY)
        browser.log_out()
        assert CARRY_COOKIE not in browser.cookies()
        assert_refused(browser.get(link))

    def test_after_login(self, world, logins):
        """A link that was made before a login does not work afterwards."""
        browser = world.browser()
        link = link_for(browser, carry=CARRY)
        browser.get(browser.consent(browser.begin(), person=world.tiktok.people[1]))
        assert_refused(browser.get(link))

    def test_new_link(self, world, logins):
        """Links made for the second person work."""
        browser = world.browser()
        browser.log_in()
        link_for(browser, carry=CARRY)
        browser.log_out()
        link = link_for(browser, carry={"invite": "second"})
        browser.get(browser.consent(browser.get(link).headers["location"]))
        assert logins[-1].carried == {"invite": "second"}


class TestOtherKeys:
    def test_other_app(self, world, logins):
        """A link of another TikTok app with the same keys does not open."""
        browser = world.browser()
        link = link_for(browser, carry=CARRY)
        cookie = browser.cookies()[CARRY_COOKIE]
        world.with_settings(client_key="awanotherclientkey")
        assert_refused(world.browser(**{CARRY_COOKIE: cookie}).get(link))

    def test_rotated(self, world, logins):
        """A link opens with an older key while that is listed, and not afterwards."""
        browser = world.browser()
        link = link_for(browser, carry=CARRY)
        [old] = world.settings.secret_keys
        [new] = make_settings().secret_keys
        cookies = browser.cookies()
        world.with_settings(secret_keys=[new, old])
        assert world.browser(**cookies).get(link).status_code == 303
        world.with_settings(secret_keys=[new])
        assert_refused(world.browser(**cookies).get(link))

    def test_login_cookie(self, world, logins):
        """A login cookie's value is not accepted as data, nor data as a login
        cookie.
        """
        browser = world.browser()
        link = link_for(browser, carry=CARRY)
        browser.get(link)
        for name, value in browser.cookies().items():
            if "-login-" in name:
                assert_refused(browser.get(changed(link, carried=value)))


class TestNoResponse:
    def test_head_sent(self, world, logins):
        """Making a link that carries data is an error once the response has begun."""
        middleware, made = world.middleware, []

        def wsgi_app(environ, start_response):
            assert not environ["tiktok.auth"].is_authenticated
            start_response("200 OK", [])
            yield b"begun"  # the server gets the head with it
            attempt(environ["tiktok.auth"])

        inner = middleware.app

        async def asgi_app(scope, receive, send):
            if scope["type"] != "http":
                await inner(scope, receive, send)
                return
            await send({"type": "http.response.start", "status": 200, "headers": []})
            attempt(scope["tiktok"])
            await send({"type": "http.response.body", "body": b""})

        def attempt(auth):
            try:
                made.append(auth.login_url(carry=CARRY))
            except Exception as error:
                made.append(str(error))

        middleware.app = wsgi_app if world.interface == "wsgi" else asgi_app
        world.browser().get("/")
        assert "this response has begun" in made[0]

    @pytest.mark.parametrize("interface", ["wsgi"])
    def test_head_not_sent(self, world, logins):
        """Under WSGI a link can also be made after start_response, since the head waits
        for the body.
        """
        made = []

        def wsgi_app(environ, start_response):
            start_response("200 OK", [])
            made.append(environ["tiktok.auth"].login_url(carry=CARRY))
            return [b""]

        world.middleware.app = wsgi_app
        browser = world.browser()
        browser.get("/")
        assert browser.get(made[0]).status_code == 303
