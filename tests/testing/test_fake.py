"""FakeTikTok follows TikTok's rules, as its documentation and captured answers show
them.
"""

from __future__ import annotations

import json
import re
import threading
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2
import pytest

from tiktok_oauth_middleware._oauth import (
    authorize,
    protocol,
    token_response,
    user_info,
    webhook_delivery,
)
from tiktok_oauth_middleware.errors import GrantRevoked, TikTokError
from tiktok_oauth_middleware.testing import (
    ConsentRefused,
    FakeTikTok,
    LoginFlowError,
)
from tiktok_oauth_middleware.testing.fake import ConnectionLost
from tiktok_oauth_middleware.testing.people import PEOPLE

from ..conftest import make_settings
from .registered_app import FORM, KEY, REDIRECT, SECRET, App


class TestAuthorize:
    def test_callback(self, app):
        """The callback after a consent has a code, the granted scopes, and the
        state.
        """
        query = app.consent()
        assert set(query) == {"code", "scopes", "state"}
        assert query["scopes"] == "user.info.basic,video.list"
        assert query["state"] == "a-state"

    def test_code_needs_care(self, app):
        """A code contains * and !, which are percent-encoded in the callback."""
        url = app.fake.consent(app.url())
        assert "%2A" in url
        assert "%21" in url
        query = dict(parse_qsl(urlsplit(url).query))
        assert re.fullmatch(r"[A-Za-z0-9_-]+\*1![0-9]{4}\.va", query["code"])

    def test_data_centres(self, app):
        """Codes name one of several data centres, and tokens name the one of their
        code.
        """
        seen = set()
        for _ in range(3):
            code = app.consent()["code"]
            place = code.rpartition(".")[2]
            answer = app.exchange(code)
            again = app.refresh(answer["refresh_token"])
            for token in (answer, again):
                for name, kind in (("access_token", "act"), ("refresh_token", "rft")):
                    pattern = rf"{kind}\.[A-Za-z0-9_-]+![0-9]{{4}}\.{place}"
                    assert re.fullmatch(pattern, token[name])
            seen.add(place)
        assert seen == {"va", "u1", "e1"}

    def test_subset(self, app):
        """A person can grant any subset of the scopes, or none."""
        assert app.consent({"scopes": []})["scopes"] == ""
        assert app.consent({"scopes": ["video.list"]})["scopes"] == "video.list"

    def test_never_more(self, app):
        """A scope that was not requested is not on the page, and cannot be ticked."""
        with pytest.raises(LoginFlowError, match="'video.upload'"):
            app.consent({"scopes": ["video.list", "video.upload"]})
        with pytest.raises(LoginFlowError, match="pass a list of scopes"):
            app.consent({"scopes": "video.list"})
        provider = app.fake.provider
        asked = app.fake.ask(urlsplit(app.url()).query)
        ticked = ["video.list", "video.upload"]
        url = provider.agree(asked, app.fake.people[0], ticked)
        assert dict(parse_qsl(urlsplit(url).query))["scopes"] == "video.list"

    def test_cancelled(self, app):
        """A cancelled consent sends access_denied back, with the state and without a code."""
        query = app.consent({"deny": True})
        assert query["error"] == "access_denied"
        assert query["error_description"]
        assert query["state"] == "a-state"
        assert "code" not in query

    @pytest.mark.parametrize(
        ("changes", "error", "kind"),
        [
            ({"client_key": None, "client_id": KEY}, "param_error", "client_key"),
            ({"client_key": "awother"}, "param_error", "client_key"),
            (
                {"scope": "user.info.basic video.list"},
                "invalid_scope",
                "scope",
            ),
            ({"scope": "user.info.basic,artist.album"}, "invalid_scope", "scope"),
            ({"scope": ""}, "invalid_scope", "scope"),
            ({"redirect_uri": REDIRECT + "/"}, "invalid_request", "redirect_uri"),
            ({"redirect_uri": None}, "invalid_request", "redirect_uri"),
            (
                {"response_type": "token"},
                "unsupported_response_type",
                "response_type",
            ),
            ({"state": None}, "invalid_request", "state"),
        ],
    )
    def test_refused(self, app, changes, error, kind):
        """A refused authorization ends on TikTok's own page and makes no callback."""
        with pytest.raises(ConsentRefused) as caught:
            app.consent(**changes)
        assert (caught.value.error, caught.value.kind) == (error, kind)

    def test_client_id(self, app):
        """client_id for client_key is errCode 10003."""
        with pytest.raises(ConsentRefused) as caught:
            app.consent(client_key=None, client_id=KEY)
        assert caught.value.err_code == 10003

    @pytest.mark.parametrize("method", ["plain", "s256", None])
    def test_challenge_method(self, app, method):
        """Any method but S256 is errCode 10008."""
        with pytest.raises(ConsentRefused) as caught:
            app.consent(code_challenge_method=method)
        assert caught.value.err_code == 10008

    @pytest.mark.parametrize(
        "uri", ["http://127.0.0.1:8000/callback", "https://localhost:8000/cb"]
    )
    def test_loopback_needs_pkce(self, clock, uri):
        """A redirect to loopback without a challenge is errCode 10007."""
        app = App(FakeTikTok(redirect_uris=[uri], clock=clock))
        assert app.consent(redirect_uri=uri)["code"]
        with pytest.raises(ConsentRefused) as caught:
            app.consent(
                redirect_uri=uri, code_challenge=None, code_challenge_method=None
            )
        assert caught.value.err_code == 10007

    @pytest.mark.parametrize(
        "uri",
        [
            "http://app.example.com/callback",
            "http://localhost/callback",
            "https://localhost/callback",
            "https://app.example.com/callback?a=b",
            "https://app.example.com/callback#a",
            "https://app.example.com/" + "a" * 512,
            "/callback",
            "javascript://app.example.com/",
        ],
    )
    def test_any_redirect_uri(self, clock, uri):
        """If no redirect URI is registered, a request's must still follow TikTok's
        rules.
        """
        with pytest.raises(ConsentRefused):
            App(FakeTikTok(clock=clock)).consent(redirect_uri=uri)

    def test_unknown_parameters(self, app):
        """Parameters that TikTok does not define are ignored."""
        assert app.consent(lang="de")["code"]

    def test_ask_again(self, app, fake):
        """A user who consented before is not asked again, unless disable_auto_auth is 1."""
        person = fake.people[0]
        asked = fake.ask(urlsplit(app.url()).query)
        assert not fake.provider.skips_consent(asked, person)
        app.consent()
        assert fake.provider.skips_consent(asked, person)
        assert not fake.provider.skips_consent(asked, fake.people[1])
        again = fake.ask(urlsplit(app.url(disable_auto_auth="1")).query)
        assert not fake.provider.skips_consent(again, person)


