"""Anonymous input is not kept in memory: no cache stores it (CWE-770).

tracemalloc counts the bytes kept after many different requests of one kind with tens of
kilobytes each; a leak of any of them would keep megabytes.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import importlib
import logging
import pkgutil
import tracemalloc
from io import BytesIO
from urllib.parse import quote

import pytest

import tiktok_oauth_middleware as package
from tiktok_oauth_middleware import (
    MemoryStore,
    TikTokOAuthMiddleware,
    TikTokOAuthWSGIMiddleware,
)
from tiktok_oauth_middleware._core.log import logger
from tiktok_oauth_middleware._oauth.scopes import split_scopes
from tiktok_oauth_middleware._oauth.user import read_profile

from ..conftest import CALLBACK, LOGIN, LOGOUT, SAME_ORIGIN, make_settings

HOOK, DISCONNECT = "/hook", "/disconnect"
LONG = 30_000
ROUNDS = 40
#: A thirtieth of the bytes in the requests of one row. Only a bounded number of objects
#: stays, whatever the requests contain.
MOST_KEPT = ROUNDS * LONG // 30


def text(number, length=LONG):
    """Return a different long text each time, of letters, digits and full stops."""
    return f"{number}.".rjust(12, "x") * (length // 12)


def request(method="GET", path="/open", query="", root="", body=b"", **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    sent = {"method": method, "path": path, "query": query, "root": root, "body": body}
    return {**sent, "headers": named}


#: Requests that any client can send, by the part that differs each time.
INPUTS = {
    "login scopes": lambda n: request(path=LOGIN, query=f"scopes={text(n)}"),
    "login scopes, many": lambda n: request(
        path=LOGIN, query="scopes=" + ",".join(f"s{n}.{i}" for i in range(4000))
    ),
    "login scopes, short": lambda n: request(
        path=LOGIN, query=f"scopes={text(n, 240)}"
    ),
    "login next": lambda n: request(path=LOGIN, query=f"next=/{text(n)}"),
    "login, another key": lambda n: request(path=LOGIN, query=f"{text(n)}=1"),
    "callback error": lambda n: request(path=CALLBACK, query=f"error={text(n)}"),
    "callback error, short": lambda n: request(
        path=CALLBACK, query="error=e_" + "".join(chr(97 + int(d)) for d in str(n))
    ),
    "callback description": lambda n: request(
        path=CALLBACK, query=f"error=access_denied&error_description={text(n)}"
    ),
    "callback errCode": lambda n: request(
        path=CALLBACK, query=f"errCode={text(n)}&error_type={text(n, 200)}"
    ),
    "callback state": lambda n: request(
        path=CALLBACK, query=f"code=a&state={text(n, 500)}"
    ),
    "callback code": lambda n: request(
        path=CALLBACK, query=f"code={text(n, 2000)}&state={n}"
    ),
    "session cookie": lambda n: request(cookie=f"__Host-tiktok={text(n, 87)[:87]}"),
    "long cookie": lambda n: request(cookie=f"__Host-tiktok={text(n)}"),
    "login cookies": lambda n: request(
        path=LOGIN, cookie=f"__Host-tiktok-login-{n:012}={text(n, 4000)}"
    ),
    "login cookie at the callback": lambda n: request(
        path=CALLBACK,
        query=f"state={n}&code=b",
        cookie=f"__Host-tiktok-login-{n:012}={text(n, 4000)}",
    ),
    "language": lambda n: request(
        path=CALLBACK, query="error=x", accept_language=text(n).replace(".", "-a,")
    ),
    "accept": lambda n: request(path="/app", accept=text(n).replace(".", "/x,")),
    "guarded path": lambda n: request(path="/app/" + text(n)),
    "guarded query": lambda n: request(path="/app", query=text(n)),
    "open path": lambda n: request(path="/" + text(n)),
    "mount point": lambda n: request(root="/" + text(n)),
    "origin": lambda n: request("POST", LOGOUT, origin="https://" + text(n)),
    "referer": lambda n: request("POST", LOGOUT, referer="https://" + text(n)),
    "logout next": lambda n: {
        **request("POST", LOGOUT, query=f"next=/{text(n, 1900)}"),
        "headers": SAME_ORIGIN,
    },
    "disconnect": lambda n: {
        **request("POST", DISCONNECT, query=f"next=/{text(n)}"),
        "headers": SAME_ORIGIN,
    },
    "fetch metadata": lambda n: request(path=LOGIN, sec_fetch_dest=text(n)),
    "purpose": lambda n: request(path=LOGIN, sec_purpose=text(n)),
    "header name": lambda n: request(**{text(n): "1"}),
    "method": lambda n: request("X" + str(n) * 2000, LOGIN),
    "webhook signature": lambda n: request("POST", HOOK, tiktok_signature=text(n)),
    "webhook body": lambda n: request(
        "POST", HOOK, body=text(n).encode(), tiktok_signature=f"t=1,s={n:064}"
    ),
}


async def plain_asgi(scope, receive, send):
    # An app that checks whether the request is authenticated, as most do.
    assert not scope["tiktok"].is_authenticated
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def plain_wsgi(environ, start_response):
    assert not environ["tiktok.auth"].is_authenticated
    start_response("200 OK", [("content-type", "text/plain")])
    return [b""]


@pytest.fixture
def settings():
    return make_settings(
        protect=["/app"], webhook_path=HOOK, disconnect_path=DISCONNECT
    )


def asgi(settings, clock):
    app = TikTokOAuthMiddleware(
        plain_asgi, settings, store=MemoryStore(clock=clock), clock=clock
    )
    loop = asyncio.new_event_loop()

    async def call(sent):
        async def receive():
            return {"type": "http.request", "body": sent["body"], "more_body": False}

        async def send(message):
            pass

        raw = [
            (name.lower().encode(), value.encode())
            for name, value in sent["headers"].items()
        ]
        await app(
            {
                "type": "http",
                "method": sent["method"],
                "path": sent["root"] + sent["path"],
                "root_path": sent["root"],
                "query_string": sent["query"].encode(),
                "headers": raw,
            },
            receive,
            send,
        )

    return app, lambda sent: loop.run_until_complete(call(sent)), loop.close


def wsgi(settings, clock):
    app = TikTokOAuthWSGIMiddleware(
        plain_wsgi, settings, store=MemoryStore(clock=clock), clock=clock
    )

    def call(sent):
        environ = {
            "REQUEST_METHOD": sent["method"],
            "SCRIPT_NAME": sent["root"],
            "PATH_INFO": sent["path"],
            "QUERY_STRING": sent["query"],
            "CONTENT_LENGTH": str(len(sent["body"])),
            "wsgi.input": BytesIO(sent["body"]),
        }
        for name, value in sent["headers"].items():
            environ["HTTP_" + name.upper().replace("-", "_")] = value
        list(app(environ, lambda *_: lambda _: None))

    return app, call, lambda: None


@pytest.fixture(params=[asgi, wsgi], ids=["asgi", "wsgi"])
def served(request, settings, clock):
    app, call, close = request.param(settings, clock)
    yield app, call
    close()


@functools.cache
def caches():
    """Return every memoized function of the package, with its name."""
    return tuple(_find_caches())


def _find_caches():
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if module.name.endswith(("__main__", ".django", ".plugin")):
            continue
        if ".django." in module.name:  # needs a project's settings
            continue
        for name, found in vars(importlib.import_module(module.name)).items():
            if isinstance(found, functools._lru_cache_wrapper):
                yield f"{found.__module__}.{name}", found


def _kept(call, make, first):
    """Return the number of bytes that a batch of requests leaves in memory."""
    # Afterwards only the objects of these requests have to be searched.
    gc.disable()
    tracemalloc.start()
    try:
        for number in range(first, first + ROUNDS):
            call(make(number))
        gc.collect(0)
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
        gc.enable()


@pytest.mark.parametrize("kind", INPUTS)
def test_kept(served, kind, monkeypatch):
    """After many different requests of a kind, none of their data is kept."""
    app, call = served
    # pytest keeps every record that reaches the root logger.
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "handlers", [logging.NullHandler()])
    level = logger.level
    logger.setLevel(logging.DEBUG)
    make = INPUTS[kind]
    for number in range(8):
        call(make(number))
    sizes = {name: cache.cache_info().currsize for name, cache in caches()}
    try:
        # A leak shows in every batch. In a single one another test's thread, or a
        # free-threaded build that copies bytecode for a thread, may allocate, too.
        batches = range(100, 400, 100)
        assert any(_kept(call, make, first) < MOST_KEPT for first in batches)
    finally:
        logger.setLevel(level)
    now = {name: cache.cache_info().currsize for name, cache in caches()}
    # None of them entered a cache either, where it would evict useful entries.
    assert {
        n: now[n] - sizes.get(n, 0) for n in now if now[n] - sizes.get(n, 0) > 2
    } == {}


def test_tables(served):
    """The tables of mount points and log lines are bounded."""
    app, call = served
    for number in range(300):
        call(request(root=f"/m{number}"))
        call(request(path=CALLBACK, query=f"error=e{chr(97 + number % 26)}"))
        call(request(root="/" + "m" * 1000 + str(number)))
        call(request(path=LOGIN, query=f"next=/{text(number, 1900)}"))
    for number in range(700):
        call(
            request(
                path=LOGIN,
                query=f"next=/{text(number, 1900)}",
                cookie=f"__Host-tiktok-login-1={text(number, 400)[:400]}",
            )
        )
    login = app._core._login
    assert login.begin.recent._size <= 1024 * 1024
    assert len(login.transactions.cookies._given) <= 512
    sites = app._core.mount_points.known
    assert len(sites) <= 64
    assert max(map(len, sites)) <= 256
    assert len(logger.filters[0]._last) < 50


def test_caches_are_bounded():
    """Every memoized function of the package has a size limit."""
    found = dict(caches())
    assert found
    assert all(cache.cache_info().maxsize for cache in found.values())


def test_long_scopes_are_not_kept():
    """A long list of scopes is parsed each time, and not cached."""
    names = {name: cache for name, cache in caches() if name.endswith("_scopes")}
    before = [cache.cache_info().currsize for cache in names.values()]
    long = ",".join(f"scope.{number}" for number in range(5000))
    assert len(split_scopes(long)) == 5000
    assert before == [cache.cache_info().currsize for cache in names.values()]


def test_long_profile_is_not_kept():
    """A profile of tens of kilobytes is read, and not cached."""
    names = {name: cache for name, cache in caches() if name.endswith("_profile")}
    before = [cache.cache_info().currsize for cache in names.values()]
    user = read_profile("o", f'{{"bio_description": "{"x" * 50_000}"}}')
    assert len(user.bio_description) == 50_000
    assert before == [cache.cache_info().currsize for cache in names.values()]


def test_login_links_with_a_visitors_text(served):
    """Login links that contain a visitor's text are not cached."""
    app, _ = served
    site = app._core.mount_points.at("")
    before = {name: cache.cache_info().currsize for name, cache in caches()}
    for number in range(50):
        assert quote(text(number)[:50]) in site.login_url("/x", text(number))
    now = {name: cache.cache_info().currsize for name, cache in caches()}
    assert now == before


def test_names_of_headers(served):
    """Header names that an app made from requests are checked, and not all are
    cached.
    """
    from tiktok_oauth_middleware._web.response_headers import is_caching

    known = is_caching.__self__
    for number in range(1000):
        assert not is_caching(text(number).encode())
        assert not is_caching(f"x-{number}")
    assert len(known) <= 256
    assert max(map(len, known)) <= 64
    assert is_caching("CDN-Cache-Control")
    assert is_caching(b"vary")


def test_refused_unread(browser):
    """A list of scopes longer than all of TikTok's is refused, even if each is
    offered.
    """
    many = ",".join(["video.list"] * 400)
    assert browser.get(f"{LOGIN}?scopes={many[:3992].rstrip(',')}").status_code == 303
    assert browser.get(f"{LOGIN}?scopes={many}").status_code == 400
