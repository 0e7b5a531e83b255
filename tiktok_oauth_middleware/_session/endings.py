"""Ends of a user's access at TikTok, as logins that are under way must notice them.

TikTok ends every token of a user when the app revokes one, or the user withdraws. A
login whose code was exchanged before that, and whose record is written after it, would
keep tokens that are dead. So each end is noted in the store, before the record is
deleted, and a login reads the note when its record is written.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Literal

from tiktok_oauth_middleware._core.log import logger
from tiktok_oauth_middleware.errors import StoreError, TikTokError

from .record import SERVER_CLOCK_SKEW
from .records import ENDED_SECONDS, ended_note, swap_attempts

if TYPE_CHECKING:
    from tiktok_oauth_middleware._oauth.client import TikTokClient

    from .record import UserRecord
    from .records import Records

_BEGUN = b"begun "
#: Errors of user info that TikTok gives for a token that works.
_TOKEN_WORKS = frozenset(("scope_not_authorized", "scope_permission_missed"))


class Endings:
    """The notes about ends of access, in one store."""

    def __init__(self, records: Records, clock: Callable[[], float]) -> None:
        self._records = records
        self._clock = clock

    async def note(self, record_id: str, *, is_begun: bool = False) -> None:
        """Note that a user's access ended now.

        Args:
            record_id: of the user.
            is_begun: whether TikTok is about to be asked to end it.

        Raises:
            StoreError: the store failed.
        """
        now = str(int(self._clock())).encode()
        row, name = (_BEGUN if is_begun else b"") + now, ended_note(record_id)
        for _ in swap_attempts():
            before = await self._records.read_note(name)
            if await self._records.swap_note(name, before, row, ENDED_SECONDS):
                return

    async def has_ended(
        self,
        record_id: str,
        record: UserRecord,
        began_at: float,
        client: Callable[[], Awaitable[TikTokClient]],
    ) -> bool:
        """Whether the access ended since a login's code was sent to TikTok.

        TikTok is asked only if it may have, by the time of the note. Where it does not
        answer, or the store fails, the next refresh notices it.

        Args:
            record_id: of the user.
            record: with the login's tokens.
            began_at: before the code was sent, in seconds since 1970.
            client: returns the client for TikTok.
        """
        since = await self._since(record_id, began_at)
        if since != "perhaps":
            return since == "yes"
        with contextlib.suppress(TikTokError):
            return not await token_works(await client(), record)
        return False

    async def _since(
        self, record_id: str, began_at: float
    ) -> Literal["no", "perhaps", "yes"]:
        try:
            row = await self._records.read_note(ended_note(record_id))
        except StoreError as error:
            logger.warning("an end of access could not be read: %s", error)
            return "no"
        if row is None:
            return "no"
        is_begun, at = row.startswith(_BEGUN), row.removeprefix(_BEGUN)
        if not at.isdigit() or int(at) < began_at - SERVER_CLOCK_SKEW:
            return "no"
        return "yes" if is_begun else "perhaps"


async def token_works(client: TikTokClient, record: UserRecord) -> bool:
    """Ask TikTok whether a user's access token still works.

    Raises:
        TikTokError: TikTok did not answer that.
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
