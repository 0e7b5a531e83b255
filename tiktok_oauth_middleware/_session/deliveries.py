"""Webhook deliveries that were handled, or are being handled.

TikTok repeats a delivery that was not answered. A withdrawal deletes the user's record
before the app gets its event, so if the process dies in between, only the note that is
written before the deletion tells the repeated delivery that the event is still due.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .notes import NOTE_SECONDS
from .rows import swap_attempts

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.encryption import Box

    from .notes import Notes

_HANDLED = b"1"


class Deliveries:
    """The notes about one app's webhooks. Each method may raise StoreError."""

    def __init__(self, notes: Notes, box: Box) -> None:
        """Take the same objects as `Records`."""
        self._notes = notes
        self._box = box

    async def is_handled(self, name: str) -> bool:
        """Whether the app got the delivery's event, or needs none."""
        return await self._notes.read(name) == _HANDLED

    async def begin(self, name: str, user_id: str) -> None:
        """Note that a user's record is about to be deleted.

        Args:
            name: of the delivery's note.
            user_id: the user of the app to whom the account is connected, or "".
        """
        await self._write(name, self._box.seal(user_id.encode(), self._notes.key(name)))

    async def begun(self, name: str) -> str | None:
        """Return what `begin` noted, or None if no withdrawal began."""
        row = await self._notes.read(name)
        if row is None or row == _HANDLED:
            return None
        user_id = self._box.open(row, self._notes.key(name))
        return None if user_id is None else user_id.decode()

    async def finish(self, name: str) -> None:
        """Note that a delivery was handled."""
        await self._write(name, _HANDLED)

    async def _write(self, name: str, new: bytes) -> None:
        for _ in swap_attempts():
            row = await self._notes.read(name)
            if await self._notes.swap(name, row, new, NOTE_SECONDS["webhook"]):
                return
