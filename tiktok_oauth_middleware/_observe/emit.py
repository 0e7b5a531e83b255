"""Emits each event once: to the log, to the metrics, and to the app's on_event.

Each event is one record of the package's logger, with structured fields beside its
sentence; counts, where OpenTelemetry is installed; and the app's ``on_event``. Names
and reasons are closed lists, never input (events.py). In the log a user and a session
are the first 8 hexadecimal digits of a keyed hash: the same person in every line, and
nobody that a reader of the log could name.

Nothing that goes wrong here reaches the flow that it is about: a code may be spent, or
a refresh token rotated, and what came of that must not be lost to a sentence.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from tiktok_oauth_middleware._core.log import Pace, logger, more
from tiktok_oauth_middleware._core.redact import one_line
from tiktok_oauth_middleware._oauth.scopes import join_scopes
from tiktok_oauth_middleware.errors import LoginError, TikTokError
from tiktok_oauth_middleware.events import EVENTS, Event

from .causes import Cause, cause_of

if TYPE_CHECKING:
    from types import TracebackType

    from tiktok_oauth_middleware._core.backends.base import Backend
    from tiktok_oauth_middleware.events import EventName

    from .metrics import Meter

OnEvent = Callable[[Event], object]

_HASH_LENGTH = 8
#: An error of TikTok's is several texts, each cut already, and ends in its log_id.
_DETAIL = 800
#: Every name of an event, and every reason that it may have.
REASONS: Mapping[EventName, frozenset[str]] = {
    name: kind.reasons for name, kind in EVENTS.items()
}
_PACKAGE = (__package__ or "").partition(".")[0]


def _level(name: EventName, reason: str, cause: Cause) -> int:
    kind = EVENTS[name]
    level = kind.levels.get(reason, kind.level)
    return max(level, cause.level) if kind.by_cause else level


class Emitter:
    """Emits events to the log, the metrics and the app's ``on_event``."""

    def __init__(
        self,
        runtime: Backend,
        key: bytes,
        on_event: OnEvent | None,
        meter: Meter | None,
    ) -> None:
        """Take the listeners, and the key of what is hashed in the log."""
        self._runtime = runtime
        self._key = key
        self._on_event = on_event
        self._meter = meter
        self._pace = Pace()

    def reference_for(
        self, name: EventName, error: object, level: int | None = None
    ) -> str:
        """Return the reference of a failure, for its page and its event.

        Where the log leaves the line out, this is the reference of the line that stands
        in the log, so that an operator finds what a person reads out.
        """
        try:
            cause = cause_of(error)
            level = _level(name, "", cause) if level is None else level
            if level >= logging.WARNING:
                return self._pace.reference((level, name, cause.code))
        except Exception as fault:  # noqa: BLE001 - a page without it is still a page
            self._say("the log", fault, Event(name=name))
        return secrets.token_hex(4)

    async def __call__(
        self,
        event: Event,
        *,
        why: object = "",
        session: str = "",
        level: int | None = None,
    ) -> None:
        """Emit `event` to every listener; a listener that fails breaks nothing.

        Args:
            event: what happened.
            why: an error of ours, or further words for the log; no secret. TikTok's
                own error, where `why` holds one, is copied into the event.
            session: the hash of the session's secret, if the event is about a session.
            level: of the log record, instead of the usual one.
        """
        cause, said = Cause(""), ""
        try:
            said = str(why)
            if isinstance(why, Exception):
                cause = cause_of(why)
            event = _with_answer(event, why)
        except Exception as error:  # noqa: BLE001 - a bug of ours
            self._say("the log", error, event)
        emit = partial(self._call_listeners, event, said, cause, session, level)
        trouble: Exception | None = None
        try:
            await self._runtime.outside(emit)
        except Exception as error:  # noqa: BLE001 - foreign code
            trouble = error
        if trouble is not None:
            say = partial(self._say, "on_event", trouble, event)
            await self._runtime.outside(say)

    def _call_listeners(
        self, event: Event, why: str, cause: Cause, session: str, level: int | None
    ) -> object:
        """Write to the log and the metrics; return what the app's callback returns."""
        try:
            self._log(event, why, cause, session, level)
        except Exception as error:  # noqa: BLE001 - a handler of the app's, or a bug
            self._say("the log", error, event)
        if self._meter is not None:
            try:
                self._meter.count(event.name, _reason(event))
                if cause.code and (event.error or event.status or event.log_id):
                    self._meter.count_error(cause.code, event.status)
            except Exception as error:  # noqa: BLE001 - the app's metrics SDK
                self._say("the metrics", error, event)
        return None if self._on_event is None else self._on_event(event)

    def _log(
        self, event: Event, why: str, cause: Cause, session: str, level: int | None
    ) -> None:
        if level is None:
            level = _level(event.name, event.reason, cause)
        if not logger.isEnabledFor(level):
            return
        left_out: int | None = 0
        if level >= logging.WARNING:
            left_out = self._pace.take((level, event.name, cause.code))
        if left_out is None:
            return
        fields = {
            "event": event.name,
            "reason": one_line(event.reason),
            "detail": one_line(why, _DETAIL),
            "user": self._hash("user", event.open_id or ""),
            "session": self._hash("session", session),
            "scopes": join_scopes(event.scopes),
            "reference": event.reference,
            "cause": cause.code,
            "look_at": cause.look_at if level >= logging.WARNING else "",
            "error": event.error,
            "log_id": event.log_id,
        }
        said = {name: value or "none" for name, value in fields.items()}
        said["detail"] = f": {fields['detail']}" if why else ""
        look_at = fields["look_at"]
        said["look_at"] = f". Look at {look_at}" if look_at else ""
        extra: dict[str, Any] = {f"tiktok_{name}": v for name, v in fields.items()}
        extra["tiktok_status"] = event.status
        sentence = EVENTS[event.name].sentence + more(left_out)
        logger.log(level, sentence, said, extra=extra)

    def _say(self, listener: str, error: Exception, event: Event) -> None:
        """Log that a listener failed: where and with what, and no text of the error."""
        kind = type(error).__name__
        try:
            left_out = self._pace.take(
                (logging.ERROR, listener, f"{kind} {event.name}")
            )
            if left_out is None:
                return
            logger.error(
                "%s raised %s at %s%s%s. The event happened all the same. Look at that"
                " code, which can log its own errors: their texts may hold secrets, so"
                " they are not logged here%s",
                listener,
                kind,
                event.name,
                f" [{event.reference}]" if event.reference else "",
                _place(error.__traceback__),
                more(left_out),
                extra={"tiktok_cause": listener},
            )
        except Exception:  # noqa: BLE001 - the log itself is what fails
            return

    def _hash(self, kind: str, name: str) -> str:
        """Return what stands for a user or a session in the log; "" for none."""
        if not name:
            return ""
        text = f"{kind}\x00{name}".encode("utf-8", "surrogatepass")
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()[:_HASH_LENGTH]


def _with_answer(event: Event, why: object) -> Event:
    """Return an event with what TikTok said in an error."""
    if isinstance(why, TikTokError):
        return replace(
            event,
            error=why.error,
            error_description=why.description,
            log_id=why.log_id,
            status=why.http_status,
        )
    if isinstance(why, LoginError) and (why.error or why.description or why.details):
        return replace(
            event,
            error=why.error,
            error_description=why.description,
            details={**event.details, **why.details},
        )
    return event


def _reason(event: Event) -> str:
    """Return a reason that is of the closed list: what is counted must be countable."""
    known = REASONS.get(event.name, frozenset())
    return event.reason if event.reason in known else ""


def _place(trace: TracebackType | None) -> str:
    """Return where an error was raised, the last line outside of this package."""
    place = ""
    while trace is not None:
        name = str(trace.tb_frame.f_globals.get("__name__", ""))
        if name.partition(".")[0] != _PACKAGE:
            code = trace.tb_frame.f_code
            file = PurePath(code.co_filename).name
            place = f" ({file}, line {trace.tb_lineno}, in {code.co_name})"
        trace = trace.tb_next
    return one_line(place)
