"""Calls to TikTok's API with a user's token, for clients of httpx2 and httpx.

`TikTokBearer` is a client's ``auth``. Each request gets the user's current token, which
is refreshed before it expires, under the lock that all refreshes use. If TikTok refuses
it as ``access_token_invalid``, it is refreshed once and the request is sent once more.
No other refusal causes a refresh: a new token would lack the same scope
(https://developers.tiktok.com/doc/tiktok-api-v2-error-handling).

The token is sent to one origin only, that of TikTok's API, as RFC 6750 section 5.3
requires of clients.
"""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncGenerator, Generator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ._core.origins import origin_of
from ._core.redact import one_line
from ._oauth.answer import (
    error_parts,
    is_success,
    read_answer,
    read_json_object,
    retry_after_seconds,
)
from ._session.backoff import Backoff
from .errors import ConfigurationError

if TYPE_CHECKING:
    from httpx2 import URL, Auth, Request, Response

    from .auth import Token
    from .tokens import TikTokTokens

_SCHEME = "Bearer "
_INVALID = "access_token_invalid"
_RATE_LIMIT = "rate_limit_exceeded"
#: After ``rate_limit_exceeded``: TikTok counts the calls of a minute, so the longest
#: wait is a minute, which is 48 seconds and the largest jitter.
_RATE_LIMIT_BACKOFF = Backoff(first=1, longest=48, jitter=0.25)
_ERROR_STATUS = 400


class _Read(Protocol):
    """The attributes of a response that are read, in httpx2 and httpx alike."""

    @property
    def status_code(self) -> int: ...
    @property
    def content(self) -> bytes: ...
    @property
    def headers(self) -> Any: ...
    @property
    def request(self) -> Any: ...


R = TypeVar("R", bound=_Read)


def raise_for_tiktok(response: R) -> R:
    """Return a response of TikTok's API, unless its body states an error.

    TikTok states errors in the body, with any status, 200 included; so
    ``raise_for_status`` misses some.

    Args:
        response: of httpx2 or httpx, read to its end.

    Raises:
        TikTokUnavailable: a status of 5xx or 429, a temporary error such as
            ``rate_limit_exceeded``, or a failure whose body is not a JSON object.
        TikTokError: any other error, with TikTok's code and log_id.
    """
    body, status = response.content, response.status_code
    answer = read_json_object(body)
    if is_success(status) and (answer is None or not error_parts(answer)[0]):
        return response
    sent = response.request.headers.get("authorization", "")
    wait = retry_after_seconds(response.headers.get("retry-after", ""), time.time())
    read_answer(status, body, [sent.removeprefix(_SCHEME)], wait)
    return response


class _NoHook:
    """Keeps the ``__init_subclass__`` of an app's own class from being called."""

    def __init_subclass__(cls) -> None:
        """Do nothing."""


@lru_cache(maxsize=64)
def _with_bases(kind: type, *bases: type) -> type:
    """Return a class with more base classes."""
    return type(kind.__name__, (_NoHook, kind, *bases), {})


if TYPE_CHECKING:
    _Auth = Auth
else:

    class _Auth:
        """An ``Auth`` of each HTTP library that is loaded.

        A client takes only an ``isinstance`` of its own library's Auth. Deriving from
        the classes would load each library that is installed, which takes 0.1 s. But
        `isinstance` also asks for ``__class__``, and by then the library that asks is
        loaded. The libraries call the same methods.
        """

        @property
        def __class__(self) -> type:
            loaded = (sys.modules.get(name) for name in ("httpx2", "httpx"))
            found = (getattr(library, "Auth", None) for library in loaded)
            bases = dict.fromkeys(base for base in found if base is not None)
            return _with_bases(type(self), *bases)


