"""What came of a login, refresh, logout or delivery: told once, to all who listen.

Each outcome is one `Event`: one record of the package's logger, with structured fields
beside its sentence; counts, where OpenTelemetry is installed; and the app's
``on_event``. Names and reasons are closed lists, never input. In the log a user and a
session are the first 8 hexadecimal digits of a keyed hash: the same person in every
line, and nobody that a reader of the log could name.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from .log import logger, reference_of
from .models import Event, join_scopes
from .text import one_line

if TYPE_CHECKING:
    from .metrics import Meter
    from .runtime import Runtime

OnEvent = Callable[[Event], object]

_HASH_LENGTH = 8
#: An error of TikTok's is several texts, each cut already, and ends in its log_id.
_DETAIL = 800
#: Every name of an event, and every reason that it may have.
REASONS: Mapping[str, frozenset[str]] = {
    "login": frozenset(),
    "login_rejected": frozenset(
        (
            "login_denied",
            "login_expired",
            "login_failed",
            "login_replayed",
            "state_mismatch",
            "tiktok_error",
            "tiktok_unavailable",
        )
    ),
    "refresh": frozenset(),
    "refresh_failed": frozenset(("tiktok_error", "tiktok_unavailable")),
    "scopes_changed": frozenset(),
    "logout": frozenset(),
    "session_ended": frozenset(
        ("invalid_grant", "other_user", "refresh_token_expired")
    ),
    "disconnect": frozenset(("revoked", "gone", "failed")),
    "withdrawal": frozenset(("authorization.removed",)),
    # The reason of a webhook is TikTok's own event, of which there are ever more.
    "webhook": frozenset(),
    "webhook_rejected": frozenset(("webhook_rejected",)),
    "store_error": frozenset(("store_error",)),
}
_SENTENCES: Mapping[str, str] = {
    "login": "login ok: user %(user)s, session %(session)s, granted %(scopes)s",
    "login_rejected": "login refused [%(reference)s]: %(reason)s%(detail)s",
    "refresh": "refresh ok: user %(user)s, granted %(scopes)s",
    "refresh_failed": "refresh failed, sessions kept: user %(user)s%(detail)s",
    "scopes_changed": "scopes changed: user %(user)s, granted now %(scopes)s",
    "logout": "logout: user %(user)s, session %(session)s",
    "session_ended": "sessions ended: user %(user)s, %(reason)s%(detail)s",
    "disconnect": "disconnect: user %(user)s, %(reason)s%(detail)s",
    "withdrawal": "withdrawal: user %(user)s",
    "webhook": "webhook: user %(user)s, %(reason)s",
    "webhook_rejected": "webhook refused%(detail)s",
    "store_error": "store failed [%(reference)s]%(detail)s",
}
#: By name, or by name and reason; anything else is for information.
_LEVELS: Mapping[tuple[str, str], int] = {
    ("refresh_failed", ""): logging.WARNING,
    ("session_ended", "other_user"): logging.ERROR,
    ("disconnect", "failed"): logging.WARNING,
    ("webhook_rejected", ""): logging.WARNING,
    ("store_error", ""): logging.ERROR,
}


def outage_reference() -> str:
    """Return the reference of a failure of the store: one that the log carries."""
    return reference_of(_LEVELS["store_error", ""], _SENTENCES["store_error"])


class Tell(Protocol):
    """Tells an outcome."""

    async def __call__(
        self,
        event: Event,
        *,
        why: object = "",
        session: str = "",
        level: int | None = None,
    ) -> None:
        """Tell `event` to all who listen; nothing that a listener does breaks it.

        Args:
            event: what happened.
            why: further words for the log, such as an error of ours; no secret.
            session: the hash of the session's secret, where it is about one.
            level: of the log's record, instead of the usual one.
        """
        ...


class Outcomes:
    """Tells the log, the meter and the app."""

    def __init__(
        self,
        runtime: Runtime,
        key: bytes,
        on_event: OnEvent | None,
        meter: Meter | None,
    ) -> None:
        """Take the listeners, and the key of what is hashed in the log."""
        self._runtime = runtime
        self._key = key
        self._on_event = on_event
        self._meter = meter

    async def tell(
        self,
        event: Event,
        *,
        why: object = "",
        session: str = "",
        level: int | None = None,
    ) -> None:
        """Tell an outcome, as `Tell` says."""
        self._log(event, str(why), session, level)
        if self._meter is not None:
            self._meter.count(event.name, _reason(event))
        if self._on_event is None:
            return
        try:
            await self._runtime.tell(self._on_event, event)
        except Exception as error:  # noqa: BLE001 - foreign code
            logger.error("on_event raised %s at %s", type(error).__name__, event.name)

    def _log(self, event: Event, why: str, session: str, level: int | None) -> None:
        if level is None:
            usual = _LEVELS.get((event.name, ""), logging.INFO)
            level = _LEVELS.get((event.name, event.reason), usual)
        if not logger.isEnabledFor(level):
            return
        fields = {
            "event": event.name,
            "reason": one_line(event.reason),
            "detail": one_line(why, _DETAIL),
            "user": self._hash("user", event.open_id or ""),
            "session": self._hash("session", session),
            "scopes": join_scopes(event.scopes),
            "reference": event.reference,
        }
        said = {name: value or "none" for name, value in fields.items()}
        said["detail"] = f": {fields['detail']}" if why else ""
        extra = {f"tiktok_{name}": value for name, value in fields.items()}
        logger.log(level, _SENTENCES[event.name], said, extra=extra)

    def _hash(self, kind: str, name: str) -> str:
        """Return what stands for a user or a session in the log; "" for none."""
        if not name:
            return ""
        text = f"{kind}\x00{name}".encode("utf-8", "surrogatepass")
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()[:_HASH_LENGTH]


def _reason(event: Event) -> str:
    """Return a reason that is of the closed list: what is counted must be countable."""
    known = REASONS.get(event.name, frozenset())
    return event.reason if event.reason in known else ""
