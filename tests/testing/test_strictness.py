"""The stand-in is as strict as TikTok, and as robust as a server."""

from __future__ import annotations

import json
import socket
import time
from urllib.parse import urlsplit

import anyio
import httpx2
import pytest
from starlette.testclient import TestClient

from tiktok_oauth_middleware import MemoryStore, TikTokOAuthMiddleware
from tiktok_oauth_middleware._oauth import protocol, webhook_delivery
from tiktok_oauth_middleware.errors import ConfigurationError
from tiktok_oauth_middleware.testing import (
    ConsentRefused,
    FakeTikTok,
    alogin_as,
    login_as,
)
from tiktok_oauth_middleware.testing.authorize import redirect_uri_fault
from tiktok_oauth_middleware.testing.login import LoginFlowError
from tiktok_oauth_middleware.testing.server import StandIn

from ..conftest import ORIGIN, starlette_app
from ..support.patience import HANGS
from .over_http import STEER, ask, decide
from .registered_app import FORM, KEY, REDIRECT, SECRET, App


class TestAuthorize:
    @pytest.mark.parametrize("name", ["state", "redirect_uri", "scope", "client_key"])
    def test_repeated(self, app, name):
        """A parameter that appears twice is refused."""
        with pytest.raises(ConsentRefused) as caught:
            app.fake.consent(f"{app.url()}&{name}=x")
        assert caught.value.kind == name

    @pytest.mark.parametrize(
        "uri",
        [
            "https://[::1/cb",
            "http://127.0.0.1:x/cb",
            "http://127.0.0.1:*/cb",
            "https://a.example/cb?",
            "https://a.example/cb#",
            "https://10.0.0.1/cb",
            "https://[::1]:8000/cb",
            "https://user@a.example/cb",
            "https://a;b.example/cb",
            "https://a.example/cb\r\nX-Injected: y",
            "https://a.example\\@evil.example/",
            "https://",
        ],
    )
    def test_any_redirect_uri(self, app, uri):
        """If no redirect URI is registered, one that TikTok's portal refuses is
        refused.
        """
        assert redirect_uri_fault(uri) or "*" in uri
        with pytest.raises(ConsentRefused) as caught:
            app.consent(redirect_uri=uri)
        assert caught.value.kind == "redirect_uri"

    @pytest.mark.parametrize(
        "uri", ["http://[::1]:8000/cb", "http://app.example.com/", "nonsense"]
    )
    def test_registered(self, uri):
        """An address that TikTok's portal would not register cannot be registered here."""
        with pytest.raises(ConfigurationError, match="redirect_uris"):
            FakeTikTok(redirect_uris=[uri])
        with pytest.raises(ConfigurationError, match="10"):
            FakeTikTok(redirect_uris=[f"https://a.example/{n}" for n in range(11)])

    def test_any_port(self, clock):
        """On loopback a port may be registered as *."""
        app = App(FakeTikTok(redirect_uris=["http://127.0.0.1:*/cb"], clock=clock))
        assert app.consent(redirect_uri="http://127.0.0.1:4711/cb")["code"]
        for wrong in ("http://127.0.0.1/cb", "http://127.0.0.1:1/cb/", "http://a:1/cb"):
            with pytest.raises(ConsentRefused):
                app.consent(redirect_uri=wrong)

    def test_require_pkce(self, app, fake):
        """The stand-in can require PKCE on the web, where TikTok's behaviour is
        unknown.
        """
        fake.provider.require_pkce = True
        with pytest.raises(ConsentRefused):
            app.consent(code_challenge=None, code_challenge_method=None)

    def test_method_alone(self, app):
        """A method without a challenge is refused."""
        with pytest.raises(ConsentRefused):
            app.consent(code_challenge=None)

    @pytest.mark.parametrize("value", ["2", "true", ""])
    def test_disable_auto_auth(self, app, value):
        """A disable_auto_auth other than 0 or 1 is refused."""
        with pytest.raises(ConsentRefused):
            app.consent(disable_auto_auth=value)

    @pytest.mark.parametrize(
        "endpoint",
        [
            "https://www.tiktok.com/v2/auth/other/",
            "https://open.tiktokapis.com/v2/auth/authorize/",
            "http://www.tiktok.com/v2/auth/authorize/",
        ],
    )
    def test_wrong_address(self, app, endpoint):
        """Only TikTok's authorize address shows a consent page."""
        with pytest.raises(ConsentRefused):
            app.fake.consent(app.url().replace(protocol.AUTHORIZE, endpoint))

    def test_error_without_state(self, app, fake):
        """An error callback can be sent without the state, on which TikTok's SDKs
        disagree.
        """
        fake.provider.errors_carry_state = False
        assert "state" not in app.consent({"deny": True})

    def test_spaces(self, app):
        """A space in the callback is %20, as in TikTok's examples."""
        url = app.fake.consent(app.url(), deny=True)
        assert "error_description=User%20cancelled" in url


