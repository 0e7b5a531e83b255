"""The record that is stored for each TikTok user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from tiktok_oauth_middleware._core.secret import Secret

#: The clocks of machines that share a store differ by less, in seconds.
CLOCK_SKEW = 300


class Session(NamedTuple):
    """A browser session: the hash of its secret, when it began and was last seen."""

    digest: str
    created_at: int
    last_seen_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRecord:
    """All that is stored of one TikTok user: tokens, scopes, browser sessions.

    Times are whole seconds since 1970 UTC. `unpack` restores exactly what `pack` wrote.
    The packed text holds secrets, so only its sealed form leaves the process.
    """

    open_id: str
    access_token: Secret
    #: When the access token was issued, and when it ends.
    issued_at: int
    expires_at: int
    #: "" where TikTok gave none.
    refresh_token: Secret
    #: None where TikTok did not say.
    refresh_expires_at: int | None
    #: Granted scopes, comma separated and sorted.
    scopes: str
    #: Scopes that were requested later than at the login and denied, in the same form.
    denied: str = ""
    #: The user's profile as one line of JSON, or "".
    profile: str = ""
    #: When TikTok sent it; 0 for never.
    profile_at: int = 0
    #: Failed profile requests in a row, and the time before which not to try again.
    profile_failures: int = 0
    profile_retry_at: int = 0
    #: Failed refreshes in a row, and the time before which not to try again.
    failures: int = 0
    retry_at: int = 0
    #: Oldest first.
    sessions: tuple[Session, ...] = ()

    def pack(self) -> bytes:
        """Return the record as text: a version, a line per field, a line per session.

        Version 1, which `unpack` still reads, had no line about the profile's age.
        """
        end = "" if self.refresh_expires_at is None else str(self.refresh_expires_at)
        lines = [
            "2",
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
            *(
                f"{digest} {created_at} {seen}"
                for digest, created_at, seen in self.sessions
            ),
        ]
        return "\n".join(lines).encode()

    @classmethod
    def unpack(cls, packed: bytes) -> UserRecord | None:
        """Return the record that `pack` wrote, or None if the bytes are no record."""
        try:
            version, open_id, access, life, refresh, end, *more = packed.decode().split(
                "\n"
            )
            scopes, denied, profile, failed, *sessions = more
            issued_at, expires_at = map(int, life.split(" "))
            if version == "1":
                # As old as its tokens, so that not all profiles are due at once.
                age = f"{issued_at if profile else 0} 0 0"
            elif version == "2":
                age, *sessions = sessions
            else:
                return None
            profile_at, profile_failures, profile_retry_at = map(int, age.split(" "))
            failures, retry_at = map(int, failed.split(" "))
            browsers = (line.split(" ") for line in sessions)
            return cls(
                open_id=open_id,
                access_token=Secret(access),
                issued_at=issued_at,
                expires_at=expires_at,
                refresh_token=Secret(refresh),
                refresh_expires_at=int(end) if end else None,
                scopes=scopes,
                denied=denied,
                profile=profile,
                profile_at=profile_at,
                profile_failures=profile_failures,
                profile_retry_at=profile_retry_at,
                failures=failures,
                retry_at=retry_at,
                sessions=tuple(
                    Session(digest, int(created_at), int(seen))
                    for digest, created_at, seen in browsers
                ),
            )
        except ValueError:  # too few fields, not a number, not UTF-8
            return None
