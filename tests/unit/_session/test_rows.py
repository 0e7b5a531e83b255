"""Rows: their keys, and how a copy treats each kind."""

from __future__ import annotations

from typing import get_args

import pytest

from tiktok_oauth_middleware import StoreError
from tiktok_oauth_middleware._session.notes import (
    NOTE_SECONDS,
    NoteKind,
    note_name,
    seconds_of,
)
from tiktok_oauth_middleware._session.rows import (
    ROW_KINDS,
    Row,
    RowKind,
    row_key,
    space_of,
    swap_attempts,
)

SPACE = space_of("awexampleclientkey")


@pytest.mark.parametrize("kind", get_args(RowKind))
@pytest.mark.parametrize("name", ["abc", "ended-x}y", "", "a\nb"])
def test_key(kind, name):
    """Parsing a key gives the parts that it was made from, and a copy finds its kind."""
    key = row_key(SPACE, kind, name)
    assert Row.of(key, SPACE) == Row(kind, name, key)
    assert Row.of(f"{key}:lock", SPACE) == Row(f"{kind}:lock", name, f"{key}:lock")
    assert kind in ROW_KINDS


def test_foreign_key():
    """A key of another app is foreign, and a key of no known kind is unknown."""
    other = space_of("another")
    assert Row.of(row_key(other, "grant", "x"), SPACE) == Row("foreign", "", other)
    assert Row.of("tiktok:check:12", SPACE) == Row("unknown", "", "tiktok:check:12")


@pytest.mark.parametrize("kind", get_args(NoteKind))
def test_note(kind):
    """A note is kept for its kind's lifetime, and one of no known kind for a login's."""
    assert seconds_of(note_name(kind, "x"), 600) == NOTE_SECONDS[kind]
    assert seconds_of(kind, 600) == 600


def test_attempts_end():
    """A row that changes during each of 100 attempts raises a store error."""
    with pytest.raises(StoreError, match="at each of 100 attempts"):
        list(swap_attempts())
