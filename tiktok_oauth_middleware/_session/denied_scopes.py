"""Scopes that users denied on TikTok's page.

They outlive the record, which is deleted with the last session, so that no user is
asked for the same scopes at every login. They are sealed like records.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiktok_oauth_middleware._oauth.scopes import join_scopes, split_scopes

from .notes import NOTE_SECONDS, note_name
from .rows import swap_attempts

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.encryption import Box

    from .notes import Notes


class DeniedScopes:
    """The denied scopes of one app's users. Each method may raise StoreError."""

    def __init__(self, notes: Notes, box: Box) -> None:
        """Take the same objects as `Records`."""
        self._notes = notes
        self._box = box

    async def note(
        self,
        record_id: str,
        denied: frozenset[str],
        requested: frozenset[str] = frozenset(),
    ) -> None:
        """Store the scopes that a user denied.

        Args:
            record_id: the user's record.
            denied: scopes that were requested and not granted.
            requested: all scopes that were requested; those not in `denied` have been
                granted, and are no longer listed as denied.
        """
        name = note_name("denied", record_id)
        for _ in swap_attempts():
            row = await self._notes.read(name)
            before = self._opened(name, row)
            after = (before - requested) | denied
            if after == before:
                return
            text = join_scopes(after).encode()
            sealed = self._box.seal(text, self._notes.key(name)) if text else None
            if await self._notes.swap(name, row, sealed, NOTE_SECONDS["denied"]):
                return

    async def read(self, record_id: str) -> frozenset[str]:
        """Return the scopes that a user denied."""
        name = note_name("denied", record_id)
        return self._opened(name, await self._notes.read(name))

    def _opened(self, name: str, row: bytes | None) -> frozenset[str]:
        text = None if row is None else self._box.open(row, self._notes.key(name))
        return split_scopes(text.decode()) if text else frozenset()

    async def forget(self, record_id: str) -> None:
        """Delete the denied scopes of a user: a login requests all of them again."""
        name = note_name("denied", record_id)
        row = await self._notes.read(name)
        if row is not None:
            await self._notes.swap(name, row, None, 1)
