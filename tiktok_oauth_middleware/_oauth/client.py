"""TikTok's endpoints, called through Authlib's OAuth2 client.

Authlib writes and sends the requests. Two of its extension points adapt it to TikTok: a
client authentication method, which puts ``client_key`` into the form and never
``client_id``, and a token reader, which returns the raw response. That reader must
never call Authlib's own: one client serves all users, and Authlib's reader stores the
last token on the client, from where it could reach another user.

Foreign exceptions stop here. Those of the HTTP library hold the request, with its form
and secrets, so our errors are raised without them as their cause.
"""

from __future__ import annotations

import time
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Sequence,
)
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from copy import copy
from functools import lru_cache, partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

from tiktok_oauth_middleware._core.backends.base import TLSContext
from tiktok_oauth_middleware._core.log import logger
from tiktok_oauth_middleware._core.secret import Secret
from tiktok_oauth_middleware.errors import TikTokError, TikTokUnavailable

from . import protocol, token_response, user_info
from .ahead import AsyncAhead, BlockingAhead
from .answer_limits import ANSWER_LIMIT, alimit_answer, limit_answer
from .connections import AsyncConnections, BlockingConnections, core_origin_of
from .http_library import AsyncOAuth2Client, OAuth2Client, httpx
from .network_failures import FAILURES, failure_of

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.backends.base import Backend, Meanwhile
    from tiktok_oauth_middleware.settings.options import TikTokSettings

    from .token_response import TokenResponse

_Answer = TypeVar("_Answer")
Timing = Callable[[str], AbstractContextManager[object]]

_CONNECT_SECONDS = 3

_PREVIOUS_ACCEPTED = (
    "TikTok refused client_secret (invalid_client) and accepted previous_client_secret:"
    " the new secret is wrong, or the portal does not use it yet"
)
#: Client authentication with the present secret, and with the previous one.
_METHODS = ("client_key_post", "previous_client_key_post")

_HEADERS = {
    # Authlib would add a charset, which TikTok may refuse.
    "Content-Type": protocol.FORM,
    "Accept": "application/json",
    # A compressed answer could unpack to a thousand times its size.
    "Accept-Encoding": "identity",
    # On a kept connection, a server that sent one answer too many would give the next
    # user this user's answer.
    "Connection": "close",
    "User-Agent": "tiktok-oauth-middleware",
}
#: The headers of an exchange whose connection also serves the request for the profile.
_KEEPING_HEADERS = {**_HEADERS, "Connection": "keep-alive"}


@lru_cache(maxsize=16)
def _parsed_url(url: str) -> Any:
    """Return a parsed address of the settings; cached."""
    return httpx.URL(url)


def _client_key_post(
    secret: Secret,
    client: Any,
    _method: str,
    uri: str,
    headers: Any,
    body: Any,
) -> tuple[str, Any, str]:
    """Put the app's credentials into the form, under TikTok's names.

    Authlib calls it with a client, the method's name, and the parts of the request.
    """
    text = body.decode() if isinstance(body, bytes) else body or ""
    own = urlencode({"client_key": client.client_id, "client_secret": secret.reveal()})
    return uri, headers, f"{text}&{own}" if text else own


class _TikTokMixin:
    """Adapts Authlib's client: TikTok's client authentication, and no stored token."""

    def __init__(
        self, client_key: str, client_secrets: Sequence[Secret], **options: Any
    ) -> None:
        """Take the app's secrets, the current one first."""
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
        """Return the response as it is, and store nothing on the client."""
        return resp


class _SyncClient(_TikTokMixin, OAuth2Client):
    """For WSGI."""


class _AsyncClient(_TikTokMixin, AsyncOAuth2Client):
    """For ASGI."""


