"""The cookies of logins under way: seven slots of a fixed size, whatever is in them.

Requests that begin logins at the same moment, such as tabs that a browser restores, do
not see each other's cookies. With a name for each login all of them would stay, and
servers refuse a request whose headers grow without end, every request, until the
cookies expire. So the names are fixed, and what seven full slots and the session's
cookie take of a request, and the one that lets a person choose the account, is at most
`COOKIE_LIMIT` bytes together.

A login takes one slot, or several if it is long: each holds a part, with the first
bytes of the login's hash, so that a mixture of two logins is neither. When a login
began, and a part of the hash of where it goes and what it asks, stand before the sealed
bytes and are authenticated with them. The state does not stand in the cookie: what is
sealed opens under the state that the callback brings, and under no other.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from tiktok_oauth_middleware._core.fork import renew_after_fork
from tiktok_oauth_middleware._core.http import COOKIE_LIMIT, BegunLogin, Cookie, Headers
from tiktok_oauth_middleware._session.cookie import SESSION_LENGTH, from_text, to_text
from tiktok_oauth_middleware.errors import ConfigurationError

from .cookie_header import find_all

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.encryption import Box
    from tiktok_oauth_middleware._session.cookie import SessionCookies

#: Logins under way in one browser at most, if they are short.
SLOTS = 7
_TAG_BYTES = 3
#: The tag, and a byte that says which part of how many this is.
_HEAD_BYTES = _TAG_BYTES + 1
_TIME_BYTES = 5
#: The first bytes of a hash of what a login is for.
_PURPOSE_BYTES = 4
_LATEST = 256**_TIME_BYTES - 1
#: Where the sealed bytes begin.
_START = _TIME_BYTES + _PURPOSE_BYTES
#: The bytes that all slots together must hold: an address of 2,048 and what is sealed
#: with it.
_ENOUGH = 2048 + 200
#: Sets of shown cookies for which it is remembered which slots were given out.
_REMEMBERED = 512


class _Part(NamedTuple):
    slot: int
    tag: bytes
    number: int
    #: Of how many.
    total: int
    data: bytes


class _Group(NamedTuple):
    """All parts of one login."""

    created_at: int
    slots: frozenset[int]
    sealed: bytes
    purpose: bytes


class _Sent(NamedTuple):
    """What a request shows of logins under way."""

    values: Mapping[str, bytes]
    #: Slots that hold a part of a login, though others of it may be gone.
    readable: frozenset[int]
    #: Whole logins, by tag.
    groups: Mapping[bytes, _Group]


class LoginCookies:
    """Writes, reads and deletes the cookies of logins under way."""

    def __init__(self, cookies: SessionCookies, box: Box, max_age: int) -> None:
        """Compute the size of a slot from the cookies' names.

        Args:
            cookies: names the cookies.
            box: seals what is in them.
            max_age: of the cookies, in seconds.

        Raises:
            ConfigurationError: the names are so long that no login would fit.
        """
        self._names = cookies
        self._box = box
        self._max_age = max_age
        session = len(cookies.session_name) + 1 + SESSION_LENGTH
        choose = len(cookies.choose_name) + 2
        # Nine cookies are joined by eight times "; ".
        each = (COOKIE_LIMIT - session - choose - 2 * (SLOTS + 1)) // SLOTS
        letters = each - len(cookies.login_prefix) - 2
        #: The bytes of a login that one slot holds.
        self._room = letters * 3 // 4 - _HEAD_BYTES
        if self._room * SLOTS < _ENOUGH:
            message = "cookie_name is too long for the login's cookies"
            raise ConfigurationError(message)
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Begin anew: each process gives out slots by itself."""
        self._guard = threading.Lock()
        self._next = secrets.randbelow(SLOTS)
        self._given: OrderedDict[bytes, tuple[frozenset[int], ...]] = OrderedDict()

    # --- writing -----------------------------------------------------------------

    def begin(
        self,
        headers: Headers,
        state: str,
        created_at: int,
        packed: bytes,
        purpose: str = "",
    ) -> list[Cookie] | None:
        """Return the cookies of a new login, deletions first; None if it is too long.

        The oldest logins make room: their slots are written over. What is left of one
        that had several stays until a login ends; to delete it here could delete what
        a login that begins at the same moment puts there.

        Args:
            headers: of the request that begins the login.
            state: of the login; not written.
            created_at: when it begins, in seconds since 1970.
            packed: what to seal.
            purpose: what the login is for. A guard knows by a part of its hash that the
                same login is under way already; it is no secret of this browser's.
        """
        created_at = min(max(created_at, 0), _LATEST)
        digest = _digest(state)
        hashed = purpose_hash(purpose)
        sealed = self._box.seal(packed, _name(digest, created_at, hashed))
        whole = created_at.to_bytes(_TIME_BYTES) + hashed + sealed
        pieces = [
            whole[at : at + self._room] for at in range(0, len(whole), self._room)
        ]
        count = len(pieces)
        if count > SLOTS:
            return None
        sent = self._sent(headers)
        taken, others = self._take(sent, count)
        new = []
        for number, (slot, piece) in enumerate(zip(taken, pieces, strict=True)):
            head = digest[:_TAG_BYTES] + bytes((number << 4 | count,))
            value = to_text(head + piece)
            new.append(self._names.login(str(slot), value, self._max_age))
        stays = {str(slot) for slot in (*taken, *others, *sent.readable)}
        return [*self._deleted(set(sent.values) - stays), *new]

    def _take(self, sent: _Sent, count: int) -> tuple[list[int], set[int]]:
        """Return the slots of a new login, and those that other logins have.

        Logins that begin at the same moment show the same cookies, or none, and get
        different slots as far as there are: the newest ones stay.
        """
        with self._guard:
            if not sent.values:
                start = self._next
                self._next = (start + count) % SLOTS
                return [(start + i) % SLOTS for i in range(count)], set()
            shown = _digest(b"\n".join(sorted(sent.values.values())))
            given = self._given.pop(shown, ())
            # The oldest first.
            order = [g.slots for g in sorted(sent.groups.values())]
            for slots in given:
                order = [other for other in order if not other & slots] + [slots]
            # A slot that is sent twice, with different values, stays unreadable
            # whatever we write there.
            usable = {n for n in range(SLOTS) if sent.values.get(str(n)) != b""}
            if len(usable) < count:
                usable = set(range(SLOTS))
            while len(free := usable.difference(*order)) < count:
                order.pop(0)
            taken = sorted(free)[:count]
            self._given[shown] = (*given, frozenset(taken))[-SLOTS:]
            if len(self._given) > _REMEMBERED:
                self._given.popitem(last=False)
            return taken, set().union(*order)

    def ended(self, headers: Headers, state: str) -> list[Cookie]:
        """Return deletions of a login's cookies, and of what is no login's."""
        sent = self._sent(headers)
        tag = _digest(state)[:_TAG_BYTES]
        others = (group.slots for t, group in sent.groups.items() if t != tag)
        stays = {str(slot) for slots in others for slot in slots}
        return self._deleted(set(sent.values) - stays)

    def _deleted(self, names: Iterable[str]) -> list[Cookie]:
        # A slot by its number comes before whatever else stands under our prefix.
        ordered = sorted(names, key=lambda name: (len(name), name))
        return [self._names.login(name, "", 0) for name in ordered]

    # --- reading -----------------------------------------------------------------

    def open(self, headers: Headers, state: str) -> tuple[int, bytes] | None:
        """Return when the login of `state` began and what was sealed; None for none."""
        digest = _digest(state)
        group = self._sent(headers).groups.get(digest[:_TAG_BYTES])
        if group is None:
            return None
        name = _name(digest, group.created_at, group.purpose)
        packed = self._box.open(group.sealed, name)
        return None if packed is None else (group.created_at, packed)

    def under_way(self, headers: Headers) -> list[BegunLogin]:
        """Return when each login under way began, and what it is for; no secret."""
        prefix = self._names.login_prefix.encode()
        if not any(k == b"cookie" and prefix in value for k, value in headers):
            return []
        groups = self._sent(headers).groups.values()
        return [BegunLogin(group.created_at, group.purpose) for group in groups]

    def _sent(self, headers: Headers) -> _Sent:
        found = find_all(headers, self._names.login_prefix.encode())
        by_tag: dict[bytes, list[_Part]] = {}
        for slot in range(SLOTS):
            part = _part(slot, found.get(str(slot), b""), self._room)
            if part is not None:
                by_tag.setdefault(part.tag, []).append(part)
        readable = frozenset(part.slot for parts in by_tag.values() for part in parts)
        groups = {tag: _group(parts) for tag, parts in by_tag.items()}
        whole = {tag: group for tag, group in groups.items() if group is not None}
        return _Sent(found, readable, whole)


