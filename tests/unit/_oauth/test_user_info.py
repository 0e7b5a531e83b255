"""The user's profile: the requested fields, and the reading of answers."""

from __future__ import annotations

import json

import pytest

from tiktok_oauth_middleware._oauth import user_info
from tiktok_oauth_middleware._oauth.user import User, read_profile
from tiktok_oauth_middleware._oauth.user_info import fields_for, pack_profile, read_user
from tiktok_oauth_middleware.errors import (
    TikTokError,
)

from ...support.tiktok_answers import MISSING, OPEN_ID, PROFILE, body_of


def profile_of(**fields):
    user = PROFILE["data"]["user"] | fields
    body = body_of({"data": {"user": user}, "error": PROFILE["error"]})
    return read_profile(OPEN_ID, read_user(200, body, open_id=OPEN_ID))


# --- profile fields by scope -------------------------------------------------------


@pytest.mark.parametrize(
    "scopes",
    [
        [],
        ["video.list"],
        ["user.info.profile", "user.info.stats"],
        ["user.info.basic,video.list"],
        ["USER.INFO.BASIC"],
    ],
)
def test_nothing_is_asked_for_without_basic(scopes):
    """Without user.info.basic no field is requested."""
    assert fields_for(scopes) == ()


def test_open_id_is_always_asked_for():
    """TikTok returns the open_id only if requested, so it is always among the
    fields.
    """
    assert "open_id" in fields_for(["user.info.basic"])


@pytest.mark.parametrize(
    ("scope", "field"),
    [
        ("user.info.profile", "username"),
        ("user.info.profile", "is_verified"),
        ("user.info.stats", "follower_count"),
    ],
)
def test_field_is_asked_for_with_its_scope_only(scope, field):
    """A field is requested only with its scope, since otherwise the whole call would
    fail.
    """
    assert field not in fields_for(["user.info.basic", "video.list"])
    assert field in fields_for(["user.info.basic", scope])


def test_all_scopes_open_all_fields():
    """With all three scopes, fifteen fields are requested, each once."""
    fields = fields_for(user_info.FIELDS)
    assert len(fields) == len(set(fields)) == 15


# --- user info ---------------------------------------------------------------------


def test_profile_of_the_contract_is_read():
    """The user in TikTok's documented example is read."""
    user = profile_of()
    assert user.open_id == OPEN_ID
    assert user.display_name == "Example Creator"
    assert user.union_id == "99999999-8888-4777-8666-555555555555"
    assert user.avatar_url.endswith("x-expires=1")
    assert user.username is None


def test_profile_needs_no_error_object():
    """A profile without an error object beside it is accepted."""
    body = body_of({"data": PROFILE["data"]})
    assert read_user(200, body, open_id=OPEN_ID)


def test_unknown_profile_fields_are_left_out():
    """Unknown fields are not kept."""
    assert profile_of(email="x@example.com", phone="1") == profile_of()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("display_name", "ü 日本 🎵"),
        ("display_name", "<script>"),
        ("display_name", ""),
        ("bio_description", "line\nline"),
        ("bio_description", "x" * 4096),
        ("is_verified", True),
        ("is_verified", False),
        ("follower_count", 0),
        ("likes_count", 2**63 - 1),
    ],
)
def test_profile_field_of_the_right_type_is_kept(field, value):
    """A field of the right type is kept unchanged; escaping is left to the code that
    writes HTML.
    """
    assert getattr(profile_of(**{field: value}), field) == value


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("display_name", 1),
        ("display_name", None),
        ("display_name", ["x"]),
        ("display_name", {"x": 1}),
        ("display_name", "\ud800"),
        ("bio_description", "x" * 4097),
        ("is_verified", 1),
        ("is_verified", "true"),
        ("follower_count", True),
        ("follower_count", -1),
        ("follower_count", 1.5),
        ("follower_count", "-1"),
        ("follower_count", "1.0"),
        ("follower_count", "9" * 20),
        ("likes_count", 2**63),
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_profile_field_of_a_wrong_type_is_left_out(field, value):
    """A field of a wrong type is left out, and the rest is kept."""
    user = profile_of(**{field: value})
    assert getattr(user, field) is None
    assert user.union_id


@pytest.mark.parametrize(
    "open_id", ["another", "", None, 1, MISSING, OPEN_ID.upper() + "A", OPEN_ID + " "]
)
def test_profile_of_another_user_is_refused(open_id):
    """A profile whose open_id is not the token's is refused."""
    user = PROFILE["data"]["user"] | {"open_id": open_id}
    user = {k: v for k, v in user.items() if v is not MISSING}
    with pytest.raises(TikTokError, match="another user"):
        read_user(200, body_of({"data": {"user": user}}), open_id=OPEN_ID)


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"data": None},
        {"data": []},
        {"data": "user"},
        {"data": {}},
        {"data": {"user": None}},
        {"data": {"user": [OPEN_ID]}},
        {"data": [{"user": {"open_id": OPEN_ID}}]},
        {"user": {"open_id": OPEN_ID}},
    ],
    ids=repr,
)
def test_answer_without_a_user_is_refused(answer):
    """An answer of another form is refused."""
    with pytest.raises(TikTokError, match="no user"):
        read_user(200, json.dumps(answer).encode(), open_id=OPEN_ID)


def test_error_example_of_the_contract_is_read():
    """TikTok's documented example of an invalid token gives its code and log_id."""
    answer = {
        "data": {},
        "error": {
            "code": "access_token_invalid",
            "message": "The access token is invalid or not found in the request.",
            "log_id": "20260101000000BBBB",
        },
    }
    with pytest.raises(TikTokError) as refused:
        read_user(401, json.dumps(answer).encode(), open_id=OPEN_ID)
    assert type(refused.value) is TikTokError
    assert refused.value.error == "access_token_invalid"
    assert refused.value.log_id == "20260101000000BBBB"


def test_profile_round_trips():
    """A packed profile unpacks to the same user."""
    fields = {
        "display_name": "Example Creator é 日本",
        "is_verified": False,
        "follower_count": 2**62,
        "bio_description": 'line\nline "x"',
    }
    user = read_profile(OPEN_ID, pack_profile(fields))
    assert user == User(open_id=OPEN_ID, **fields)


def test_packed_profile_is_one_line_of_ascii():
    """A profile is packed into one line of ASCII, for any display name."""
    packed = pack_profile({"display_name": "a\r\nb\u2028c\x00🎵"})
    assert packed.isascii()
    assert packed.isprintable()


@pytest.mark.parametrize("fields", [{}, {"open_id": "x"}, {"username": None}])
def test_profile_of_nothing_is_empty(fields):
    """A profile with only the id is packed as empty."""
    assert pack_profile(fields) == ""
    assert read_profile("x", "") == User(open_id="x")


def test_profile_does_not_name_the_user():
    """A packed profile does not contain the user's id, which is in the record."""
    assert "open_id" not in json.loads(pack_profile({"open_id": "x", "username": "u"}))
