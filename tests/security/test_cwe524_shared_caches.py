"""Shared caches keep no response of a session (CWE-524)."""

from __future__ import annotations

import itertools

import pytest

from tiktok_oauth_middleware._web.guard import guard

from ..conftest import API, CALLBACK, LOGIN, LOGOUT, PAGE, SAME_ORIGIN
from .conftest import memory_only
from .guarded_app import members_only, show


class SharedCache:
    """A shared HTTP cache, which stores and serves what RFC 9111 allows."""

    def __init__(self):
        self._kept = []

    def ask(self, visitor, path):
        sent = "; ".join(f"{n}={v}" for n, v in visitor.cookies.items())
        for answer, kept_path, vary, cookie in self._kept:
            if kept_path == path and ("cookie" not in vary or cookie == sent):
                return answer
        answer = visitor.ask("GET", path, headers=PAGE)
        control = {
            item.strip().lower()
            for value in answer.all("cache-control")
            for item in value.split(",")
        }
        vary = {
            item.strip().lower()
            for value in answer.all("vary")
            for item in value.split(",")
        }
        if not control & {"private", "no-store"} and "*" not in vary:
            self._kept.append((answer, path, vary, sent))
        return answer


#: Every way in which an app can read, or show, who is signed in.
LOOKS = {
    "is_authenticated": lambda auth: auth.is_authenticated,
    "open_id": lambda auth: auth.open_id,
    "scopes": lambda auth: sorted(auth.scopes),
    "token": lambda auth: auth.token and auth.token.access_token,
    "user": lambda auth: auth.user and auth.user.display_name,
    "missing_scopes": lambda auth: sorted(auth.missing_scopes("video.list")),
    "guard": lambda auth: guard(auth, ()),
}

#: Headers that only one kind of cache reads, in preference to Cache-Control.
FOR_ONE_CACHE = [
    "Cloudflare-CDN-Cache-Control",
    "Vercel-CDN-Cache-Control",
    "Netlify-CDN-Cache-Control",
    "x-new-vendor-cdn-cache-control",
    "Edge-Control",
    "Surrogate-Control",
    "X-Accel-Expires",
    "X-LiteSpeed-Cache-Control",
]

CACHE_HEADERS = {
    "nothing": [],
    "public": [("Cache-Control", "public, max-age=600")],
    "shared": [("Cache-Control", "s-maxage=600"), ("Vary", "Accept-Encoding")],
    "several": [("Cache-Control", "max-age=600"), ("Cache-Control", "public")],
    "for CDNs": [("CDN-Cache-Control", "max-age=600"), ("Surrogate-Control", "x")],
    "for vendors": [(name, "max-age=600") for name in FOR_ONE_CACHE],
    "for who understands": [("Cache-Control", "must-understand, no-store, max-age=9")],
}


@memory_only
class TestSharedCache:
    """A response that depended on a session is served to no other user."""

    @pytest.mark.parametrize(
        "headers", CACHE_HEADERS.values(), ids=CACHE_HEADERS.keys()
    )
    @pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS.keys())
    def test_every_way_to_read_a_session(self, world, raw, look, headers):
        """However an app reads the session, a shared cache does not store its response."""
        anonymous, other = raw.another(), raw.another()
        raw.log_in()
        other.log_in(person=world.tiktok.people[1], scopes=["user.info.basic"])
        show(world, look, headers)
        for order in itertools.permutations([raw, other, anonymous]):
            cache = SharedCache()
            for visitor in order:
                served = cache.ask(visitor, "/x")
                assert served.body == visitor.ask("GET", "/x", headers=PAGE).body
        head = raw.ask("GET", "/x", headers=PAGE)
        assert "private" in head.one("cache-control")
        assert "Cookie" in head.one("vary")
        assert head.one("cdn-cache-control") is None
        for name in FOR_ONE_CACHE:
            assert head.one(name.lower()) is None

    @pytest.mark.parametrize(
        "headers", CACHE_HEADERS.values(), ids=CACHE_HEADERS.keys()
    )
    def test_not_read(self, world, raw, headers):
        """A response that does not depend on the session is unchanged."""
        raw.log_in()
        show(world, lambda auth: "the same for all", headers)
        assert raw.ask("GET", "/x").headers == headers

    def test_rule(self, world, raw):
        """A path that a rule protects depends on the session, whether the app reads it or not."""
        world.with_settings(protect=["/x"])
        show(world, lambda auth: "for members", [])
        raw.log_in()
        answer = raw.ask("GET", "/x", headers=PAGE)
        assert (answer.one("cache-control"), answer.one("vary")) == (
            "private",
            "Cookie",
        )

    @pytest.mark.parametrize("interface", ["asyncio", "trio"], indirect=True)
    @pytest.mark.parametrize("word", ["user", "auth"])
    def test_starlettes_words(self, world, raw, word):
        """Starlette's ``request.user`` and ``request.auth`` count as reading the session."""

        async def app(scope, receive, send):
            found = scope[word]
            text = f"{found.is_authenticated if word == 'user' else found.scopes}"
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": text.encode()})

        world.app.app = app
        raw.log_in()
        answer = raw.ask("GET", "/x", headers=PAGE)
        assert (answer.one("cache-control"), answer.one("vary")) == (
            "private",
            "Cookie",
        )

    def test_answers_of_ours(self, world, raw):
        """Caches store neither the middleware's own responses nor replaced ones."""
        show(world, members_only("guard"), CACHE_HEADERS["for vendors"])
        for path in (LOGIN, LOGOUT, CALLBACK, "/x"):
            for headers in (PAGE, API):
                answer = raw.ask("GET", path, headers=headers)
                assert answer.one("cache-control") == "no-store"
                for name in FOR_ONE_CACHE:
                    assert answer.one(name.lower()) is None

    def test_answers_with_a_cookie(self, raw):
        """A response that sets or deletes a cookie is not cached."""
        path, query = raw.consent(raw.begin())
        kept = dict(raw.cookies)
        answers = [raw.ask("GET", LOGIN), raw.ask("GET", path, query=query)]
        answers.append(raw.ask("POST", LOGOUT, headers=SAME_ORIGIN))
        raw.cookies = kept
        answers.append(raw.ask("GET", path, query=query))
        for answer in answers:
            assert answer.set_cookies
            assert answer.one("cache-control") == "no-store"
