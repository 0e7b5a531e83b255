"""CWE-863: a login that the app refused gives no access.

A login continues only if `on_login` returns None or a path of this site, whatever else
happens.
"""

from __future__ import annotations

import logging
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest

from tiktok_oauth_middleware import LoginRefused, TikTokTokens

from ..conftest import API, kept
from ..support.carried_links import link_for, with_links
from ..support.package_frames import Looker, frames_of_ours

SESSION = "__Host-tiktok"
MARKUP = "<script>alert(1)</script><b>Not</b> \"you\" & 'you' \u202eevil\r\nx: y"


def refusing(world, error, **options):
    """Return a world in which `on_login` refuses every login."""

    def on_login(login):
        raise error

    world.further = {**world.further, "on_login": on_login, **options}
    return world.start()


def store_of(world):
    """Return all rows of the store, by key."""
    return {key: world.store.get(key) for key in world.store.keys("tiktok:")}


class TestNothingIsGiven:
    @pytest.mark.parametrize(
        "error", [LoginRefused("No."), RuntimeError("broken")], ids=["refused", "fails"]
    )
    def test_cookies_and_rows(self, world, error):
        """No session cookie is set, and the only new row is the login's mark."""
        browser = refusing(world, error).browser()
        page = browser.log_in()
        set_cookies = page.headers.get_list("set-cookie")
        assert all("Max-Age=0" in header for header in set_cookies)
        [key] = store_of(world)
        assert ":used:" in key

    def test_callback_again(self, world):
        """The callback of a refused login signs no user in later either."""
        refused = refusing(world, LoginRefused("No."))
        browser = refused.browser()
        callback = browser.consent(browser.begin())
        cookies = browser.cookies()
        browser.get(callback)
        refused.further["on_login"] = lambda login: None
        refused.start()
        for seconds in (0, 59, 2, 600):
            world.clock.advance(seconds)
            answer = refused.browser(**cookies).get(callback)
            assert answer.status_code in (400, 403)
            assert f"{SESSION}=" not in answer.headers.get("set-cookie", "")
        assert world.count("authorization_code") == 1

    def test_another_browser(self, world):
        """It signs no user in in another browser either, which lacks the login's
        cookies.
        """
        browser = refusing(world, LoginRefused("No.")).browser()
        callback = browser.consent(browser.begin())
        other = world.browser()
        assert other.get(callback).status_code == 400
        assert not other.signed_in


class Uninvited(LoginRefused):
    """An app's subclass of the refusal, which does not call ``super().__init__()``."""

    def __init__(self, name):
        self.name = name


class RefusalWithoutText(LoginRefused):
    """A refusal whose text the app deleted."""

    text = None


class TestOwnKinds:
    @pytest.mark.parametrize("kind", [Uninvited, RefusalWithoutText])
    def test_refusal_without_parts(self, world, kind):
        """A refusal that lacks parts refuses like any other, and raises no error.

        An error would propagate through frames that contain the tokens.
        """
        browser = refusing(world, kind("bob")).browser()
        assert browser.log_in().status_code == 403
        assert kept(world) is None


@pytest.mark.parametrize("interface", ["wsgi"], indirect=True)
class TestAtTheSameMoment:
    def test_equal_callbacks(self, world):
        """Of twenty equal callbacks at once, one calls on_login, and all are
        refused.
        """
        asked, ready = [], threading.Barrier(20)

        def on_login(login):
            asked.append(login)
            raise LoginRefused("No.")

        world.further["on_login"] = on_login
        browser = world.start().browser()
        callback = browser.consent(browser.begin())
        browsers = [world.browser(**browser.cookies()) for _ in range(20)]

        def open_callback(each):
            ready.wait(20)
            return each.get(callback).status_code

        with ThreadPoolExecutor(20) as pool:
            assert {*pool.map(open_callback, browsers)} == {403}
        assert len(asked) == 1
        assert kept(world) is None


