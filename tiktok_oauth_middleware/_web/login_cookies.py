"""The cookies of pending logins: seven slots of a fixed size.

Requests that begin logins at the same moment, such as those of tabs that a browser
restores, do not carry each other's cookies. If each login had a cookie name of its own,
all those cookies would accumulate, and servers would refuse every request for its long
headers until the cookies expire. So the names are fixed: seven full slots, the session
cookie, the cookie that lets a person choose the account and the one that binds links to
a browser take at most `COOKIE_LIMIT` bytes of a request together.

A login takes one slot, or several if it is long. Each slot holds one part, with the
first bytes of the login's hash, so that parts of two logins are never combined. The
sealed bytes follow the time when the login began and the first bytes of the hash of its
purpose; these two are authenticated but not encrypted. The state is not in the cookie:
the sealed bytes can be opened only with the state from the callback.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from tiktok_oauth_middleware._core.base64url import from_text, to_text
from tiktok_oauth_middleware._core.fork import register_after_fork
from tiktok_oauth_middleware._core.http import COOKIE_LIMIT, Cookie, Headers
from tiktok_oauth_middleware._session.cookie import CARRY_LENGTH, SESSION_LENGTH
from tiktok_oauth_middleware.errors import ConfigurationError

from .cookie_header import find_all

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.encryption import Box
    from tiktok_oauth_middleware._session.cookie import SessionCookies

#: The most pending logins in one browser, if they are short.
SLOTS = 7
_TAG_BYTES = 3
#: The tag, and a byte with the number of this part and the number of parts.
_HEAD_BYTES = _TAG_BYTES + 1
_TIME_BYTES = 5
#: The first bytes of the hash of a login's purpose.
_PURPOSE_BYTES = 4
_LATEST_TIME = 256**_TIME_BYTES - 1
#: Where the sealed bytes begin.
_START = _TIME_BYTES + _PURPOSE_BYTES
#: The bytes that all slots together must hold: an address of 2,048 bytes and 200 bytes
#: for the other sealed fields. If there is more, the address is left out.
_ENOUGH = 2048 + 200
#: The most sets of request cookies for which the assigned slots are remembered.
_REMEMBERED = 512
#: The longest purpose whose hash is cached, in characters, and the most of them.
_CACHED_PURPOSES = 128


class _Part(NamedTuple):
    slot: int
    tag: bytes
    number: int
    #: The number of parts.
    total: int
    data: bytes


class _Group(NamedTuple):
    """All parts of one login."""

    created_at: int
    slots: frozenset[int]
    sealed: bytes
    purpose: bytes


class _Sent(NamedTuple):
    """The cookies of pending logins in one request."""

    values: Mapping[str, bytes]
    #: Slots that hold a part of a login, even if other parts are missing.
    readable: frozenset[int]
    #: Whole logins, by tag.
    groups: Mapping[bytes, _Group]


_NOTHING_SENT = _Sent({}, frozenset(), {})


class LoginCookies:
    """Writes, reads and deletes the cookies of pending logins."""

    def __init__(self, cookies: SessionCookies, box: Box, max_age: int) -> None:
        """Compute the size of a slot from the cookies' names.

        Args:
            cookies: names the cookies.
            box: seals their content.
            max_age: of the cookies, in seconds.

        Raises:
            ConfigurationError: the names are so long that no login fits.
        """
        self._names = cookies
        self._prefix = cookies.login_prefix.encode()
        self._box = box
        self._max_age = max_age
        session = len(cookies.session_name) + 1 + SESSION_LENGTH
        choose = len(cookies.choose_name) + 2
        carry = len(cookies.carry_name) + 1 + CARRY_LENGTH
        # Nine times "; " between ten cookies.
        each = (COOKIE_LIMIT - session - choose - carry - 2 * (SLOTS + 2)) // SLOTS
        letters = each - len(cookies.login_prefix) - 2
        #: The bytes of a login that one slot holds.
        self._room = letters * 3 // 4 - _HEAD_BYTES
        if self._room * SLOTS < _ENOUGH:
            message = "cookie_name is too long for the login's cookies"
            raise ConfigurationError(message)
        self.after_fork()
        register_after_fork(self)

    def after_fork(self) -> None:
        """Start empty: each process assigns slots independently."""
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

        The slots of the oldest logins are overwritten. If other parts of an overwritten
        login are left, they stay until a login ends: deleting them here could delete
        the cookies of a login that begins at the same moment.

        Args:
            headers: of the request that begins the login.
            state: of the login; not written.
            created_at: when it begins, in seconds since 1970.
            packed: the bytes to seal.
            purpose: where the login leads and with which scopes; not secret. The first
                bytes of its hash let a guard recognise a pending login.
        """
        if not 0 <= created_at <= _LATEST_TIME:  # the clock is wrong
            created_at = min(max(created_at, 0), _LATEST_TIME)
        digest = _digest(state)
        hashed = purpose_hash(purpose)
        sealed = self._box.seal(packed, _associated_data(digest, created_at, hashed))
        whole = created_at.to_bytes(_TIME_BYTES) + hashed + sealed
        room = self._room
        count = (len(whole) + room - 1) // room
        if count > SLOTS:
            return None
        sent = self._sent(headers)
        taken, others = self._take(sent, count)
        new = []
        for number, slot in enumerate(taken):
            head = digest[:_TAG_BYTES] + bytes((number << 4 | count,))
            value = to_text(head + whole[number * room : (number + 1) * room])
            new.append(self._names.login(str(slot), value, self._max_age))
        if not sent.values:
            return new
        stays = {str(slot) for slot in (*taken, *others, *sent.readable)}
        return [*self._deleted(set(sent.values) - stays), *new]

    def _take(self, sent: _Sent, count: int) -> tuple[list[int], set[int]]:
        """Return the slots of a new login, and the slots that other logins use.

        Requests that begin logins at the same moment carry the same cookies, or none.
        They get different slots as far as possible, so that the newest logins stay.
        """
        with self._guard:
            if not sent.values:
                start = self._next
                self._next = (start + count) % SLOTS
                return [(start + i) % SLOTS for i in range(count)], set()
            cookies_hash = _digest(b"\n".join(sorted(sent.values.values())))
            given = self._given.pop(cookies_hash, ())
            # Slots of other logins, the oldest first.
            order = [g.slots for g in sorted(sent.groups.values())]
            for slots in given:
                order = [other for other in order if not other & slots] + [slots]
            # A slot whose cookie is sent twice, with different values, cannot be read,
            # even after a new value is written.
            usable = {n for n in range(SLOTS) if sent.values.get(str(n)) != b""}
            if len(usable) < count:
                usable = set(range(SLOTS))
            while len(free := usable.difference(*order)) < count:
                order.pop(0)
            taken = sorted(free)[:count]
            self._given[cookies_hash] = (*given, frozenset(taken))[-SLOTS:]
            if len(self._given) > _REMEMBERED:
                self._given.popitem(last=False)
            return taken, set().union(*order)

    def ended(self, headers: Headers, state: str) -> list[Cookie]:
        """Return deletions of a login's cookies, and of parts of incomplete logins."""
        sent = self._sent(headers)
        tag = _digest(state)[:_TAG_BYTES]
        others = (group.slots for t, group in sent.groups.items() if t != tag)
        stays = {str(slot) for slots in others for slot in slots}
        return self._deleted(set(sent.values) - stays)

    def _deleted(self, names: Iterable[str]) -> list[Cookie]:
        # Slots come before other cookies with our prefix.
        ordered = sorted(names, key=lambda name: (len(name), name))
        return [self._names.login(name, "", 0) for name in ordered]

    # --- reading -----------------------------------------------------------------

    def open(self, headers: Headers, state: str) -> tuple[int, bytes] | None:
        """Return when the login of `state` began, and its unsealed bytes, or None."""
        digest = _digest(state)
        group = self._sent(headers).groups.get(digest[:_TAG_BYTES])
        if group is None:
            return None
        name = _associated_data(digest, group.created_at, group.purpose)
        packed = self._box.open(group.sealed, name)
        return None if packed is None else (group.created_at, packed)

    def under_way(self, headers: Headers) -> list[tuple[int, bytes]]:
        """Return the time and purpose of each pending login; neither is secret."""
        prefix = self._prefix
        if not any(k == b"cookie" and prefix in value for k, value in headers):
            return []
        groups = self._sent(headers).groups.values()
        return [(group.created_at, group.purpose) for group in groups]

    def _sent(self, headers: Headers) -> _Sent:
        found = find_all(headers, self._prefix)
        if not found:
            return _NOTHING_SENT
        by_tag: dict[bytes, list[_Part]] = {}
        for slot in range(SLOTS):
            value = found.get(str(slot))
            part = _part(slot, value, self._room) if value else None
            if part is not None:
                by_tag.setdefault(part.tag, []).append(part)
        readable = frozenset(part.slot for parts in by_tag.values() for part in parts)
        groups = {tag: _group(parts) for tag, parts in by_tag.items()}
        whole = {tag: group for tag, group in groups.items() if group is not None}
        return _Sent(found, readable, whole)


