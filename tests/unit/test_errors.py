"""The tree of errors: parents, codes, statuses and attributes."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from pathlib import Path

import pytest

from tiktok_oauth_middleware import errors
from tiktok_oauth_middleware._web.pages import PROBLEMS
from tiktok_oauth_middleware.errors import (
    ConfigurationError,
    GrantRevoked,
    LoginDenied,
    LoginError,
    LoginExpired,
    LoginRefused,
    LoginReplayed,
    LoginUndecided,
    NotSignedIn,
    StateMismatch,
    StoreError,
    TikTokError,
    TikTokOAuthError,
    TikTokUnavailable,
    WebhookRejected,
)

ALL = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, Exception)
]

TREE = [
    (ConfigurationError, TikTokOAuthError, "configuration", 500),
    (NotSignedIn, TikTokOAuthError, "not_signed_in", 401),
    (LoginError, TikTokOAuthError, "login_failed", 400),
    (LoginDenied, LoginError, "login_denied", 403),
    (LoginExpired, LoginError, "login_expired", 400),
    (LoginReplayed, LoginError, "login_replayed", 400),
    (LoginRefused, LoginError, "login_refused", 403),
    (LoginUndecided, LoginError, "login_undecided", 500),
    (StateMismatch, LoginError, "state_mismatch", 400),
    (TikTokError, TikTokOAuthError, "tiktok_error", 502),
    (GrantRevoked, TikTokError, "grant_revoked", 401),
    (TikTokUnavailable, TikTokError, "tiktok_unavailable", 503),
    (StoreError, TikTokOAuthError, "store_error", 503),
    (WebhookRejected, TikTokOAuthError, "webhook_rejected", 401),
]


@pytest.mark.parametrize(
    ("kind", "parent", "code", "status"), TREE, ids=[row[2] for row in TREE]
)
def test_error_has_its_place_code_and_status(kind, parent, code, status):
    """Each error has its parent, a stable code and a status."""
    assert kind.__bases__ == (parent,)
    assert (kind.code, kind.status) == (code, status)


def test_tree_is_complete():
    """No error of the module is missing from the table of this test."""
    assert {row[0] for row in TREE} | {TikTokOAuthError} == set(ALL)


def test_docstring_draws_every_error():
    """The tree in the module's docstring names every error."""
    drawn = set(re.findall(r"[├└]─ (\w+)", errors.__doc__))
    assert drawn | {"TikTokOAuthError"} == {kind.__name__ for kind in ALL}


def test_docstring_has_the_status_of_every_error():
    """The status next to an error in the docstring is that of its class."""
    drawn = re.findall(r"─ (\w+) +([0-9]{3})", errors.__doc__)
    assert len(drawn) > 5
    by_name = {kind.__name__: kind.status for kind in ALL}
    assert {name: int(status) for name, status in drawn} == {
        name: by_name[name] for name, _ in drawn
    }


def test_codes_are_unique():
    """No two errors share a code."""
    assert len({kind.code for kind in ALL}) == len(ALL)


@pytest.mark.parametrize(
    "kind",
    [
        LoginError,
        LoginDenied,
        LoginExpired,
        LoginRefused,
        LoginReplayed,
        LoginUndecided,
        StateMismatch,
        StoreError,
        TikTokError,
        TikTokUnavailable,
    ],
)
def test_failure_has_a_page_of_the_same_status(kind):
    """Each error of a login, of TikTok or of the store has a page with its status."""
    assert PROBLEMS[kind.code].status == kind.status


def test_configuration_error_of_one_fault():
    """A single text is one fault, not a sequence of letters."""
    error = ConfigurationError("timeout is 0")
    assert error.faults == ("timeout is 0",)
    assert str(error) == "timeout is 0"


def test_configuration_error_shows_all_faults():
    """All faults are kept in order, and shown on one line each."""
    error = ConfigurationError(["one is wrong", "two is wrong"])
    assert error.faults == ("one is wrong", "two is wrong")
    assert str(error) == "one is wrong\ntwo is wrong"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (("invalid_request",), "TikTok: invalid_request"),
        (("",), "TikTok: no error code"),
        (("", "no answer"), "TikTok: no answer"),
        (
            ("invalid_client", "wrong key", "2026A", 200),
            "TikTok: invalid_client, wrong key, status 200, log_id 2026A",
        ),
    ],
    ids=["code", "nothing", "text", "all"],
)
def test_tiktok_error_shows_its_fields(given, shown):
    """A TikTok error's message has code, description, status and log_id, if known."""
    assert str(TikTokError(*given)) == shown


def test_tiktok_error_keeps_its_parts():
    """A TikTok error has TikTok's fields as attributes."""
    error = TikTokError("invalid_client", "wrong key", "2026A", 200)
    assert (error.error, error.description, error.log_id, error.http_status) == (
        "invalid_client",
        "wrong key",
        "2026A",
        200,
    )


def test_unavailable_has_no_retry_after_of_its_own():
    """Without Retry-After, retry_after is None."""
    assert TikTokUnavailable("").retry_after is None


@pytest.mark.parametrize("kind", [TikTokError, GrantRevoked, TikTokUnavailable])
@pytest.mark.parametrize(
    "again",
    [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_tiktok_error_survives_a_copy(kind, again):
    """An error keeps its type and attributes when it is copied or pickled."""
    error = kind("invalid_grant", "expired", "2026A", 200)
    copied = again(error)
    assert type(copied) is kind
    assert vars(copied) == vars(error)
    assert str(copied) == str(error)


def test_configuration_error_survives_a_pickle():
    """A configuration error can be pickled completely."""
    copied = pickle.loads(pickle.dumps(ConfigurationError(["a", "b"])))
    assert copied.faults == ("a", "b")
    assert str(copied) == "a\nb"


def test_errors_module_imports_nothing_of_ours():
    """The errors are the lowest layer: they import no other module of the package."""
    source = Path(errors.__file__).read_text(encoding="utf-8")
    assert not re.search(r"^\s*(from|import) (\.|tiktok)", source, re.MULTILINE)
