"""No text from outside is a pattern or a key in the store (CWE-943)."""

from __future__ import annotations

import hashlib

ODD = [
    "*",
    "?",
    "[a-z]*",
    "\\",
    "a%",
    "a_",
    "a' OR 1=1 --",
    "{x}",
    "a*",
    "^",
    "]",
    "\x00",
]


def test_keys_are_not_patterns(store):
    """Keys are listed by a literal prefix, in which no character is a pattern."""
    rows = [f"odd:{name}:1" for name in ODD]
    for row in rows:
        assert store.compare_and_set(row, None, b"1", 60)
    for name, row in zip(ODD, rows, strict=True):
        assert store.keys(f"odd:{name}:") == [row]
        assert store.get(row) == b"1"
    assert sorted(store.keys("odd:")) == sorted(rows)


def test_rows_name_app_and_user_by_hashes(world):
    """A row's key contains neither the client_key nor the open_id, and has the app's
    prefix.
    """
    world.browser().log_in()
    client_key = world.settings.client_key.encode()
    space = f"tiktok:{hashlib.sha256(client_key).hexdigest()[:12]}:"
    keys = world.store.keys("")
    assert len(keys) == 2  # the user's, and the login that was used
    for key in keys:
        assert key.startswith(space)
        assert world.settings.client_key not in key
        assert world.tiktok.people[0].open_id not in key
