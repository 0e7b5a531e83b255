"""The steps of a login in the order of a browser's requests, on every interface and
store.
"""

from __future__ import annotations

from urllib.parse import quote, urlsplit

import pytest

from ..conftest import (
    API,
    CALLBACK,
    LOGIN,
    LOGOUT,
    ORIGIN,
    PAGE,
    query_of,
)

SESSION = "__Host-tiktok"


def login_cookies(browser):
    return [n for n in browser.cookies() if n.startswith("__Host-tiktok-login-")]


class TestPassingThrough:
    def test_anonymous(self, browser):
        """A request without a cookie passes as anonymous."""
        assert browser.me() == {
            "signed_in": False,
            "open_id": None,
            "scopes": [],
            "token": None,
            "expires_at": None,
            "name": None,
            "followers": None,
            "logout_url": LOGOUT,
        }

    def test_untouched(self, browser):
        """A response whose app did not read the session is unchanged."""
        response = browser.get("/")
        assert response.text == "home"
        assert "vary" not in response.headers
        assert "cache-control" not in response.headers

    def test_private(self, browser):
        """A response whose app read the session is kept out of shared caches."""
        response = browser.get("/who")
        assert response.headers["vary"] == "Cookie"
        assert response.headers["cache-control"] == "private"


class TestLogin:
    def test_to_tiktok(self, browser, world):
        """The login path redirects to TikTok with exactly the expected parameters."""
        url = browser.begin()
        assert url.startswith("https://www.tiktok.com/v2/auth/authorize/?") or (
            url.startswith(world.settings.endpoints.authorize)
        )
        query = query_of(url)
        assert set(query) == {
            "client_key",
            "response_type",
            "scope",
            "redirect_uri",
            "state",
            "code_challenge",
            "code_challenge_method",
        }
        assert query["client_key"] == world.settings.client_key
        assert query["scope"] == "user.info.basic,video.list"
        assert query["redirect_uri"] == ORIGIN + CALLBACK
        assert len(query["code_challenge"]) == 64
        assert query["code_challenge_method"] == "S256"

    def test_callback_signs_in(self, browser, world):
        """After the consent the user is signed in, with the token and scopes that
        TikTok granted.
        """
        response = browser.log_in()
        assert response.status_code == 303
        assert response.headers["location"] == "/"
        assert response.headers["cache-control"] == "no-store"
        me = browser.me()
        assert me["signed_in"]
        assert me["scopes"] == ["user.info.basic", "video.list"]
        assert me["token"].startswith("act.")
        assert me["expires_at"] == world.clock() + 7200
        assert me["name"]
        assert world.count("authorization_code") == 1
        assert world.tiktok.count("user_info") == 1

    def test_granted_scopes(self, browser):
        """The scopes are the granted ones, not the requested ones."""
        browser.log_in(scopes=["user.info.basic"])
        assert browser.me()["scopes"] == ["user.info.basic"]

    def test_nothing_granted(self, browser, world):
        """A user who grants no scope is signed in without scopes and profile."""
        browser.log_in(scopes=[])
        me = browser.me()
        assert (me["signed_in"], me["scopes"], me["name"]) == (True, [], None)
        assert world.tiktok.count("user_info") == 0

    def test_profile_by_scope(self, browser, world):
        """Only the profile fields of granted scopes are requested."""
        browser.log_in("?scopes=user.info.stats")
        assert isinstance(browser.me()["followers"], int)
        world.browser().log_in("?scopes=user.info.stats", scopes=["user.info.basic"])
        asked = [r for r in world.tiktok.requests if r.endpoint == "user_info"]
        assert "follower_count" in dict(asked[0].query)["fields"]
        assert "follower_count" not in dict(asked[1].query)["fields"]

    def test_no_profile(self, browser, world):
        """A user is signed in even if TikTok does not return the profile."""
        world.tiktok.fail("user_info", status=500)
        browser.log_in()
        assert browser.me()["signed_in"]
        assert browser.me()["name"] is None

    def test_without_pkce(self, world):
        """With pkce=False neither a challenge nor a verifier is sent."""
        browser = world.with_settings(pkce=False).browser()
        url = browser.begin()
        assert not [name for name in query_of(url) if name.startswith("code_")]
        assert browser.get(browser.consent(url)).status_code == 303
        assert browser.signed_in

    def test_always_ask(self, world):
        """always_ask_consent makes TikTok show its page at every login."""
        browser = world.with_settings(always_ask_consent=True).browser()
        assert query_of(browser.begin())["disable_auto_auth"] == "1"

    def test_tabs(self, browser):
        """Two logins at once in one browser both work, in any order."""
        first, second = browser.begin("?next=/a"), browser.begin("?next=/b")
        one = browser.get(browser.consent(first))
        two = browser.get(browser.consent(second))
        assert one.headers["location"] == "/a"
        assert two.headers["location"] == "/b"
        assert browser.signed_in
        assert login_cookies(browser) == []

    def test_at_most_seven(self, browser):
        """A browser has at most seven logins under way, whose cookies are limited
        together.
        """
        urls = [browser.begin(f"?next=/{'x' * 200}{i}") for i in range(12)]
        cookies = browser.cookies()
        assert len(login_cookies(browser)) <= 7
        assert sum(len(n) + len(v) + 3 for n, v in cookies.items()) <= 4096
        assert browser.get(browser.consent(urls[-1])).status_code == 303

    @pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
    def test_methods(self, browser, method):
        """Methods other than GET and POST do not begin a login."""
        response = browser.client.request(method, LOGIN)
        assert response.status_code == 405
        assert response.headers["allow"] == "GET, POST"
        assert login_cookies(browser) == []

    def test_post(self, browser):
        """A posted form can begin a login, too."""
        response = browser.post(LOGIN)
        assert response.status_code == 303
        assert len(login_cookies(browser)) == 1

    def test_scope_not_offered(self, browser):
        """A scope that the settings do not name cannot be requested."""
        response = browser.get(LOGIN + "?scopes=video.publish")
        assert response.status_code == 400
        assert login_cookies(browser) == []


