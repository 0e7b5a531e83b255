"""Values with secrets are not shown, pickled or turned into a dictionary."""

from __future__ import annotations

import dataclasses
import logging
import pickle
import pprint
import string
import traceback
from operator import mod

import pytest

from tiktok_oauth_middleware._core.secret import Secret
from tiktok_oauth_middleware._oauth.token_response import TokenResponse
from tiktok_oauth_middleware._session.record import UserRecord
from tiktok_oauth_middleware.auth import Token

from ..support.sample_records import (
    NOW,
    OPEN_ID,
    PLAIN,
    REFRESH,
    a_cached_session,
    a_mount_point,
    a_record,
    an_auth,
)

# --- secrets -----------------------------------------------------------------------


WAYS_TO_SHOW = {
    "repr": repr,
    "str": str,
    "ascii": ascii,
    "format": format,
    "format with width": lambda value: f"{value!s:>60}",
    "f-string": lambda value: f"{value}",
    "f-string repr": lambda value: f"{value!r}",
    "percent s": lambda value: mod("%s", (value,)),
    "percent r": lambda value: mod("%r", (value,)),
    "str.format": lambda value: str.format("{} {!r}", value, value),
    "string.Template": lambda value: string.Template("$v").substitute(v=value),
    "print in a list": lambda value: str([value]),
    "print in a dict": lambda value: str({"token": value}),
    "pprint": pprint.pformat,
    "log": lambda value: logging.LogRecord(
        "n", 20, "p", 1, "%s %r", (value, value), None
    ).getMessage(),
    "exception": lambda value: "".join(
        traceback.format_exception_only(ValueError(value))
    ),
    "key error": lambda value: "".join(
        traceback.format_exception_only(KeyError(value))
    ),
    "vars": lambda value: str(getattr(value, "__dict__", "")),
}

HOLDERS = {
    "Secret": lambda: Secret(PLAIN),
    "Token": lambda: Token(PLAIN, NOW, "user.info.basic"),
    "UserRecord": a_record,
    "TokenAnswer": lambda: TokenResponse(
        open_id=OPEN_ID,
        access_token=Secret(PLAIN),
        refresh_token=Secret(REFRESH),
        scopes="",
        expires_in=1.0,
        refresh_expires_in=None,
    ),
    "TikTokAuth": lambda: an_auth(a_cached_session(), a_mount_point()),
}


def says_secret(text):
    return "PLAINSECRET" in text or "OTHERSECRET" in text


@pytest.mark.parametrize("show", WAYS_TO_SHOW.values(), ids=WAYS_TO_SHOW.keys())
@pytest.mark.parametrize("make", HOLDERS.values(), ids=HOLDERS.keys())
def test_secret_is_not_shown(make, show):
    """No way of printing a value that holds a secret prints the secret."""
    assert not says_secret(show(make()))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("make", HOLDERS.values(), ids=HOLDERS.keys())
def test_secret_is_not_pickled(make, protocol):
    """A value with a secret cannot be pickled with any protocol."""
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(make(), protocol)


@pytest.mark.parametrize(
    ("name", "turn"),
    [
        ("UserRecord", UserRecord._asdict),
        ("UserRecord", tuple),
        ("TokenAnswer", dataclasses.asdict),
        ("TokenAnswer", dataclasses.astuple),
    ],
)
def test_record_turned_into_a_dict_shows_no_secret(name, turn):
    """A record turned into a dict or a plain tuple shows no secret."""
    shown = str(turn(HOLDERS[name]()))
    assert OPEN_ID in shown
    assert not says_secret(shown)
