"""login_as: a whole login in one line of a user's own tests.

It speaks to whatever has ``get`` and answers with a status and a Location: the test
clients of Starlette, Flask and Django, and the clients of httpx2.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from ..errors import TikTokOAuthError

if TYPE_CHECKING:
    from .fake import FakeTikTok
    from .provider import Person


class LoginDidNotGoOn(TikTokOAuthError):  # noqa: N818
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
        client: a test client whose base address is the origin of the redirect URI.
        fake: the stand-in that is the app's TikTok.
        person: who logs in; the first of the stand-in's people if not given.
        scopes: what they leave ticked; everything asked for if not given.
        next: where to go afterwards.
        login_path: where the app answers logins.
        deny: they cancel at TikTok.

    Raises:
        LoginDidNotGoOn: the app did not send the browser to TikTok.
        ConsentRefused: TikTok would have refused what the app asked.
    """
    begun = _get(client, _with_next(login_path, next))
    authorize = _location(begun, login_path)
    callback = fake.consent(authorize, person=person, scopes=scopes, deny=deny)
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
    return await client.get(callback, follow_redirects=False)


def _with_next(login_path: str, target: str | None) -> str:
    return (
        login_path if target is None else f"{login_path}?{urlencode({'next': target})}"
    )


def _get(client: Any, url: str) -> Any:
    """GET in the client's own way, following nothing."""
    kind = type(client).__module__.partition(".")[0]
    if kind in ("httpx", "httpx2", "starlette", "fastapi"):
        return client.get(url, follow_redirects=False)
    parts = urlsplit(url)
    local = parts._replace(scheme="", netloc="").geturl()
    if kind == "django":
        secure = parts.scheme != "http"
        return client.get(local, secure=secure)
    # Werkzeug's client: its cookies are kept by host and need https to be Secure.
    origin = f"{parts.scheme}://{parts.netloc}" if parts.netloc else None
    known = getattr(client, "_tiktok_origin", None) or "https://localhost"
    return client.get(local, base_url=origin or known, follow_redirects=False)


def _location(response: Any, asked: str) -> str:
    status = response.status_code
    location = response.headers.get("location")
    if status not in (302, 303) or not location:
        message = f"{asked} answered {status} instead of sending the browser to TikTok"
        raise LoginDidNotGoOn(message)
    return str(location)