class TestSecondUser:
    """Another user logs in at a browser that is signed in."""

    @pytest.mark.parametrize("revoke", [False, True])
    def test_first_stays(self, world, revoke):
        """A refused login of the second user does not affect the first user's session,
        record and tokens.
        """
        browser = world.browser()
        browser.log_in()
        before = browser.me(), kept(world)
        refusing(world, LoginRefused("No.", revoke=revoke))
        again = world.browser(**browser.cookies())
        other = world.tiktok.people[1]
        again.get(again.consent(again.begin(), person=other))
        assert (again.me(), kept(world)) == before
        assert kept(world, other.open_id) is None
        tokens = TikTokTokens(
            world.settings,
            world.store,
            transport=world.tiktok.transport,
            clock=world.clock,
        )
        if world.interface == "wsgi":
            assert tokens.get(before[0]["open_id"]).access_token == before[0]["token"]

    def test_second_trip(self, world):
        """A login refused after its second redirect leaves the session of the first."""
        world.with_settings(scopes=["user.info.basic"]).browser().log_in()
        world.with_settings(scopes=["user.info.basic", "video.list"])
        browser = world.browser()
        second = browser.get(browser.consent(browser.begin())).headers["location"]
        refusing(world, LoginRefused("No."))
        again = world.browser(**browser.cookies())
        assert again.get(again.consent(second)).status_code == 403
        assert again.me()["scopes"] == ["user.info.basic"]


class TestMarkup:
    def test_text_is_escaped(self, world):
        """The app's text is escaped, and cannot add markup or headers."""
        page = refusing(world, LoginRefused(MARKUP)).browser().log_in()
        assert "<script" not in page.text
        assert "<b>" not in page.text
        assert "&lt;b&gt;Not&lt;/b&gt;" in page.text
        assert "x" not in page.headers

    def test_text_is_short(self, world):
        """A very long text is shortened."""
        page = refusing(world, LoginRefused("y" * 100_000)).browser().log_in()
        assert 2000 <= page.text.count("y") < 3000

    def test_own_page(self, world):
        """An app's page function gets the refusal's text after the other texts."""
        seen = []
        refusing(world, LoginRefused(MARKUP), page=seen.append).browser().log_in()
        [problem] = seen
        assert problem.code == "login_refused"
        assert problem.texts[-1] == MARKUP
        assert [action.name for action in problem.actions] == ["back", "other_account"]


class TestFrames:
    """Reporters of exceptions record the locals of every frame."""

    def test_on_login(self, world):
        """No frame of the package that calls the app's code contains a secret."""
        looker = Looker()
        secrets = []
        handle = world.tiktok.handle

        def listen(method, url, headers, body):
            reply = handle(method, url, headers, body)
            if "/oauth/token/" in url:
                parts = reply.body.decode().split('"')
                secrets.extend(p for p in parts if p.startswith(("act.", "rft.")))
            return reply

        def on_login(login):
            looker.look("on_login")
            assert [*frames_of_ours()] or world.interface != "wsgi"

        world.tiktok.handle = listen
        browser = with_links(world, on_login=on_login).browser()
        link = link_for(browser, carry={"invite": "k9x2"})
        callback = browser.consent(browser.get(link).headers["location"])
        secrets += browser.cookies().values()
        secrets += [callback.partition("code=")[2].partition("&")[0]]
        browser.get(callback)
        assert len(secrets) >= 4
        assert looker.found(secrets) == []

    def test_traceback(self, world, caplog):
        """No frame of the traceback in the log contains a secret."""
        caplog.set_level(logging.DEBUG)
        refusing(world, RuntimeError("broken"))
        browser = world.browser()
        browser.log_in()
        [record] = [r for r in caplog.records if r.exc_info]
        shown = "".join(
            traceback.TracebackException(*record.exc_info, capture_locals=True).format()
        )
        assert "RuntimeError: broken" in shown
        assert "act." not in shown
        assert "rft." not in shown
        for value in browser.cookies().values():
            assert value not in shown


def test_programs(world):
    """A program still gets 401 in JSON where a login would be refused."""
    browser = refusing(world, LoginRefused("No.")).browser()
    browser.log_in()
    answer = browser.get("/private", headers=API)
    assert answer.status_code == 401
    assert answer.json()["error"] == "login_required"
