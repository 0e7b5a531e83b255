"""The address of TikTok's page, and the parameters of a callback."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiktok_oauth_middleware._core.http import BadQuery
from tiktok_oauth_middleware._oauth import protocol
from tiktok_oauth_middleware._oauth.authorize import (
    AuthorizationRequest,
    challenge_of,
    read_callback,
)

# --- PKCE --------------------------------------------------------------------------

VERIFIER = "gaeCq5mVvbhA8Ce6w5O9XBVIKMkySgv-_9A-rnhm9Ns"
CHALLENGE = "e6a178b120743d08509508f269652b0bdf91e29332921bc9e9744fd3dd41bfef"


def test_challenge_is_tiktoks_own_vector():
    """The challenge of TikTok's published verifier is TikTok's published challenge."""
    assert challenge_of(VERIFIER) == CHALLENGE


@given(st.text("abcXYZ019-._~", min_size=43, max_size=128))
@settings(deadline=None, derandomize=True)
def test_challenge_is_hex_and_never_base64url(verifier):
    """A challenge is 64 lowercase hex digits, not the base64url of RFC 7636."""
    digest = hashlib.sha256(verifier.encode()).digest()
    assert challenge_of(verifier) == digest.hex()
    assert challenge_of(verifier) != urlsafe_b64encode(digest).rstrip(b"=").decode()


# --- the authorize URL -------------------------------------------------------------


def a_url(**changes):
    given = {
        "client_key": "awexampleclientkey",
        "redirect_uri": "https://app.example.com/auth/tiktok/callback",
        "scopes": ["user.info.basic", "video.list"],
        "state": "9f1c-state",
        "verifier": VERIFIER,
        "ask_again": False,
    }
    return AuthorizationRequest(**(given | changes)).url(protocol.AUTHORIZE)


def sent(url):
    return parse_qsl(urlsplit(url).query, strict_parsing=True)


def test_authorize_url_is_these_fields_and_nothing_else():
    """The authorize URL has exactly seven parameters, each once, with TikTok's
    names.
    """
    assert a_url().startswith(protocol.AUTHORIZE + "?")
    assert sent(a_url()) == [
        ("client_key", "awexampleclientkey"),
        ("response_type", "code"),
        ("scope", "user.info.basic,video.list"),
        ("redirect_uri", "https://app.example.com/auth/tiktok/callback"),
        ("state", "9f1c-state"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ]


def test_authorize_url_without_pkce_sends_neither_field():
    """Without a verifier there is neither challenge nor method."""
    assert set(dict(sent(a_url(verifier=None)))) == {
        "client_key",
        "response_type",
        "scope",
        "redirect_uri",
        "state",
    }


def test_authorize_url_never_carries_the_verifier():
    """The verifier itself is in no URL."""
    assert VERIFIER not in a_url()


def test_authorize_url_asks_again_only_on_request():
    """Only disable_auto_auth=1 forces the consent page."""
    assert dict(sent(a_url(ask_again=True)))["disable_auto_auth"] == "1"
    assert "disable_auto_auth" not in a_url(ask_again=False)


def test_authorize_url_keeps_the_order_of_scopes():
    """Scopes are in the given order, separated by commas without spaces."""
    url = a_url(scopes=["video.list", "user.info.basic"])
    assert dict(sent(url))["scope"] == "video.list,user.info.basic"


@pytest.mark.parametrize(
    "redirect_uri",
    [
        "http://127.0.0.1:8000/cb",
        "https://app.example.com:8443/a/b/",
        "https://app.example.com/a&state=evil",
        "https://app.example.com/a+b~c",
    ],
)
def test_authorize_url_carries_the_redirect_uri_byte_for_byte(redirect_uri):
    """TikTok decodes exactly the configured address."""
    url = a_url(redirect_uri=redirect_uri)
    assert dict(sent(url))["redirect_uri"] == redirect_uri
    assert len(sent(url)) == 7


def test_value_can_not_add_a_field():
    """No value can add a parameter to the URL."""
    url = a_url(state="x&client_key=evil#y", scopes=["a&b=c"])
    assert dict(sent(url))["client_key"] == "awexampleclientkey"
    assert dict(sent(url))["state"] == "x&client_key=evil#y"
    assert len(sent(url)) == 7
    assert not urlsplit(url).fragment


# --- the callback ------------------------------------------------------------------


def test_callback_of_the_contract_is_read():
    """A callback's state and code are decoded once."""
    callback = read_callback(
        b"code=AbC-1_xyz%2A1%214608.va&scopes=user.info.basic%2Cvideo.list&state=9f1c"
    )
    assert callback.code.reveal() == "AbC-1_xyz*1!4608.va"
    assert callback.state == "9f1c"
    assert (callback.error, callback.description) == ("", "")


