"""Results of logins, kept for a minute for the browser that has the login's cookies.

Phones may interrupt a callback and send it again, or send it twice. The code works
once, so one of these requests exchanges it, and the others get the same result. Before
TikTok is asked, a row in the store says that an exchange began; then it holds the
sealed result. It is read only for a request that brought the login's cookies.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tiktok_oauth_middleware.errors import StoreError

from .messages import NOTES, ProblemCode
from .pages import PROBLEMS, Note

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.backends.base import Backend
    from tiktok_oauth_middleware._core.encryption import Box
    from tiktok_oauth_middleware._session.notes import Notes

#: How long a result is shown again, in seconds.
SHOWN_SECONDS = 60
_PENDING = b"begun "
_RESULT_POLL_SECONDS = 0.05
_LONGEST_POLL = 0.4
#: The most seconds that a request waits for another process, which may have died:
#: gunicorn ends a sync worker whose request takes 30.
_OTHER_PROCESS_WAIT = 25.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginResult:
    """How a login ended."""

    #: In seconds since 1970.
    at: int
    #: The session cookie's value; "" after a login that failed.
    session: str = field(default="", repr=False)
    #: Where the login led.
    return_to: str = ""
    #: The path that the app's ``on_login`` returned, or "".
    lands_on: str = ""
    #: Whether the user had no record before.
    is_new: bool = False
    #: Whether TikTok granted fewer scopes than requested without showing its page, so
    #: that the person is sent there once more.
    asks_again: bool = False
    #: The page that explains why the login failed; None if it did not.
    code: ProblemCode | None = None
    notes: Sequence[Note] = ()
    reference: str = ""
    headers: Sequence[tuple[str, str]] = ()

    def pack(self) -> bytes:
        """Return the result as JSON; it holds a secret."""
        # `asdict` would copy each value first.
        packed = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps(packed).encode()

    @classmethod
    def unpack(cls, packed: bytes) -> LoginResult | None:
        """Return the result that `pack` wrote; None if another version wrote it."""
        try:
            read: Mapping[str, Any] = json.loads(packed)
            notes = tuple(Note(name, str(value)) for name, value in read["notes"])
            headers = tuple((str(name), str(value)) for name, value in read["headers"])
            code = read.get("code") or None
            result = cls(**{**read, "code": code, "notes": notes, "headers": headers})
        except (AttributeError, KeyError, TypeError, ValueError):
            return None
        has_texts = result.code in (None, *PROBLEMS) and all(
            n.name in NOTES for n in notes
        )
        return result if has_texts else None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class LoginResults:
    """The store's rows about logins whose callback arrived."""

    notes: Notes
    backend: Backend
    #: Seals results.
    box: Box
    #: Seconds since 1970.
    clock: Callable[[], float]
    #: How long a login stays marked as used.
    used_seconds: float
    #: How long a login's exchange can take at most.
    exchange_seconds: float

    async def begin(self, login_id: str) -> bytes | None:
        """Mark a login as used.

        Returns:
            The marker, for `finish`; None if the login was marked before.

        Raises:
            StoreError: the store failed; the login may have been marked.
        """
        # Unique, so that it is recognised if the store's answer was lost: otherwise the
        # next callback would wait for an exchange that no request has begun.
        row = _PENDING + f"{int(self.clock())} {secrets.token_hex(8)}".encode()
        try:
            is_first = await self.notes.swap(login_id, None, row, self.used_seconds)
        except StoreError:
            if await self.notes.read(login_id) != row:
                raise
            is_first = True
        return row if is_first else None

    def seal(self, login_id: str, result: LoginResult) -> bytes:
        """Return a result, sealed for the store."""
        return self.box.seal(result.pack(), login_id)

    def opened(self, login_id: str, sealed: bytes) -> LoginResult | None:
        """Return a sealed result, or None if it is not of this login."""
        packed = self.box.open(sealed, login_id)
        return None if packed is None else LoginResult.unpack(packed)

    async def finish(self, login_id: str, marker: bytes, sealed: bytes) -> None:
        """Write the sealed result of a login in place of its marker.

        Raises:
            StoreError: the store failed.
        """
        await self.notes.swap(login_id, marker, sealed, self.used_seconds)

    async def find(self, login_id: str) -> LoginResult | None:
        """Return the result of a login, or None if it is unknown.

        Raises:
            StoreError: the store failed.
        """
        row = await self.notes.read(login_id)
        return None if row is None else self.opened(login_id, row)

    async def wait(self, login_id: str) -> bytes | None:
        """Return the sealed result of a login that another request is finishing.

        Returns:
            None if there is none: the login was used too long ago, or the process that
            was finishing it died.

        Raises:
            StoreError: the store failed.
        """
        give_up = time.monotonic() + min(self.exchange_seconds, _OTHER_PROCESS_WAIT)
        pause = _RESULT_POLL_SECONDS
        while True:
            row = await self.notes.read(login_id)
            if row is None or not row.startswith(_PENDING):
                return row
            if time.monotonic() > give_up or not self._is_recent(row):
                return None
            await self.backend.sleep(pause)
            pause = min(_LONGEST_POLL, pause * 1.5)

    def _is_recent(self, row: bytes) -> bool:
        """Whether the exchange that a row marks can still be running."""
        began_at, _, _ = row.removeprefix(_PENDING).partition(b" ")
        return (
            began_at.isdigit() and self.clock() - int(began_at) <= self.exchange_seconds
        )