class TestNext:
    @pytest.mark.parametrize(
        "target", ["/private", "/a/b?c=d&e=https://x.example/", "/ä ö", "/a%2Fb", "/#x"]
    )
    def test_kept(self, browser, target):
        """The login leads to a path of this site."""
        response = browser.log_in("?next=" + quote(target, safe=""))
        assert response.headers["location"] == quote(target, safe="/?&=:%#")

    def test_repeated(self, browser):
        """A `next` that is sent twice is ignored."""
        assert browser.log_in("?next=/a&next=/b").headers["location"] == "/"

    def test_not_from_the_callback(self, browser):
        """The callback's own next is ignored."""
        callback = browser.consent(browser.begin("?next=/a"))
        assert browser.get(callback + "&next=/b").headers["location"] == "/a"


class TestRefusedLogins:
    def refused(self, response, status, words):
        assert response.status_code == status
        assert words in response.text
        assert "try again" in response.text.lower()
        assert SESSION + "=" not in response.headers.get("set-cookie", "")

    def test_cancelled(self, browser, world):
        """After a cancelled consent a page says so, and no user is signed in."""
        response = browser.log_in(deny=True)
        self.refused(response, 403, "You did not log in")
        assert not browser.signed_in
        assert login_cookies(browser) == []
        assert world.count("authorization_code") == 0

    def test_too_old(self, browser, world):
        """After a login that was finished too late, a page says so."""
        callback = browser.consent(browser.begin())
        world.clock.advance(601)
        self.refused(browser.get(callback), 400, "took too long")
        assert not browser.signed_in
        assert world.count("authorization_code") == 0

    @pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE"])
    def test_methods(self, browser, method):
        """Only GET finishes a login; other methods do not use up the code."""
        callback = browser.consent(browser.begin())
        response = browser.client.request(method, callback)
        assert response.status_code == 405
        assert browser.get(callback).status_code == 303

    def test_tiktok_refuses_the_code(self, browser, world):
        """After invalid_grant at the exchange a page says so, and no user is
        signed in.
        """
        world.tiktok.fail("token", error="invalid_grant")
        self.refused(browser.log_in(), 400, "took too long")
        assert not browser.signed_in

    @pytest.mark.parametrize(
        ("fault", "status"),
        [
            ({"status": 500}, 503),
            ({"error": "invalid_client"}, 502),
            ({"body": b"<html>"}, 503),
            ({"body": b"{}"}, 502),
            ({"body": b"[]"}, 503),
        ],
    )
    def test_tiktok_fails(self, browser, world, fault, status):
        """A failed exchange signs no user in, and is never repeated."""
        world.tiktok.fail("token", **fault)
        response = browser.log_in()
        assert response.status_code == status
        assert not browser.signed_in
        assert world.count("authorization_code") == 1

    def test_pages(self, browser):
        """The middleware's pages run no script, cannot be framed, and show a
        reference.
        """
        response = browser.log_in(deny=True)
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "Reference <code>" in response.text
        assert "<script" not in response.text

    def test_event(self, browser, world):
        """A refused login is reported with its reason and the page's reference."""
        response = browser.log_in(deny=True)
        [event] = world.events
        assert (event.name, event.reason) == ("login_rejected", "login_denied")
        assert event.reference in response.text