class TestTokens:
    @pytest.mark.parametrize("host", ["open-api.tiktok.com", "www.tiktok.com"])
    def test_wrong_host(self, fake, host):
        """TikTok's other hosts, including version 1's, answer 404."""
        url = protocol.TOKEN.replace("open.tiktokapis.com", host)
        assert fake.handle("POST", url, FORM, b"").status == 404
        assert fake.count("token") == 0

    @pytest.mark.parametrize(
        "missing", [{"code": None}, {"code": ""}, {"redirect_uri": None}]
    )
    def test_missing(self, app, missing):
        """A missing field is reported as malformed, not as an ended grant."""
        fields = {"code": "x", "redirect_uri": REDIRECT, **missing}
        answer = app.token(grant_type="authorization_code", **fields)
        assert answer["error"] == "invalid_request"

    @pytest.mark.parametrize("token", [None, ""])
    def test_missing_token(self, app, token):
        """A refresh or revoke without its token is reported as malformed."""
        assert app.refresh(token)["error"] == "invalid_request"
        assert json.loads(app.revoke(token).body)["error"] == "invalid_request"

    def test_verifier_alphabet(self, app):
        """A verifier must consist of unreserved characters (RFC 7636 section 4.1)."""
        app.verifier = "/+= " * 16
        answer = app.exchange(app.consent()["code"])
        assert answer["error"] == "invalid_request"

    def test_revoke_ends_codes(self, app):
        """A revoke ends codes that were not exchanged yet."""
        code = app.consent()["code"]
        app.revoke(app.log_in()["access_token"])
        assert app.exchange(code)["error"] == "invalid_grant"

    def test_one_chain(self, app, fake):
        """The stand-in can be set to end a person's earlier tokens at a new login;
        TikTok's behaviour is unknown.
        """
        fake.provider.one_chain = True
        first = app.log_in()
        app.log_in()
        assert app.refresh(first["refresh_token"])["error"] == "invalid_grant"

    def test_webhook_after_revoke(self, app, fake, clock):
        """A revoke is followed by authorization.removed with reason 5."""
        answer = app.log_in()
        app.revoke(answer["access_token"])
        [(headers, body)] = fake.webhooks
        delivery = webhook_delivery.read_webhook(
            headers["tiktok-signature"].encode(),
            body,
            client_key=KEY,
            secrets=[SECRET],
            now=clock(),
        )
        assert delivery.open_id == answer["open_id"]
        assert delivery.content == {"reason": 5}

    def test_fault_in_shape(self, app, fake):
        """A fault of user info has the nested form, and status 401 unless chosen."""
        fake.fail("user_info", error="scope_not_authorized")
        status, answer = app.user("act.x")
        assert (status, answer["data"]) == (401, {})
        assert answer["error"]["code"] == "scope_not_authorized"

    async def test_deadline(self, fake):
        """A client's own timeout ends the wait for a slow answer."""
        fake.fail("token", delay=600)
        began = time.monotonic()
        async with httpx2.AsyncClient(transport=fake.transport) as http:
            with anyio.move_on_after(0.1):
                await http.post(protocol.TOKEN)
        assert time.monotonic() - began < HANGS


