"""Django's test clients: signed in at once, or with the middleware around them.

`tiktok_login` signs a client in to a project with `TikTokMiddleware` in MIDDLEWARE,
without a trip to TikTok: it writes the record that a login would write.

`wrap_client` is for a project that is wrapped from outside. `django.test.Client` and
`AsyncClient` call Django's handler directly, without the middleware that ``wsgi.py`` or
``asgi.py`` put around the application. `wrap_client` wraps the client's handler. The
response is still the object that Django's assertions expect, with the headers and
cookies that the middleware gave it.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.core.handlers.asgi import ASGIRequest
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpResponse
from django.test import AsyncClient

from tiktok_oauth_middleware._core.backends.one_step import run
from tiktok_oauth_middleware._core.secret import Secret
from tiktok_oauth_middleware._oauth.scopes import join_scopes, split_scopes
from tiktok_oauth_middleware._oauth.user import User
from tiktok_oauth_middleware._session.record import Session, UserRecord, record_id
from tiktok_oauth_middleware._session.rows import swap_attempts
from tiktok_oauth_middleware.auth import Login

from .fake import LoginFlowError
from .provider import ACCESS_LIFETIME, REFRESH_LIFETIME

if TYPE_CHECKING:
    from tiktok_oauth_middleware.settings.options import TikTokSettings

__all__ = ["tiktok_login", "wrap_client"]

_Client = TypeVar("_Client")
_Headers = list[tuple[str, str]]
#: The key in the environ or scope under which the application leaves Django's response.
_ANSWER = "tiktok.testing.answer"


def tiktok_login(
    client: Any,
    open_id: str = "-000test-person",
    *,
    scopes: Iterable[str] | None = None,
    display_name: str = "Test Person",
    user: Any = None,
) -> Any:
    """Sign a test client in, as a login at TikTok does, without that login.

    With `TikTokBackend` the client is signed in to Django too. The access token is
    random; TikTok does not accept it.

    Args:
        client: a ``django.test.Client``, or an ``AsyncClient``, with which the call is
            awaited.
        open_id: the open_id of the person who logs in.
        scopes: the granted scopes; the settings' ``scopes`` if not given.
        display_name: the name in their profile.
        user: the Django user who gets the account; found or created if not given.

    Returns:
        The `User`, as ``request.tiktok.user`` shows it; with an ``AsyncClient`` an
        awaitable of it.

    Raises:
        ConfigurationError: the settings are wrong.
        LoginFlowError: the account is another user's, ``may_sign_up`` refused it, or
            no login of the project requests one of the scopes.
        StoreError: the store failed.
    """
    person = User(open_id=open_id, display_name=display_name)
    if isinstance(client, AsyncClient):
        return sync_to_async(_log_in)(client, person, scopes, user)
    return _log_in(client, person, scopes, user)


def _log_in(client: Any, person: User, scopes: Iterable[str] | None, user: Any) -> User:
    from tiktok_oauth_middleware.django import installation

    installed = installation()
    core = installed.core(is_async=False)
    granted = join_scopes(_granted(installed.settings, scopes))
    named = record_id(installed.settings.client_key, person.open_id)
    value, ticket = core.cookies.issue(named)
    now = int(core.clock())
    session = Session(ticket.digest, now, now)
    profile = json.dumps({"display_name": person.display_name})
    for _ in swap_attempts():
        stored = run(core.service.records.load(named))
        before = stored.record.sessions if stored is not None else ()
        record = UserRecord(
            open_id=person.open_id,
            access_token=Secret(f"act.test-{secrets.token_urlsafe(24)}"),
            issued_at=now,
            expires_at=now + ACCESS_LIFETIME,
            refresh_token=Secret(f"rft.test-{secrets.token_urlsafe(24)}"),
            refresh_expires_at=now + REFRESH_LIFETIME,
            scopes=granted,
            profile=profile,
            profile_at=now,
            sessions=(*before, session),
        )
        written = run(
            core.service.records.create(named, record)
            if stored is None
            else core.service.records.replace(stored, record)
        )
        if written is not None:
            break
    client.cookies[core.cookies.session_name] = value
    _log_in_to_django(client, person, granted, user)
    return person


def _granted(settings: TikTokSettings, scopes: Iterable[str] | None) -> tuple[str, ...]:
    """Return the scopes to grant; refuse those that no login requests.

    Raises:
        LoginFlowError: `scopes` holds one of them, or is one text.
    """
    if scopes is None:
        return tuple(settings.scopes)
    if isinstance(scopes, str):
        message = f"scopes={scopes!r}: pass a list of scopes, not one string"
        raise LoginFlowError(message)
    granted, offered = tuple(scopes), {*settings.scopes, *settings.optional_scopes}
    if more := [scope for scope in granted if scope not in offered]:
        message = (
            f"scopes= holds {', '.join(map(repr, more))}, which no login of the project"
            " requests: name it in scopes or optional_scopes of the settings"
        )
        raise LoginFlowError(message)
    return granted


def _log_in_to_django(client: Any, person: User, granted: str, user: Any) -> None:
    """Sign the client in to Django, if the project uses our backend."""
    from tiktok_oauth_middleware.django.local_accounts import backend_path

    if backend_path() is None:
        return
    from tiktok_oauth_middleware.django import accounts
    from tiktok_oauth_middleware.django.bound_user import BOUND_TO

    login = Login(open_id=person.open_id, scopes=split_scopes(granted), user=person)
    if user is None:
        user = accounts.find_or_make(None, login)
        if user is None:
            message = "may_sign_up refused this person: pass user="
            raise LoginFlowError(message)
    elif accounts.connect(user, login)[0] is None:
        message = f"{person.open_id} is the account of another user"
        raise LoginFlowError(message)
    # Not by force_login, which writes seven times.
    session = import_module(settings.SESSION_ENGINE).SessionStore()
    session[SESSION_KEY] = user._meta.pk.value_to_string(user)
    session[BACKEND_SESSION_KEY] = backend_path()
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session[BOUND_TO] = person.open_id
    session.save()
    client.cookies[settings.SESSION_COOKIE_NAME] = session.session_key


def wrap_client(client: _Client, wrap: Callable[[Any], Any]) -> _Client:
    """Put the middleware between a test client of Django and the project.

    Args:
        client: a ``django.test.Client`` or ``AsyncClient``, or one derived from them.
        wrap: takes the application and returns it wrapped, as ``wsgi.py`` does for a
            ``Client`` and ``asgi.py`` for an ``AsyncClient``.

    Returns:
        The same client.
    """
    given: Any = client
    kind = _ASGIHandler if isinstance(client, AsyncClient) else _WSGIHandler
    given.handler = kind(given.handler, wrap)
    return client


class _WSGIHandler:
    def __init__(self, handler: Any, wrap: Callable[[Any], Any]) -> None:
        self._handler = handler
        self._wrapped = wrap(self._application)

    def _application(
        self, environ: dict[str, Any], start_response: Any
    ) -> Iterable[bytes]:
        response = environ.pop(_ANSWER)["response"] = self._handler(environ)
        status = f"{response.status_code} {response.reason_phrase}"
        start_response(status, _headers_of(response))
        return []  # the body stays in the response

    def __call__(self, environ: dict[str, Any]) -> Any:
        answer: dict[str, Any] = {}

        def start_response(status: str, headers: _Headers, _exc: Any = None) -> None:
            answer.update(status=status, headers=headers)

        body = self._wrapped({**environ, _ANSWER: answer}, start_response)
        try:
            content = b"".join(body)
        finally:
            getattr(body, "close", lambda: None)()
        response: Any = answer.get("response")
        if response is None:
            response = _as_django_response(content, int(answer["status"][:3]))
            response.wsgi_request = WSGIRequest(environ)
        return _with_headers(response, answer["headers"])


class _ASGIHandler:
    def __init__(self, handler: Any, wrap: Callable[[Any], Any]) -> None:
        self._handler = handler
        self._wrapped = wrap(self._application)

    async def _application(self, scope: Any, _receive: Any, send: Any) -> None:
        scope = dict(scope)
        response = scope.pop(_ANSWER)["response"] = await self._handler(scope)
        headers = [(k.encode(), v.encode("latin-1")) for k, v in _headers_of(response)]
        status = response.status_code
        await send(
            {"type": "http.response.start", "status": status, "headers": headers}
        )
        await send({"type": "http.response.body"})  # the body stays in the response

    async def __call__(self, scope: dict[str, Any]) -> Any:
        answer: dict[str, Any] = {"body": b""}

        async def receive() -> dict[str, Any]:
            payload = scope.get("_body_file")
            body = payload.read() if payload else b""
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                answer.update(message)
            else:
                answer["body"] += message.get("body", b"")

        query = scope.get("query_string", b"")
        if isinstance(query, str):  # as Django's client writes it; ASGI has bytes
            scope = {**scope, "query_string": query.encode("latin-1")}
        # Until CVE-2026-3902 its client wrote names such as b"tiktok_signature".
        named = [(k.replace(b"_", b"-"), v) for k, v in scope.get("headers", [])]
        scope = {**scope, "headers": named}
        await self._wrapped({**scope, _ANSWER: answer}, receive, send)
        response: Any = answer.get("response")
        if response is None:
            response = _as_django_response(answer["body"], answer["status"])
            response.asgi_request = ASGIRequest(scope, None)
        headers = [
            (k.decode("latin-1"), v.decode("latin-1")) for k, v in answer["headers"]
        ]
        return _with_headers(response, headers)


def _as_django_response(body: bytes, status: int) -> Any:
    """Return a response of the middleware itself as a response of Django."""
    return HttpResponse(body, status=status)


def _headers_of(response: Any) -> _Headers:
    cookies = [cookie.output(header="").strip() for cookie in response.cookies.values()]
    return [*response.items(), *(("Set-Cookie", cookie) for cookie in cookies)]


def _with_headers(response: Any, headers: _Headers) -> Any:
    """Give a response the headers that the middleware sent with it."""
    before = _headers_of(response)
    for name in list(response.headers):
        del response.headers[name]
    for name, value in headers:
        if name.lower() != "set-cookie":
            existing = response.headers.get(name)
            response.headers[name] = (
                value if existing is None else f"{existing}, {value}"
            )
        elif (name, value) not in before:
            response.cookies.load(value)
    if "location" in response.headers:
        response.url = response.headers["location"]  # as its own redirects have it
    return response
