"""The record that is stored for each TikTok user."""

from __future__ import annotations

import hashlib
from typing import NamedTuple
from urllib.parse import quote, unquote

from tiktok_oauth_middleware._core.base64url import to_text
from tiktok_oauth_middleware._core.secret import Secret

#: Length of a record's id, in bytes.
ID_BYTES = 16
#: The most browser sessions of one user; beyond that the oldest session ends.
MAX_SESSIONS = 50


def record_id(client_key: str, open_id: str) -> str:
    """Return the id of a user's record: always the same, and not reversible."""
    text = f"{client_key}\x00{open_id}"
    hashed = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return to_text(hashed[:ID_BYTES])


def digest(secret: bytes) -> str:
    """Return the stored hash of a session's secret; no salt, since that is random."""
    return to_text(hashlib.sha256(secret).digest())


class Session(NamedTuple):
    """A browser session: the hash of its secret, when it began and was last seen."""

    digest: str
    created_at: int
    last_seen_at: int
    #: The time of the user's previous login, if this one does not count because the
    #: browser was signed in already, and TikTok need not have shown its page.
    earlier_login_at: int | None = None

    @property
    def logged_in_at(self) -> int:
        """When the user last logged in, by a login that counts."""
        earlier = self.earlier_login_at
        return self.created_at if earlier is None else earlier

    @property
    def public_id(self) -> str:
        """The id by which people and apps name the session."""
        return public_id(self.digest)

    def pack(self) -> str:
        """Return the session as a line of text; `unpack` reads it.

        Without an earlier login, which is usual, the line is the same as before that
        field existed.
        """
        earlier = self.earlier_login_at
        began = self.created_at if earlier is None else f"{self.created_at}/{earlier}"
        return f"{self.digest} {began} {self.last_seen_at}"

    @classmethod
    def unpack(cls, line: str) -> Session:
        """Return the session that `pack` wrote.

        Raises:
            ValueError: the line is not a session.
        """
        digest, began, last_seen_at = line.split(" ")
        if "/" not in began:
            # Not `cls(...)`: see `UserRecord.unpack`.
            return tuple.__new__(cls, (digest, int(began), int(last_seen_at), None))
        created_at, _, earlier = began.partition("/")
        return cls(digest, int(created_at), int(last_seen_at), int(earlier))


def public_id(digest: str) -> str:
    """Return the id of a session that may be shown and logged: 32 hexadecimal digits.

    It is a hash of the stored hash of the cookie's secret, so neither that hash nor a
    cookie can be computed from it. No key is used, so that jobs compute the same id,
    and it stays the same when ``secret_keys`` change.
    """
    text = f"tiktok session id\x00{digest}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _pair(text: str) -> tuple[int, int]:
    """Return two numbers of a line; takes a shortcut for the usual line, "0 0"."""
    if text == "0 0":
        return (0, 0)
    first, second = text.split(" ")
    return int(first), int(second)