class TestSession:
    def test_cookie(self, browser):
        """The session cookie is __Host-, HttpOnly, Lax, Secure, and short."""
        response = browser.log_in()
        [header] = [
            h
            for h in response.headers.get_list("set-cookie")
            if h.startswith(SESSION + "=")
        ]
        parts = header.split("; ")
        assert set(parts[1:]) == {
            "Max-Age=2592000",
            "Path=/",
            "HttpOnly",
            "SameSite=Lax",
            "Secure",
        }
        assert len(parts[0]) <= 110

    def test_restart(self, browser, world):
        """Users stay signed in after a restart if the store keeps its rows."""
        browser.log_in()
        again = world.start().browser(**browser.cookies())
        assert again.signed_in

    def test_sealed(self, browser, world, tmp_path):
        """No token is in the store in plain text."""
        browser.log_in()
        token = browser.me()["token"].encode()
        world.store.close()
        for file in tmp_path.iterdir():
            assert token not in file.read_bytes()

    def test_other_user_takes_over(self, browser, world):
        """A login as another user ends the first user's session in this browser."""
        browser.log_in()
        first, before = browser.me()["open_id"], browser.cookies()[SESSION]
        browser.log_in(person=world.tiktok.people[1])
        assert browser.me()["open_id"] != first
        assert not world.browser(**{SESSION: before}).signed_in

    def test_two_browsers(self, browser, world):
        """Each of a user's browsers has its own session, and all use the newest
        token.
        """
        other = world.browser()
        browser.log_in()
        other.log_in()
        assert browser.me()["token"] == other.me()["token"]
        other.log_out()
        assert browser.signed_in
        assert not other.signed_in

    def test_tampered(self, browser, world):
        """A session cookie with one changed character is anonymous."""
        browser.log_in()
        value = browser.cookies()[SESSION]
        for place in (0, 30, 63, 70, len(value) - 1):
            changed = "A" if value[place] != "A" else "B"
            forged = value[:place] + changed + value[place + 1 :]
            assert not world.browser(**{SESSION: forged}).signed_in

    def test_idle(self, browser, world):
        """A session ends when it was not used for session_idle."""
        browser.log_in()
        world.clock.advance(8 * 3600 - 1)
        assert browser.signed_in
        world.clock.advance(8 * 3600 - 400)
        assert browser.signed_in
        world.clock.advance(8 * 3600 + 1)
        assert not browser.signed_in

    def test_absolute(self, world):
        """A session ends after session_lifetime, however much it is used."""
        browser = world.with_settings(session_lifetime=5 * 24 * 3600).browser()
        browser.log_in()
        for _ in range(5 * 4):
            world.clock.advance(6 * 3600 - 1)
            assert browser.signed_in
        world.clock.advance(6 * 3600)
        assert not browser.signed_in

    def test_key_rotation(self, browser, world):
        """Users stay signed in with a new key in front, until the old one is
        removed.
        """
        browser.log_in()
        old = list(world.settings.secret_keys)
        new = "gV7mQ2xLpR9sTzBn4KcW8yJf3HdA6uEo"
        kept = browser.cookies()
        assert world.with_settings(secret_keys=[new, *old]).browser(**kept).signed_in
        assert not world.with_settings(secret_keys=[new]).browser(**kept).signed_in