def _part(slot: int, value: bytes, room: int) -> _Part | None:
    """Return what one slot holds, or None if we did not write it so."""
    raw = from_text(value)
    if not 0 < len(raw) - _HEAD_BYTES <= room:
        return None
    number, total = divmod(raw[_TAG_BYTES], 16)
    if not number < total <= SLOTS:
        return None
    return _Part(slot, raw[:_TAG_BYTES], number, total, raw[_HEAD_BYTES:])


def _group(parts: list[_Part]) -> _Group | None:
    """Return a login of which every part is there, once."""
    parts.sort(key=lambda part: part.number)
    total = parts[0].total
    numbers = [(part.number, part.total) for part in parts]
    if numbers != [(number, total) for number in range(total)]:
        return None
    whole = b"".join(part.data for part in parts)
    created_at = int.from_bytes(whole[:_TIME_BYTES])
    slots = frozenset(part.slot for part in parts)
    purpose, sealed = whole[_TIME_BYTES:_START], whole[_START:]
    return _Group(created_at, slots, sealed, purpose)


def purpose_hash(text: str) -> bytes:
    """Return what a login's cookies say of what it is for."""
    return _digest(text)[:_PURPOSE_BYTES]


def _digest(text: str | bytes) -> bytes:
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).digest()


def _name(digest: bytes, created_at: int, purpose: bytes) -> str:
    """Return the name under which a login is sealed: what stands in clear is in it."""
    return f"{digest.hex()}:{created_at}:{purpose.hex()}"
