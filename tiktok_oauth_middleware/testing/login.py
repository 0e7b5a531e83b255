"""login_as: a whole login in one line of a user's own tests.

It speaks to whatever has ``get`` and answers with a status and a Location: the test
clients of Starlette and Flask, the clients of httpx2 and httpx, and Django's, around
which `testing.django.wrap_client` has put the middleware.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import urlencode, urlsplit

from tiktok_oauth_middleware._core.origins import origin_of

from .fake import LoginFlowError
from .mistakes import check_answer, check_middleware, check_scopes, check_was_asked

if TYPE_CHECKING:
    from .fake import FakeTikTok
    from .provider import Person

Answer = TypeVar("Answer")
Answer_co = TypeVar("Answer_co", covariant=True)


class Client(Protocol[Answer_co]):
    """What a test client must be able to do; each of them takes further options."""

    def get(self, url: str, /, *args: Any, **options: Any) -> Answer_co:
        """GET a page of the app."""
        ...


class AsyncClient(Protocol[Answer_co]):
    """The same of an async client."""

    def get(self, url: str, /, *args: Any, **options: Any) -> Awaitable[Answer_co]:
        """GET a page of the app."""
        ...


class TikTokLogin(Protocol):
    """The fixture `tiktok_login`: `login_as`, with the stand-in of the test."""

    def __call__(
        self,
        client: Client[Answer],
        person: Person | None = None,
        *,
        scopes: Iterable[str] | None = None,
        next: str | None = None,  # noqa: A002
        login_path: str = "/auth/tiktok/login",
        deny: bool = False,
    ) -> Answer:
        """Log in; see `login_as`."""
        ...


def login_as(  # noqa: PLR0913 - what a login can be asked
    client: Client[Answer],
    fake: FakeTikTok,
    person: Person | None = None,
    *,
    scopes: Iterable[str] | None = None,
    next: str | None = None,  # noqa: A002 - the word of the login path's query
    login_path: str = "/auth/tiktok/login",
    deny: bool = False,
) -> Answer:
    """Log in through the app; return what its callback answers, not followed further.

    Where TikTok grants less than the app asked for without showing its page, the app
    sends the browser there once more: that trip is made too, and the same is left
    ticked. What is returned is the answer to the last callback.

    Args:
        client: a test client whose base address is the origin of the redirect URI;
            Werkzeug's may have any.
        fake: the stand-in that is the app's TikTok.
        person: who logs in; the first of the stand-in's people if not given.
        scopes: what they leave ticked; everything asked for if not given. TikTok shows
            no page to a person who consented before, unless the app asks for it.
        next: where to go afterwards.
        login_path: where the app answers logins.
        deny: they cancel at TikTok.

    Raises:
        LoginFlowError: the app did not send the browser to TikTok, the client's
            cookies would not reach the callback, the app asks another TikTok than
            `fake`, or `scopes` holds what the app did not ask for.
        ConsentRefused: TikTok would have refused what the app asked.
    """
    scopes = _ticked(scopes)
    url, options = _asked(client, _with_next(login_path, next))
    authorize = _location(client, client.get(url, **options), login_path)
    if _is_moved(authorize, login_path):
        _check_origin(client, authorize)
        url, options = _asked(client, authorize)
        authorize = _location(client, client.get(url, **options), login_path)
    callback, asked = _consent(client, fake, authorize, person, scopes, deny=deny)
    url, options = _asked(client, callback)
    answer = client.get(url, **options)
    _check(client, fake, asked, callback, answer)
    second = _second_trip(answer, authorize)
    if second is not None:
        callback, asked = _consent(client, fake, second, person, scopes, deny=False)
        url, options = _asked(client, callback)
        answer = client.get(url, **options)
        _check(client, fake, asked, callback, answer)
    return answer


async def alogin_as(  # noqa: PLR0913 - what a login can be asked
    client: AsyncClient[Answer],
    fake: FakeTikTok,
    person: Person | None = None,
    *,
    scopes: Iterable[str] | None = None,
    next: str | None = None,  # noqa: A002
    login_path: str = "/auth/tiktok/login",
    deny: bool = False,
) -> Answer:
    """Log in as `login_as` does, with an async client of httpx2, httpx or Django."""
    scopes = _ticked(scopes)
    url, options = _asked(client, _with_next(login_path, next))
    authorize = _location(client, await client.get(url, **options), login_path)
    if _is_moved(authorize, login_path):
        _check_origin(client, authorize)
        url, options = _asked(client, authorize)
        authorize = _location(client, await client.get(url, **options), login_path)
    callback, asked = _consent(client, fake, authorize, person, scopes, deny=deny)
    url, options = _asked(client, callback)
    answer = await client.get(url, **options)
    _check(client, fake, asked, callback, answer)
    second = _second_trip(answer, authorize)
    if second is not None:
        callback, asked = _consent(client, fake, second, person, scopes, deny=False)
        url, options = _asked(client, callback)
        answer = await client.get(url, **options)
        _check(client, fake, asked, callback, answer)
    return answer


def _consent(
    client: object,
    fake: FakeTikTok,
    authorize: str,
    person: Person | None,
    scopes: str | tuple[str, ...] | None,
    *,
    deny: bool,
) -> tuple[str, int]:
    """Return the callback, and how many requests the stand-in had until then."""
    check_scopes(authorize, scopes)
    callback = fake.consent(authorize, person=person, scopes=scopes, deny=deny)
    check_middleware(client, fake, authorize)
    _check_origin(client, callback)
    return callback, len(fake.requests)


def _check(
    client: object, fake: FakeTikTok, asked: int, callback: str, answer: Any
) -> None:
    status = answer.status_code
    check_answer(fake, asked, callback, status)
    check_was_asked(client, fake, asked, callback, status)


def _ticked(scopes: Iterable[str] | None) -> str | tuple[str, ...] | None:
    """Return scopes that may be read twice; a plain string is for `check_scopes`."""
    return scopes if scopes is None or isinstance(scopes, str) else tuple(scopes)


def _with_next(login_path: str, target: str | None) -> str:
    if target is None:
        return login_path
    joint = "&" if "?" in login_path else "?"
    return f"{login_path}{joint}{urlencode({'next': target})}"


def _library_of(client: object) -> frozenset[str]:
    """Return what a client is made of, also where a test suite derives its own."""
    return frozenset(kind.__module__.partition(".")[0] for kind in type(client).__mro__)


def _asked(client: object, url: str) -> tuple[str, dict[str, bool]]:
    """Return the address and options that a client is to GET, following nothing."""
    libraries = _library_of(client)
    if libraries & {"httpx", "httpx2"}:
        return url, {"follow_redirects": False}
    # Werkzeug's client keeps cookies by host: the whole login goes to the one that it
    # asks later too, unless told otherwise. Django's knows but one.
    local = urlsplit(url)._replace(scheme="", netloc="").geturl()
    return local, {"follow" if "django" in libraries else "follow_redirects": False}


def _is_moved(location: str, login_path: str) -> bool:
    """Whether the app sent the login on to the site's own address first."""
    asked = urlsplit(login_path).path
    return urlsplit(location).path == asked and "moved=1" in location


