"""login_as: a whole login in one line of an app's own tests.

It accepts every client whose ``get`` returns a status and a Location: the test clients
of Starlette and Flask, the clients of httpx2 and httpx, and Django's, which
`testing.django.wrap_client` has wrapped in the middleware.
"""

from __future__ import annotations

from collections.abc import Awaitable, Generator, Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import urlencode, urlsplit

from tiktok_oauth_middleware._core.origins import origin_of

from .fake import LoginFlowError
from .mistakes import check_answer, check_middleware, check_stand_in_was_used

if TYPE_CHECKING:
    from .fake import FakeTikTok
    from .people import Person

AnswerT = TypeVar("AnswerT")
AnswerT_co = TypeVar("AnswerT_co", covariant=True)


class Client(Protocol[AnswerT_co]):
    """A test client; each kind takes further options."""

    def get(self, url: str, /, *args: Any, **options: Any) -> AnswerT_co:
        """GET a page of the app."""
        ...


class AsyncClient(Protocol[AnswerT_co]):
    """An async test client."""

    def get(self, url: str, /, *args: Any, **options: Any) -> Awaitable[AnswerT_co]:
        """GET a page of the app."""
        ...


class TikTokLogin(Protocol):
    """The fixture `tiktok_login`: `login_as`, with the stand-in of the test."""

    def __call__(
        self,
        client: Client[AnswerT],
        person: Person | None = None,
        *,
        scopes: Iterable[str] | None = None,
        next: str | None = None,
        login_path: str = "/auth/tiktok/login",
        deny: bool = False,
    ) -> AnswerT:
        """Log in; see `login_as`."""
        ...


def login_as(  # noqa: PLR0913 - public: what a login can vary
    client: Client[AnswerT],
    fake: FakeTikTok,
    person: Person | None = None,
    *,
    scopes: Iterable[str] | None = None,
    next: str | None = None,
    login_path: str = "/auth/tiktok/login",
    deny: bool = False,
) -> AnswerT:
    """Log in through the app; return the answer of its callback, without following it.

    If TikTok grants less than the app requested, without showing its page, the app
    sends the browser there once more. The helper follows this redirect too, with the
    same scopes ticked, and returns the answer to its callback.

    Args:
        client: a test client whose base address is the origin of the redirect URI;
            Werkzeug's may have any.
        fake: the stand-in that the app uses as TikTok.
        person: the user to log in; by default the first of the stand-in's people.
        scopes: the ones that the person leaves ticked; by default all requested ones.
            TikTok shows no page to a person who consented before, unless the app asks
            for it.
        next: where the app sends the browser after the login.
        login_path: the path where the app begins logins.
        deny: whether the person cancels at TikTok.

    Raises:
        LoginFlowError: the app did not send the browser to TikTok, the client's
            cookies would not reach the callback, the app uses another TikTok than
            `fake`, or `scopes` holds a scope that the app did not request.
        ConsentRefused: TikTok would have refused the app's request.
    """
    flow = _LoginSteps(client, fake, person, _rereadable(scopes), login_path, deny=deny)
    requests, answer = flow.requests(next), None
    while True:
        try:
            url, options = requests.send(answer)
        except StopIteration as end:
            last: AnswerT = end.value
            return last
        answer = client.get(url, **options)


async def alogin_as(  # noqa: PLR0913 - public: what a login can vary
    client: AsyncClient[AnswerT],
    fake: FakeTikTok,
    person: Person | None = None,
    *,
    scopes: Iterable[str] | None = None,
    next: str | None = None,
    login_path: str = "/auth/tiktok/login",
    deny: bool = False,
) -> AnswerT:
    """Log in as `login_as` does, with an async client of httpx2, httpx or Django."""
    flow = _LoginSteps(client, fake, person, _rereadable(scopes), login_path, deny=deny)
    requests, answer = flow.requests(next), None
    while True:
        try:
            url, options = requests.send(answer)
        except StopIteration as end:
            last: AnswerT = end.value
            return last
        answer = await client.get(url, **options)


#: Yields each request of a login, is sent its answer, and returns the last one.
_Requests = Generator[tuple[str, dict[str, Any]], Any, Any]