class UserRecord(NamedTuple):
    """The stored data of one TikTok user: tokens, scopes, browser sessions.

    Times are whole seconds since 1970 UTC. `unpack` restores exactly what `pack` wrote.
    The packed text holds secrets, so only its sealed form leaves the process.

    It is a tuple because requests wait for it: a frozen dataclass with so many fields
    takes four times as long to create (28,000 instructions). Always pass the fields by
    name.
    """

    open_id: str
    access_token: Secret
    #: When the access token was issued, and when it expires.
    issued_at: int
    expires_at: int
    #: "" if TikTok gave none.
    refresh_token: Secret
    #: None if TikTok did not say.
    refresh_expires_at: int | None
    #: Granted scopes, comma separated and sorted.
    scopes: str
    #: Scopes that were requested later than at the login and denied, in the same form.
    denied: str = ""
    #: The user's profile as one line of JSON, or "".
    profile: str = ""
    #: When TikTok sent it; 0 for never.
    profile_at: int = 0
    #: Failed profile requests in a row, and the earliest time of the next try.
    profile_failures: int = 0
    profile_retry_at: int = 0
    #: Failed refreshes in a row, and the earliest time of the next try.
    failures: int = 0
    retry_at: int = 0
    #: Oldest first.
    sessions: tuple[Session, ...] = ()
    #: The app's own user to whom this TikTok account is connected, or "", and since
    #: when.
    user_id: str = ""
    connected_at: int = 0

    def pack(self) -> bytes:
        """Return the record as text: a version, a line per field, a line per session.

        Version 1, which `unpack` still reads, had no line about the profile's age.
        Version 3 has a further line, about the app's user; a record without one is
        written in version 2, which earlier releases read.
        """
        end = "" if self.refresh_expires_at is None else str(self.refresh_expires_at)
        lines = [
            "3" if self.user_id else "2",
            self.open_id,
            self.access_token.reveal(),
            f"{self.issued_at} {self.expires_at}",
            self.refresh_token.reveal(),
            end,
            self.scopes,
            self.denied,
            self.profile,
            f"{self.failures} {self.retry_at}",
            f"{self.profile_at} {self.profile_failures} {self.profile_retry_at}",
            *([f"{self.connected_at} {quote(self.user_id)}"] if self.user_id else ()),
            *(session.pack() for session in self.sessions),
        ]
        return "\n".join(lines).encode()

    @classmethod
    def unpack(cls, packed: bytes) -> UserRecord | None:
        """Return the record that `pack` wrote; None if the bytes are not a record."""
        # The usual values take a shortcut, and the fields go by position: with keywords
        # and eleven numbers this took twice as long (60,000 instructions), and the
        # first request of each browser in a process waits for it.
        try:
            lines = packed.decode().split("\n")
            version, since, user_id = lines[0], 0, ""
            if version == "1":
                # As old as its tokens, so that not all profiles are due at once.
                issued_at, _ = lines[3].split(" ")
                lines.insert(10, f"{int(issued_at) if lines[8] else 0} 0 0")
            elif version == "3":
                connected_at, quoted = lines.pop(11).split(" ")
                since, user_id = int(connected_at), unquote(quoted, errors="strict")
                if not quoted:
                    return None
            elif version != "2":
                return None
            _, open_id, access, life, refresh, end, scopes, denied, *rest = lines[:11]
            profile, failed, age = rest
            issued_at, expires_at = life.split(" ")
            profile_at, _, profile_failed = age.partition(" ")
            # Not `cls(...)`, which is slower because it binds the arguments one by one.
            return tuple.__new__(
                cls,
                (
                    open_id,
                    Secret.of(access),
                    int(issued_at),
                    int(expires_at),
                    Secret.of(refresh),
                    int(end) if end else None,
                    scopes,
                    denied,
                    profile,
                    int(profile_at),
                    *_pair(profile_failed),
                    *_pair(failed),
                    tuple([Session.unpack(line) for line in lines[11:]]),
                    user_id,
                    since,
                ),
            )
        except (ValueError, IndexError):  # too few fields, no number, not UTF-8
            return None


def generation_of(record: UserRecord) -> bytes:
    """Return a hash of a record's tokens, which is not secret: tokens are random."""
    tokens = f"{record.access_token.reveal()}\0{record.refresh_token.reveal()}"
    return hashlib.sha256(tokens.encode()).digest()[:16]


def content_of(record: UserRecord) -> str:
    """Return a hash of a record's whole content."""
    return hashlib.sha256(record.pack()).hexdigest()[:32]


class RecordOutline(NamedTuple):
    """The fields of a record that a list of users shows; none is a secret.

    Parsing a whole record takes four times as long as reading and decrypting it.
    """

    open_id: str
    expires_at: int
    refresh_expires_at: int | None
    has_refresh_token: bool
    scopes: str
    failures: int
    #: Number of sessions that have not ended.
    sessions: int

    @classmethod
    def of(
        cls, packed: bytes, created_after: float, seen_after: float
    ) -> RecordOutline | None:
        """Return the outline of a packed record; None if it is not a record.

        Args:
            packed: what `UserRecord.pack` wrote.
            created_after: a session that was created before this time has ended.
            seen_after: a session that was last seen before this time has ended.
        """
        try:
            lines = packed.decode().split("\n")
            sessions = 0
            for line in lines[_FIRST_SESSION[lines[0]] :]:
                _, began, seen = line.split(" ")
                if "/" in began:
                    began = began.partition("/")[0]
                sessions += int(seen) > seen_after and int(began) > created_after
            end = lines[5]
            # Not `cls(...)`, which is slower because it binds the arguments one by one.
            return tuple.__new__(
                cls,
                (
                    lines[1],
                    int(lines[3].partition(" ")[2]),
                    int(end) if end else None,
                    lines[4] != "",
                    lines[6],
                    0 if lines[9] == "0 0" else int(lines[9].partition(" ")[0]),
                    sessions,
                ),
            )
        except (ValueError, IndexError, KeyError):
            return None


#: The number of the first session's line, by the version of a packed record.
_FIRST_SESSION = {"1": 10, "2": 11, "3": 12}


def times_of(packed: bytes) -> tuple[int, int] | None:
    """Return when a packed record's access token was issued, and when it expires.

    None if the record does not have the times where every version has them.
    """
    lines = packed.split(b"\n", 4)
    try:
        issued_at, expires_at = lines[3].split(b" ")
        is_known = lines[0].decode() in _FIRST_SESSION
        return (int(issued_at), int(expires_at)) if is_known else None
    except (ValueError, IndexError):
        return None
