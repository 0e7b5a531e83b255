"""Notes in the store about ends of users' access at TikTok, for logins and webhooks.

TikTok ends every token of a user when the app revokes one, or the user withdraws. If a
login's code was exchanged before that and its record is written after it, the record
has invalid tokens. So each end is noted in the store before the record is deleted, and
a login reads the note when its record is written.

TikTok also sends a webhook about a revoke by the app itself, perhaps after the user has
logged in again. The note identifies that webhook.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Literal, NamedTuple

from tiktok_oauth_middleware._core.clocks import SERVER_CLOCK_SKEW
from tiktok_oauth_middleware._core.log import logger
from tiktok_oauth_middleware.errors import StoreError, TikTokError

from .notes import NOTE_SECONDS, note_name
from .rows import swap_attempts

if TYPE_CHECKING:
    from tiktok_oauth_middleware._oauth.client import TikTokClient

    from .notes import Notes
    from .record import UserRecord

#: The lifetime of a note for logins, in seconds: a login that began before the end has
#: been written or has failed by then.
_LOGIN_SECONDS = 900
#: Errors of user info that TikTok returns for a working token.
_TOKEN_WORKS = frozenset(("scope_not_authorized", "scope_permission_missed"))


class NotedEnds(NamedTuple):
    """The notes about one user, in seconds since 1970; 0 for never."""

    #: When the access ended last, or may have.
    ended_at: int = 0
    #: When the last revoke by the app ended.
    revoked_at: int = 0
    #: The beginnings of revokes that have not ended, or whose process died.
    begun: tuple[int, ...] = ()

    def pack(self) -> bytes:
        """Return the note as text: a version, then the times."""
        begun = ",".join(map(str, self.begun))
        return f"1 {self.ended_at} {self.revoked_at} {begun}".encode()

    @classmethod
    def unpack(cls, packed: bytes | None) -> NotedEnds:
        """Return the note that `pack` wrote; an empty note for any other text."""
        try:
            version, ended, revoked, begun = (packed or b"").decode().split(" ")
            times = tuple(int(at) for at in begun.split(",") if at)
            noted = cls(int(ended), int(revoked), times)
        except ValueError:
            return cls()
        return noted if version == "1" else cls()

    def with_begun(self, now: int) -> NotedEnds:
        """Return the note with a revoke that begins now."""
        recent = (at for at in self.begun if at > now - _LOGIN_SECONDS)
        return self._replace(begun=(*recent, now))

    def begun_since(self, since: float) -> tuple[int, ...]:
        """Return the beginnings of revokes since a time of another server."""
        return tuple(at for at in self.begun if at >= since - SERVER_CLOCK_SKEW)

    def with_end(self, now: int) -> NotedEnds:
        """Return the note with an end that may have come now."""
        return self._replace(ended_at=max(self.ended_at, now))

    def without_begun(self, began_at: int) -> NotedEnds:
        """Return the note without one of the revokes that began at `began_at`."""
        begun = [*self.begun]
        with contextlib.suppress(ValueError):
            begun.remove(began_at)
        return self._replace(begun=tuple(begun))


class Endings:
    """The notes about ends of access, in one store."""

    def __init__(self, notes: Notes, clock: Callable[[], float]) -> None:
        self._notes = notes
        self._clock = clock

    async def note(self, record_id: str) -> None:
        """Note that a user's access may have ended now.

        Raises:
            StoreError: the store failed.
        """
        now = int(self._clock())
        await self._change(record_id, lambda noted: noted.with_end(now))

    async def begin_revoke(self, record_id: str) -> int:
        """Note that a call to TikTok to end a user's access is about to be made.

        Returns:
            The time of the beginning, for `end_revoke`.

        Raises:
            StoreError: the store failed.
        """
        now = int(self._clock())
        await self._change(record_id, lambda noted: noted.with_begun(now))
        return now

    async def begun_revokes(self, record_id: str, since: float) -> tuple[int, ...]:
        """Return the beginnings of a user's revokes that have not ended.

        Args:
            record_id: of the user.
            since: those that began before this time are left out, in seconds since
                1970. It may be another server's.

        Raises:
            StoreError: the store failed.
        """
        return (await self._read(record_id)).begun_since(since)

    async def end_revoke(
        self, record_id: str, begun: Iterable[int], *, was_asked: bool = True
    ) -> None:
        """Note that revokes have ended, with or without an answer of TikTok's.

        Args:
            record_id: of the user.
            begun: their beginnings, see `begin_revoke`; none if that failed, or if a
                refresh will end the access, see `Revocation.revoke_dropped`.
            was_asked: whether TikTok was called, so that it may send a webhook.

        Raises:
            StoreError: the store failed.
        """
        now = int(self._clock())

        def ended(noted: NotedEnds) -> NotedEnds:
            for began_at in begun:
                noted = noted.without_begun(began_at)
            if was_asked:
                noted = noted._replace(revoked_at=max(noted.revoked_at, now))
            return noted.with_end(now)

        await self._change(record_id, ended)

    async def revoked_at(self, record_id: str) -> int | None:
        """Return when the app's last revoke ended; None if not lately.

        Raises:
            StoreError: the store failed.
        """
        return (await self._read(record_id)).revoked_at or None

    async def has_ended(
        self,
        record_id: str,
        record: UserRecord,
        began_at: float,
        client: Callable[[], Awaitable[TikTokClient]],
        are_revokes_over: Callable[[], Awaitable[bool]],
    ) -> bool:
        """Whether the access ended since a login's code was sent to TikTok.

        TikTok is asked only if the note's time allows it. If TikTok does not answer, or
        the store fails, the next refresh notices an end.

        Args:
            record_id: of the user.
            record: with the login's tokens.
            began_at: before the code was sent, in seconds since 1970.
            client: returns the client for TikTok.
            are_revokes_over: `Revocation.are_over`.
        """
        since = await self._since(record_id, began_at)
        if since == "no":
            return False
        if since == "revoking" and not await are_revokes_over():
            return True
        with contextlib.suppress(TikTokError):
            return not await token_works(await client(), record)
        return False

    async def _since(
        self, record_id: str, began_at: float
    ) -> Literal["no", "perhaps", "revoking"]:
        try:
            noted = await self._read(record_id)
        except StoreError as error:
            logger.warning(
                "whether a user's access has ended could not be read: %s", error
            )
            return "no"
        if noted.begun_since(began_at):
            return "revoking"
        return "perhaps" if noted.ended_at >= began_at - SERVER_CLOCK_SKEW else "no"

    async def _read(self, record_id: str) -> NotedEnds:
        return NotedEnds.unpack(await self._notes.read(note_name("ended", record_id)))

    async def _change(
        self, record_id: str, change: Callable[[NotedEnds], NotedEnds]
    ) -> None:
        name = note_name("ended", record_id)
        for _ in swap_attempts():
            before = await self._notes.read(name)
            after = change(NotedEnds.unpack(before))
            # A revoke is kept longer, so that its webhook can be recognized.
            seconds = NOTE_SECONDS["ended"] if after.revoked_at else _LOGIN_SECONDS
            if await self._notes.swap(name, before, after.pack(), seconds):
                return


async def token_works(client: TikTokClient, record: UserRecord) -> bool:
    """Ask TikTok whether a user's access token still works.

    Raises:
        TikTokError: TikTok's answer does not show it.
    """
    try:
        await client.profile(record.access_token.reveal(), record.open_id, ("open_id",))
    except TikTokError as error:
        if error.error in _TOKEN_WORKS:
            return True
        if error.error == "access_token_invalid":
            return False
        raise
    return True