class TestGuards:
    def test_browser(self, browser):
        """A browser is redirected to the login, and returns to the page with
        its query.
        """
        response = browser.get("/private/a?b=c&d=%C3%A4")
        assert response.status_code == 303
        location = response.headers["location"]
        assert query_of(location)["next"] == "/private/a?b=c&d=%C3%A4"
        back = browser.get(browser.consent(browser.get(location).headers["location"]))
        assert back.headers["location"] == "/private/a?b=c&d=%C3%A4"
        assert browser.get(back.headers["location"]).status_code == 200

    @pytest.mark.parametrize(
        "headers",
        [
            API,
            {**PAGE, "x-requested-with": "XMLHttpRequest"},
            {**PAGE, "sec-fetch-mode": "cors"},
            {**PAGE, "sec-fetch-dest": "image"},
            {**PAGE, "sec-purpose": "prefetch"},
            {**PAGE, "accept": "application/json"},
        ],
    )
    def test_api(self, browser, headers):
        """Everything else gets 401 in JSON, and no login cookie."""
        response = browser.get("/private", headers=headers)
        assert response.status_code == 401
        assert response.json() == {"error": "login_required", "login_url": LOGIN}
        assert response.headers["cache-control"] == "no-store"
        assert "set-cookie" not in response.headers

    def test_signed_in(self, browser):
        """A signed-in user passes."""
        browser.log_in()
        assert browser.get("/private").status_code == 200
        assert browser.get("/videos").text == "videos"

    def test_missing_scope(self, browser):
        """Opening a page requests its missing scope from TikTok."""
        browser.log_in(scopes=["user.info.basic"])
        response = browser.get("/videos")
        assert response.status_code == 303
        query = query_of(response.headers["location"])
        assert query == {"next": "/videos", "scopes": "video.list"}
        url = browser.get(response.headers["location"]).headers["location"]
        assert query_of(url)["disable_auto_auth"] == "1"
        back = browser.get(browser.consent(url))
        assert back.headers["location"] == "/videos"
        assert browser.get("/videos").text == "videos"

    def test_scope_with_the_login(self, browser):
        """An anonymous user's login requests the page's scope."""
        location = browser.get("/upload").headers["location"]
        assert query_of(location) == {
            "next": "/upload",
            "scopes": "user.info.stats,video.upload",
        }
        url = browser.get(location).headers["location"]
        browser.get(browser.consent(url, scopes=["user.info.basic"]))
        # A scope denied with the login is requested once more, and then no more.
        again = browser.get("/upload")
        assert again.status_code == 303
        url = browser.get(again.headers["location"]).headers["location"]
        browser.get(browser.consent(url, scopes=["user.info.basic"]))
        assert browser.get("/upload").status_code == 403

    def test_denied_again(self, browser):
        """After a scope is denied again, a page names it instead of another
        redirect.
        """
        browser.log_in(scopes=["user.info.basic"])
        asked = browser.get("/videos").headers["location"]
        url = browser.get(asked).headers["location"]
        browser.get(browser.consent(url, scopes=["user.info.basic"]))
        response = browser.get("/videos")
        assert response.status_code == 403
        assert "video.list" in response.text
        assert "Ask TikTok again" in response.text
        assert browser.get(asked).status_code == 303

    def test_missing_scope_for_programs(self, browser):
        """A program gets JSON with the missing scopes and the login address."""
        browser.log_in()
        response = browser.get("/upload", headers=API)
        assert response.status_code == 403
        assert response.json() == {
            "error": "scope_required",
            "missing": ["user.info.stats", "video.upload"],
            "login_url": LOGIN + "?scopes=user.info.stats,video.upload",
        }

    def test_step_up_keeps_the_session(self, browser):
        """A user who cancels the request for a further scope stays signed in."""
        browser.log_in(scopes=["user.info.basic"])
        url = browser.get(browser.get("/videos").headers["location"]).headers[
            "location"
        ]
        assert browser.get(browser.consent(url, deny=True)).status_code == 403
        assert browser.signed_in

    def test_rules(self, world):
        """The longest path rule decides, on segment boundaries, for all methods."""
        world = world.with_settings(protect=["/ruled"], public=["/ruled/open"])
        browser = world.browser()
        assert browser.get("/ruled/x").status_code == 303
        assert browser.get("/ruled/x", headers=API).status_code == 401
        assert browser.post("/ruled/x").status_code == 401
        assert browser.get("/ruled/open/x").text == "home"
        assert browser.get("/ruled/openx").status_code == 303
        assert browser.get("/").text == "home"
        browser.log_in()
        response = browser.get("/ruled/x")
        assert response.text == "home"
        assert response.headers["vary"] == "Cookie"


