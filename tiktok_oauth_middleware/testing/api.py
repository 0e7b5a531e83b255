"""TikTok's API in the stand-in: its answers, and the faults that tests set.

The OAuth endpoints return flat errors, the resource endpoints nested ones. Each request
is recorded without its secrets.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

from tiktok_oauth_middleware._core.fork import register_after_fork

from .provider import OAuthRefused, Provider
from .videos import ApiRefused
from .wire import (
    API_ORIGIN,
    CREATOR_INFO,
    FORM,
    REVOKE,
    STATUS_OF,
    TOKEN,
    USER_INFO,
    VIDEO_LIST,
    VIDEO_QUERY,
    is_elsewhere,
    log_id,
)

_ENDPOINT_NAMES = {
    TOKEN: "token",
    REVOKE: "revoke",
    USER_INFO: "user_info",
    VIDEO_LIST: "video_list",
    VIDEO_QUERY: "video_query",
    CREATOR_INFO: "creator_info",
}
_OAUTH_ENDPOINTS = ("token", "revoke")
#: Requests to any other address, such as one without the final slash, get this name.
_UNKNOWN = "unknown"
_ENDPOINTS = (*_ENDPOINT_NAMES.values(), _UNKNOWN)
_SECRET_FIELDS = frozenset(
    {"client_secret", "code", "code_verifier", "refresh_token", "token"}
)
_TEXT = (("content-type", "text/plain"),)
JSON_TYPE = (("content-type", "application/json"),)


class ConnectionLost(Exception):
    """The stand-in drops the connection without an answer."""


class TimedOut(ConnectionLost):
    """The answer would arrive after any client's timeout."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the stand-in."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One request to the stand-in, without its secrets."""

    endpoint: str
    method: str
    url: str
    headers: Mapping[str, str]
    query: tuple[tuple[str, str], ...]
    form: tuple[tuple[str, str], ...]
    #: 0 if the connection was dropped.
    status: int
    #: TikTok's error code in the answer, or "".
    error: str = ""
    #: Whether a fault that a test set changed the answer.
    is_fault: bool = False


@dataclass(slots=True)
class Fault:
    """What happens to the next requests to an endpoint; see `FakeTikTok.fail`."""

    times: int
    status: int | None = None
    error: str | None = None
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    disconnect: bool = False
    #: Process the request first, and lose only the answer.
    after: bool = False
    #: Lose the answer by a timeout of the client.
    timed_out: bool = False


