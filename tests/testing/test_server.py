"""The stand-in on a port: its connections, and the settings of an app that uses it."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import httpx2
import pytest

from tiktok_oauth_middleware import TikTokSettings
from tiktok_oauth_middleware.testing import FakeTikTok
from tiktok_oauth_middleware.testing.server import StandIn

from .registered_app import KEY, REDIRECT, SECRET


def test_kept_connection(stand_in):
    """One connection carries many requests."""
    address = urlsplit(stand_in.url)
    request = f"GET /v2/oauth/token HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n"
    with socket.create_connection((address.hostname, address.port)) as connection:
        file = connection.makefile("rb")
        for _ in range(3):
            connection.sendall(request.encode())
            assert file.readline().startswith(b"HTTP/1.1 404")
            while (line := file.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            assert file.read(length) == b"Unsupported path(Janus)"
        file.close()


def test_one_segment(stand_in):
    """An answer is sent in one segment, so that no part waits for an
    acknowledgement.
    """
    address = urlsplit(stand_in.url)
    ask = f"GET /v2/oauth/token HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n"
    with socket.create_connection((address.hostname, address.port)) as connection:
        for _ in range(20):
            connection.sendall(ask.encode())
            assert connection.recv(65536).endswith(b"Unsupported path(Janus)")


def test_disconnect(browser, stand_in):
    """A dropped connection is closed without an answer."""
    stand_in.fake.fail("token", disconnect=True)
    with pytest.raises(httpx2.RemoteProtocolError):
        browser.post("/v2/oauth/token/", data={"a": "b"})


def test_endpoints(stand_in):
    """The endpoints are valid settings, slashes included."""
    settings = TikTokSettings(
        client_key=KEY,
        client_secret=SECRET,
        redirect_uri=REDIRECT,
        secret_keys=["a-key-of-tests-which-is-long-enough"],
        endpoints=stand_in.endpoints,
    )
    assert settings.endpoints.token.endswith("/v2/oauth/token/")


def test_environment(stand_in):
    """The printed environment variables make an app use this server."""
    environment = {
        **stand_in.environment(REDIRECT),
        "TIKTOK_SECRET_KEYS": "a-key-of-tests-which-is-long-enough",
    }
    settings = TikTokSettings.from_env(environment)
    assert settings.endpoints == stand_in.endpoints
    assert settings.client_key == KEY


def test_gone():
    """A closed stand-in does not answer, and its port is free."""
    with StandIn(FakeTikTok()) as stand_in:
        url = stand_in.url
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(url, trust_env=False)
    with StandIn(FakeTikTok(), port=urlsplit(url).port):
        assert httpx2.get(url, trust_env=False).status_code == 200
