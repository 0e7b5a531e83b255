"""The HTTP clients for TikTok: Authlib's class, adapted, made once and closed.

Authlib writes and sends the requests. Two of its extension points adapt it to TikTok: a
client authentication method, which puts ``client_key`` into the form and never
``client_id``, and a token reader, which returns the raw response. That reader must
never call Authlib's own: one client serves all users, and Authlib's reader stores the
last token on the client, from where it could reach another user.

Each process, or event loop, has one client. A login may have one of its own, whose
calls share a connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from tiktok_oauth_middleware._core.secret import Secret

from .ahead import AsyncAhead, BlockingAhead
from .answer_limits import alimit_answer, limit_answer
from .connections import AsyncConnections, BlockingConnections, core_origin_of
from .http_library import AsyncOAuth2Client, OAuth2Client, httpx
from .tls_context import TLSContext

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.backends.base import Backend
    from tiktok_oauth_middleware.settings.options import TikTokSettings

_CONNECT_SECONDS = 3
#: Client authentication with the present secret, and with the previous one.
AUTH_METHODS = ("client_key_post", "previous_client_key_post")


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

    #: Whether the next request may use the connection of this one: in one login only.
    keeps_connection = False

    def __init__(
        self, client_key: str, client_secrets: Sequence[Secret], **options: Any
    ) -> None:
        """Take the app's secrets, the current one first."""
        super().__init__(  # type: ignore[call-arg]
            client_key,  # pyright: ignore[reportCallIssue] - a mixin's super()
            client_secrets[0],
            token_endpoint_auth_method=AUTH_METHODS[0],
            revocation_endpoint_auth_method=AUTH_METHODS[0],
            **options,
        )
        for method, secret in zip(AUTH_METHODS, client_secrets, strict=False):
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


class HTTPClients:
    """The HTTP clients of one app, made when they are needed."""

    def __init__(
        self,
        settings: TikTokSettings,
        backend: Backend,
        *,
        transport: Any,
        tls: TLSContext | None,
    ) -> None:
        """Take the credentials and the timeout; see `TikTokClient`.

        Raises:
            TypeError: `transport` belongs to another HTTP library or backend.
        """
        check_transport(transport, blocking=backend.is_blocking)
        self._settings = settings
        self._backend = backend
        self._transport = transport
        self._tls = TLSContext() if tls is None else tls
        #: Whether calls go to TikTok without a proxy or an injected transport.
        self._is_direct = False
        #: Opens a connection for the next login; None where that is not possible.
        self.ahead: AsyncAhead | BlockingAhead | None = None
        previous = settings.previous_client_secret
        #: The current one first.
        self.client_secrets = tuple(
            Secret(secret) for secret in (settings.client_secret, previous) if secret
        )

    async def get(self) -> Any:
        """Return the HTTP client of this process or event loop.

        It is made once, in a thread, because its TLS context costs 20 ms. A client for
        one login uses the same context and costs 0.1 ms.
        """
        return await self._backend.get_or_create(self.make, self, "http client")

    def make_for_one_login(self) -> Any:
        """Return the HTTP client of one login, which the caller closes.

        Return None if calls do not reach TikTok directly.
        """
        if not self._is_direct:
            return None
        client = self._make_over(self._connections(keeps=True, ahead=self.ahead))
        client.keeps_connection = True
        return client

    def connect_ahead(self) -> None:
        """Begin to open a connection for the next login, and return at once.

        Nothing happens before the first call of `get`, which makes the TLS settings.
        """
        ahead = self.ahead
        if (
            ahead is not None
            and ahead.may_begin()
            and not self._backend.in_background(ahead.run)
        ):
            ahead.cannot_run()

    async def aclose(self) -> None:
        """Close the HTTP client of this process or event loop, if there is one."""
        ahead, self.ahead = self.ahead, None
        if ahead is not None:
            await ahead.aclose()
        client = self._backend.pop_created(self, "http client")
        if client is not None:
            await self.close(client)

    async def close(self, client: Any) -> None:
        """Close a client that was made here."""
        if self._backend.is_blocking:
            client.close()
        else:
            await client.aclose()

    def make(self) -> Any:
        """Return a new HTTP client, for all calls but those of a login with its own."""
        if self._transport is not None:
            return self._make_over(self._transport)
        if self._has_proxy():
            return self._make_over(None, verify=self._tls.get())
        self._is_direct = True
        connections = self._connections()
        origin = core_origin_of(self._settings.endpoints.token)
        if self._settings.connect_ahead and origin.scheme == b"https":
            kind = BlockingAhead if self._backend.is_blocking else AsyncAhead
            seconds = min(_CONNECT_SECONDS, self._settings.timeout)
            self.ahead = kind(origin, partial(connections.open, origin, seconds))
        return self._make_over(connections)

    def _connections(self, **options: Any) -> Any:
        kind = BlockingConnections if self._backend.is_blocking else AsyncConnections
        return kind(self._tls.get(), **options)

    def _make_over(self, transport: Any, **options: Any) -> Any:
        """Return an HTTP client.

        Args:
            transport: of the client; None for one that uses the environment's proxy.
            options: further options of the HTTP library's client.
        """
        seconds = self._settings.timeout
        kind: Any = _AsyncClient
        hook: Any = alimit_answer
        # The call as a whole has a deadline. A read that had one of its own would end
        # before the event loop has looked for the answer, if the app kept it busy.
        read: float | None = None
        if self._backend.is_blocking:
            kind, hook, read = _SyncClient, limit_answer, seconds
        client = kind(
            self._settings.client_key,
            self.client_secrets,
            transport=transport,
            timeout=httpx.Timeout(read, connect=min(_CONNECT_SECONDS, seconds)),
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

    @staticmethod
    def _has_proxy() -> bool:
        """Whether the environment names a proxy, which a transport would not use."""
        from urllib.request import getproxies

        return bool(getproxies())


class OneLogin:
    """The HTTP client of one login, made at its first call."""

    def __init__(self, clients: HTTPClients) -> None:
        """Take the clients of the app."""
        self._clients = clients
        self._own: Any = None

    async def get(self) -> Any:
        """Return the login's own client, or the app's if it can have none."""
        shared = await self._clients.get()
        if self._own is None:
            self._own = self._clients.make_for_one_login()
        return shared if self._own is None else self._own

    async def aclose(self) -> None:
        """Close the login's own client, if it has one."""
        if self._own is not None:
            await self._clients.close(self._own)


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