def _second_trip(response: Any, authorize: str) -> str | None:
    """Return where the app sent the browser once more, if that is TikTok's page."""
    location = str(response.headers.get("location") or "")
    is_same = urlsplit(location)[:3] == urlsplit(authorize)[:3]
    return location if response.status_code in (302, 303) and is_same else None


def _check_origin(client: object, callback: str) -> None:
    """Refuse a client that would keep the login's cookies from the callback.

    They are host-only and Secure; Werkzeug's client looks at neither.
    """
    base = str(getattr(client, "base_url", ""))
    if base.startswith(("http://", "https://")):
        wanted = origin_of(callback)
        if origin_of(base) != wanted:
            message = (
                f"the client's base_url is {origin_of(base)}, the callback's origin"
                f" {wanted}, and a browser keeps cookies apart by it: make the client"
                f" with base_url={wanted!r}"
            )
            raise LoginFlowError(message)


def _location(client: object, response: Any, asked: str) -> str:
    status = response.status_code
    location = response.headers.get("location")
    if status not in (302, 303) or not location:
        message = f"{asked} answered {status} instead of sending the browser to TikTok"
        if status == HTTPStatus.NOT_FOUND:
            message += "; is the middleware around this app, and is that its login_path"
        if "django" in _library_of(client):
            message += "; is the middleware around this client (testing.django)?"
        raise LoginFlowError(message)
    return str(location)
