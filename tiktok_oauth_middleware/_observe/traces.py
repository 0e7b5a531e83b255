"""Spans through OpenTelemetry's API, for apps that have a tracer provider.

Three kinds of span are made. A flow is a login, callback, logout, disconnect, webhook
or refresh; it may be the first span of its trace. A call to TikTok and an operation of
the store are made only below another recording span, so that a request whose server
span begins inside the middleware (Flask's instrumentation) does not produce single
store spans. Names and attributes follow OpenTelemetry's semantic conventions for HTTP
clients, databases and errors if there are any
(https://opentelemetry.io/docs/specs/semconv/), and otherwise have the prefix
``tiktok_oauth``.

An attribute is a constant, a code of a closed list, an address of the settings, or a
value that the log shows too: the reference, TikTok's log_id, the keyed hash of a user.
Exceptions are not recorded, because their tracebacks and texts may contain other data.

If a tracer provider raises, the flow goes on: a lost span is better than a refresh
whose result is lost.

This module is imported when a middleware is built and the API is installed. Until the
app has set a provider, flows and operations are neither traced nor measured. Only every
32nd of them looks for a provider, because asking OpenTelemetry takes 7,000
instructions.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterator, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from opentelemetry import context, trace

from tiktok_oauth_middleware._core.log import logger
from tiktok_oauth_middleware._core.origins import DEFAULT_PORTS
from tiktok_oauth_middleware.events import EVENTS

from .metrics import SCOPE, error_type, has_provider

if TYPE_CHECKING:
    from opentelemetry.trace import Span, SpanContext, SpanKind

    from tiktok_oauth_middleware._core.backends.base import Backend
    from tiktok_oauth_middleware.events import Event
    from tiktok_oauth_middleware.settings.endpoints import TikTokEndpoints

    from .causes import Cause

T = TypeVar("T")

_ATTRIBUTE_PREFIX = "tiktok_oauth"
#: Databases inside the process; their spans are of the kind INTERNAL.
_EMBEDDED = ("", "sqlite")
_CLIENT, _INTERNAL = trace.SpanKind.CLIENT, trace.SpanKind.INTERNAL
_CALLBACK = "callback"
#: The number of flows and operations from one search for a provider to the next.
_LOOK_EVERY = 32
#: The attributes of a server's span that may contain the query, in the conventions
#: before version 1.23 and since.
_WITH_QUERY = ("http.url", "http.target", "url.full", "url.query")
_REDACTED = "REDACTED"


class _FlowSpan:
    """The span of a flow, and the level of its reported event."""

    __slots__ = ("level", "span")

    def __init__(self, span: Span) -> None:
        self.span = span
        self.level = logging.NOTSET


#: The innermost flow, and the call to TikTok, of the running task or thread.
_flow: ContextVar[_FlowSpan | None] = ContextVar("tiktok_flow", default=None)
_call: ContextVar[Span | None] = ContextVar("tiktok_call", default=None)


class Traces:
    """The spans of one app's users."""

    def __init__(self, endpoints: TikTokEndpoints, store: object) -> None:
        """Take what spans say about the addresses and the store.

        Args:
            endpoints: of the settings.
            store: whose ``db_system`` is OpenTelemetry's name of its database.
        """
        from tiktok_oauth_middleware import __version__

        # While there is no provider this is a proxy; it finds one that is set later.
        self._tracer = trace.get_tracer(SCOPE, __version__)
        self.current_span = trace.get_current_span
        self._calls = {
            name: _http(name, method, url)
            for name, method, url in (
                ("exchange", "POST", endpoints.token),
                ("refresh", "POST", endpoints.token),
                ("revoke", "POST", endpoints.revoke),
                ("user_info", "GET", endpoints.user_info),
            )
        }
        self._is_provided = has_provider()
        self._left = _LOOK_EVERY
        system = getattr(store, "db_system", "")
        self._db_system = system if isinstance(system, str) else ""

    def is_provided(self) -> bool:
        """Whether the app has set a provider, which cannot be unset."""
        if not self._is_provided:
            self._left -= 1
            if self._left <= 0:
                self._left, self._is_provided = _LOOK_EVERY, has_provider()
        return self._is_provided

    @contextlib.contextmanager
    def flow(self, name: str) -> Iterator[None]:
        """Make the span of a flow, below the current one or as the first.

        A callback's query holds a code and a state, which instrumentation of the server
        has written onto its span: they are replaced there.
        """
        if name == _CALLBACK:
            with _reporting():
                _hide_query(self.current_span())
        span = self._start(f"{_ATTRIBUTE_PREFIX}.{name}", _INTERNAL, {})
        before = _flow.get()
        _flow.set(None if span is None else _FlowSpan(span))
        try:
            with self._active(span):
                yield
        finally:
            _flow.set(before)

    @staticmethod
    @contextlib.contextmanager
    def within(span: Span) -> Iterator[None]:
        """Make a span the current one again, also if it has ended."""
        token = context.attach(trace.set_span_in_context(span))
        try:
            yield
        finally:
            context.detach(token)

    @contextlib.contextmanager
    def call(self, name: str) -> Iterator[None]:
        """Make the span of a call to TikTok, if there is a span above it."""
        if not self.current_span().is_recording():
            yield
            return
        title, attributes = self._calls[name]
        span = self._start(title, _CLIENT, attributes)
        _call.set(span)
        try:
            with self._active(span):
                yield
        finally:
            _call.set(None)

    @staticmethod
    def note_status(status: int) -> None:
        """Write the HTTP status of TikTok's answer onto the span of the call."""
        span = _call.get()
        if span is not None:
            with _reporting():
                span.set_attribute("http.response.status_code", status)

    @contextlib.contextmanager
    def operation(self, name: str) -> Iterator[None]:
        """Make the span of an operation of the store, if there is a span above it."""
        if not self.current_span().is_recording():
            yield
            return
        summary = f"{_ATTRIBUTE_PREFIX} {name}"
        attributes: dict[str, Any] = {f"{_ATTRIBUTE_PREFIX}.operation": name}
        if self._db_system:
            attributes = {
                "db.system.name": self._db_system,
                "db.operation.name": name,
                "db.query.summary": summary,
            }
        kind = _INTERNAL if self._db_system in _EMBEDDED else _CLIENT
        with self._active(self._start(summary, kind, attributes)):
            yield

    async def refresh(
        self,
        backend: Backend,
        key: Hashable,
        work: Callable[[], Coroutine[Any, Any, T]],
        *,
        wait: float,
        afterwards: Callable[[], Awaitable[None]],
    ) -> T:
        """Return the result of a shared refresh; a waiting caller gets a linked span.

        Args and errors are those of `Backend.single_flight`.
        """
        is_provided = self.is_provided()

        async def traced() -> tuple[T, SpanContext]:
            # A pair in both cases: a waiting caller may have a provider by now, and
            # then reads the context.
            if not is_provided:
                return await work(), trace.INVALID_SPAN_CONTEXT
            with self.flow("refresh"):
                return await work(), self.current_span().get_span_context()

        waits = (
            is_provided
            and wait > 0
            and self.current_span().is_recording()
            and backend.is_in_flight(key)
        )
        if not waits:
            return (
                await backend.single_flight(
                    key, traced, wait=wait, afterwards=afterwards
                )
            )[0]
        span = self._start(f"{_ATTRIBUTE_PREFIX}.refresh.wait", _INTERNAL, {})
        with self._active(span):
            result, leader = await backend.single_flight(
                key, traced, wait=wait, afterwards=afterwards
            )
            if span is not None and leader.is_valid:
                with _reporting():
                    span.add_link(leader)
            return result

    @staticmethod
    def report(event: Event, cause: Cause, level: int, user: str) -> None:
        """Write an event onto the span of the flow that it ends.

        If a flow emits several, the first is used, unless a later one is more severe.

        Args:
            event: with TikTok's texts already cut, on one line and masked.
            cause: the cause of a failure.
            level: the level of the event's log record.
            user: as the log shows it, or "".
        """
        flow = _flow.get()
        if flow is None or level <= flow.level:
            return
        flow.level = level
        reasons = EVENTS[event.name].reasons
        outcome = "other" if reasons and event.reason else "ok"
        found = {
            f"{_ATTRIBUTE_PREFIX}.event": event.name,
            f"{_ATTRIBUTE_PREFIX}.outcome": event.reason
            if event.reason in reasons
            else outcome,
            f"{_ATTRIBUTE_PREFIX}.reference": event.reference,
            f"{_ATTRIBUTE_PREFIX}.log_id": event.log_id,
            "enduser.pseudo.id": user,
        }
        with _reporting():
            flow.span.set_attributes({name: v for name, v in found.items() if v})
            if level >= logging.WARNING:
                _fail(flow.span, cause.code or event.reason or "other")

    def _start(
        self,
        name: str,
        kind: SpanKind,
        attributes: Mapping[str, Any],
    ) -> Span | None:
        """Return a new span, or None if there is no provider."""
        with _reporting():
            span = self._tracer.start_span(name, kind=kind, attributes=attributes)
            if span.get_span_context().is_valid:
                return span
        return None

    @contextlib.contextmanager
    def _active(self, span: Span | None) -> Iterator[None]:
        """Make a span the current one, and end it."""
        if span is None:
            yield
            return
        token = context.attach(trace.set_span_in_context(span))
        try:
            yield
        except BaseException as error:
            with _reporting():
                _fail(span, error_type(error))
            raise
        finally:
            context.detach(token)
            with _reporting():
                span.end()


