"""Scopes: splitting a text into a set, and joining a set into one text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiktok_oauth_middleware._oauth.scopes import join_scopes, split_scopes

# --- scopes ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "scopes"),
    [
        ("", set()),
        (",", set()),
        (" , ,", set()),
        ("user.info.basic", {"user.info.basic"}),
        ("user.info.basic,video.list", {"user.info.basic", "video.list"}),
        (" user.info.basic ,\tvideo.list,", {"user.info.basic", "video.list"}),
        ("a,a,a", {"a"}),
        ("a b", {"a b"}),
    ],
)
def test_scopes_are_split_at_commas(text, scopes):
    """Scopes are separated by commas; white space around them is removed."""
    assert split_scopes(text) == scopes


def test_equal_sets_of_scopes_are_equal_texts():
    """The joined text does not depend on the order of the scopes."""
    assert join_scopes(["b", "a"]) == join_scopes({"a", "b"}) == "a,b"


@given(st.frozensets(st.text("abcdef._-", min_size=1, max_size=9), max_size=6))
@settings(deadline=None, derandomize=True)
def test_scopes_round_trip(scopes):
    """Splitting a joined text gives the same scopes."""
    assert split_scopes(join_scopes(scopes)) == scopes
