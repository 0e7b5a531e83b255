"""What came of a login, for the browser that holds its cookie, for a minute.

A callback may be cut off and sent again, or arrive twice: phones do both. The code
works once, so one of these requests exchanges it, and the others show what came of it.
A login's row in the store holds first that an exchange was begun, written before TikTok
is asked, and then the sealed result. Whoever reads it has shown the login's cookie.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from tiktok_oauth_middleware.errors import StoreError

from .messages import NOTES, ProblemCode
from .pages import PROBLEMS, Note

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.backends.base import Backend
    from tiktok_oauth_middleware._core.encryption import Box
    from tiktok_oauth_middleware._session.records import Records

#: A result is shown again for so long, in seconds.
SHOWN_SECONDS = 60
_PENDING = b"begun "
_POLL_SECONDS = 0.05
_LONGEST_POLL = 0.4


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginResult:
    """How a login ended."""

    #: In seconds since 1970.
    at: int
    #: The session cookie's value; "" where nobody was signed in.
    session: str = field(default="", repr=False)
    #: Where the login led.
    return_to: str = ""
    #: Whether TikTok granted less than was asked for without showing its page, so that
    #: the person goes there once more.
    asks_again: bool = False
    #: The page that says why nobody was signed in; None after a login.
    code: ProblemCode | None = None
    notes: Sequence[Note] = ()
    reference: str = ""
    headers: Sequence[tuple[str, str]] = ()

    def pack(self) -> bytes:
        """Return the result as JSON; it holds a secret."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def unpack(cls, packed: bytes) -> LoginResult | None:
        """Return what `pack` wrote; None if another version wrote it."""
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


class LoginResults:
    """The rows of logins that came back."""

    def __init__(
        self,
        records: Records,
        runtime: Backend,
        box: Box,
        clock: Callable[[], float],
        *,
        kept: float,
        longest: float,
    ) -> None:
        """Take where rows are kept, and two durations in seconds.

        Args:
            records: the store's rows.
            runtime: waits.
            box: seals results.
            clock: seconds since 1970.
            kept: how long it is known that a login was used.
            longest: how long its exchange can take, at most.
        """
        self._records = records
        self._runtime = runtime
        self._box = box
        self._clock = clock
        self._kept = kept
        self._longest = longest

    async def begin(self, login_id: str) -> bytes | None:
        """Mark a login as used; None if it was before.

        Returns:
            What to hand to `finish`.

        Raises:
            StoreError: the store failed; the login may have been marked.
        """
        # Unlike any other, so that it is known again where the answer gets lost: the
        # next callback would wait for an exchange that nobody has begun.
        row = _PENDING + f"{int(self._clock())} {secrets.token_hex(8)}".encode()
        try:
            is_first = await self._records.swap_used(login_id, None, row, self._kept)
        except StoreError:
            if await self._records.used(login_id) != row:
                raise
            is_first = True
        return row if is_first else None

    def seal(self, login_id: str, result: LoginResult) -> bytes:
        """Return a result as the store may hold it."""
        return self._box.seal(result.pack(), login_id)

    def opened(self, login_id: str, sealed: bytes) -> LoginResult | None:
        """Return a sealed result, or None if it is none of this login."""
        packed = self._box.open(sealed, login_id)
        return None if packed is None else LoginResult.unpack(packed)

    async def finish(self, login_id: str, begun: bytes, sealed: bytes) -> None:
        """Write what came of a login that `begin` marked.

        Raises:
            StoreError: the store failed.
        """
        await self._records.swap_used(login_id, begun, sealed, self._kept)

    async def find(self, login_id: str) -> LoginResult | None:
        """Return what came of a login, or None where that is not known.

        Raises:
            StoreError: the store could not say.
        """
        row = await self._records.used(login_id)
        return None if row is None else self.opened(login_id, row)

    async def wait(self, login_id: str) -> bytes | None:
        """Return the sealed result of a login that somebody else is finishing.

        None where there is none: it was used too long ago, or whoever was at it died.

        Raises:
            StoreError: the store could not say.
        """
        give_up = time.monotonic() + self._longest
        pause = _POLL_SECONDS
        while True:
            row = await self._records.used(login_id)
            if row is None or not row.startswith(_PENDING):
                return row
            if time.monotonic() > give_up or not self._is_recent(row):
                return None
            await self._runtime.sleep(pause)
            pause = min(_LONGEST_POLL, pause * 1.5)

    def _is_recent(self, row: bytes) -> bool:
        """Whether the exchange that a row tells of can still be under way."""
        begun, _, _ = row.removeprefix(_PENDING).partition(b" ")
        return begun.isdigit() and self._clock() - int(begun) <= self._longest
