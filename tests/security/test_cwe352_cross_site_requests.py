"""Cross-site requests to the middleware's own paths (CWE-352).

Each matrix is a full product of what requests say of themselves. What must come of it
is said by a few lines beside it, written from the rules and not from the code.
"""

from __future__ import annotations

import itertools

import pytest

from ..conftest import (
    LOGIN,
    LOGOUT,
    ORIGIN,
    PAGE,
    SAME_ORIGIN,
)
from ..support.senders import (
    ALL_PATHS,
    DISCONNECT,
    SENDERS,
    SESSION,
    SITES,
    WEBHOOK,
    is_ours,
    sender,
)
from .conftest import memory_only


@memory_only
class TestSenders:
    """Only a page of this site logs out or disconnects."""

    @pytest.mark.parametrize("path", [LOGOUT, DISCONNECT])
    def test_senders(self, world, raw, path):
        """A POST is taken from a page of ours; any other changes nothing."""
        world.with_settings(**ALL_PATHS)
        raw.log_in()
        anonymous = raw.another()
        for said in SENDERS:
            headers = sender(*said)
            if is_ours(*said):
                answer = anonymous.ask("POST", path, headers=headers)
                assert (answer.status, answer.location) == (303, "/"), said
            else:
                answer = raw.ask("POST", path, headers=headers)
                assert answer.status == 403, said
                assert not answer.set_cookies
        assert raw.open_id is not None
        assert world.tiktok.count("revoke") == 0

    @pytest.mark.parametrize("path", [LOGOUT, DISCONNECT])
    @pytest.mark.parametrize(
        "said",
        [s for s in SENDERS if is_ours(*s)],
        ids="-".join,
    )
    def test_our_pages(self, world, raw, path, said):
        """Whatever one of our pages says of itself, its POST ends the session."""
        world.with_settings(**ALL_PATHS)
        raw.log_in()
        answer = raw.ask("POST", path, headers=sender(*said))
        assert answer.status == 303
        assert SESSION not in raw.cookies
        assert raw.open_id is None
        assert world.tiktok.count("revoke") == (path == DISCONNECT)

    @pytest.mark.parametrize("path", [LOGOUT, DISCONNECT])
    @pytest.mark.parametrize("mode", ["navigate", "cors", "no-cors", "same-origin", ""])
    @pytest.mark.parametrize("dest", ["document", "empty", "iframe", "image", ""])
    def test_mode_and_dest_are_no_proof(self, world, raw, path, mode, dest):
        """How a request is made says nothing of who makes it."""
        world.with_settings(**ALL_PATHS)
        how = [("sec-fetch-mode", mode), ("sec-fetch-dest", dest)]
        for more, status in (([], 403), ([("origin", ORIGIN)], 303)):
            answer = raw.ask("POST", path, headers=[*how, *more])
            assert answer.status == status

    @pytest.mark.parametrize("path", [LOGOUT, DISCONNECT])
    def test_get_changes_nothing(self, world, raw, path):
        """A GET of any sender shows a question, and ends nothing."""
        world.with_settings(**ALL_PATHS)
        raw.log_in()
        for site in SITES:
            answer = raw.ask("GET", path, headers=sender(site, "none", "none"))
            assert answer.status == 200
            assert f'<form method="post" action="{path}">' in answer.text
            assert not answer.set_cookies
        assert raw.open_id is not None
        assert world.tiktok.count("revoke") == 0

    @pytest.mark.parametrize("path", [LOGOUT, DISCONNECT])
    def test_method_override(self, world, raw, path):
        """No header or parameter makes a POST of another method."""
        world.with_settings(**ALL_PATHS)
        raw.log_in()
        for name in ("x-http-method-override", "x-http-method", "x-method-override"):
            headers = {**SAME_ORIGIN, name: "POST"}
            raw.ask("GET", path, query=b"_method=POST", headers=headers)
        assert raw.open_id is not None


DESTS = {
    "none": [],
    "document": ["document"],
    "iframe": ["iframe"],
    "frame": ["frame"],
    "image": ["image"],
    "script": ["script"],
    "empty": ["empty"],
    "embed": ["embed"],
    "no text": [""],
    "case": ["Document"],
    "twice": ["document", "document"],
    "garbage": ["\xff"],
}

AHEAD = {
    "none": [],
    "prefetch": [("sec-purpose", "prefetch")],
    "prerender": [("sec-purpose", "prefetch;prerender")],
    "anonymous": [("sec-purpose", "prefetch;anonymous-client-ip")],
    "old": [("purpose", "prefetch")],
    "oldest": [("x-moz", "prefetch")],
    "preview": [("purpose", "preview")],
    "preview of WebKit": [("x-purpose", "preview")],
    "prefetch of WebKit": [("x-purpose", "Prefetch")],
    "preview of a link": [("sec-purpose", "prefetch;prerender;preview")],
    "preview, alone": [("sec-purpose", "preview")],
    "preview of Firefox": [("x-moz", "preview")],
    "second": [("sec-purpose", "x"), ("purpose", "Prefetch")],
    "other": [("purpose", "view")],
}