class Api:
    """The endpoints of TikTok's API, over one `Provider`."""

    def __init__(self, provider: Provider, on_revoke: Callable[[str], None]) -> None:
        """Take the provider, and a function to call with the user of each revoke."""
        self._provider = provider
        self._on_revoke = on_revoke
        #: The address of avatars; a server sets it to its own.
        self.avatars = ""
        #: Every request, in order.
        self.requests: list[Record] = []
        self._faults: dict[str, list[Fault]] = {}
        self.after_fork()
        register_after_fork(self)
        #: Whether the next successful revoke answers ``{}`` or an empty body: TikTok's
        #: page documents both.
        self._answers_braces = False

    def after_fork(self) -> None:
        """Replace the lock, which another thread may have held during the fork."""
        self._lock = threading.Lock()

    def add_fault(self, endpoint: str, fault: Fault) -> None:
        """Apply a fault to the next requests to an endpoint.

        Raises:
            ValueError: there is no endpoint of that name.
        """
        _check_endpoint(endpoint)
        with self._lock:
            self._faults.setdefault(endpoint, []).append(fault)

    def clear_faults(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._faults.clear()

    def count(self, endpoint: str, grant_type: str | None) -> int:
        """Return how often an endpoint was called, with this grant type if given.

        Raises:
            ValueError: there is no endpoint of that name.
        """
        _check_endpoint(endpoint)
        return sum(
            record.endpoint == endpoint
            and (grant_type is None or ("grant_type", grant_type) in record.form)
            for record in self.requests
        )

    def handle(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> Reply:
        """Answer a request to one of the endpoints of TikTok's API.

        Raises:
            ConnectionLost: there is no answer.
        """
        parts = urlsplit(url)
        given = {name.lower(): value for name, value in headers.items()}
        elsewhere = is_elsewhere(parts, API_ORIGIN)
        endpoint = _UNKNOWN if elsewhere else _ENDPOINT_NAMES.get(parts.path, _UNKNOWN)
        query = tuple(parse_qsl(parts.query, keep_blank_values=True))
        form = tuple(parse_qsl(body.decode("latin-1"), keep_blank_values=True))
        reply: Reply | None = None
        fault: Fault | None = None
        try:
            fault = self._next_fault(endpoint)
            if fault is not None and not fault.after:
                reply = self._fail(endpoint, fault)
            if reply is None:
                reply = self._answer(endpoint, method, given, query, body)
            if fault is not None and fault.after:
                reply = None
                raise TimedOut if fault.timed_out else ConnectionLost
            return reply
        finally:
            record = Record(
                endpoint=endpoint,
                method=method,
                url=url,
                headers={k: v for k, v in given.items() if k != "authorization"},
                query=query,
                form=tuple((k, "***" if k in _SECRET_FIELDS else v) for k, v in form),
                status=reply.status if reply else 0,
                error=_error_of(reply),
                is_fault=fault is not None,
            )
            with self._lock:
                self.requests.append(record)

    def _next_fault(self, endpoint: str) -> Fault | None:
        with self._lock:
            waiting = self._faults.get(endpoint)
            if not waiting:
                return None
            waiting[0].times -= 1
            return waiting[0] if waiting[0].times > 0 else waiting.pop(0)

    def _fail(self, endpoint: str, fault: Fault) -> Reply | None:
        if fault.delay:
            time.sleep(fault.delay)
        if fault.disconnect:
            raise ConnectionLost
        if fault.error is not None:
            reply = self._error(endpoint, fault.error, fault.status)
        elif fault.body is not None or fault.status is not None:
            reply = Reply(fault.status or 200, _TEXT, fault.body or b"")
        else:
            return None if fault.delay else Reply(500, _TEXT, b"")
        further = tuple(fault.headers.items())
        return Reply(reply.status, (*reply.headers, *further), reply.body)

    def _answer(
        self,
        endpoint: str,
        method: str,
        headers: Mapping[str, str],
        query: tuple[tuple[str, str], ...],
        body: bytes,
    ) -> Reply:
        if method == ("GET" if endpoint == "user_info" else "POST"):
            if endpoint in _OAUTH_ENDPOINTS:
                return self._oauth(endpoint, headers, body)
            if endpoint in _ENDPOINT_NAMES.values():
                return self._resource(endpoint, headers, query, body)
        # The slash is missing, the method is wrong, or the endpoint is unknown.
        return Reply(404, _TEXT, b"Unsupported path(Janus)")

    def _oauth(self, endpoint: str, headers: Mapping[str, str], body: bytes) -> Reply:
        try:
            form = _form(headers, body)
            if endpoint == "token":
                return self._json(200, self._provider.token(form))
            open_id = self._provider.revoke(form)
        except OAuthRefused as refused:
            status = self._provider.error_status
            return self._oauth_error(refused.error, refused.text, status)
        self._on_revoke(open_id)
        self._answers_braces = not self._answers_braces
        return Reply(200, JSON_TYPE, b"{}" if self._answers_braces else b"")

    def _resource(
        self,
        endpoint: str,
        headers: Mapping[str, str],
        query: tuple[tuple[str, str], ...],
        body: bytes,
    ) -> Reply:
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        token = bearer if scheme == "Bearer" else ""
        fields = [value for name, value in query if name == "fields"]
        one = fields[0] if len(fields) == 1 else None
        try:
            if endpoint == "user_info":
                user = self._provider.user(token, one, self.avatars)
                data: dict[str, object] = {"user": user}
            else:
                path = next(
                    path for path, name in _ENDPOINT_NAMES.items() if name == endpoint
                )
                given = body if _is_json(headers) else b"no JSON"
                data = self._provider.resource(path, token, one, given, self.avatars)
        except ApiRefused as refused:
            return self._api_error(refused.code, refused.text, refused.status)
        return self._api_error("ok", "", 200, data)

    def _error(self, endpoint: str, error: str, status: int | None) -> Reply:
        """Return an error in the endpoint's own shape: flat, or nested."""
        text = "Switched on in the stand-in."
        if endpoint in _OAUTH_ENDPOINTS:
            return self._oauth_error(error, text, status or 200)
        return self._api_error(error, text, status or STATUS_OF.get(error, 401))

    def _oauth_error(self, error: str, text: str, status: int) -> Reply:
        """Return TikTok's flat error body, which TikTok sends with status 200 too."""
        named = log_id(self._provider.clock())
        body = {"error": error, "error_description": text, "log_id": named}
        return self._json(status, body, named)

    def _api_error(
        self,
        code: str,
        text: str,
        status: int,
        data: Mapping[str, object] | None = None,
    ) -> Reply:
        """Return a resource endpoint's body, which has an ``error`` even on success."""
        named = log_id(self._provider.clock())
        error = {"code": code, "message": text, "log_id": named}
        return self._json(status, {"data": data or {}, "error": error}, named)

    def _json(
        self, status: int, answer: Mapping[str, object], named: str | None = None
    ) -> Reply:
        logged = ("x-tt-logid", named or log_id(self._provider.clock()))
        return Reply(status, (*JSON_TYPE, logged), json.dumps(answer).encode())


def _form(headers: Mapping[str, str], body: bytes) -> tuple[tuple[str, str], ...]:
    """Return a form's fields; refuse a media type that TikTok refuses."""
    kind = headers.get("content-type", "")
    if "json" in kind:
        text = "Only `application/x-www-form-urlencoded` is accepted as Content-Type."
        raise OAuthRefused("invalid_request", text)
    if kind != FORM or "authorization" in headers:
        raise OAuthRefused("invalid_request", "The request parameters are malformed.")
    return tuple(parse_qsl(body.decode("latin-1"), keep_blank_values=True))


def _check_endpoint(name: str) -> None:
    """Refuse an unknown name, such as a misspelt one in a test."""
    if name not in _ENDPOINTS:
        message = f"{name!r} is none of the endpoints {', '.join(_ENDPOINTS)}"
        raise ValueError(message)


def _is_json(headers: Mapping[str, str]) -> bool:
    kind = headers.get("content-type", "").partition(";")[0]
    return kind.strip().lower() == "application/json"


def _error_of(reply: Reply | None) -> str:
    """Return TikTok's error code from a flat or nested answer, or ""."""
    try:
        answer = json.loads(reply.body) if reply else None
    except ValueError:
        return ""
    error = answer.get("error") if isinstance(answer, dict) else None
    if isinstance(error, dict):
        error = error.get("code")
    return error if isinstance(error, str) and error != "ok" else ""