class TikTokClient:
    """TikTok's token, revoke and user-info endpoints, for one app."""

    def __init__(  # noqa: PLR0913 - what it calls, and what observes the calls
        self,
        settings: TikTokSettings,
        backend: Backend,
        *,
        transport: Any = None,
        timing: Timing | None = None,
        on_status: Callable[[int], object] | None = None,
        tls: TLSContext | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take the addresses and credentials, and the means to call.

        Args:
            settings: the app's; its key, secrets, addresses and timeout are used.
            backend: the backend of threads or of an event loop.
            transport: a transport of httpx2, used instead of the network.
            timing: returns a context for each call, by the call's name.
            on_status: called in that context with the status of each answer.
            tls: holds the TLS settings, which outlive the HTTP client.
            clock: returns the seconds since 1970, for dates in answers.

        Raises:
            TypeError: `transport` belongs to another HTTP library or backend.
        """
        self._settings = settings
        self._backend = backend
        self._transport = transport
        self._timing: Timing = nullcontext if timing is None else timing
        self._on_status = on_status
        self._tls = TLSContext() if tls is None else tls
        self._clock = clock
        #: Whether calls go to TikTok without a proxy or an injected transport.
        self._is_direct = False
        #: Opens a connection for the next login; None where that is not possible.
        self._ahead: AsyncAhead | BlockingAhead | None = None
        #: The client that `for_one_login` was called on, if this one came from there.
        self.shared: TikTokClient | None = None
        #: The HTTP client of the one login.
        self.login_http: Any = None
        previous = settings.previous_client_secret
        #: The current one first.
        self._client_secrets = tuple(
            Secret(secret) for secret in (settings.client_secret, previous) if secret
        )
        check_transport(transport, blocking=backend.is_blocking)

    @asynccontextmanager
    async def for_one_login(self) -> AsyncIterator[TikTokClient]:
        """Return a client for the calls of one login, and close its connection.

        The exchange and the request for the profile share the connection, unless there
        is a proxy or an injected transport.
        """
        one = copy(self)
        one.shared = self
        try:
            yield one
        finally:
            if one.login_http is not None:
                await self._close(one.login_http)

    def connect_ahead(self) -> None:
        """Begin to open a connection for the next login, and return at once.

        Nothing happens before the first call or `warm`, which make the TLS settings.
        """
        ahead = self._ahead
        if (
            ahead is not None
            and ahead.may_begin()
            and not self._backend.in_background(ahead.run)
        ):
            ahead.cannot_run()

    async def exchange(self, code: str, verifier: str | None) -> TokenResponse:
        """Return the tokens for a code, which works once.

        Raises:
            GrantRevoked, TikTokUnavailable, TikTokError: see `read_token`.
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
        """Return new tokens for a refresh token, which is invalid afterwards.

        Args:
            refresh_token: the most recent one.
            seconds: to wait for the answer, instead of the settings' ``timeout``.
            meanwhile: awaited from time to time until the answer comes.

        Raises:
            GrantRevoked, TikTokUnavailable, TikTokError: see `read_token`.
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
        url = _parsed_url(self._settings.endpoints.token)

        async def ask(method: str, seconds: float) -> TokenResponse:
            response = await self._call(
                lambda client: client.fetch_token(
                    url,
                    grant_type=grant_type,
                    headers=_KEEPING_HEADERS
                    if client is self.login_http and self._settings.fetch_user
                    else _HEADERS,
                    auth=client.client_auth(method),
                    **fields,
                ),
                seconds,
                meanwhile,
            )
            return self._read(token_response.read_token, response, fields.values())

        return await self._with_either_secret(ask, seconds)

    async def _with_either_secret(
        self, ask: Callable[[str, float], Awaitable[_Answer]], seconds: float | None
    ) -> _Answer:
        """Call with the current secret, and with the previous one if TikTok refuses it.

        ``invalid_client`` means that TikTok refused the app before it read the code or
        token (RFC 6749 section 5.2), so neither is spent. No other answer leads to a
        second call, and both calls together take no longer than one may.
        """
        seconds = seconds or self._settings.timeout
        deadline = time.monotonic() + seconds
        try:
            return await ask(_METHODS[0], seconds)
        except TikTokError as error:
            left = deadline - time.monotonic()
            is_refused = error.error == "invalid_client"
            if not is_refused or len(self._client_secrets) == 1 or left <= 0:
                raise
            refused = error
        try:
            answer = await ask(_METHODS[1], left)
        except TikTokError as error:
            if error.error == "invalid_client":
                raise refused from None  # about the current one, which must be fixed
            logger.warning(_PREVIOUS_ACCEPTED)
            raise
        logger.warning(_PREVIOUS_ACCEPTED)
        return answer

    async def revoke(self, access_token: str, *, seconds: float | None = None) -> None:
        """Disconnect the app from the user's account; all of the user's tokens end.

        Args:
            access_token: one that has not expired.
            seconds: to wait for the answer, instead of the settings' ``timeout``.

        Raises:
            GrantRevoked, TikTokUnavailable, TikTokError: see `read_revoke`.
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
            self._read(token_response.read_revoke, response, [access_token])

        await self._with_either_secret(ask, seconds)

    async def profile(
        self,
        access_token: str,
        open_id: str,
        fields: tuple[str, ...],
        *,
        seconds: float | None = None,
    ) -> str:
        """Return the packed profile of a user.

        Args:
            access_token: the user's; one that has not expired.
            open_id: the user's.
            fields: the fields that the granted scopes permit.
            seconds: to wait for the answer, instead of the settings' ``timeout``.

        Raises:
            TikTokUnavailable, TikTokError: see `read_user`.
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
        # The comma is not escaped, as in TikTok's own examples.
        url = _parsed_url(
            f"{self._settings.endpoints.user_info}?fields={','.join(fields)}"
        )
        headers = {**_HEADERS, "Authorization": f"Bearer {access_token}"}
        del headers["Content-Type"]
        response = await self._call(
            lambda client: client.request(
                "GET", url, headers=headers, withhold_token=True
            ),
            seconds,
        )
        read = partial(user_info.read_user, open_id=open_id)
        return self._read(read, response, [access_token])

    def _read(
        self, read: Callable[..., _Answer], response: Any, secrets: Iterable[str]
    ) -> _Answer:
        """Return the result of `read` for a response; it masks `secrets`."""
        if self._on_status is not None:
            self._on_status(response.status_code)
        return read(
            response.status_code,
            response.content,
            secrets=(*self._client_secrets, *secrets),
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
            client = await self.http_client()
            response = await self._backend.with_timeout(
                seconds, lambda: call(client), meanwhile
            )
        except TimeoutError:
            reason, failure = f"no answer within {seconds:g} s", "timeout"
        except Exception as error:  # noqa: BLE001 - of the network, or of a bad proxy
            # or certificate file: TikTok cannot be asked now, whatever the reason
            failure = failure_of(error)
            reason = f"no answer: {type(error).__name__} ({FAILURES[failure]})"
        else:
            if len(response.content) <= ANSWER_LIMIT:
                return response
            reason = "an answer longer than 1 MB"
        unavailable = TikTokUnavailable("", reason)
        unavailable.failure = failure
        raise unavailable

    async def http_client(self) -> Any:
        """Return the HTTP client of this process or event loop.

        It is made once, in a thread, because its TLS context costs 20 ms. A client for
        one login uses the same context and costs 0.1 ms.
        """
        if self.shared is not None:
            client = await self.shared.http_client()
            if self.login_http is None:
                self.login_http = self.shared.make_login_http()
            return client if self.login_http is None else self.login_http
        return await self._backend.get_or_create(self._make, self, "http client")

    def make_login_http(self) -> Any:
        """Return the HTTP client of one login, which the caller closes.

        Return None if calls do not reach TikTok directly.
        """
        if not self._is_direct:
            return None
        return self._make_over(self._connections(keeps=True, ahead=self._ahead))

    async def warm(self) -> None:
        """Make the HTTP client of this process or event loop, if there is none yet."""
        await self.http_client()

    async def aclose(self) -> None:
        """Close the HTTP client of this process or event loop, if there is one."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            await ahead.aclose()
        client = self._backend.pop_created(self, "http client")
        if client is not None:
            await self._close(client)

    async def _close(self, client: Any) -> None:
        if self._backend.is_blocking:
            client.close()
        else:
            await client.aclose()

    def _make(self) -> Any:
        if self._transport is not None:
            return self._make_over(self._transport)
        if self._has_proxy():
            return self._make_over(None, verify=self._tls_context())
        self._is_direct = True
        connections = self._connections()
        origin = core_origin_of(self._settings.endpoints.token)
        if self._settings.connect_ahead and origin.scheme == b"https":
            kind = BlockingAhead if self._backend.is_blocking else AsyncAhead
            seconds = min(_CONNECT_SECONDS, self._settings.timeout)
            self._ahead = kind(origin, partial(connections.open, origin, seconds))
        return self._make_over(connections)

    def _connections(self, **options: Any) -> Any:
        kind = BlockingConnections if self._backend.is_blocking else AsyncConnections
        return kind(self._tls_context(), **options)

    def _make_over(self, transport: Any, **options: Any) -> Any:
        """Return an HTTP client.

        Args:
            transport: of the client; None for one that uses the environment's proxy.
            options: further options of the HTTP library's client.
        """
        kind: Any = _AsyncClient
        hook: Any = alimit_answer
        if self._backend.is_blocking:
            kind, hook = _SyncClient, limit_answer
        seconds = self._settings.timeout
        client = kind(
            self._settings.client_key,
            self._client_secrets,
            transport=transport,
            timeout=httpx.Timeout(seconds, connect=min(_CONNECT_SECONDS, seconds)),
            follow_redirects=False,
            # One client serves all users, so it must not send a cookie that an answer
            # to another user set.
            cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=())),
            event_hooks={"response": [partial(hook, seconds)]},
            **options,
        )
        # Each call passes all of its headers, which costs less than overriding those
        # of the client.
        for name in (*client.headers,):
            del client.headers[name]
        return client

    def _tls_context(self) -> Any:
        """Return the TLS settings, made once for the middleware.

        Reading the system's certificates costs 20 ms and more. An HTTP client belongs
        to an event loop and ends with a lifespan, which on serverless platforms is one
        request; TLS settings are bound to neither.
        """
        if self._tls.context is None:
            context = httpx.create_ssl_context()
            context.set_alpn_protocols(["http/1.1"])
            self._tls.context = context
        return self._tls.context

    @staticmethod
    def _has_proxy() -> bool:
        """Whether the environment names a proxy, which a transport would not use."""
        from urllib.request import getproxies

        return bool(getproxies())


def check_transport(transport: Any, *, blocking: bool) -> None:
    """Refuse a transport that could only fail at the first login.

    Raises:
        TypeError: it belongs to another HTTP library or backend.
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
