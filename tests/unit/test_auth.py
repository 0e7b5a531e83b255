"""TikTokAuth, Token and User: their properties, which are read-only."""

from __future__ import annotations

import copy
import dataclasses
from urllib.parse import parse_qs, urlsplit

import pytest
from httpx2 import URL
from hypothesis import given, settings
from hypothesis import strategies as st

from tiktok_oauth_middleware import ConfigurationError
from tiktok_oauth_middleware._oauth.user import User
from tiktok_oauth_middleware._session.record import Session
from tiktok_oauth_middleware.auth import Token

from ..support.sample_records import (
    NOW,
    OPEN_ID,
    PLAIN,
    a_cached_session,
    a_mount_point,
    an_auth,
)


@pytest.fixture
def signed_in():
    return an_auth(a_cached_session(), a_mount_point())


@pytest.fixture
def signed_out():
    return an_auth(None, a_mount_point())


# --- Token and User ----------------------------------------------------------------


def test_token_has_its_fields():
    """A token has its text, its expiry and its scopes."""
    token = Token(PLAIN, NOW, "user.info.basic,video.list")
    assert token.access_token == PLAIN
    assert type(token.access_token) is str
    assert token.expires_at == NOW
    assert token.scopes == {"user.info.basic", "video.list"}


@pytest.mark.parametrize("name", ["access_token", "expires_at", "scopes", "other"])
def test_token_is_read_only(name):
    """No attribute of a token can be set, and none added."""
    with pytest.raises(AttributeError):
        setattr(Token(PLAIN, NOW, ""), name, "x")


