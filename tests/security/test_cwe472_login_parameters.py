"""Login parameters that a request may choose, and those that it may not (CWE-472)."""

from __future__ import annotations

import pytest

from ..conftest import (
    LOGIN,
    PAGE,
    SAME_ORIGIN,
    query_of,
)
from .conftest import memory_only


@memory_only
class TestShape:
    """A request chooses only the scopes and `next` of a login."""

    NAMES = [
        "client_key",
        "client_id",
        "client_secret",
        "redirect_uri",
        "response_type",
        "response_mode",
        "scope",
        "state",
        "code_challenge",
        "code_challenge_method",
        "code_verifier",
        "nonce",
        "prompt",
        "disable_auto_auth",
        "auth_type",
        "rid",
        "ttl",
        "max_age",
        "login_hint",
        "request",
        "request_uri",
        "resource",
        "audience",
        "claims",
        "aud",
        "authorize",
        "token",
        "x",
    ]

    @pytest.mark.parametrize("method", ["GET", "POST"])
    @pytest.mark.parametrize("name", NAMES)
    def test_parameter_has_no_effect(self, raw, name, method):
        """A parameter of the login path reaches neither TikTok nor the cookie's names."""
        plain = self.asked(raw, method, b"")
        for value in ("evil", "https://evil.example/", "1", "", "%26scope=evil"):
            query = f"{name}={value}&{name}[]={value}".encode()
            assert self.asked(raw, method, query) == plain

    def asked(self, raw, method, query):
        """Return what is sent to TikTok, without its random parts."""
        answer = raw.ask(method, LOGIN, query=query, body=query, headers=SAME_ORIGIN)
        assert answer.status == 303
        address, _, sent = answer.location.partition("?")
        parts = query_of(f"?{sent}")
        assert len(parts.pop("state")) == 43
        assert len(parts.pop("code_challenge")) == 64
        return address, parts

    def test_body_has_no_effect(self, raw):
        """A form that is posted to the login path is not read."""
        form = b"scopes=video.publish&next=//evil.example&client_key=evil"
        kind = {"content-type": "application/x-www-form-urlencoded"}
        headers = {**SAME_ORIGIN, **kind}
        answer = raw.ask("POST", LOGIN, body=form, headers=headers)
        assert "evil" not in answer.location
        assert query_of(answer.location)["scope"] == "user.info.basic,video.list"

    @pytest.mark.parametrize(
        ("scopes", "sent"),
        [
            ("video.upload", "user.info.basic,video.list,video.upload"),
            ("video.list", "user.info.basic,video.list"),
            ("user.info.stats,video.upload", None),
            ("video.publish", False),
            ("video.upload,video.publish", False),
            ("video.upload video.list", False),
            ("VIDEO.UPLOAD", False),
            ("*", False),
            ("video.upload%00", False),
            ("video.upload%26client_key=evil", False),
        ],
    )
    def test_only_offered_scopes(self, raw, scopes, sent):
        """A login for scopes that the settings do not list is refused."""
        answer = raw.ask("GET", LOGIN, query=f"scopes={scopes}".encode())
        if sent is False:
            assert answer.status == 400
            assert not answer.set_cookies
            return
        asked = query_of(answer.location)
        assert asked["disable_auto_auth"] == "1"
        usual = "user.info.basic,video.list,user.info.stats,video.upload"
        assert asked["scope"] == (sent or usual)

    def test_redirect_uri_is_the_configured_one(self, world, raw):
        """Authorize request and exchange name the configured address, whatever the Host."""
        headers = {**PAGE, "host": "evil.example", "x-forwarded-host": "evil.example"}
        authorize = raw.begin(b"moved=1", headers=headers)
        path, query = raw.consent(authorize)
        assert raw.ask("GET", path, query=query, headers=headers).status == 303
        [exchange] = [r for r in world.tiktok.requests if r.endpoint == "token"]
        assert dict(exchange.form)["redirect_uri"] == world.settings.redirect_uri
        assert query_of(authorize)["redirect_uri"] == world.settings.redirect_uri
