"""Addresses in settings that only look like loopback or https."""

from __future__ import annotations

import pytest

from tiktok_oauth_middleware import ConfigurationError, TikTokEndpoints, TikTokSettings
from tiktok_oauth_middleware._core.secret import reveal

from ..conftest import make_settings

#: Hosts written as a user name, and hosts that only look like loopback.
ELSEWHERE = [
    "http://localhost:80@attacker",
    "http://localhost:80@attacker/cb/",
    "https://localhost:80@attacker/cb/",
    "http://localhost:8000@attacker:8000/cb/",
    "http://127.0.0.1:8000:x@attacker:80/cb/",
    "http://localhost@attacker.example/cb/",
    "http://localhost%40attacker.example/cb/",
    "http://localhost\\@attacker.example/cb/",
    "http://localhost.attacker.example/cb/",
    "http://127.0.0.1.attacker.example/cb/",
    "http://attacker.example/?http://localhost/cb/",
    "http://attacker.example#@localhost/cb/",
    "http://localhost#@attacker.example/cb/",
    "http://attacker.example\t@localhost/cb/",
    "http://0.0.0.0:8000/cb/",
    "http://[::ffff:127.0.0.1]:8000/cb/",
    "http://2130706433:8000/cb/",
    "//localhost:8000/cb/",
    "HTTPS:attacker.example/cb/",
]


def fault(**options):
    with pytest.raises(ConfigurationError) as refused:
        make_settings(**options)
    return str(refused.value)


@pytest.mark.parametrize("uri", ELSEWHERE)
def test_redirect_uri(uri):
    """Such a redirect URI is reported by its option."""
    assert fault(redirect_uri=uri).startswith("redirect_uri")


@pytest.mark.parametrize("name", ["authorize", "token", "revoke", "user_info"])
@pytest.mark.parametrize("uri", ELSEWHERE)
def test_endpoint(name, uri):
    """Such an endpoint, to which secrets would be sent, is reported by its option."""
    endpoints = TikTokEndpoints(**{name: uri})
    assert fault(endpoints=endpoints).startswith(f"endpoints.{name}")


@pytest.mark.parametrize("uri", ELSEWHERE)
def test_websocket_origin(uri):
    """Such an origin is reported by its option."""
    for origin in (uri, uri.removesuffix("/cb/")):
        if origin not in LIKE_ANY_OTHER:
            assert fault(websocket_origins=[origin]).startswith("websocket_origins")


#: As origins these are valid: they name another host.
LIKE_ANY_OTHER = {
    "http://localhost.attacker.example",
    "http://127.0.0.1.attacker.example",
    "http://0.0.0.0:8000",
    "http://[::ffff:127.0.0.1]:8000",
    "http://2130706433:8000",
}


def test_environment():
    """Such an address in an environment variable is reported too."""
    good = make_settings()
    environ = {
        "TIKTOK_CLIENT_KEY": good.client_key,
        "TIKTOK_CLIENT_SECRET": reveal(good.client_secret),
        "TIKTOK_SECRET_KEYS": reveal(good.secret_keys[0]),
        "TIKTOK_REDIRECT_URI": good.redirect_uri,
    }
    TikTokSettings.from_env(environ)
    for name in ("TIKTOK_REDIRECT_URI", "TIKTOK_ENDPOINTS_TOKEN"):
        with pytest.raises(ConfigurationError, match="user name|not an address"):
            TikTokSettings.from_env({**environ, name: ELSEWHERE[0] + "/"})