class TestLogout:
    def test_ends(self, browser, world):
        """Logging out ends the session, also for a copy of the cookie."""
        browser.log_in()
        kept = browser.cookies()
        response = browser.log_out()
        assert response.status_code == 303
        assert response.headers["location"] == "/"
        assert SESSION not in browser.cookies()
        assert not world.browser(**kept).signed_in
        assert browser.get("/private").status_code == 303

    def test_local(self, browser, world):
        """Logging out sends no request to TikTok."""
        browser.log_in()
        browser.log_out()
        assert world.tiktok.count("revoke") == 0

    def test_next(self, browser):
        """Logging out redirects to `next`, on this site."""
        browser.log_in()
        assert browser.log_out("?next=/bye").headers["location"] == "/bye"
        assert browser.log_out("?next=//evil.example").headers["location"] == "/"

    def test_anonymous_user(self, browser):
        """Logging out without a session redirects to `next`, too."""
        assert browser.log_out().status_code == 303

    def test_get_asks(self, browser):
        """GET only shows a page with a button."""
        browser.log_in()
        response = browser.get(LOGOUT)
        assert response.status_code == 200
        assert '<form method="post" action="/auth/tiktok/logout">' in response.text
        assert browser.signed_in

    @pytest.mark.parametrize(
        "headers",
        [
            {"origin": ORIGIN},
            {"sec-fetch-site": "same-origin"},
            {"referer": ORIGIN + "/page"},
        ],
    )
    def test_same_origin(self, browser, headers):
        """One header that shows the request's origin to be this site is enough."""
        browser.log_in()
        assert browser.post(LOGOUT, headers=headers).status_code == 303
        assert not browser.signed_in


class TestDisconnect:
    def test_revokes(self, world):
        """Disconnecting revokes at TikTok and ends every session of the user."""
        world = world.with_settings(disconnect_path="/auth/tiktok/disconnect")
        browser, other = world.browser(), world.browser()
        browser.log_in()
        other.log_in()
        assert browser.post("/auth/tiktok/disconnect").status_code == 303
        assert world.tiktok.count("revoke") == 1
        assert not browser.signed_in
        assert not other.signed_in

    def test_tiktok_fails(self, world):
        """The record is deleted even if TikTok does not answer, and a page says so."""
        world = world.with_settings(disconnect_path="/auth/tiktok/disconnect")
        browser = world.browser()
        browser.log_in()
        world.tiktok.fail("revoke", status=500)
        response = browser.post("/auth/tiktok/disconnect")
        assert response.status_code == 502
        assert not browser.signed_in