class TestSilentReconnection:
    """A user who consented before sees no page, whatever scopes are requested now."""

    MORE = "user.info.basic,video.list,video.upload"

    def test_first_scopes(self, app):
        """A scope that is new in the request is not granted."""
        app.consent(scope="user.info.basic")
        query = app.consent(scope=self.MORE)
        assert query["scopes"] == "user.info.basic"
        answer = app.exchange(query["code"])
        assert answer["scope"] == "user.info.basic"

    def test_denied(self, app):
        """A scope that was denied at the consent stays denied."""
        app.consent({"scopes": ["user.info.basic"]})
        assert app.consent()["scopes"] == "user.info.basic"

    def test_page(self, app):
        """With disable_auto_auth=1 the page is shown, and the later consent counts."""
        app.consent(scope="user.info.basic")
        query = app.consent(scope=self.MORE, disable_auto_auth="1")
        assert query["scopes"] == self.MORE
        assert app.consent(scope=self.MORE)["scopes"] == self.MORE
        fewer = {"scopes": ["user.info.basic"]}
        app.consent(fewer, scope=self.MORE, disable_auto_auth="1")
        assert app.consent(scope=self.MORE)["scopes"] == "user.info.basic"

    def test_scopes_not_shown_are_kept(self, app):
        """A consent page changes only the scopes that it shows."""
        app.consent()
        app.consent(scope="user.info.basic,video.upload", disable_auto_auth="1")
        assert app.consent(scope=self.MORE)["scopes"] == self.MORE

    def test_no_more_than_asked(self, app):
        """A request for some of the scopes consented to is granted only these."""
        app.consent()
        assert app.consent(scope="video.list")["scopes"] == "video.list"

    def test_no_requested_scope_is_granted(self, app):
        """The page is shown if none of the requested scopes was consented to."""
        app.consent(scope="user.info.basic")
        assert app.consent(scope="video.upload")["scopes"] == "video.upload"

    def test_no_page_to_decide_on(self, app):
        """A test that unticks scopes on a page that is not shown is an error."""
        app.consent()
        with pytest.raises(LoginFlowError, match="disable_auto_auth=1"):
            app.consent({"scopes": ["user.info.basic"]})
        same = {"scopes": ["video.list", "user.info.basic"]}
        assert app.consent(same)["scopes"] == "user.info.basic,video.list"

    def test_cancelled(self, app):
        """A person can cancel a login without a page, and the earlier consent stays."""
        app.consent(scope="user.info.basic")
        assert app.consent({"deny": True})["error"] == "access_denied"
        assert app.consent()["scopes"] == "user.info.basic"

    def test_consent_ends(self, app, fake, clock):
        """The page is shown again after the grant has expired."""
        app.consent(scope="user.info.basic")
        clock.advance(fake.refresh_lifetime)
        assert app.consent(scope=self.MORE)["scopes"] == self.MORE


