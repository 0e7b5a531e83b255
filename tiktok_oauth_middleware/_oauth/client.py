"""TikTok's endpoints, through Authlib's OAuth2 client.

Authlib writes and sends the requests; TikTok's ways come in through its own seams: a
client authentication method that puts ``client_key`` into the form and never
``client_id``, and a token reader that hands back the raw response. That reader must
never call Authlib's own: one client serves all users, Authlib's keeps the last token
it saw on the client, and so can give one user the token of another.

Foreign exceptions end here. The HTTP library's carry the request, form and secrets
included, so ours are raised without them as their cause.
"""

from __future__ import annotations

import sys
import time
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, urlencode

from authlib.integrations.httpx_client import AsyncOAuth2Client, OAuth2Client

from tiktok_oauth_middleware._core.backends.base import TLSContext
from tiktok_oauth_middleware._core.log import logger
from tiktok_oauth_middleware._core.secret import Secret
from tiktok_oauth_middleware.errors import TikTokError, TikTokUnavailable

from . import protocol, token_response, user_info

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.backends.base import Backend, Meanwhile
    from tiktok_oauth_middleware.settings.options import TikTokSettings

    from .token_response import TokenResponse

# Authlib takes httpx2 if it is there and httpx if not. We must speak of the same one,
# so it is read off Authlib's own class instead of imported.
_base = next(kind for kind in OAuth2Client.__mro__ if kind.__name__ == "Client")
httpx: Any = sys.modules[_base.__module__.partition(".")[0]]

_Answer = TypeVar("_Answer")
Timing = Callable[[str], AbstractContextManager[object]]

#: Longest answer of TikTok that is read, in bytes.
ANSWER_LIMIT = 1024 * 1024
_CONNECT_SECONDS = 3

_TOOK_PREVIOUS = (
    "TikTok refused client_secret (invalid_client) and took previous_client_secret:"
    " the portal does not use the new one yet, or it is wrong"
)
#: Client authentication with the present secret, and with the previous one.
_METHODS = ("client_key_post", "previous_client_key_post")

_HEADERS = {
    # Authlib would add a charset, which TikTok may refuse.
    "Content-Type": protocol.FORM,
    "Accept": "application/json",
    # A compressed answer could be a thousand times what came over the wire.
    "Accept-Encoding": "identity",
    # A server that sends one answer too many would give the next user this one's.
    "Connection": "close",
    "User-Agent": "tiktok-oauth-middleware",
}


def _client_key_post(
    secret: Secret,
    client: Any,
    method: str,  # noqa: ARG001 - Authlib passes four
    uri: str,
    headers: Any,
    body: Any,
) -> tuple[str, Any, str]:
    """Put the app's credentials into the form, under TikTok's names."""
    text = body.decode() if isinstance(body, bytes) else body or ""
    form = parse_qsl(text, keep_blank_values=True)
    form += [("client_key", client.client_id), ("client_secret", secret.reveal())]
    return uri, headers, urlencode(form)


class _TikTokMixin:
    """Authlib's client with TikTok's client authentication, and no memory of tokens."""

    def __init__(
        self, client_key: str, client_secrets: Sequence[Secret], **options: Any
    ) -> None:
        """Take the app's secrets, the present one first."""
        super().__init__(  # type: ignore[call-arg]
            client_key,  # pyright: ignore[reportCallIssue] - a mixin's super()
            client_secrets[0],
            token_endpoint_auth_method=_METHODS[0],
            revocation_endpoint_auth_method=_METHODS[0],
            **options,
        )
        for method, secret in zip(_METHODS, client_secrets, strict=False):
            self.register_client_auth_method(  # type: ignore[attr-defined]
                (method, partial(_client_key_post, secret))
            )

    def parse_response_token(self, resp: Any) -> Any:
        """Return the response as it is: tiktok.py reads it, and nothing is kept."""
        return resp


class _BlockingClient(_TikTokMixin, OAuth2Client):
    """For WSGI."""


class _CooperativeClient(_TikTokMixin, AsyncOAuth2Client):
    """For ASGI."""


