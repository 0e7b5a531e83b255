"""Stored users in the form that is shown and listed, without tokens."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from tiktok_oauth_middleware._oauth.scopes import split_scopes
from tiktok_oauth_middleware._oauth.user import User, read_profile

from .record import RecordOutline

if TYPE_CHECKING:
    from .record import UserRecord
    from .records import Records


class StoredUser(NamedTuple):
    """A stored user, without tokens; times in seconds since 1970.

    It is a tuple because a list may have a million of them: to create a frozen
    dataclass of seven fields takes a quarter of the time of a list from SQLite.
    """

    open_id: str
    scopes: frozenset[str]
    token_expires_at: int
    #: When the refresh token expires; None if TikTok did not say. TikTok counts
    #: from the consent, so refreshing does not prolong it.
    refresh_expires_at: int | None
    #: Browser sessions that have not ended.
    sessions: int
    #: Failed refreshes in a row.
    failures: int
    #: When the grant ends; after that the user must log in again. None if TikTok did
    #: not say.
    ends_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectedAccount:
    """A TikTok account that is connected to a user of the app; without tokens."""

    open_id: str
    #: The scopes that the person granted.
    scopes: frozenset[str]
    #: The stored profile, as far as scopes were granted.
    user: User
    #: Times are in seconds since 1970.
    connected_at: int
    #: When the connection ends, unless the person connects the account again;
    #: refreshing does not prolong it. None if TikTok did not say.
    expires_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionInfo:
    """A user's session in one browser; times in seconds since 1970.

    It says nothing about the browser: neither addresses nor user agents are stored.
    """

    #: As in `TikTokAuth.session_id`; safe to show and to log.
    session_id: str
    #: When the login that began it took place.
    created_at: int
    #: When it was last used, accurate to five minutes: not every request writes it.
    last_seen_at: int


class UserPage:
    """Some stored users, and how many records between them cannot be opened."""

    __slots__ = ("unreadable", "users")

    def __init__(self) -> None:
        self.users: list[StoredUser] = []
        self.unreadable = 0


def stored_user(records: Records, record: UserRecord) -> StoredUser:
    """Return the fields of a record that are not secret."""
    return _listed(
        RecordOutline(
            record.open_id,
            record.expires_at,
            record.refresh_expires_at,
            bool(record.refresh_token),
            record.scopes,
            record.failures,
            len(records.lifetimes.active_sessions(record)),
        )
    )


def _listed(outline: RecordOutline) -> StoredUser:
    open_id, expires_at, end, has_refresh_token, scopes, failures, sessions = outline
    ends_at = _end_of(expires_at, end, has_refresh_token=has_refresh_token)
    # By position, and not `StoredUser(...)`, which binds the arguments one by one.
    return tuple.__new__(
        StoredUser,
        (open_id, split_scopes(scopes), expires_at, end, sessions, failures, ends_at),
    )


def _end_of(
    expires_at: int, refresh_expires_at: int | None, *, has_refresh_token: bool
) -> int | None:
    """Return when a grant ends; None if TikTok did not say."""
    if not has_refresh_token:
        return expires_at
    if refresh_expires_at is None or refresh_expires_at > expires_at:
        return refresh_expires_at
    return expires_at


def connected_account(records: Records, record: UserRecord) -> ConnectedAccount:
    """Return the fields of a connected account's record that are not secret."""
    stored = stored_user(records, record)
    return ConnectedAccount(
        open_id=stored.open_id,
        scopes=stored.scopes,
        user=read_profile(stored.open_id, record.profile),
        connected_at=record.connected_at,
        expires_at=stored.ends_at,
    )


def sessions_of(records: Records, record: UserRecord) -> list[SessionInfo]:
    """Return a user's sessions that have not ended, the last used first."""
    found = [
        SessionInfo(
            session_id=session.public_id,
            created_at=session.created_at,
            last_seen_at=session.last_seen_at,
        )
        for session in records.lifetimes.active_sessions(record)
    ]
    found.sort(key=lambda s: (-s.last_seen_at, -s.created_at, s.session_id))
    return found


async def user_pages(
    records: Records, after: str = ""
) -> AsyncGenerator[UserPage, None]:
    """Yield all stored users, a few hundred at a time.

    Args:
        records: of the app.
        after: the id of a record, to begin after it; "" for all records.

    Raises:
        StoreError: the store failed, or cannot list its keys.
    """
    async with aclosing(records.pages.sealed(after)) as pages:
        async for sealed in pages:
            page, limits = UserPage(), records.lifetimes.ended_before()
            for outline in sealed.outlines(*limits):
                if outline is not None:
                    page.users.append(_listed(outline))
                else:
                    page.unreadable += 1
            yield page


async def ending_before(records: Records, latest: float) -> list[StoredUser]:
    """Return the users whose grant ends by a time, the soonest first.

    Raises:
        StoreError: the store failed, or cannot list its keys.
    """
    found = {}
    async with aclosing(user_pages(records)) as pages:
        async for page in pages:
            for user in page.users:
                if user.ends_at is not None and user.ends_at <= latest:
                    found[user.open_id] = user
    return sorted(found.values(), key=lambda user: (user.ends_at, user.open_id))


async def count_unreadable(records: Records) -> int:
    """Return how many records cannot be opened.

    Raises:
        StoreError: the store failed, or cannot list its keys.
    """
    names = set()  # since some stores list a record twice at times
    async with aclosing(records.pages.sealed()) as pages:
        async for page in pages:
            for each in page:
                if each.parsed() is None:
                    names.add(each.record_id)
    return len(names)
