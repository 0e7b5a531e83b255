"""Emits each event once: to the log, metrics and traces, and to the app's ``on_event``.

Each event writes one record to the package's logger, with structured fields beside its
sentence; it adds to the counters, if OpenTelemetry is installed; and it is passed to
the app's ``on_event``. Names and reasons come from closed lists, never from input
(events.py). The log shows a user and a session as the first 8 hexadecimal digits of a
keyed hash: these are the same in every line, but do not identify the person.

A listener that fails does not interrupt the login or refresh that emits the event: the
code may already be used or the refresh token rotated, and the result must not be lost.
A listener may also be slow, or call `TikTokTokens`. So if other callers wait for some
work, or it holds a lock, its events are kept until it has ended (`PostponedEvents`).
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import logging
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, TypeVar

from tiktok_oauth_middleware._core.log import LogRateLimiter, logger, omitted_note
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
    from .traces import Traces

OnEvent = Callable[[Event], object]
T = TypeVar("T")

_HASH_LENGTH = 8
#: Longest detail in a line of the log. The message of a TikTok error joins several
#: texts, each already shortened, and ends with the log_id, which must not be cut off.
_LONGEST_DETAIL = 800
_PACKAGE = (__package__ or "").partition(".")[0]


class Emitter:
    """Emits events to the log, the metrics and the app's ``on_event``."""

    def __init__(
        self,
        backend: Backend,
        key: bytes,
        on_event: OnEvent | None,
        meter: Meter | None,
        traces: Traces | None = None,
    ) -> None:
        """Take the listeners, and the key that users and sessions are hashed with."""
        self._backend = backend
        self._key = key
        self._on_event = on_event
        self._meter = meter
        self._traces = traces
        self._rate_limiter = LogRateLimiter()

    def reference_for(
        self, name: EventName, error: object, level: int | None = None
    ) -> str:
        """Return the reference of a failure, for its page and its event.

        If the log omits repeated lines, this is the reference of the line that was
        written, so that an operator can find the reference that a user reports.
        """
        event = Event(name=name)
        with self._reporting("the log", event):
            cause = cause_of(error, name)
            shown = _level(event, cause, level)
            if shown >= logging.WARNING:
                return self._rate_limiter.reference((shown, name, cause.code))
        return secrets.token_hex(4)

    async def __call__(
        self,
        event: Event,
        *,
        why: object = "",
        session: str = "",
        level: int | None = None,
        raised: BaseException | None = None,
    ) -> None:
        """Emit `event` to every listener.

        Args:
            event: what happened.
            why: one of this package's errors, or further text for the log; no secret.
                TikTok's texts in an error are copied into the event.
            session: the hash of the session's secret, if the event is about a session.
            level: of the log record, instead of the usual one.
            raised: the exception of the app's own code; the log gets its traceback,
                which must not contain a frame of a flow: its locals contain tokens.
        """
        cause, detail, shown = Cause(""), "", level or logging.INFO
        with self._reporting("the log", event):
            detail = str(why)
            if isinstance(why, Exception):
                cause = cause_of(why, event.name)
            event = _with_texts_of(why, event)
        with self._reporting("the log", event):
            shown = _level(event, cause, level)
        if self._traces is not None and self._traces.is_provided():
            with self._reporting("the traces", event):
                user = self._hash("user", event.open_id or "")
                self._traces.report(event, cause, shown, user)
        if not (logger.isEnabledFor(shown) or self._on_event or self._meter):
            return  # delivering to no listener would take 15 us
        record = partial(self._log, event, detail, cause, session, shown, raised)
        # Some errors of TikTok have neither a code nor a status: there was no answer.
        is_tiktoks = isinstance(why, TikTokError) or bool(event.error)
        counted = cause.code if is_tiktoks else ""
        deliver = partial(self._deliver, event, counted, record)
        postponed = _postponed.get()
        if postponed is None or not postponed.has_kept(self, deliver):
            await deliver()

    def postponed(self) -> PostponedEvents:
        """Return a place for the events of work that others wait for."""
        return PostponedEvents(self, self._traces)

    async def _deliver(
        self, event: Event, counted: str, record: Callable[[], None]
    ) -> None:
        """Call the listeners; see `_call_listeners`."""
        emit = partial(self._call_listeners, event, counted, record)
        failure: Exception | None = None
        try:
            await self._backend.call_app_code(emit)
        except Exception as error:  # noqa: BLE001 - on_event is foreign code
            failure = error
        if failure is not None:
            report = partial(self._report, "on_event", failure, event)
            await self._backend.call_app_code(report)

    def _call_listeners(
        self, event: Event, counted: str, record: Callable[[], None]
    ) -> object:
        """Write to the log and the metrics; return what the app's callback returns.

        Args:
            event: what happened.
            counted: the cause, if it was an error of TikTok's; otherwise "".
            record: writes to the log.
        """
        with self._reporting("the log", event):
            record()
        if self._meter is not None:
            with self._reporting("the metrics", event):
                self._meter.count(event.name, event.reason)
                if counted:
                    self._meter.count_error(counted, event.status)
        return None if self._on_event is None else self._on_event(event)

    def _log(
        self,
        event: Event,
        detail: str,
        cause: Cause,
        session: str,
        level: int,
        raised: BaseException | None,
    ) -> None:
        if not logger.isEnabledFor(level):
            return
        left_out: int | None = 0
        if level >= logging.WARNING:
            left_out = self._rate_limiter.take((level, event.name, cause.code))
        if left_out is None:
            return
        fields = {
            "event": event.name,
            "reason": one_line(event.reason),
            "detail": one_line(detail, _LONGEST_DETAIL),
            "user": self._hash("user", event.open_id or ""),
            "session": self._hash("session", session),
            "scopes": join_scopes(event.scopes),
            "reference": event.reference,
            "cause": cause.code,
            "look_at": cause.look_at if level >= logging.WARNING else "",
            "error": event.error,
            "log_id": event.log_id,
        }
        words = {name: value or "none" for name, value in fields.items()}
        words["detail"] = f": {fields['detail']}" if detail else ""
        look_at = fields["look_at"]
        words["look_at"] = f". Check {look_at}" if look_at else ""
        extra: dict[str, Any] = {f"tiktok_{name}": v for name, v in fields.items()}
        extra["tiktok_status"] = event.status
        sentence = EVENTS[event.name].sentence + omitted_note(left_out)
        logger.log(level, sentence, words, extra=extra, exc_info=raised)

    @contextlib.contextmanager
    def _reporting(self, listener: str, event: Event) -> Iterator[None]:
        """Report an error of a listener to the log, and go on."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - the app's handlers and metrics
            self._report(listener, error, event)

    def _report(self, listener: str, error: Exception, event: Event) -> None:
        """Log that a listener failed: the error's type and place, but not its text."""
        kind = type(error).__name__
        key = (logging.ERROR, listener, f"{kind} {event.name}")
        with contextlib.suppress(Exception):  # the log itself may fail
            left_out = self._rate_limiter.take(key)
            if left_out is None:
                return
            logger.error(
                "%s raised %s at %s%s%s. The event happened nevertheless. Check that"
                " code. It can log its own errors; their texts are not logged here,"
                " since they may contain secrets%s",
                listener,
                kind,
                event.name,
                f" [{event.reference}]" if event.reference else "",
                _raised_at(error.__traceback__),
                omitted_note(left_out),
                extra={"tiktok_cause": listener},
            )

    def _hash(self, kind: str, name: str) -> str:
        """Return the hash that the log shows for a user or session; "" for none."""
        if not name:
            return ""
        text = f"{kind}\x00{name}".encode("utf-8", "surrogatepass")
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()[:_HASH_LENGTH]


