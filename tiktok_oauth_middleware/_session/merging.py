"""One record from the records that two stores have of the same user.

A merge needs the state of the record when it was last copied, which its `CopyMark` has.
Tokens are taken from the store that changed them since. A session that was in the last
copy and is missing in one store was ended there, and so it ends in both. But if it
would have expired there by now, it is kept: perhaps it was not ended, but expired,
because it was used only in the other store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .record import MAX_SESSIONS, Session, UserRecord, content_of, generation_of

if TYPE_CHECKING:
    from .copy_marks import CopyMark


def merged(
    old: UserRecord, new: UserRecord, mark: CopyMark | None, now: float
) -> UserRecord:
    """Return one record from the two stores' records of a user.

    Args:
        old: the record in the store that is copied from.
        new: the record in the store that is copied to.
        mark: the state of `old` when it was last copied; None if it never was.
        now: seconds since 1970.
    """
    newer = old if _has_newer_tokens(old, new, mark) else new
    seen: dict[str, Session] = {}
    for one, other in ((old, new), (new, old)):
        others = {session.digest for session in other.sessions}
        for session in one.sessions:
            is_missing = session.digest not in others
            if is_missing and mark and mark.has_ended(session, now):
                continue
            known = seen.get(session.digest, session)
            last = max(known.last_seen_at, session.last_seen_at)
            seen[session.digest] = session._replace(last_seen_at=last)
    sessions = sorted(seen.values(), key=lambda session: session.created_at)
    connected = newer if old.user_id == new.user_id else new
    if _is_from_old(old, new, mark):
        connected = old
    return newer._replace(
        sessions=tuple(sessions[-MAX_SESSIONS:]),
        user_id=connected.user_id,
        connected_at=connected.connected_at,
    )


def _is_from_old(old: UserRecord, new: UserRecord, mark: CopyMark | None) -> bool:
    """Whether the connection of an account is taken from the old store.

    A connection ends only when its record is deleted; new tokens do not change it. So
    if a record was connected when it was copied, and is not now, the account has been
    disconnected, and must not be connected to that user again.
    """
    if old.user_id == new.user_id or is_disputed(old, new, mark):
        return False  # no user gets an account that another user has here
    if mark is None:
        return bool(old.user_id)
    if generation_of(new).hex() == mark.generation:
        # A connection, or a login after a disconnection, brings new tokens. The new
        # store has had none since the copy, so the old store made the change.
        return True
    return bool(old.user_id) and old.connected_at > mark.at


def is_disputed(old: UserRecord, new: UserRecord, mark: CopyMark | None) -> bool:
    """Whether the two stores connect an account to different users of the app.

    There is no dispute if the new store's record is as it was copied: then the old
    store has connected the account to another user since.
    """
    if not old.user_id or not new.user_id or old.user_id == new.user_id:
        return False
    return mark is None or content_of(new) != mark.content


def _has_newer_tokens(old: UserRecord, new: UserRecord, mark: CopyMark | None) -> bool:
    """Whether the store that is copied from has the newer tokens."""
    before, after = generation_of(old).hex(), generation_of(new).hex()
    if before == after:
        return False
    if mark is not None and after == mark.generation:
        return True
    if mark is not None and before == mark.generation:
        return False
    # Both stores changed them, or there is no mark: take those issued later.
    return old.issued_at > new.issued_at