class TestServer:
    @staticmethod
    def raw(stand_in, request):
        """Send bytes; return everything received until the connection ends."""
        address = urlsplit(stand_in.url)
        with socket.create_connection((address.hostname, address.port), 5) as wire:
            wire.sendall(request.replace(b"HERE", address.netloc.encode()))
            wire.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: wire.recv(65536), b""))

    def test_no_injected_header(self, browser):
        """A redirect URI cannot inject headers into the answer."""
        response = browser.get(ask(redirect_uri=REDIRECT + "\r\nX-Injected: y"))
        assert 'name="request"' not in response.text

    def test_decided_once(self, browser):
        """A consent page can be submitted only once."""
        page = browser.get(ask())
        assert decide(browser, page).status_code == 302
        assert decide(browser, page).status_code == 400

    @pytest.mark.parametrize("method", [b"PUT", b"DELETE", b"PATCH", b"OPTIONS"])
    def test_body_is_not_read_as_a_request(self, stand_in, method):
        """The body of a refused request is never read as the next one."""
        inner = b"GET /stand-in/journal HTTP/1.1\r\nHost: other\r\n\r\n"
        head = b"%s / HTTP/1.1\r\nHost: HERE\r\nContent-Length: %d\r\n\r\n"
        answer = self.raw(stand_in, head % (method, len(inner)) + inner)
        assert answer.count(b"HTTP/1.1 ") == 1
        assert answer.startswith(b"HTTP/1.1 404")

    @pytest.mark.parametrize(
        "header",
        [
            b"Transfer-Encoding: chunked",
            b"Content-Length: x",
            b"Content-Length: 9999999",
            b"Content-Length: " + b"9" * 5000,
        ],
    )
    def test_unread_body(self, stand_in, header):
        """A body without a length, or with an absurd one, ends the connection."""
        inner = b"GET /stand-in/journal HTTP/1.1\r\nHost: HERE\r\n\r\n"
        head = b"POST /v2/oauth/token/ HTTP/1.1\r\nHost: HERE\r\n" + header
        answer = self.raw(stand_in, head + b"\r\n\r\n" + inner)
        assert answer.count(b"HTTP/1.1 ") == 1

    def test_head(self, browser):
        """HEAD is refused like every other method."""
        response = browser.head("/v2/oauth/token/")
        assert (response.status_code, response.content) == (404, b"")

    def test_ipv6(self):
        """The server can listen on ::1, too."""
        try:
            stand_in = StandIn(FakeTikTok(), host="::1")
        except OSError:
            pytest.skip("this machine has no IPv6")
        with stand_in:
            assert stand_in.endpoints.token.startswith("http://[::1]:")
            assert httpx2.get(stand_in.url, trust_env=False).status_code == 200

    def test_fault_with_a_body(self, browser):
        """A fault with a body that a program names in JSON sends that body."""
        wanted = {"endpoint": "token", "body": "<html>"}
        assert browser.post("/stand-in/fail", json=wanted, headers=STEER).is_success
        assert browser.post("/v2/oauth/token/").content == b"<html>"
        nonsense = {"endpoint": "token", "body": 1}
        response = browser.post("/stand-in/fail", json=nonsense, headers=STEER)
        assert response.status_code == 400

    def test_kept_connections_end(self):
        """Closing the server ends the connections that browsers kept open."""
        with StandIn(FakeTikTok()) as stand_in:
            address = urlsplit(stand_in.url)
            wire = socket.create_connection((address.hostname, address.port), 5)
            host = address.netloc.encode()
            wire.sendall(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
            assert wire.recv(4096).startswith(b"HTTP/1.1 200")
        with wire:
            while wire.recv(4096):
                pass

    def test_enter_continues(self, browser):
        """The Enter key presses the first button of a form: Continue."""
        text = browser.get(ask()).text
        assert text.index('value="continue"') < text.index('value="cancel"')


class TestLoginAs:
    @pytest.fixture
    def logged(self, settings, tiktok, clock):
        return TikTokOAuthMiddleware(
            starlette_app(),
            settings,
            store=MemoryStore(clock=clock),
            transport=tiktok.transport,
            clock=clock,
        )

    def test_other_origin(self, logged, tiktok):
        """A client of another origin is an error that names the base_url it needs."""
        with (
            TestClient(logged) as client,
            pytest.raises(LoginFlowError, match=f"base_url='{ORIGIN}'"),
        ):
            login_as(client, tiktok)

    async def test_other_origin_async(self, logged, tiktok):
        """An async client of another origin is an error that names the base_url too."""
        transport = httpx2.ASGITransport(logged)
        client = httpx2.AsyncClient(transport=transport, base_url="http://testserver")
        async with client:
            with pytest.raises(LoginFlowError, match=ORIGIN):
                await alogin_as(client, tiktok)
