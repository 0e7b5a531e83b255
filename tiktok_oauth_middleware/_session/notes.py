"""Notes in the store: something was used, was handled or has ended.

A login's note holds its result, see `LoginResults`; the names of the others begin with
their kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from .rows import row_key

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.store_adapter import StoreAdapter

#: Scopes that a user denied, the end of a user's access, a webhook that was handled.
NoteKind = Literal["denied", "ended", "webhook"]
#: The longest time that notes are kept, in seconds. TikTok repeats a webhook for three
#: days until it is answered with 200.
NOTE_SECONDS: Mapping[NoteKind, float] = {
    "denied": 400 * 86400,
    "ended": 4 * 86400,
    "webhook": 4 * 86400,
}


def note_name(kind: NoteKind, subject: str) -> str:
    """Return the name of a note.

    Args:
        kind: one of the kinds above.
        subject: the id of a record, or the digest of a webhook.
    """
    return f"{kind}-{subject}"


def seconds_of(name: str, login_seconds: float) -> float:
    """Return the longest time that a note is kept, in seconds.

    Args:
        name: of the note.
        login_seconds: that time for a login's note.
    """
    kinds = (life for kind, life in NOTE_SECONDS.items() if name.startswith(f"{kind}-"))
    return next(kinds, login_seconds)


class Notes:
    """The notes of one TikTok app in one store. Each method may raise StoreError."""

    def __init__(self, space: str, store: StoreAdapter) -> None:
        """Take the same objects as `Records`."""
        self._space = space
        self._store = store

    def key(self, name: str) -> str:
        """Return a note's key in the store."""
        return row_key(self._space, "used", name)

    async def read(self, name: str) -> bytes | None:
        """Return a note, or None if there is none."""
        return await self._store.get(self.key(name))

    async def create_many(self, notes: Sequence[tuple[str, bytes, float]]) -> int:
        """Write notes that do not exist yet; return how many were written.

        Args:
            notes: the name, the content and the life in seconds of each.
        """
        rows = [(self.key(name), value, seconds) for name, value, seconds in notes]
        return sum(await self._store.create_many(rows))

    async def swap(
        self, name: str, old: bytes | None, new: bytes | None, seconds: float
    ) -> bool:
        """Replace the note `old` with `new`; False if another note was there."""
        return await self._store.compare_and_set(self.key(name), old, new, seconds)