class TikTokClient:
    """TikTok's token, revoke and user-info endpoints, for one app."""

    def __init__(
        self,
        settings: TikTokSettings,
        runtime: Backend,
        *,
        transport: Any = None,
        timing: Timing | None = None,
        tls: TLSContext | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take what to call and how.

        Args:
            settings: whose key, secret, addresses and time-out.
            runtime: blocking or cooperative.
            transport: instead of the network, as httpx2's clients take one.
            timing: what each call is made in, by its name.
            tls: where the TLS settings are kept, longer than the client.
            clock: seconds since 1970, to judge dates in answers by.

        Raises:
            TypeError: `transport` is of the other kind or HTTP library.
        """
        self._settings = settings
        self._runtime = runtime
        self._transport = transport
        self._timing: Timing = nullcontext if timing is None else timing
        self._tls = TLSContext() if tls is None else tls
        self._clock = clock
        previous = settings.previous_client_secret
        #: The present one first.
        self._client_secrets = tuple(
            Secret(secret) for secret in (settings.client_secret, previous) if secret
        )
        check_transport(transport, blocking=runtime.is_blocking)

    async def exchange(self, code: str, verifier: str | None) -> TokenResponse:
        """Return the tokens for a code; never called twice for one.

        Raises:
            GrantRevoked, TikTokUnavailable, TikTokError: see `tiktok.read_token`.
        """
        fields = {"code": code, "redirect_uri": self._settings.redirect_uri}
        if verifier is not None:
            fields["code_verifier"] = verifier
        with self._timing("exchange"):
            return await self._token("authorization_code", fields)

    async def refresh(
        self,
        refresh_token: str,
        *,
        seconds: float | None = None,
        meanwhile: Meanwhile | None = None,
    ) -> TokenResponse:
        """Return new tokens for a refresh token, which dies by this.

        Args:
            refresh_token: the most recent one.
            seconds: to wait for the answer, instead of the settings' ``timeout``.
            meanwhile: awaited now and then as long as it takes.

        Raises:
            GrantRevoked, TikTokUnavailable, TikTokError: see `tiktok.read_token`.
        """
        fields = {"refresh_token": refresh_token}
        with self._timing("refresh"):
            return await self._token("refresh_token", fields, seconds, meanwhile)

    async def _token(
        self,
        grant_type: str,
        fields: dict[str, str],
        seconds: float | None = None,
        meanwhile: Meanwhile | None = None,
    ) -> TokenResponse:
        url = self._settings.endpoints.token
        secrets = (*self._client_secrets, *fields.values())

        async def ask(method: str, seconds: float) -> TokenResponse:
            response = await self._call(
                lambda client: client.fetch_token(
                    url,
                    grant_type=grant_type,
                    headers=_HEADERS,
                    auth=client.client_auth(method),
                    **fields,
                ),
                seconds,
                meanwhile,
            )
            return token_response.read_token(
                response.status_code,
                response.content,
                secrets=secrets,
                retry_after=response.headers.get("retry-after", ""),
                now=self._clock(),
            )

        return await self._with_either_secret(ask, seconds)

    async def _with_either_secret(
        self, ask: Callable[[str, float], Awaitable[_Answer]], seconds: float | None
    ) -> _Answer:
        """Ask with the present secret; where TikTok refuses it, with the previous one.

        ``invalid_client`` means that TikTok refused the app before it looked at the
        code or token (RFC 6749 section 5.2), so neither is spent. Nothing else is asked
        twice, and both times together take no longer than one may.
        """
        seconds = seconds or self._settings.timeout
        give_up = time.monotonic() + seconds
        try:
            return await ask(_METHODS[0], seconds)
        except TikTokError as error:
            left = give_up - time.monotonic()
            is_refused = error.error == "invalid_client"
            if not is_refused or len(self._client_secrets) == 1 or left <= 0:
                raise
            refused = error
        try:
            answer = await ask(_METHODS[1], left)
        except TikTokError as error:
            if error.error == "invalid_client":
                raise refused from None  # it is the present one that must be mended
            logger.warning(_TOOK_PREVIOUS)
            raise
        logger.warning(_TOOK_PREVIOUS)
        return answer

    async def revoke(self, access_token: str, *, seconds: float | None = None) -> None:
        """Disconnect the app from the user's account; all tokens of theirs die.

        Args:
            access_token: one that has not expired.
            seconds: to wait for the answer, instead of the settings' ``timeout``.

        Raises:
            GrantRevoked, TikTokUnavailable, TikTokError: see `tiktok.read_revoke`.
        """
        with self._timing("revoke"):
            await self._revoke(access_token, seconds)

    async def _revoke(self, access_token: str, seconds: float | None) -> None:
        url = self._settings.endpoints.revoke

        async def ask(method: str, seconds: float) -> None:
            response = await self._call(
                lambda client: client.revoke_token(
                    url,
                    token=access_token,
                    headers=_HEADERS,
                    auth=client.client_auth(method),
                ),
                seconds,
            )
            token_response.read_revoke(
                response.status_code,
                response.content,
                secrets=(*self._client_secrets, access_token),
                retry_after=response.headers.get("retry-after", ""),
                now=self._clock(),
            )

        await self._with_either_secret(ask, seconds)

    async def profile(
        self,
        access_token: str,
        open_id: str,
        fields: tuple[str, ...],
        *,
        seconds: float | None = None,
    ) -> str:
        """Return the packed profile of the user whose token this is.

        Args:
            access_token: one that has not expired.
            open_id: whose it is.
            fields: of the granted scopes.
            seconds: to wait for the answer, instead of the settings' ``timeout``.

        Raises:
            TikTokUnavailable, TikTokError: see `tiktok.read_user`.
        """
        with self._timing("user_info"):
            return await self._profile(access_token, open_id, fields, seconds)

    async def _profile(
        self,
        access_token: str,
        open_id: str,
        fields: tuple[str, ...],
        seconds: float | None,
    ) -> str:
        # The comma is left as it is: it is how TikTok's own examples write it.
        url = f"{self._settings.endpoints.user_info}?fields={','.join(fields)}"
        headers = {**_HEADERS, "Authorization": f"Bearer {access_token}"}
        del headers["Content-Type"]
        response = await self._call(
            lambda client: client.request(
                "GET", url, headers=headers, withhold_token=True
            ),
            seconds,
        )
        return user_info.read_user(
            response.status_code,
            response.content,
            open_id=open_id,
            secrets=(*self._client_secrets, access_token),
            retry_after=response.headers.get("retry-after", ""),
            now=self._clock(),
        )

    async def _call(
        self,
        call: Callable[[Any], Any],
        seconds: float | None = None,
        meanwhile: Meanwhile | None = None,
    ) -> Any:
        """Return the response, within the deadline and the size limit."""
        seconds = seconds or self._settings.timeout
        failure = ""
        try:
            client = await self._client()
            response = await self._runtime.timed(
                seconds, lambda: call(client), meanwhile
            )
        except TimeoutError:
            reason, failure = f"no answer within {seconds:g} s", "timeout"
        except Exception as error:  # noqa: BLE001 - the network's, or a bad proxy or
            # certificate file's: each is "can not ask now", none is the user's fault
            failure, words = _failure(error)
            reason = f"no answer: {type(error).__name__} ({words})"
        else:
            if len(response.content) <= ANSWER_LIMIT:
                return response
            reason = "an answer longer than 1 MB"
        unavailable = TikTokUnavailable("", reason)
        unavailable.failure = failure
        raise unavailable

    async def _client(self) -> Any:
        """Return the HTTP client of this process or event loop; made once, in a thread.

        A new one costs 20 ms for its TLS context.
        """
        return await self._runtime.shared(self._make, self, "http client")

    async def warm(self) -> None:
        """Make the HTTP client of this process or event loop, if there is none yet."""
        await self._client()

    async def aclose(self) -> None:
        """Close the HTTP client of this process or event loop, if there is one."""
        client = self._runtime.taken_back(self, "http client")
        if client is None:
            return
        if self._runtime.is_blocking:
            client.close()
        else:
            await client.aclose()

    def _make(self) -> Any:
        kind = _BlockingClient if self._runtime.is_blocking else _CooperativeClient
        hook: Any = _limit if self._runtime.is_blocking else _alimit
        seconds = self._settings.timeout
        transport, options = self._transport, {}
        if transport is None:
            options["verify"] = self._tls_context()
        if transport is None and not self._has_proxy():
            make = (
                httpx.HTTPTransport
                if self._runtime.is_blocking
                else httpx.AsyncHTTPTransport
            )
            # Connecting is tried once more; what was sent is never sent again.
            transport = make(retries=1, **options)
        return kind(
            self._settings.client_key,
            self._client_secrets,
            transport=transport,
            timeout=httpx.Timeout(seconds, connect=min(_CONNECT_SECONDS, seconds)),
            follow_redirects=False,
            # One client serves all users: a cookie set for one must not go out with
            # the next.
            cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=())),
            event_hooks={"response": [partial(hook, seconds)]},
            **options,
        )

    def _tls_context(self) -> Any:
        """Return the TLS settings, made once for the middleware.

        To read the system's certificates costs 20 ms and more. A client belongs to an
        event loop and ends with a lifespan, which on serverless platforms is one
        request; what it takes of this is bound to neither.
        """
        if self._tls.context is None:
            self._tls.context = httpx.create_ssl_context()
        return self._tls.context

    @staticmethod
    def _has_proxy() -> bool:
        """Whether the environment names a proxy, which only a plain client takes up."""
        from urllib.request import getproxies

        return bool(getproxies())


#: What went wrong on the way, in words: the log names it, and what to look at.
FAILURES: Mapping[str, str] = {
    "name_not_found": "the name was not found",
    "certificate": "the certificate was not accepted",
    "tls": "TLS failed",
    "proxy": "the proxy failed",
    "refused": "the connection was refused",
    "timeout": "no connection or answer in time",
    "network": "the network failed",
}
_MOST_CAUSES = 20


def _failure(error: BaseException) -> tuple[str, str]:
    """Return what went wrong on the way, and the words for it; no text of its own.

    The HTTP library wraps the cause several times, and so does anyio, in a group.
    """
    found = "network"
    waiting, looked_at = [error], 0
    while waiting and looked_at < _MOST_CAUSES:
        current = waiting.pop(0)
        looked_at += 1
        kind = _kind_of(current)
        if kind is not None:
            found = kind
            break
        inner = [current.__cause__, current.__context__]
        inner += getattr(current, "exceptions", ())
        waiting += [e for e in inner if isinstance(e, BaseException)]
    return found, FAILURES[found]


def _kind_of(error: BaseException) -> str | None:
    import socket
    import ssl

    if isinstance(error, ssl.SSLCertVerificationError):
        return "certificate"
    if isinstance(error, httpx.ProxyError):
        return "proxy"
    if isinstance(error, ssl.SSLError):
        return "tls"
    if isinstance(error, socket.gaierror):
        return "name_not_found"
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, (TimeoutError, httpx.TimeoutException)):
        return "timeout"
    return None


def check_transport(transport: Any, *, blocking: bool) -> None:
    """Refuse a transport that could only fail at the first login.

    Raises:
        TypeError: it belongs to the other HTTP library, or the other kind.
    """
    if transport is None:
        return
    wanted = httpx.BaseTransport if blocking else httpx.AsyncBaseTransport
    if not isinstance(transport, wanted):
        message = (
            f"transport is a {type(transport).__module__}.{type(transport).__name__};"
            f" Authlib uses {httpx.__name__} here, so it must be a"
            f" {httpx.__name__}.{wanted.__name__}"
        )
        raise TypeError(message)


class _Limited(httpx.SyncByteStream, httpx.AsyncByteStream):  # type: ignore[misc]
    """A response's body, which ends with an error where it gets too long, or late.

    Under WSGI a thread would go on reading when who asked has given up, for as long as
    a byte comes now and then.
    """

    def __init__(self, stream: Any, seconds: float) -> None:
        self._stream = stream
        self._room = ANSWER_LIMIT
        self._give_up = time.monotonic() + seconds

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._stream:
            if not self._has_room(chunk) or time.monotonic() > self._give_up:
                raise _too_much()
            yield chunk

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            if self._has_room(chunk):
                yield chunk
            else:
                # The next read fails where it is made: generators that are left
                # hanging are no good on Trio.
                await self._stream.aclose()
        if self._room < 0:
            raise _too_much()

    def _has_room(self, chunk: bytes) -> bool:
        self._room -= len(chunk)
        return self._room >= 0

    def close(self) -> None:
        self._stream.close()

    async def aclose(self) -> None:
        await self._stream.aclose()


def _too_much() -> Exception:
    error: Exception = httpx.ReadError("the answer is too long, or takes too long")
    return error


def _limit(seconds: float, response: Any) -> None:
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        message = "a compressed answer, which was not asked for"
        raise httpx.DecodingError(message, request=response.request)
    response.stream = _Limited(response.stream, seconds)


async def _alimit(seconds: float, response: Any) -> None:
    _limit(seconds, response)