class TestExchange:
    def test_success(self, app, fake):
        """The answer is a flat object with TikTok's names, and tokens of
        TikTok's form.
        """
        answer = app.log_in()
        assert answer["open_id"] == fake.people[0].open_id
        assert answer["access_token"].startswith("act.")
        assert answer["refresh_token"].startswith("rft.")
        assert "!" in answer["access_token"]
        assert answer["expires_in"] == 7200
        assert answer["refresh_expires_in"] == 15552000
        assert answer["scope"] == "user.info.basic,video.list"
        assert answer["token_type"] == "Bearer"

    def test_read_by_us(self, app):
        """The package's own reader of TikTok's answers accepts it."""
        code = app.consent()["code"]
        reply = app.post(
            protocol.TOKEN,
            grant_type="authorization_code",
            code=code,
            redirect_uri=REDIRECT,
            code_verifier=app.verifier,
        )
        answer = token_response.read_token(reply.status, reply.body)
        assert answer.scopes == "user.info.basic,video.list"

    def test_once(self, app):
        """A code works once."""
        code = app.consent()["code"]
        assert "access_token" in app.exchange(code)
        assert app.exchange(code)["error"] == "invalid_grant"

    def test_in_parallel(self, app):
        """Twenty exchanges of one code at once give one token."""
        code, answers = app.consent()["code"], []
        gate = threading.Barrier(20)

        def exchange():
            gate.wait()
            answers.append(app.exchange(code))

        threads = [threading.Thread(target=exchange) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum("access_token" in answer for answer in answers) == 1

    @pytest.mark.parametrize(
        "wrong", [{"redirect_uri": REDIRECT + "/"}, {"code_verifier": "x" * 43}]
    )
    def test_failed_exchange_uses_up_the_code(self, app, wrong):
        """A failed exchange uses up the code."""
        code = app.consent()["code"]
        assert app.exchange(code, **wrong)["error"] == "invalid_request"
        assert app.exchange(code)["error"] == "invalid_grant"

    def test_expires(self, app, clock):
        """A code is valid for five minutes."""
        code = app.consent()["code"]
        clock.advance(301)
        assert app.exchange(code)["error"] == "invalid_grant"

    def test_redirect_uri(self, app):
        """The redirect URI must be the same string as in the authorize request."""
        answer = app.exchange(app.consent()["code"], redirect_uri=REDIRECT + "?")
        assert answer["error"] == "invalid_request"
        assert "Redirect_uri is not matched" in answer["error_description"]

    def test_base64url_challenge(self, app):
        """A base64url challenge passes the consent page and fails at the exchange."""
        verifier = "gaeCq5mVvbhA8Ce6w5O9XBVIKMkySgv-_9A-rnhm9Ns"
        wrong = "5qF4sSB0PQhQlQjyaWUrC9-R4pMykhvJ6XRP091Bv-8"
        code = app.consent(code_challenge=wrong)["code"]
        answer = app.exchange(code, code_verifier=verifier)
        assert answer["error"] == "invalid_request"
        assert answer["error_description"] == (
            "Code verifier or code challenge is invalid."
        )

    def test_hex_challenge(self, app):
        """TikTok's own example of a challenge, in hex, passes."""
        verifier = "gaeCq5mVvbhA8Ce6w5O9XBVIKMkySgv-_9A-rnhm9Ns"
        right = "e6a178b120743d08509508f269652b0bdf91e29332921bc9e9744fd3dd41bfef"
        code = app.consent(code_challenge=right)["code"]
        assert "access_token" in app.exchange(code, code_verifier=verifier)

    def test_verifier_alone(self, app):
        """A verifier without a challenge fails, and so does a challenge without a
        verifier.
        """
        bare = {"code_challenge": None, "code_challenge_method": None}
        answer = app.exchange(app.consent(**bare)["code"])
        assert answer["error"] == "invalid_request"
        answer = app.exchange(app.consent()["code"], code_verifier=None)
        assert answer["error"] == "invalid_request"

    def test_without_pkce(self, app):
        """On the web a login also works with neither challenge nor verifier."""
        bare = {"code_challenge": None, "code_challenge_method": None}
        code = app.consent(**bare)["code"]
        assert "access_token" in app.exchange(code, code_verifier=None)

    @pytest.mark.parametrize(
        ("url", "method"),
        [
            (protocol.TOKEN.rstrip("/"), "POST"),
            (protocol.REVOKE.rstrip("/"), "POST"),
            (protocol.USER_INFO.rstrip("/"), "GET"),
            (protocol.TOKEN, "GET"),
            (protocol.REVOKE, "PUT"),
            (protocol.USER_INFO, "POST"),
            ("https://open.tiktokapis.com/", "GET"),
        ],
    )
    def test_gateway(self, fake, url, method):
        """Without the last slash, or with another method, the answer is a plain 404."""
        reply = fake.handle(method, url, FORM, b"")
        assert (reply.status, reply.body) == (404, b"Unsupported path(Janus)")
        assert dict(reply.headers)["content-type"].startswith("text/plain")

    @pytest.mark.parametrize(
        ("headers", "text"),
        [
            ({"content-type": protocol.FORM + "; charset=utf-8"}, "malformed"),
            ({"content-type": protocol.FORM + ";charset=UTF-8"}, "malformed"),
            ({**FORM, "authorization": "Basic YTpi"}, "malformed"),
            ({"content-type": "application/json"}, "Content-Type"),
            ({}, ""),
        ],
    )
    def test_headers(self, app, headers, text):
        """A content type with parameters is refused, and so is an Authorization
        header.
        """
        reply = app.post(protocol.TOKEN, headers, grant_type="refresh_token")
        answer = json.loads(reply.body)
        assert reply.status == 200
        assert answer["error"] == "invalid_request"
        assert text in answer["error_description"]

    @pytest.mark.parametrize(
        ("fields", "error"),
        [
            ({"client_id": KEY}, "invalid_request"),
            ({"client_secret": None}, "invalid_request"),
            ({"client_secret": "wrong"}, "invalid_client"),
            ({"client_key": "awother"}, "invalid_client"),
            ({"grant_type": None}, "invalid_request"),
            ({"grant_type": "password"}, "unsupported_grant_type"),
        ],
    )
    def test_fields(self, app, fields, error):
        """A form with wrong fields fails, with status 200 and a log id."""
        fields = {"grant_type": "refresh_token", "refresh_token": "rft.x", **fields}
        reply = app.post(protocol.TOKEN, **fields)
        answer = json.loads(reply.body)
        assert (reply.status, answer["error"]) == (200, error)
        assert answer["log_id"] == dict(reply.headers)["x-tt-logid"]

    def test_repeated_field(self, app, fake):
        """A field that appears twice is malformed."""
        body = urlencode(
            [("client_key", KEY), ("client_secret", SECRET), ("code", "a")] * 2
        )
        reply = fake.handle("POST", protocol.TOKEN, FORM, body.encode())
        assert json.loads(reply.body)["error"] == "invalid_request"


class TestRefresh:
    def test_rotates(self, app):
        """A refresh gives new tokens, and the old refresh token is invalid at once."""
        first = app.log_in()
        second = app.refresh(first["refresh_token"])
        assert second["refresh_token"] != first["refresh_token"]
        assert second["access_token"] != first["access_token"]
        assert second["open_id"] == first["open_id"]
        dead = app.refresh(first["refresh_token"])
        assert dead["error"] == "invalid_grant"
        assert dead["error_description"] == "Refresh token is invalid or expired."
        assert "access_token" in app.refresh(second["refresh_token"])

    def test_read_by_us(self, app):
        """The package's own reader takes the refusal as a revoked grant."""
        reply = app.post(
            protocol.TOKEN, grant_type="refresh_token", refresh_token="rft.gone"
        )
        with pytest.raises(GrantRevoked):
            token_response.read_token(reply.status, reply.body)

    def test_grace(self, app, fake, clock):
        """With a grace period, the old refresh token works until that period is
        over.
        """
        fake.grace = 10
        old = app.log_in()["refresh_token"]
        app.refresh(old)
        clock.advance(10)
        assert "access_token" in app.refresh(old)
        clock.advance(1)
        assert app.refresh(old)["error"] == "invalid_grant"

    def test_expires(self, app, fake, clock):
        """A refresh token expires after the lifetime that its answer named."""
        fake.refresh_lifetime = 100
        answer = app.log_in()
        assert answer["refresh_expires_in"] == 100
        clock.advance(100)
        assert app.refresh(answer["refresh_token"])["error"] == "invalid_grant"

    def test_counts_down(self, app, clock):
        """The lifetime of a refresh token counts down from the consent."""
        token = app.log_in()["refresh_token"]
        clock.advance(7292)
        answer = app.refresh(token)
        assert answer["refresh_expires_in"] == 15552000 - 7292
        assert answer["expires_in"] == 7200
        clock.advance(1000)
        answer = app.refresh(answer["refresh_token"])
        assert answer["refresh_expires_in"] == 15552000 - 8292

    def test_rotation_renews_nothing(self, app, clock):
        """Refreshing does not extend a grant: a chain of refreshes ends when the grant
        does.
        """
        token = app.log_in()["refresh_token"]
        for _ in range(15):
            clock.advance(12 * 86400 - 1)
            token = app.refresh(token)["refresh_token"]
        clock.advance(15)
        assert app.refresh(token)["error"] == "invalid_grant"

    def test_login_renews(self, app, clock):
        """A new login starts the grant's lifetime again."""
        app.log_in()
        clock.advance(86400)
        assert app.log_in()["refresh_expires_in"] == 15552000

    def test_reconnection_renews_nothing(self, app, fake, clock):
        """The stand-in can be set not to renew a grant at a login without a page."""
        fake.provider.reconnection_renews = False
        app.log_in()
        clock.advance(86400)
        assert app.log_in()["refresh_expires_in"] == 15552000 - 86400
        code = app.consent(disable_auto_auth="1")["code"]
        assert app.exchange(code)["refresh_expires_in"] == 15552000

    def test_counts_from_the_exchange(self, app, clock):
        """An exchange's answer names the whole lifetime, as captured answers do."""
        code = app.consent()["code"]
        clock.advance(7)
        assert app.exchange(code)["refresh_expires_in"] == 15552000

    def test_not_an_access_token(self, app):
        """An access token is not accepted as a refresh token."""
        answer = app.log_in()
        assert app.refresh(answer["access_token"])["error"] == "invalid_grant"

    def test_other_login(self, app):
        """A new login leaves the person's other tokens alive."""
        first = app.log_in()
        app.log_in()
        assert "access_token" in app.refresh(first["refresh_token"])


class TestRevoke:
    def test_everything_ends(self, app, fake):
        """A revoke ends all tokens of that user, and no other user's."""
        one, two = app.log_in(), app.log_in()
        other = app.log_in(person=fake.people[1])
        assert app.revoke(one["access_token"]).status == 200
        assert app.user(two["access_token"])[0] == 401
        assert app.refresh(two["refresh_token"])["error"] == "invalid_grant"
        assert app.user(other["access_token"])[0] == 200

    def test_both_successes(self, app):
        """The body of a success is alternately empty and an empty object; both are
        read.
        """
        bodies = set()
        for _ in range(2):
            reply = app.revoke(app.log_in()["access_token"])
            token_response.read_revoke(reply.status, reply.body)
            bodies.add(reply.body)
        assert bodies == {b"", b"{}"}

    def test_twice(self, app):
        """A revoked token cannot be revoked again."""
        token = app.log_in()["access_token"]
        app.revoke(token)
        reply = app.revoke(token)
        with pytest.raises(TikTokError):
            token_response.read_revoke(reply.status, reply.body)

    def test_wants_the_access_token(self, app):
        """A refresh token cannot be revoked, only an access token."""
        reply = app.revoke(app.log_in()["refresh_token"])
        assert json.loads(reply.body)["error"] == "invalid_grant"

    def test_asks_again(self, app, fake):
        """A disconnected user is asked for consent again."""
        token = app.log_in()["access_token"]
        asked = fake.ask(urlsplit(app.url()).query)
        assert fake.provider.skips_consent(asked, fake.people[0])
        app.revoke(token)
        assert not fake.provider.skips_consent(asked, fake.people[0])


class TestUserInfo:
    def test_fields(self, app, fake):
        """The answer has only the requested fields, and an error object with the code
        "ok".
        """
        token = app.log_in()["access_token"]
        status, answer = app.user(token, "display_name,open_id")
        assert status == 200
        assert answer["error"]["code"] == "ok"
        assert answer["data"]["user"] == {
            "display_name": fake.people[0].display_name,
            "open_id": fake.people[0].open_id,
        }

    def test_every_scope(self, app):
        """With every scope, the answer has every field of TikTok's table."""
        url = "user.info.basic,user.info.profile,user.info.stats"
        token = app.exchange(app.consent(scope=url)["code"])["access_token"]
        names = [name for fields in user_info.FIELDS.values() for name in fields]
        _, answer = app.user(token, ",".join(names))
        assert list(answer["data"]["user"]) == names

    def test_ungranted(self, app):
        """One field of a scope that was not granted fails the whole call."""
        token = app.log_in()["access_token"]
        status, answer = app.user(token, "open_id,follower_count")
        assert (status, answer["data"]) == (401, {})
        assert answer["error"]["code"] == "scope_not_authorized"

    @pytest.mark.parametrize("fields", [None, "", "open_id,email"])
    def test_bad_fields(self, app, fields):
        """A request without fields, or with unknown ones, fails."""
        status, answer = app.user(app.log_in()["access_token"], fields)
        assert (status, answer["error"]["code"]) == (400, "invalid_params")

    @pytest.mark.parametrize("token", ["", "act.unknown"])
    def test_no_token(self, app, token):
        """Without a valid token the answer is 401, with a nested error object."""
        status, answer = app.user(token)
        assert (status, answer["error"]["code"]) == (401, "access_token_invalid")
        assert answer["data"] == {}

    def test_expired(self, app, clock):
        """An access token expires after the lifetime that its answer named."""
        token = app.log_in()["access_token"]
        clock.advance(7199)
        assert app.user(token)[0] == 200
        clock.advance(1)
        assert app.user(token)[0] == 401


class TestFaults:
    def call(self, fake):
        with httpx2.Client(transport=fake.transport) as http:
            return http.post(protocol.TOKEN, data={"grant_type": "refresh_token"})

    def test_status(self, fake):
        """An endpoint fails as many times as the test asked for, then works again."""
        fake.fail("token", times=2, status=503, headers={"Retry-After": "7"})
        replies = [self.call(fake) for _ in range(3)]
        assert [reply.status_code for reply in replies] == [503, 503, 200]
        assert replies[0].headers["retry-after"] == "7"

    def test_error_and_body(self, fake):
        """A chosen error is sent in TikTok's form with status 200, a chosen body
        unchanged.
        """
        fake.fail("token", error="server_error")
        fake.fail("token", body=b"<html>")
        first, second = self.call(fake), self.call(fake)
        assert (first.status_code, first.json()["error"]) == (200, "server_error")
        assert (second.status_code, second.content) == (200, b"<html>")

    def test_one_endpoint(self, app, fake):
        """A failing endpoint does not affect the others."""
        fake.fail("revoke", status=500)
        assert "access_token" in app.log_in()

    def test_disconnect(self, app, fake):
        """A dropped connection is an error of the HTTP library, and the request has no
        effect.
        """
        token = app.log_in()["refresh_token"]
        fake.fail("token", disconnect=True)
        with pytest.raises(httpx2.RemoteProtocolError):
            self.call(fake)
        assert "access_token" in app.refresh(token)

    def test_lost_answer(self, app, fake):
        """A refresh rotates the token even if its answer is lost."""
        token = app.log_in()["refresh_token"]
        form = urlencode(
            {
                "client_key": KEY,
                "client_secret": SECRET,
                "grant_type": "refresh_token",
                "refresh_token": token,
            }
        )
        fake.lose_answer("token")
        with (
            httpx2.Client(transport=fake.transport) as http,
            pytest.raises(httpx2.RemoteProtocolError),
        ):
            http.post(protocol.TOKEN, content=form, headers=FORM)
        assert app.refresh(token)["error"] == "invalid_grant"

    def test_delay(self, fake):
        """A delayed answer is the usual answer."""
        fake.fail("token", delay=0.05)
        assert self.call(fake).json()["error"] == "invalid_request"

    def test_clear_faults(self, fake):
        """clear_faults switches off all faults."""
        fake.fail("token", times=100, status=500)
        fake.clear_faults()
        assert self.call(fake).status_code == 200


class TestSwitches:
    """Faults that a user's tests switch on; `test_clients.py` tests an app's reaction."""

    def test_deny_next_login(self, app):
        """The next `times` logins are cancelled, whatever the test chooses on
        the page.
        """
        app.fake.deny_next_login(times=2)
        answers = [app.consent() for _ in range(3)]
        assert ["code" in answer for answer in answers] == [False, False, True]

    def test_expire_next_login(self, app):
        """The next code is too old, and the exchange fails with TikTok's message for
        that.
        """
        app.fake.expire_next_login()
        assert app.log_in()["error_description"] == "Authorization code is expired."
        assert "access_token" in app.log_in()

    def test_rotate_away(self, app):
        """One person's refresh tokens end; access tokens and other people's tokens do
        not.
        """
        first, second = app.fake.people[:2]
        mine, theirs = app.log_in(person=first), app.log_in(person=second)
        app.fake.rotate_away(first)
        assert app.refresh(mine["refresh_token"])["error"] == "invalid_grant"
        assert "access_token" in app.refresh(theirs["refresh_token"])
        assert app.user(mine["access_token"])[0] == 200

    def test_rotate_away_everybodys(self, app):
        """Without a named user all refresh tokens end, even within the grace period."""
        app.fake.grace = 60
        answers = [app.log_in(person=person) for person in app.fake.people[:2]]
        app.fake.rotate_away()
        for answer in answers:
            assert app.refresh(answer["refresh_token"])["error"] == "invalid_grant"

    def test_disconnect(self, app):
        """A disconnect ends the person's tokens, and returns a signed webhook
        delivery.
        """
        person = app.fake.people[1]
        answer = app.log_in(person=person)
        headers, body = app.fake.disconnect(person)
        assert app.user(answer["access_token"])[0] == 401
        assert json.loads(body)["user_openid"] == person.open_id
        assert app.fake.webhooks[-1] == (headers, body)

    def test_slow_down_uses_up_the_code(self, app):
        """The code is used up when the answer would come too late."""
        code = app.consent()["code"]
        app.fake.slow_down("token")
        with pytest.raises(ConnectionLost):
            app.exchange(code)
        assert app.exchange(code)["error"] == "invalid_grant"

    def test_slow_down_is_a_time_out(self, app):
        """A client's own timeout is raised."""
        app.fake.slow_down("token")
        client = httpx2.Client(transport=app.fake.transport)
        with client, pytest.raises(httpx2.ReadTimeout):
            client.post(protocol.TOKEN)

    def test_advance(self, app, clock):
        """The time passed to advance() is added to the test's own clock."""
        before = app.fake.clock()
        app.fake.advance(90)
        clock.advance(10)
        assert app.fake.clock() - before == 100


class TestJournal:
    def test_counts(self, app, fake):
        """Requests are counted by endpoint and grant type, including refused ones."""
        answer = app.log_in()
        app.refresh(answer["refresh_token"])
        app.refresh(answer["refresh_token"])
        app.user(answer["access_token"])
        assert fake.count("token", grant_type="authorization_code") == 1
        assert fake.count("token", grant_type="refresh_token") == 2
        assert fake.count("token") == 3
        assert fake.count("user_info") == 1
        assert [record.status for record in fake.requests] == [200] * 4

    def test_no_secrets(self, app, fake):
        """The journal keeps no code, token, verifier or secret."""
        code = app.consent()["code"]
        first = app.exchange(code)
        second = app.refresh(first["refresh_token"])
        app.user(second["access_token"])
        app.revoke(second["access_token"])
        shown = repr(fake.requests)
        for secret in (
            SECRET,
            code,
            app.verifier,
            first["refresh_token"],
            second["access_token"],
        ):
            assert secret not in shown

    def test_lost(self, fake):
        """A request without an answer is listed with status 0."""
        fake.fail("token", disconnect=True)
        with (
            httpx2.Client(transport=fake.transport) as http,
            pytest.raises(httpx2.RemoteProtocolError),
        ):
            http.post(protocol.TOKEN)
        assert [(r.endpoint, r.status) for r in fake.requests] == [("token", 0)]


class TestTransport:
    def test_blocking(self, app, fake):
        """One transport serves a blocking client from the code to the revoke."""
        with httpx2.Client(transport=fake.transport) as http:
            code = app.consent()["code"]

            def post(url, **fields):
                form = {"client_key": KEY, "client_secret": SECRET, **fields}
                return http.post(url, content=urlencode(form), headers=FORM)

            first = post(
                protocol.TOKEN,
                grant_type="authorization_code",
                code=code,
                redirect_uri=REDIRECT,
                code_verifier=app.verifier,
            ).json()
            second = post(
                protocol.TOKEN,
                grant_type="refresh_token",
                refresh_token=first["refresh_token"],
            ).json()
            bearer = {"authorization": f"Bearer {second['access_token']}"}
            url = protocol.USER_INFO + "?fields=open_id"
            user = http.get(url, headers=bearer).json()["data"]["user"]
            assert user == {"open_id": first["open_id"]}
            gone = post(protocol.REVOKE, token=second["access_token"])
            assert gone.status_code == 200
            assert http.get(url, headers=bearer).status_code == 401

    async def test_cooperative(self, fake):
        """The same transport serves an async client, on asyncio and Trio."""
        async with httpx2.AsyncClient(transport=fake.transport) as http:
            response = await http.get(protocol.USER_INFO + "?fields=open_id")
        assert response.status_code == 401


class TestWebhook:
    @pytest.mark.parametrize("event", ["authorization.removed", "video.upload.failed"])
    def test_signed(self, fake, clock, event):
        """A delivery is signed as TikTok signs, and the package's own reader accepts
        it.
        """
        headers, body = fake.webhook(event, "an-open-id")
        delivery = webhook_delivery.read_webhook(
            headers["tiktok-signature"].encode(),
            body,
            client_key=KEY,
            secrets=[SECRET],
            now=clock(),
        )
        assert (delivery.event, delivery.open_id) == (event, "an-open-id")

    def test_content(self, fake):
        """The content is JSON in a string, and contains the reason that the
        test chose.
        """
        _, body = fake.webhook("authorization.removed", "x", {"reason": 4})
        assert json.loads(json.loads(body)["content"]) == {"reason": 4}

    def test_anonymous(self, fake):
        """A delivery about no particular user names no user."""
        _, body = fake.webhook("portability.download.ready", None)
        assert "user_openid" not in json.loads(body)


def test_for_settings(settings, clock):
    """for_settings registers the app of the settings: key, secret, redirect URI."""
    fake = FakeTikTok.for_settings(settings, clock=clock)
    url = authorize.AuthorizationRequest(
        client_key=settings.client_key,
        redirect_uri=settings.redirect_uri,
        scopes=settings.scopes,
        state="s",
        verifier=None,
        ask_again=False,
    ).url(protocol.AUTHORIZE)
    assert fake.consent(url).startswith(settings.redirect_uri + "?code=")
    assert settings.client_secret not in repr(fake)


def test_old_documents_lifetimes(app, fake):
    """The lifetimes of TikTok's older documents can be set."""
    fake.access_lifetime, fake.refresh_lifetime = 86400, 31536000
    answer = app.log_in()
    assert (answer["expires_in"], answer["refresh_expires_in"]) == (86400, 31536000)


def test_lifetimes_when_built(settings, clock):
    """Both lifetimes can be given when the stand-in is made."""
    lives = {"access_lifetime": 86400, "refresh_lifetime": 31536000}
    for fake in (
        FakeTikTok(clock=clock, **lives),
        FakeTikTok.for_settings(settings, clock=clock, **lives),
    ):
        assert (fake.access_lifetime, fake.refresh_lifetime) == (86400, 31536000)


@pytest.mark.parametrize("person", PEOPLE, ids=lambda person: person.username)
def test_open_ids(person):
    """The people's open_ids have today's form of TikTok's open_ids."""
    assert re.fullmatch(r"-000[A-Za-z0-9_-]{32}", person.open_id)


def test_for_settings_scopes(clock):
    """for_settings approves every scope of the settings, even one that it does not
    know.
    """
    settings = make_settings(
        scopes=["user.info.basic", "portability.all.single"],
        optional_scopes=["local.shop.manage", "brand.new.scope"],
    )
    fake = FakeTikTok.for_settings(settings, clock=clock)
    scopes = [*settings.scopes, *settings.optional_scopes]
    url = authorize.AuthorizationRequest(
        client_key=settings.client_key,
        redirect_uri=settings.redirect_uri,
        scopes=scopes,
        state="s",
        verifier=None,
        ask_again=False,
    ).url(protocol.AUTHORIZE)
    granted = dict(parse_qsl(urlsplit(fake.consent(url)).query))["scopes"]
    assert granted.split(",") == scopes
    with pytest.raises(ConsentRefused):
        fake.consent(url.replace("brand.new.scope", "another.new.scope"))


def test_secret_of_settings(settings):
    """client_secret accepts the settings' secret object, and returns it as a
    plain str.
    """
    fake = FakeTikTok(client_secret=settings.client_secret)
    assert fake.client_secret == settings.client_secret.reveal()
    assert type(fake.client_secret) is str