@dataclass(frozen=True, slots=True)
class _LoginSteps:
    """The steps of one login, for both kinds of client."""

    client: object
    fake: FakeTikTok
    person: Person | None
    scopes: str | tuple[str, ...] | None
    login_path: str
    deny: bool = field(kw_only=True)

    def requests(self, target: str | None) -> _Requests:
        """Log in, and go to `target` afterwards."""
        authorize = yield from self._begin(_with_next(self.login_path, target))
        if _is_moved(authorize, self.login_path):
            _check_origin(self.client, authorize)
            authorize = yield from self._begin(authorize)
        answer = yield from self._consent(authorize, deny=self.deny)
        second = _second_trip(answer, authorize)
        if second is not None:
            answer = yield from self._consent(second, deny=False)
        return answer

    def _begin(self, url: str) -> _Requests:
        """Return where the app sends the browser."""
        url, options = _get_arguments(self.client, url)
        # The request looks like one of a browser that follows a link on the app's page.
        answer = yield url, {**options, "headers": {"sec-fetch-site": "same-origin"}}
        return _location(self.client, answer, self.login_path)

    def _consent(self, authorize: str, *, deny: bool) -> _Requests:
        """Decide on TikTok's page, and return the app's answer to the callback."""
        callback = self.fake.consent(
            authorize, person=self.person, scopes=self.scopes, deny=deny
        )
        check_middleware(self.client, self.fake, authorize)
        _check_origin(self.client, callback)
        before = len(self.fake.requests)
        answer = yield _get_arguments(self.client, callback)
        status = answer.status_code
        check_answer(self.fake, before, callback, status)
        check_stand_in_was_used(self.client, self.fake, before, callback, status)
        return answer


def _rereadable(scopes: Iterable[str] | None) -> str | tuple[str, ...] | None:
    """Return scopes that can be read twice; `consent` refuses a plain string."""
    return scopes if scopes is None or isinstance(scopes, str) else tuple(scopes)


def _with_next(login_path: str, target: str | None) -> str:
    if target is None:
        return login_path
    joint = "&" if "?" in login_path else "?"
    return f"{login_path}{joint}{urlencode({'next': target})}"


def _library_of(client: object) -> frozenset[str]:
    """Return the libraries of a client's class and of its bases."""
    return frozenset(kind.__module__.partition(".")[0] for kind in type(client).__mro__)


def _get_arguments(client: object, url: str) -> tuple[str, dict[str, Any]]:
    """Return the arguments of a client's ``get`` that follows no redirect."""
    libraries = _library_of(client)
    if libraries & {"httpx", "httpx2"}:
        return url, {"follow_redirects": False}
    # Werkzeug's client keeps cookies by host. Without a host in the address the whole
    # login goes to the one that later requests go to, too. Django's has one host only.
    local = urlsplit(url)._replace(scheme="", netloc="").geturl()
    return local, {"follow" if "django" in libraries else "follow_redirects": False}


def _is_moved(location: str, login_path: str) -> bool:
    """Whether the app redirected the login to the same path on its own origin."""
    requested = urlsplit(login_path).path
    return urlsplit(location).path == requested and "moved=1" in location


def _second_trip(response: Any, authorize: str) -> str | None:
    """Return the address if the app sent the browser to TikTok's page again."""
    location = str(response.headers.get("location") or "")
    is_same = urlsplit(location)[:3] == urlsplit(authorize)[:3]
    return location if response.status_code in (302, 303) and is_same else None


def _check_origin(client: object, callback: str) -> None:
    """Refuse a client that would not send the login's cookies to the callback.

    They are host-only and Secure, both of which Werkzeug's client ignores.
    """
    base = str(getattr(client, "base_url", ""))
    if base.startswith(("http://", "https://")):
        wanted = origin_of(callback)
        if origin_of(base) != wanted:
            message = (
                f"the client's base_url is {origin_of(base)}, the callback's origin"
                f" {wanted}, and cookies of one are not sent to the other: make the"
                f" client with base_url={wanted!r}"
            )
            raise LoginFlowError(message)


def _location(client: object, response: Any, requested: str) -> str:
    status = response.status_code
    location = response.headers.get("location")
    if status not in (302, 303) or not location:
        message = (
            f"{requested} answered {status} instead of sending the browser to TikTok"
        )
        if status == HTTPStatus.NOT_FOUND:
            message += "; is the middleware around this app, and is that its login_path"
        if "django" in _library_of(client):
            message += "; is the middleware around this client (testing.django)?"
        raise LoginFlowError(message)
    return str(location)
