"""TikTok's endpoints: what each is asked, and what its answer means.

The requests are written and sent by Authlib, whose client `http_clients` makes. Foreign
exceptions stop here. Those of the HTTP library hold the request, with its form and
secrets, so our errors are raised without them as their cause.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from copy import copy
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, TypeVar

from tiktok_oauth_middleware._core.log import logger
from tiktok_oauth_middleware.errors import TikTokError, TikTokUnavailable

from . import protocol, token_response, user_info
from .answer_limits import ANSWER_LIMIT
from .http_clients import AUTH_METHODS, HTTPClients, OneLogin
from .http_library import httpx
from .network_failures import FAILURES, failure_of

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.backends.base import Backend, Meanwhile
    from tiktok_oauth_middleware.settings.options import TikTokSettings

    from .tls_context import TLSContext
    from .token_response import TokenResponse

_Answer = TypeVar("_Answer")
Timing = Callable[[str], AbstractContextManager[object]]

_PREVIOUS_ACCEPTED = (
    "TikTok refused client_secret (invalid_client) and accepted previous_client_secret:"
    " the new secret is wrong, or the portal does not use it yet"
)

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
        self._timing: Timing = nullcontext if timing is None else timing
        self._on_status = on_status
        self._clock = clock
        #: The HTTP clients of the app.
        self.http = HTTPClients(settings, backend, transport=transport, tls=tls)
        #: The client of the one login that this object is for.
        self.one_login: OneLogin | None = None

    @asynccontextmanager
    async def for_one_login(self) -> AsyncIterator[TikTokClient]:
        """Return a client for the calls of one login, and close its connection.

        The exchange and the request for the profile share the connection, unless there
        is a proxy or an injected transport.
        """
        one = copy(self)
        one.one_login = login = OneLogin(self.http)
        try:
            yield one
        finally:
            await login.aclose()

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
                    if client.keeps_connection and self._settings.fetch_user
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
            return await ask(AUTH_METHODS[0], seconds)
        except TikTokError as error:
            left = deadline - time.monotonic()
            is_refused = error.error == "invalid_client"
            if not is_refused or len(self.http.client_secrets) == 1 or left <= 0:
                raise
            refused = error
        try:
            answer = await ask(AUTH_METHODS[1], left)
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
            secrets=(*self.http.client_secrets, *secrets),
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
            client = await (self.one_login or self.http).get()
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

    async def aclose(self) -> None:
        """Close the HTTP client of this process or event loop, if there is one."""
        await self.http.aclose()
