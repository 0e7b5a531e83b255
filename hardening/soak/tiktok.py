"""A stand-in for long runs: it fails sometimes, and deletes old records."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping
from typing import Any

from hardening.reliability.world import Plan
from tiktok_oauth_middleware.testing import FakeTikTok
from tiktok_oauth_middleware.testing.fake import ConnectionLost, Reply

_SHARE = 0.01
#: The lifetime of access tokens, so short that they often fall due; and the time for
#: which a used refresh token still works, since a killed worker must end no session.
_LIFE = 120
_GRACE = 90
#: No user is without a request for this long after a token expired.
_UNUSED = 600
_TEXT = (("content-type", "text/plain"),)
_REPLIES = (
    Reply(500, _TEXT, b"<html>bad gateway</html>"),
    Reply(503, (*_TEXT, ("retry-after", "1")), b""),
    Reply(429, _TEXT, b"{}"),
    Reply(
        200, _TEXT, b'{"error": "server_error", "error_description": "", "log_id": ""}'
    ),
    Reply(200, _TEXT, b'{"access_token": '),
)


class FaultyTikTok(FakeTikTok):
    """A TikTok that fails one request in a hundred, before it has any effect."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._chance = random.Random(0)
        self._counting = threading.Lock()
        self.calls = self.faults = self.refreshes = 0

    @classmethod
    def made(cls, seed: int) -> FaultyTikTok:
        """Return one where the app of every plan is registered."""
        fake = cls.for_settings(Plan(store="").settings(), clock=time.time)
        assert isinstance(fake, cls)
        fake._chance.seed(seed)
        fake.access_lifetime = _LIFE
        fake.grace = _GRACE
        return fake

    def handle(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> Reply:
        """Answer like TikTok, or fail."""
        with self._counting:
            self.calls += 1
            self.refreshes += b"grant_type=refresh_token" in body
            fails = self._chance.random() < _SHARE
            self.faults += fails
            kind = self._chance.randrange(len(_REPLIES) + 2) if fails else -1
        if kind == len(_REPLIES):
            raise ConnectionLost
        if kind > len(_REPLIES):
            time.sleep(0.5)
        elif kind >= 0:
            return _REPLIES[kind]
        return super().handle(method, url, headers, body)

    def tidy(self) -> None:
        """Delete old records, which would slow the stand-in down within hours."""
        now = time.time()
        provider = self.provider
        with provider._lock:
            provider._tokens = [
                tokens
                for tokens in provider._tokens
                if not tokens.is_revoked
                and tokens.access_until > now - _UNUSED
                and (tokens.rotated_at is None or now - tokens.rotated_at < _GRACE)
            ]
            for code in [c for c, made in provider._codes.items() if made.is_used]:
                del provider._codes[code]
        del self.requests[:], self.webhooks[:]
