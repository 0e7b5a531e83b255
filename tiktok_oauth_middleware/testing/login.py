"""login_as: a whole login in one line of a user's own tests.

It speaks to whatever has ``get`` and answers with a status and a Location: the test
clients of Starlette and Flask, and the clients of httpx2. Django's never reaches what
is wrapped around its application: use httpx2's with a WSGITransport.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from ..errors import TikTokOAuthError
from ..http import origin_of

if TYPE_CHECKING:
    from .fake import FakeTikTok
    from .provider import Person


class LoginDidNotGoOn(TikTokOAuthError):
    """A step of the login was answered otherwise than a login answers it."""

    code = "login_did_not_go_on"


def login_as(  # noqa: PLR0913 - what a login can be asked
    client: Any,
    fake: FakeTikTok,
    person: Person | None = None,
    *,
    scopes: Iterable[str] | None = None,
    next: str | None = None,  # noqa: A002 - the word of the login path's query
    login_path: str = "/auth/tiktok/login",
    deny: bool = False,
) -> Any:
    """Log in through the app; return what its callback answers, not followed further.

    Args:
        client: a test client whose base address is the origin of the redirect URI;
            Werkzeug's may have any.
        fake: the stand-in that is the app's TikTok.
        person: who logs in; the first of the stand-in's people if not given.
        scopes: what they leave ticked; everything asked for if not given.
        next: where to go afterwards.
        login_path: where the app answers logins.
        deny: they cancel at TikTok.

    Raises:
        LoginDidNotGoOn: the app did not send the browser to TikTok, or the client's
            cookies would not reach the callback.
        ConsentRefused: TikTok would have refused what the app asked.
    """
    begun = _get(client, _with_next(login_path, next))
    authorize = _location(begun, login_path)
    callback = fake.consent(authorize, person=person, scopes=scopes, deny=deny)
    _check_origin(client, callback)
    return _get(client, callback)


async def alogin_as(  # noqa: PLR0913 - what a login can be asked
    client: Any,
    fake: FakeTikTok,
    person: Person | None = None,
    *,
    scopes: Iterable[str] | None = None,
    next: str | None = None,  # noqa: A002
    login_path: str = "/auth/tiktok/login",
    deny: bool = False,
) -> Any:
    """Log in as `login_as` does, with an async client of httpx2."""
    begun = await client.get(_with_next(login_path, next), follow_redirects=False)
    authorize = _location(begun, login_path)
    callback = fake.consent(authorize, person=person, scopes=scopes, deny=deny)
    _check_origin(client, callback)
    return await client.get(callback, follow_redirects=False)


def _with_next(login_path: str, target: str | None) -> str:
    if target is None:
        return login_path
    joint = "&" if "?" in login_path else "?"
    return f"{login_path}{joint}{urlencode({'next': target})}"


def _get(client: Any, url: str) -> Any:
    """GET in the client's own way, following nothing."""
    # Of which library, also where the test suite has a subclass of its own.
    kinds = {base.__module__.partition(".")[0] for base in type(client).__mro__}
    if kinds & {"httpx", "httpx2"}:
        return client.get(url, follow_redirects=False)
    parts = urlsplit(url)
    local = parts._replace(scheme="", netloc="").geturl()
    # Werkzeug's client keeps cookies by host: the whole login goes to the one that it
    # asks later too, unless told otherwise.
    return client.get(local, follow_redirects=False)


def _check_origin(client: Any, callback: str) -> None:
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
            raise LoginDidNotGoOn(message)


def _location(response: Any, asked: str) -> str:
    status = response.status_code
    location = response.headers.get("location")
    if status not in (302, 303) or not location:
        message = f"{asked} answered {status} instead of sending the browser to TikTok"
        raise LoginDidNotGoOn(message)
    return str(location)