class TestWebhook:
    def deliver(self, world, event, open_id, **changes):
        headers, body = world.tiktok.webhook(event, open_id)
        headers = {**headers, **changes.pop("headers", {})}
        client = world.browser().client
        return client.post("/hook", content=changes.get("body", body), headers=headers)

    @pytest.fixture
    def hooked(self, world):
        return world.with_settings(webhook_path="/hook")

    def test_withdrawal(self, hooked):
        """authorization.removed ends every session of exactly that user."""
        browser, other = hooked.browser(), hooked.browser()
        browser.log_in()
        other.log_in(person=hooked.tiktok.people[1])
        open_id = browser.me()["open_id"]
        response = self.deliver(hooked, "authorization.removed", open_id)
        assert response.status_code == 200
        assert not browser.signed_in
        assert other.signed_in

    def test_forged(self, hooked):
        """A delivery that TikTok did not sign changes nothing."""
        browser = hooked.browser()
        browser.log_in()
        open_id = browser.me()["open_id"]
        response = self.deliver(
            hooked,
            "authorization.removed",
            open_id,
            headers={"tiktok-signature": f"t={int(hooked.clock())},s={'0' * 64}"},
        )
        assert response.status_code == 401
        assert browser.signed_in

    def test_replay(self, hooked):
        """A repeated delivery does not end a login that was made since."""
        browser = hooked.browser()
        browser.log_in()
        open_id = browser.me()["open_id"]
        headers, body = hooked.tiktok.webhook("authorization.removed", open_id)
        for status in (200, 200):
            sent = browser.client.post("/hook", content=body, headers=headers)
            assert sent.status_code == status
            if not browser.signed_in:
                browser.log_in()
        assert browser.signed_in
        assert [e.name for e in hooked.events].count("withdrawal") == 1

    def test_late(self, hooked):
        """A delivery about an earlier grant does not end a login that was made
        since.
        """
        browser = hooked.browser()
        browser.log_in()
        headers, body = hooked.tiktok.webhook(
            "authorization.removed", browser.me()["open_id"]
        )
        hooked.clock.advance(200)
        browser.log_in()
        sent = browser.client.post("/hook", content=body, headers=headers)
        assert sent.status_code == 200
        assert browser.signed_in

    @pytest.mark.parametrize(
        ("event", "late"),
        [("video.publish.completed", 301), ("authorization.removed", 3 * 86400 + 301)],
    )
    def test_stale(self, hooked, event, late):
        """A delivery signed too long ago changes nothing."""
        headers, body = hooked.tiktok.webhook(event, "someone")
        hooked.clock.advance(late)
        sent = hooked.browser().client.post("/hook", content=body, headers=headers)
        assert sent.status_code == 401
        assert [e.name for e in hooked.events] == ["webhook_rejected"]

    def test_oversized(self, hooked):
        """A delivery of more than 64 kB is refused unread."""
        response = self.deliver(hooked, "x", None, body=b"x" * (64 * 1024 + 1))
        assert response.status_code == 413
        assert response.json() == {"error": "too_long"}

    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
    def test_methods(self, hooked, method):
        """Methods other than POST are refused."""
        response = hooked.browser().client.request(method, "/hook")
        assert response.status_code == 405
        assert response.json() == {"error": "method_not_allowed"}
        assert response.headers["allow"] == "POST"

    def test_unknown_event(self, hooked):
        """An event that the middleware does not handle gets 200 and is reported to the
        app.
        """
        assert self.deliver(hooked, "video.upload.failed", "someone").status_code == 200
        assert [e.name for e in hooked.events] == ["webhook"]


class TestLoopback:
    def test_plain_http(self, world):
        """Over plain http on loopback, cookies have neither the prefix nor Secure."""
        redirect_uri = "http://127.0.0.1:8000/auth/tiktok/callback"
        browser = world.with_settings(redirect_uri=redirect_uri).browser()
        response = browser.get("http://127.0.0.1:8000" + LOGIN)
        header = response.headers["set-cookie"]
        assert header.startswith("tiktok-login-")
        assert "Secure" not in header
        assert urlsplit(response.headers["location"]).path.endswith("/authorize/")

    def test_warning(self, world, caplog):
        """When such a middleware is built, a log line says that it is for
        development.
        """
        world.with_settings(redirect_uri="http://127.0.0.1:8000/auth/tiktok/callback")
        assert "development: cookies are set without Secure" in caplog.text
