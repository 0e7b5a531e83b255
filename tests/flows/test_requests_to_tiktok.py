"""Requests to TikTok, field by field, byte by byte."""

from __future__ import annotations

from urllib.parse import parse_qsl

import httpx2
import pytest

from ..conftest import CALLBACK, ORIGIN, World, query_of

CODE = "AbC-1_xyz*1!4608.va"


class Recorder:
    """A transport that keeps every request and hands it to the stand-in's."""

    def __init__(self, inner):
        self.requests = []
        self.transport = httpx2.MockTransport(self.handle)
        self.inner = inner

    def handle(self, request):
        self.requests.append(request)
        return self.inner.handle_request(request)


@pytest.fixture
def recorder(world: World):
    recorder = Recorder(world.tiktok.transport)
    real = world.tiktok

    class Recorded:
        transport = recorder.transport

        def __getattr__(self, name):
            return getattr(real, name)

    world.tiktok = Recorded()
    world.start()
    return recorder


def form(request):
    return parse_qsl(request.content.decode(), keep_blank_values=True)


def test_exchange(world, recorder):
    """The exchange sends exactly these fields, and the code decoded once."""
    browser = world.browser()
    url = browser.begin()
    callback = browser.consent(url)
    assert browser.get(callback).status_code == 303
    request = recorder.requests[0]
    fields = dict(form(request))
    assert len(fields) == len(form(request))
    assert str(request.url).endswith("/v2/oauth/token/")
    assert request.method == "POST"
    assert set(fields) == {
        "client_key",
        "client_secret",
        "grant_type",
        "code",
        "redirect_uri",
        "code_verifier",
    }
    assert fields["client_key"] == world.settings.client_key
    assert fields["client_secret"] == world.settings.client_secret
    assert fields["grant_type"] == "authorization_code"
    assert fields["code"] == query_of(callback)["code"]
    assert "*" in fields["code"]
    assert fields["redirect_uri"] == ORIGIN + CALLBACK
    assert 43 <= len(fields["code_verifier"]) <= 128
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert "authorization" not in request.headers
    assert "cookie" not in request.headers


def test_refresh(world, recorder):
    """A refresh sends exactly these fields: no scope, no client_id."""
    world.tiktok.provider.access_lifetime = 7200
    browser = world.browser()
    browser.log_in()
    world.clock.advance(7000)
    browser.me()
    request = recorder.requests[-1]
    fields = dict(form(request))
    assert len(fields) == len(form(request))
    assert set(fields) == {
        "client_key",
        "client_secret",
        "grant_type",
        "refresh_token",
    }
    assert fields["grant_type"] == "refresh_token"
    assert fields["refresh_token"].startswith("rft.")
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"


def test_profile(world, recorder):
    """The profile is asked for with the bearer token and fields, and no body."""
    browser = world.browser()
    browser.log_in()
    request = recorder.requests[1]
    assert request.method == "GET"
    assert request.url.path == "/v2/user/info/"
    assert query_of(str(request.url)) == {
        "fields": "open_id,union_id,avatar_url,avatar_url_100,avatar_large_url,display_name"
    }
    assert request.headers["authorization"] == f"Bearer {browser.me()['token']}"
    assert request.content == b""


def test_revoke(world, recorder):
    """A revoke sends the access token with the app's credentials."""
    world = world.with_settings(disconnect_path="/off")
    browser = world.browser()
    browser.log_in()
    token = browser.me()["token"]
    browser.post("/off")
    request = recorder.requests[-1]
    assert str(request.url).endswith("/v2/oauth/revoke/")
    assert dict(form(request)) == {
        "client_key": world.settings.client_key,
        "client_secret": world.settings.client_secret,
        "token": token,
    }
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"


def test_code_with_stars(world, recorder):
    """A code with * and ! is decoded once from the query and encoded once in the form."""
    browser = world.browser()
    state = query_of(browser.begin())["state"]
    browser.get(f"{CALLBACK}?code=AbC-1_xyz%2A1%214608.va&state={state}")
    assert b"code=AbC-1_xyz%2A1%214608.va&" in recorder.requests[0].content
    assert dict(form(recorder.requests[0]))["code"] == CODE