def _http(name: str, method: str, url: str) -> tuple[str, Mapping[str, Any]]:
    """Return the name and attributes of a call's span; the URL is of the settings."""
    parts = urlsplit(url)
    return f"{method} {parts.path}", {
        f"{_ATTRIBUTE_PREFIX}.call": name,
        "http.request.method": method,
        "server.address": parts.hostname or "",
        "server.port": parts.port or DEFAULT_PORTS.get(parts.scheme, 0),
        "url.full": url,
    }


def _hide_query(span: Span) -> None:
    """Replace the query in the attributes of a server's span, if it can be read."""
    attributes = getattr(span, "attributes", None) or {}
    for name in _WITH_QUERY:
        value = attributes.get(name)
        if isinstance(value, str) and value:
            before, mark, _ = value.partition("?")
            if name == "url.query":
                before, mark = "", "?"
            if mark:
                span.set_attribute(name, f"{before}?{_REDACTED}".removeprefix("?"))


def _fail(span: Span, code: str) -> None:
    span.set_attribute("error.type", code)
    span.set_status(trace.StatusCode.ERROR)


@contextlib.contextmanager
def _reporting() -> Iterator[None]:
    """Log an exception of a provider's code, and go on."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - samplers, processors and exporters
        logger.error("the tracer provider raised %s", type(error).__name__)
