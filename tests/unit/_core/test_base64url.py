"""Bytes as text of a cookie: each value has one spelling."""

from __future__ import annotations

import random

import pytest

from tiktok_oauth_middleware._core.base64url import from_text, to_text
from tiktok_oauth_middleware._web.cookie_header import find

from ...support.cookie_headers import NAME, header


@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 47, 48, 49, 3000])
def test_bytes_round_trip_as_cookie_text(length):
    """Bytes are unchanged after encoding and decoding as a cookie's text."""
    raw = random.Random(f"text {length}").randbytes(length)
    text = to_text(raw)
    assert from_text(text.encode()) == raw
    assert find(header(NAME + b"=" + text.encode()), NAME) in (text.encode(), None)


@pytest.mark.parametrize(
    "value",
    [
        b"A",
        b"AA=",
        b"AA==",
        b"AAA=",
        b"AB",
        b"AAB",
        b"A A",
        b"AA\n",
        b"A.",
        b"A+",
        b"A/",
    ]
    + [b"\xff", b"\x00", b"=", b"====", b"AAAAA", b"!!!!", b"A!A"],
    ids=repr,
)
def test_other_spelling_of_text_is_refused(value):
    """Each value has one spelling: padding, spare bits and other letters are refused."""
    assert from_text(value) == b""