def test_code_goes_out_as_it_came_in():
    """The decoded code, encoded as a form, equals TikTok's original text."""
    code = read_callback(b"code=AbC-1_xyz%2A1%214608.va").code
    assert urlencode({"code": code.reveal()}) == "code=AbC-1_xyz%2A1%214608.va"


def test_code_is_decoded_once():
    """A percent sign in a decoded code is not decoded again."""
    assert read_callback(b"code=a%252Ab").code.reveal() == "a%2Ab"


def test_callback_with_an_error_is_read():
    """A callback's error is read with its description."""
    callback = read_callback(
        b"error=access_denied&error_description=User%20cancelled&state=9f1c"
    )
    assert callback.error == "access_denied"
    assert callback.description == "User cancelled"
    assert callback.code.reveal() == ""


def test_callback_with_nothing_is_empty():
    """A callback without a parameter is empty, not an exception."""
    callback = read_callback(b"")
    assert (callback.state, callback.code.reveal(), callback.error) == ("", "", "")


def test_callback_does_not_believe_scopes():
    """The granted scopes in a callback are not read."""
    callback = read_callback(b"state=s&code=c&scopes=video.publish&next=/x&errCode=1")
    assert "video.publish" not in repr(callback)
    assert callback.details == {}
    fields = {"state", "code", "error", "description", "details"}
    assert {*callback.__slots__} == fields


@pytest.mark.parametrize("name", ["state", "code", "error", "error_description"])
def test_repeated_parameter_is_refused(name):
    """A repeated parameter of the callback is refused."""
    read_callback(f"{name}=a".encode())
    with pytest.raises(BadQuery):
        read_callback(f"{name}=a&{name}=a".encode())


@pytest.mark.parametrize(
    ("name", "longest"),
    [("state", protocol.LONGEST_STATE), ("code", protocol.LONGEST_CODE)],
)
def test_parameter_has_a_longest_length(name, longest):
    """State and code are accepted up to their limits."""
    assert getattr(read_callback(f"{name}={'x' * longest}".encode()), name)
    with pytest.raises(BadQuery):
        read_callback(f"{name}={'x' * (longest + 1)}".encode())


@pytest.mark.parametrize("name", ["state", "code"])
@pytest.mark.parametrize("raw", ["a%20b", "a+b", "a%00", "a%0d%0a", "%C3%BC", "%7F"])
def test_parameter_is_visible_ascii(name, raw):
    """A state or code with characters other than visible ASCII is refused."""
    with pytest.raises(BadQuery):
        read_callback(f"{name}={raw}".encode())


@pytest.mark.parametrize("name", ["error", "error_description"])
def test_error_of_a_callback_is_one_short_line(name):
    """An error's text in a callback is shortened, and control characters are
    escaped.
    """
    answer = read_callback(f"{name}=a%0d%0ab{'x' * 500}".encode())
    text = answer.error or answer.description
    assert text.startswith("a\\u000d\\u000ab")
    assert len(text) == 201


def test_callback_shows_neither_code_nor_state():
    """The repr of a callback shows neither code nor state."""
    shown = repr(read_callback(b"code=THECODE&state=THESTATE"))
    assert "THECODE" not in shown
    assert "THESTATE" not in shown