class PostponedEvents:
    """The events of some work, delivered when nothing waits for the work any more."""

    __slots__ = ("_emitter", "_is_over", "_kept", "_traces")

    def __init__(self, emitter: Emitter, traces: Traces | None) -> None:
        self._emitter = emitter
        self._traces = traces
        #: The deliveries, each with the span that was current.
        self._kept: list[tuple[Callable[[], Awaitable[None]], Any]] = []
        self._is_over = False

    async def during(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the result of `work`, and keep the events that it emits."""
        before = _postponed.set(self)
        try:
            return await work()
        finally:
            _postponed.reset(before)

    def has_kept(
        self, emitter: Emitter, deliver: Callable[[], Awaitable[None]]
    ) -> bool:
        """Keep a delivery, unless it is another app's or comes too late.

        A task that the app's code began during the work still finds this object in its
        context when the work is over.
        """
        if self._is_over or emitter is not self._emitter:
            return False
        span = None if self._traces is None else self._traces.current_span()
        kept = (deliver, span)
        self._kept.append(kept)
        if not self._is_over:
            return True
        # Another thread has called `deliver` meanwhile, and may have taken this one.
        try:
            self._kept.remove(kept)
        except ValueError:
            return True
        return False

    async def deliver(self) -> None:
        """Deliver the events, each with the span of its work as the current one.

        If this runs inside other work whose events are kept, that work keeps these too.
        An exception that interrupts a listener, such as that of Ctrl-C, is raised after
        the remaining events have been delivered.
        """
        self._is_over = True
        while self._kept:
            deliver, span = self._kept.pop(0)
            try:
                await self._deliver(deliver, span)
            except GeneratorExit:  # no more awaiting is allowed
                raise
            except BaseException:
                await self.deliver()
                raise

    async def _deliver(self, deliver: Callable[[], Awaitable[None]], span: Any) -> None:
        if self._traces is not None and span is not None:
            with self._traces.within(span):
                await self._deliver(deliver, None)
            return
        outer = _postponed.get()
        if outer is None or not outer.has_kept(self._emitter, deliver):
            await deliver()


#: Where the running code's events are kept, if other callers wait for it.
_postponed: ContextVar[PostponedEvents | None] = ContextVar(
    "tiktok_postponed", default=None
)


def _level(event: Event, cause: Cause, given: int | None) -> int:
    """Return the level of an event's log record: the given one, or else the usual."""
    if given is not None:
        return given
    kind = EVENTS[event.name]
    level = kind.levels.get(event.reason, kind.level)
    return max(level, cause.level) if kind.by_cause else level


def _with_texts_of(error: object, event: Event) -> Event:
    """Return a copy of an event, with TikTok's texts from an error added."""
    if isinstance(error, TikTokError):
        return replace(
            event,
            error=error.error,
            error_description=error.description,
            log_id=error.log_id,
            status=error.http_status,
        )
    if isinstance(error, LoginError):
        return replace(
            event,
            error=error.error or event.error,
            error_description=error.description or event.error_description,
            details={**event.details, **error.details},
        )
    return event


def _raised_at(trace: TracebackType | None) -> str:
    """Return where an error was raised: the innermost line outside this package."""
    place = ""
    while trace is not None:
        name = str(trace.tb_frame.f_globals.get("__name__", ""))
        if name.partition(".")[0] != _PACKAGE:
            code = trace.tb_frame.f_code
            file = PurePath(code.co_filename).name
            place = f" ({file}, line {trace.tb_lineno}, in {code.co_name})"
        trace = trace.tb_next
    return one_line(place)