@pytest.mark.parametrize("name", ["open_id", "display_name"])
def test_user_is_read_only(name):
    """A user's profile cannot be changed by the app."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(User(open_id=OPEN_ID), name, "x")


times = st.integers(0, 2**53)


# --- TikTokAuth --------------------------------------------------------------------


def test_authenticated_request_has_a_user(signed_in):
    """In an authenticated request every property describes the user."""
    assert signed_in.is_authenticated is True
    assert signed_in.open_id == OPEN_ID
    assert signed_in.scopes == {"user.info.basic", "video.list"}
    assert signed_in.token.access_token == PLAIN
    assert signed_in.token.expires_at == NOW + 100
    assert signed_in.token.scopes == signed_in.scopes
    assert signed_in.user == User(open_id=OPEN_ID, display_name="Example Creator")


def test_anonymous_request_has_no_user(signed_out):
    """In an anonymous request no property fails, and each shows that there is
    no user.
    """
    assert signed_out.is_authenticated is False
    assert signed_out.open_id is None
    assert signed_out.scopes == frozenset()
    assert signed_out.token is None
    assert signed_out.user is None


@pytest.mark.parametrize(
    ("now", "there"),
    [
        (NOW - 10_000, True),
        (NOW + 99, True),
        (NOW + 99.999, True),
        (NOW + 100, False),
        (NOW + 101, False),
        (4_102_444_800, False),
    ],
)
def test_expired_token_is_none(now, there):
    """A token is returned until the second in which it expires by the given clock."""
    auth = an_auth(a_cached_session(), a_mount_point(now))
    assert (auth.token is not None) is there
    assert auth.is_authenticated


def test_expiry_is_checked_when_the_token_is_read():
    """A token that expires during a request is None when it is read again."""
    times = iter([NOW, NOW + 200])
    auth = an_auth(a_cached_session(), a_mount_point(clock=lambda: next(times)))
    assert auth.token is not None
    assert auth.token is None


@pytest.mark.parametrize(
    "name",
    [
        "is_authenticated",
        "open_id",
        "scopes",
        "token",
        "user",
        "logout_url",
        "refresh_token",
        "is_admin",
    ],
)
def test_auth_is_read_only(signed_in, name):
    """An app can neither change nor add attributes of TikTokAuth."""
    with pytest.raises(AttributeError):
        setattr(signed_in, name, "x")


def test_auth_has_no_refresh_token(signed_in):
    """An app cannot see the refresh token."""
    shown = [name for name in dir(signed_in) if not name.startswith("_")]
    assert "access_token" not in shown
    assert not [name for name in shown if "refresh" in name]


def test_scopes_can_not_be_added(signed_in):
    """The set of granted scopes is frozen."""
    assert type(signed_in.scopes) is frozenset


@pytest.mark.parametrize(
    ("asked", "missing"),
    [
        ((), set()),
        (("video.list",), set()),
        (("video.upload",), {"video.upload"}),
        (("video.list", "video.upload"), {"video.upload"}),
        (("VIDEO.LIST",), {"VIDEO.LIST"}),
    ],
)
def test_missing_scopes_are_those_not_granted(signed_in, asked, missing):
    """Requested scopes that were not granted are missing."""
    assert signed_in.missing_scopes(*asked) == missing


def test_missing_scopes_as_a_list(signed_in):
    """A list of scopes as one argument is an error, which says what to write."""
    with pytest.raises(TypeError, match="each scope as an argument of its own"):
        signed_in.missing_scopes(["video.list"])


def test_all_scopes_are_missing_when_signed_out(signed_out):
    """An anonymous request misses every scope."""
    assert signed_out.missing_scopes("a", "b") == {"a", "b"}


@pytest.mark.parametrize(
    "look",
    [
        lambda auth: auth.is_authenticated,
        lambda auth: auth.open_id,
        lambda auth: auth.scopes,
        lambda auth: auth.token,
        lambda auth: auth.user,
        lambda auth: auth.missing_scopes(),
        lambda auth: auth.logged_in_at,
        lambda auth: auth.logged_in_within(1),
        lambda auth: auth.session_id,
    ],
    ids=[
        "is_authenticated",
        "open_id",
        "scopes",
        "token",
        "user",
        "missing_scopes",
        "logged_in_at",
        "logged_in_within",
        "session_id",
    ],
)
@pytest.mark.parametrize("cached", [a_cached_session(), None], ids=["in", "out"])
def test_every_read_is_noted(look, cached):
    """Every read of the user is recorded, even in an anonymous request."""
    auth = an_auth(cached, a_mount_point())
    assert auth._accessed is False
    look(auth)
    assert auth._accessed is True


@pytest.mark.parametrize(
    "show", [repr, lambda a: a.login_url(), lambda a: a.logout_url]
)
def test_link_is_not_recorded_as_a_read(signed_in, show):
    """Links are the same for all users, so reading one is not recorded."""
    show(signed_in)
    assert signed_in._accessed is False


def test_anonymous_request_has_no_login(signed_out):
    """An anonymous request has no time of a login, no session id, and is not recent."""
    assert signed_out.logged_in_at is None
    assert signed_out.session_id is None
    assert not signed_out.logged_in_within(1e9)


@given(
    age=st.floats(-1e10, 1e10),
    max_age=st.floats(0, 1e10) | st.integers(0, 10**10),
)
@settings(deadline=None, derandomize=True, max_examples=200)
def test_recent_is_within_the_age_and_not_in_the_future(age, max_age):
    """A login is recent up to the given age, for at least ten seconds, and not if it is
    in the future.
    """
    cached = a_cached_session(logged_in_at=NOW)
    now = NOW + age
    is_recent = an_auth(cached, a_mount_point(now)).logged_in_within(max_age)
    assert is_recent is (-300 <= now - NOW <= max(max_age, 10))


def test_session_id_is_the_one_that_the_record_has(signed_in):
    """The session id is computed from the stored hash, as the list of sessions does."""
    assert signed_in.session_id == Session("digest", 1, 2).public_id
    assert signed_in.session_id != Session("other", 1, 2).public_id


def test_repr_names_the_user(signed_in, signed_out):
    """The repr names the user, or says that the request is anonymous."""
    assert OPEN_ID in repr(signed_in)
    assert "anonymous" in repr(signed_out)


def test_login_url_without_arguments_is_the_path(signed_in):
    """login_url() without arguments is the login path."""
    assert signed_in.login_url() == "/auth/tiktok/login"


@pytest.mark.parametrize("scopes", [["video.list", "no.such"], "no.such", ["x" * 9999]])
def test_login_url_of_no_scope_of_ours_is_an_error(signed_in, scopes):
    """login_url with a scope that the settings do not offer raises an error."""
    with pytest.raises(ConfigurationError, match="neither scopes nor optional_scopes"):
        signed_in.login_url("/x", scopes)


def test_login_url_carries_target_and_scopes(signed_in):
    """The link contains the target and the scopes, separated by commas."""
    url = signed_in.login_url("/x", ["video.upload", "video.list"])
    assert url == "/auth/tiktok/login?next=/x&scopes=video.list,video.upload"


@pytest.mark.parametrize(
    "target",
    [
        "/a?b=c&scopes=evil",
        "/a#b",
        "/ü",
        "/a b",
        "/a%2Fb",
        "/a+b",
        '/"><script>',
        "//e",
    ],
)
def test_login_url_target_comes_back_whole(signed_in, target):
    """A form decoder returns exactly the target that was put into the link."""
    parts = urlsplit(signed_in.login_url(next=target))
    assert parse_qs(parts.query, strict_parsing=True) == {"next": [target]}
    assert not parts.fragment


def test_copying_the_scope_is_an_error(signed_in):
    """A deep copy would not mark the response as private; the error says what to do."""
    with pytest.raises(TypeError, match="copies the scope outside the TikTok"):
        copy.deepcopy({"tiktok": signed_in})


def test_login_url_takes_a_url_object():
    """A URL object, such as url_for of Starlette returns, is taken like its text."""
    auth = an_auth(None, a_mount_point(origin="https://app.example.com"))
    url = auth.login_url(next=URL("https://app.example.com/shop/x?y=1"))
    assert url == "/auth/tiktok/login?next=/shop/x%3Fy%3D1"


def test_login_url_needs_no_escaping_of_markup(signed_in):
    """A link has no character that would end an attribute or open a tag."""
    assert not set(signed_in.login_url("/\"<>'")) & set("\"'<>")


def test_login_url_is_below_the_mount():
    """Links begin with the mount point that the server removed, percent-encoded."""
    auth = an_auth(None, a_mount_point(mount="/my app"))
    assert auth.login_url() == "/my%20app/auth/tiktok/login"
    assert auth.logout_url == "/my%20app/auth/tiktok/logout"


def test_logout_url_is_the_path(signed_in):
    """logout_url is the logout path."""
    assert signed_in.logout_url == "/auth/tiktok/logout"
