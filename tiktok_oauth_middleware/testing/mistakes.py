"""Mistakes that a test makes in a login, as distinct from faults of the app.

The middleware is searched for in the test client, through the attributes in which test
clients, frameworks and middlewares keep their app. If it is not found, the requests
that the stand-in received show whether it was used.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from .fake import LoginFlowError
from .wire import API_ORIGIN

if TYPE_CHECKING:
    from .fake import FakeTikTok

#: The attributes in which clients, frameworks and middlewares keep their app.
_INSIDE = (
    "app",
    "_app",
    "_transport",
    "application",
    "wsgi_app",
    "middleware_stack",
    "handler",
    "_handler",
    "wrapped",
    "_wrapped",
    "__wrapped__",
)
_MOST_OBJECTS = 200
_FIX = "make the middleware with transport=fake.transport and clock=fake.clock"


def check_middleware(client: object, fake: FakeTikTok, authorize: str) -> None:
    """Refuse a middleware that would use another TikTok; note the clock it uses.

    Raises:
        LoginFlowError: it has no transport, or that of another stand-in.
    """
    core = find_core(client, authorize)
    if core is None:
        return
    fake.note_clock(core.clock)
    transport = core.service.transport
    if transport is None:
        if core.settings.endpoints.token.startswith(API_ORIGIN):
            message = (
                "the app's middleware has no transport: it would ask TikTok itself for"
                f" the token. For tests {_FIX}"
            )
            raise LoginFlowError(message)
    elif getattr(transport, "stand_in", fake) is not fake:
        message = (
            "the app's middleware has the transport of a stand-in other than the one"
            f" that this login uses: {_FIX}, where fake is the same"
        )
        raise LoginFlowError(message)


def check_answer(fake: FakeTikTok, before: int, callback: str, status: int) -> None:
    """Refuse a failure that a mistake in the test has caused.

    Raises:
        LoginFlowError: the stand-in was not asked for the token, or was asked with
            another secret.
    """
    if status < 400 or "code" not in parse_qs(urlsplit(callback).query):
        return
    calls = [r for r in fake.requests[before:] if r.endpoint == "token"]
    if calls and calls[-1].error == "invalid_client" and not calls[-1].is_fault:
        message = (
            "the app sent another client_secret than the stand-in's: make it with"
            " FakeTikTok.for_settings(settings). To test what happens then:"
            ' fail("token", error="invalid_client")'
        )
        raise LoginFlowError(message)


def check_stand_in_was_used(
    client: object, fake: FakeTikTok, before: int, callback: str, status: int
) -> None:
    """Refuse a failed login whose middleware was not found and did not call `fake`.

    Raises:
        LoginFlowError: this stand-in was not asked for the token.
    """
    if status < 400 or "code" not in parse_qs(urlsplit(callback).query):
        return
    core = find_core(client, callback)
    if core is not None and hasattr(core.service.transport, "stand_in"):
        return  # the middleware was found and checked, so it is another failure
    if not any(r.endpoint == "token" for r in fake.requests[before:]):
        message = (
            f"the callback answered {status}, and this stand-in was never asked for a"
            f" token: if the app asked another TikTok, {_FIX}; otherwise it failed"
            " before, and the app's log says why"
        )
        raise LoginFlowError(message)


def find_core(client: object, url: str) -> Any:
    """Return the core of the middleware behind a client, or None.

    If there are several, it is the one whose app `url` concerns: TikTok's authorize
    page, or a callback.
    """
    query = parse_qs(urlsplit(url).query)
    wanted = query.get("redirect_uri", [url.partition("?")[0]])[0]
    found = list(_cores(client))
    for core in found:
        if core.settings.redirect_uri == wanted:
            return core
    return found[0] if len(found) == 1 else None


def _cores(client: object) -> Iterator[Any]:
    waiting, seen = [client], set[int]()
    while waiting and len(seen) < _MOST_OBJECTS:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        core = _own_attributes(each).get("_core")
        if hasattr(core, "settings") and hasattr(core, "clock"):
            yield core
        waiting += _inside(each)


def _inside(each: object) -> Iterator[object]:
    """Return what an object may call, by its attributes and closures."""
    own = _own_attributes(each)
    for name in _INSIDE:
        if own.get(name) is not None:
            yield own[name]
    yield from own.get("routes") or ()
    if isinstance(each, MethodType):
        yield each.__self__
        each = each.__func__
    if isinstance(each, FunctionType):
        for cell in each.__closure__ or ():
            try:
                yield cell.cell_contents
            except ValueError:  # not filled yet
                continue


def _own_attributes(each: object) -> dict[str, Any]:
    """Return an object's own attributes; properties are not read, as they run code."""
    try:
        own = object.__getattribute__(each, "__dict__")
    except AttributeError:
        return {}
    return own if isinstance(own, dict) else {}
