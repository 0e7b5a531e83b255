"""Conversion between Django's requests and responses and those of the core.

Django reads the path itself: it applies ``FORCE_SCRIPT_NAME`` and the mount point, and
decodes. Rules are matched against ``request.path_info``, which Django's URL resolver
also uses, so that a rule and a view always use the same path.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.http import HttpResponse
from django.http.request import UnreadablePostError
from django.utils.translation import get_language

from tiktok_oauth_middleware._core.http import (
    NO_CONTENT,
    Request,
    Response,
    environ_headers,
)
from tiktok_oauth_middleware._core.without_query import without_query
from tiktok_oauth_middleware._web.response_headers import is_caching, keep_private

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

    from tiktok_oauth_middleware._session.cookie import SessionCookies
    from tiktok_oauth_middleware.auth import TikTokAuth


def to_core_request(request: HttpRequest, mount: str) -> Request:
    """Return Django's request as a request of the core."""

    async def read(limit: int) -> bytes | None:
        return _body(request, limit)

    query = request.META.get("QUERY_STRING", "").encode("latin-1", "replace")

    def for_app(auth: TikTokAuth) -> HttpRequest:
        copied: Any = _without_query(request, query)
        copied.tiktok = auth
        return copied

    return Request(
        request.method or "GET",
        request.path_info,
        mount,
        query,
        environ_headers(request.META),
        read,
        for_app,
        # Django has chosen a language by its own rules: a prefix of the path, a cookie,
        # the header. Our pages follow it.
        language=(get_language() or "en") if settings.USE_I18N else None,
    )


def _without_query(request: HttpRequest, query: bytes) -> Any:
    """Return a copy of a request that has no query; its session and user are the same.

    ``copy.copy`` would leave out attributes that cannot be pickled.
    """
    copied: Any = request.__class__.__new__(request.__class__)
    vars(copied).update(vars(request))
    copied.META = without_query(request.META, query)
    for name in ("environ", "scope"):  # WSGI has the first, ASGI the second
        if name in vars(request):
            setattr(copied, name, without_query(vars(request)[name], query))
    for name in ("GET", "headers"):  # Django makes them again when read
        vars(copied).pop(name, None)
    return copied


def _body(request: HttpRequest, limit: int) -> bytes | None:
    """Return a request's body; None if it is longer, or the client went away.

    Under ASGI Django has read all of it already, so this does not wait.
    """
    try:
        body: bytes = request.read(limit + 1)
    except UnreadablePostError:
        return None
    return None if len(body) > limit else body


def has_body(request: HttpRequest) -> bool:
    """Whether a request announces a body."""
    meta = request.META
    return (meta.get("CONTENT_LENGTH") or "0") != "0" or (
        "HTTP_TRANSFER_ENCODING" in meta
    )


def django_response(request: HttpRequest, answer: Response) -> HttpResponse:
    """Return the core's response as a response of Django.

    Raises:
        ValueError: a cookie did not survive Django's own writer.
    """
    is_head = request.method == "HEAD"
    response = HttpResponse(b"" if is_head else answer.body, status=answer.status)
    del response.headers["Content-Type"]
    for name, value in answer.headers:
        _add(response, name, value)
    if answer.status != NO_CONTENT:
        response.headers["Content-Length"] = str(len(answer.body))
    return response


def _add(response: HttpResponseBase, name: str, value: str) -> None:
    if name.lower() == "set-cookie":
        cookie = value.partition("=")[0]
        response.cookies.load(value)
        if cookie not in response.cookies:
            message = f"Django cannot set the cookie {cookie!r}"
            raise ValueError(message)
        return
    before = response.headers.get(name)
    response.headers[name] = value if before is None else f"{before}, {value}"


def headers_of(response: HttpResponseBase) -> list[tuple[str, str]]:
    """Return the headers of a response, its cookies among them."""
    cookies = [
        ("Set-Cookie", cookie.OutputString()) for cookie in response.cookies.values()
    ]
    return [*response.headers.items(), *cookies]


def change_headers(
    response: HttpResponseBase,
    before: Sequence[tuple[str, str]],
    after: Sequence[tuple[str, str]],
) -> None:
    """Give a response the headers `after`, where they differ from those `before`."""
    for name, _ in before:
        if name.lower() != "set-cookie" and name in response.headers:
            del response.headers[name]
    for name, value in after:
        if name.lower() != "set-cookie" or (name, value) not in before:
            _add(response, name, value)


def mark_private(response: HttpResponseBase) -> None:
    """Keep shared caches from serving a response to others."""
    kept = keep_private([*response.headers.items()])
    for name in [name for name in response.headers if is_caching(name)]:
        del response.headers[name]
    for name, value in kept:
        if is_caching(name):
            response.headers[name] = value


def cookie_named(answer: Response, name: str) -> bytes | None:
    """Return the value that a response gives a cookie; None if it does not set it."""
    start = f"{name}="
    for key, text in answer.headers:
        if key == "set-cookie" and text.startswith(start):
            return text[len(start) :].partition(";")[0].encode() or None
    return None


def hide_cookies(request: HttpRequest, ours: SessionCookies) -> None:
    """Remove our cookies from ``request.COOKIES``, which Django's error page shows.

    Args:
        request: the project's.
        ours: names our cookies; the project's may begin with the same word.
    """
    cookies: dict[str, Any] = request.COOKIES
    exact = (ours.session_name, ours.choose_name, ours.carry_name)
    for name in [*cookies]:
        if name in exact or name.startswith(ours.login_prefix):
            del cookies[name]