def _part(slot: int, value: bytes, room: int) -> _Part | None:
    """Return the part in one slot, or None if it is not shaped like one."""
    raw = from_text(value)
    if not 0 < len(raw) - _HEAD_BYTES <= room:
        return None
    number, total = divmod(raw[_TAG_BYTES], 16)
    if not number < total <= SLOTS:
        return None
    return _Part(slot, raw[:_TAG_BYTES], number, total, raw[_HEAD_BYTES:])


def _group(parts: list[_Part]) -> _Group | None:
    """Return a login if each of its parts is present once, else None."""
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
    """Return the part of a purpose's hash that a login's cookies hold."""
    return (
        _purpose_hash(text)
        if len(text) > _CACHED_PURPOSES
        else _cached_purpose_hash(text)
    )


def _purpose_hash(text: str) -> bytes:
    return _digest(text)[:_PURPOSE_BYTES]


@lru_cache(maxsize=_CACHED_PURPOSES)
def _cached_purpose_hash(text: str) -> bytes:
    return _purpose_hash(text)


def _digest(text: str | bytes) -> bytes:
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).digest()


def _associated_data(digest: bytes, created_at: int, purpose: bytes) -> str:
    """Return the data that a login's seal authenticates without encrypting it."""
    return f"{digest.hex()}:{created_at}:{purpose.hex()}"