class TikTokBearer(_Auth):
    """A client's ``auth`` that sends a user's token, always a fresh one.

    >>> with httpx2.Client(auth=TikTokBearer(tokens, open_id)) as api:  # doctest: +SKIP
    ...     raise_for_tiktok(api.get(url)).json()

    A request goes out a second time, with another token, if TikTok refused the first
    one. A body that can be read only once, such as a stream or an upload of files, is
    not sent twice: its caller gets TikTok's refusal, and the next request gets a new
    token.
    """

    def __init__(
        self, tokens: TikTokTokens, open_id: str, *, rate_limit_retries: int = 0
    ) -> None:
        """Take the app's tokens, and the user whose token to send.

        Args:
            tokens: of the app's users. A blocking client uses `TikTokTokens.get`, an
                async one `TikTokTokens.aget`.
            open_id: of the user.
            rate_limit_retries: how often to send a request again that TikTok answered
                with ``rate_limit_exceeded``. The wait before each is that of its
                Retry-After, else 1, 2, 4 ... up to 60 seconds.

        Raises:
            ConfigurationError: `rate_limit_retries` is not a number of times.
        """
        if type(rate_limit_retries) is not int or rate_limit_retries < 0:
            message = (
                f"rate_limit_retries is {rate_limit_retries!r}; it must be a number of"
                " times, 0 or more"
            )
            raise ConfigurationError(message)
        self._tokens = tokens
        self._open_id = open_id
        self._retries = rate_limit_retries
        self._origin = origin_of(tokens.settings.endpoints.user_info)

    def __repr__(self) -> str:
        return f"<TikTokBearer open_id={self._open_id!r}>"

    def sync_auth_flow(self, request: Request) -> Generator[Request, Response, None]:
        """Send a request with the token, and once more if TikTok refused the token.

        Raises:
            ConfigurationError: the request is not for the origin of TikTok's API.
            NotSignedIn: there is no record of the user, or their consent has ended.
            TikTokUnavailable: the token has expired and TikTok gave no other.
            StoreError: the store failed.
        """
        self._check(request.url)
        token = self._tokens.get(self._open_id)
        attempt = _Attempt(self._retries, request)
        while True:
            response = yield _signed(request, token)
            if not self._may_state_error(response):
                return
            response.read()
            if attempt.is_token_refused(response):
                token = self._tokens.renew(self._open_id, rejected=token.access_token)
            elif (pause := attempt.pause(response)) is not None:
                time.sleep(pause)
                token = self._tokens.get(self._open_id)
            else:
                return
            if not attempt.can_repeat:
                return

    async def async_auth_flow(
        self, request: Request
    ) -> AsyncGenerator[Request, Response]:
        """Do as `sync_auth_flow` does, in an event loop of asyncio or Trio."""
        self._check(request.url)
        token = await self._tokens.aget(self._open_id)
        attempt = _Attempt(self._retries, request)
        while True:
            response = yield _signed(request, token)
            if not self._may_state_error(response):
                return
            await response.aread()
            if attempt.is_token_refused(response):
                token = await self._tokens.arenew(
                    self._open_id, rejected=token.access_token
                )
            elif (pause := attempt.pause(response)) is not None:
                from anyio import sleep

                await sleep(pause)
                token = await self._tokens.aget(self._open_id)
            else:
                return
            if not attempt.can_repeat:
                return

    def _check(self, url: URL) -> None:
        """Refuse to send the token with a request that is not for TikTok's API.

        Raises:
            ConfigurationError: the message says where the token may go.
        """
        origin = origin_of(str(url))
        if origin != self._origin:
            message = (
                f"a user's token is sent only to {self._origin}, the origin of"
                " endpoints.user_info in the settings, but the request is for"
                f" {one_line(origin or 'no origin')}: take the address from that"
                " setting; a request that needs no token can be sent with auth=None"
            )
            raise ConfigurationError(message)

    def _may_state_error(self, response: Response) -> bool:
        """Whether a response may state an error of TikTok, so that its body is read.

        After a redirect it may come from another origin, whose errors mean nothing.
        """
        if origin_of(str(response.url)) != self._origin:
            return False
        kind = response.headers.get("content-type", "").lower()
        return response.status_code >= _ERROR_STATUS or kind.startswith(
            "application/json"
        )


class _Attempt:
    """Why a request may be sent again, and how often it was."""

    __slots__ = ("_is_renewed", "_left", "_pauses", "can_repeat")

    def __init__(self, retries: int, request: Request) -> None:
        """Inspect a request before it is sent: a stream is used up afterwards."""
        self.can_repeat: bool = _is_in_memory(request)
        self._is_renewed = False
        self._left = retries if self.can_repeat else 0
        self._pauses = 0

    def is_token_refused(self, response: Response) -> bool:
        """Whether TikTok refused the token; True once only."""
        if self._is_renewed or _code_of(response) != _INVALID:
            return False
        self._is_renewed = True
        return True

    def pause(self, response: Response) -> float | None:
        """Return the seconds to wait if TikTok counted too many calls, else None."""
        if not self._left or _code_of(response) != _RATE_LIMIT:
            return None
        self._left -= 1
        self._pauses += 1
        header = response.headers.get("retry-after", "")
        seconds = retry_after_seconds(header, time.time())
        return _RATE_LIMIT_BACKOFF.seconds(self._pauses) if seconds is None else seconds


def _code_of(response: Response) -> str:
    """Return the error code that a response states, or ""."""
    answer = read_json_object(response.content)
    return error_parts(answer)[0] if answer else ""


def _signed(request: Request, token: Token) -> Request:
    request.headers["Authorization"] = _SCHEME + token.access_token
    return request


def _is_in_memory(request: Request) -> bool:
    """Whether a request's body can be sent more than once."""
    try:
        _ = request.content
    except RuntimeError:  # RequestNotRead, of either library
        return False
    return True
