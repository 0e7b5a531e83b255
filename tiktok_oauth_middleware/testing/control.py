"""Programs' control of a stand-in that runs as a server: faults, lifetimes, counts.

Each command is a POST below ``/stand-in/`` whose body is JSON: the arguments of a
method of `FakeTikTok`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .fake import FakeTikTok

#: A header that a command needs, with the value "1". No web page can send it without a
#: preflight, which the stand-in does not answer.
CONTROL_HEADER = "x-stand-in"


def count_calls(fake: FakeTikTok) -> bytes:
    """Return as JSON how often each endpoint was called."""
    counts = {
        "exchanges": fake.count("token", grant_type="authorization_code"),
        "refreshes": fake.count("token", grant_type="refresh_token"),
        "revokes": fake.count("revoke"),
        "profiles": fake.count("user_info"),
    }
    return json.dumps(counts).encode()


def run_command(fake: FakeTikTok, command: str, body: bytes) -> bool:
    """Carry out a command; False if there is none of this name.

    Args:
        fake: the stand-in.
        command: the path behind ``/stand-in/``.
        body: the arguments, as a JSON object.

    Raises:
        AttributeError, TypeError, ValueError: the arguments do not fit the command.
    """
    given = json.loads(body)
    if command == "fail":
        if "body" in given:
            given["body"] = given["body"].encode()
        fake.fail(**given)
    elif command == "lose-answer":
        fake.lose_answer(**given)
    elif command == "refuse-next-login":
        fake.refuse_next_login(**given)
    elif command == "refuse-field":
        fake.refuse_field(**given)
    elif command == "clear-faults":
        fake.clear_faults()
    elif command == "settings":
        _set(fake, **given)
    else:
        return False
    return True


def _set(
    fake: FakeTikTok,
    *,
    access_lifetime: int | None = None,
    refresh_lifetime: int | None = None,
    grace: float | None = None,
) -> None:
    if access_lifetime is not None:
        fake.access_lifetime = access_lifetime
    if refresh_lifetime is not None:
        fake.refresh_lifetime = refresh_lifetime
    if grace is not None:
        fake.grace = grace