@memory_only
class TestStart:
    """A login begins where a person opens it."""

    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_start(self, world, raw, method):
        """A request that a page or browser makes by itself begins no login."""
        for dest, ahead, site in itertools.product(DESTS, AHEAD, SITES):
            headers = [
                *(("sec-fetch-dest", value) for value in DESTS[dest]),
                *AHEAD[ahead],
                *sender(site, "none", "none"),
            ]
            answer = raw.ask(method, LOGIN, headers=headers)
            opened = dest in ("none", "document") and ahead in ("none", "other")
            opened = opened and (method == "GET" or site == "ours")
            assert answer.status == (303 if opened else 403), (dest, ahead, site)
            assert bool(answer.set_cookies) is opened
            raw.cookies.clear()
        assert world.tiktok.requests == []

    def test_posted_only(self, world, raw):
        """With login_methods=("POST",) no link begins a login; its page has a form."""
        world.with_settings(login_methods=("POST",))
        answer = raw.ask("GET", LOGIN, query=b"next=/a%22%3E", headers=PAGE)
        assert answer.status == 405
        assert answer.one("allow") == "POST"
        assert f'<form method="post" action="{LOGIN}?next=/a%22%3E">' in answer.text
        assert not answer.set_cookies
        assert raw.ask("POST", LOGIN, headers=SAME_ORIGIN).status == 303

    @pytest.mark.parametrize("methods", [("POST",), ("GET", "POST")])
    def test_senders(self, world, raw, methods):
        """A login by POST is taken from a page of this site, and from no other."""
        world.with_settings(login_methods=methods)
        for said in SENDERS:
            answer = raw.ask("POST", LOGIN, headers=sender(*said))
            assert answer.status == (303 if is_ours(*said) else 403), said
            assert bool(answer.set_cookies) is is_ours(*said)
            raw.cookies.clear()

    def test_senders_do_not_matter(self, raw):
        """A login may be begun from a page of any site: it ends in no session yet."""
        for said in SENDERS[::7]:
            answer = raw.ask("GET", LOGIN, headers=sender(*said))
            assert answer.status == 303
            raw.cookies.clear()


@memory_only
class TestReturn:
    def test_senders_do_not_matter(self, raw):
        """The way back from TikTok is cross-site, and its headers prove nothing."""
        for said in SENDERS[::61]:
            visitor = raw.another()
            path, query = visitor.consent(visitor.begin())
            answer = visitor.ask("GET", path, query=query, headers=sender(*said))
            assert answer.status == 303, said

    @pytest.mark.parametrize(
        "method",
        ["HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get", ""],
    )
    def test_only_get_consumes(self, raw, method):
        """Any method but GET is refused, and leaves the login to be finished."""
        path, query = raw.consent(raw.begin())
        answer = raw.ask(method, path, query=query)
        assert answer.status == 405
        assert answer.one("allow") == "GET"
        assert not answer.set_cookies
        assert raw.ask("GET", path, query=query).status == 303


@memory_only
class TestWebhook:
    @pytest.fixture
    def signed_in(self, world, raw):
        world.with_settings(**ALL_PATHS)
        raw.log_in()
        return raw

    def test_senders_do_not_matter(self, world, signed_in):
        """Only the signature counts: no sender's header replaces it or spoils it."""
        headers, body = world.tiktok.webhook("authorization.removed", signed_in.open_id)
        unsigned = [p for p in headers.items() if p[0] != "tiktok-signature"]
        server = signed_in.another()
        for said in SENDERS[::13]:
            forged = [*unsigned, *sender(*said)]
            assert server.ask("POST", WEBHOOK, headers=forged, body=body).status == 401
        assert signed_in.open_id is not None
        genuine = [*headers.items(), *sender("cross", "null", "garbage")]
        assert server.ask("POST", WEBHOOK, headers=genuine, body=body).status == 200
        assert signed_in.open_id is None

    def test_session_does_not_matter(self, world, signed_in):
        """A signed-in browser delivers nothing without the signature."""
        headers = {**SAME_ORIGIN, "content-type": "application/json"}
        body = world.tiktok.webhook("authorization.removed", signed_in.open_id)[1]
        answer = signed_in.ask("POST", WEBHOOK, headers=headers, body=body)
        assert answer.status == 401
        assert signed_in.open_id is not None

    def test_two_signatures(self, world, signed_in):
        """A signature header that comes twice is none."""
        headers, body = world.tiktok.webhook("authorization.removed", signed_in.open_id)
        twice = [("tiktok-signature", headers["tiktok-signature"])] * 2
        answer = signed_in.another().ask("POST", WEBHOOK, headers=twice, body=body)
        assert answer.status == 401
        assert signed_in.open_id is not None
