"""Cross-site requests to the middleware's own paths (CWE-352).

Each matrix has all combinations of the headers that describe a request's sender. The
expected results come from a few lines next to it, which follow the rules and not the
code.
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
    """Only a page of this site can log out or disconnect."""

    @pytest.mark.parametrize("path", [LOGOUT, DISCONNECT])
    def test_senders(self, world, raw, path):
        """A POST from a page of this site is accepted; any other changes nothing."""
        world.with_settings(**ALL_PATHS)
        raw.log_in()
        anonymous = raw.another()
        for case in SENDERS:
            headers = sender(*case)
            if is_ours(*case):
                answer = anonymous.ask("POST", path, headers=headers)
                assert (answer.status, answer.location) == (303, "/"), case
            else:
                answer = raw.ask("POST", path, headers=headers)
                assert answer.status == 403, case
                assert not answer.set_cookies
        assert raw.open_id is not None
        assert world.tiktok.count("revoke") == 0

    @pytest.mark.parametrize("path", [LOGOUT, DISCONNECT])
    @pytest.mark.parametrize(
        "case",
        [s for s in SENDERS if is_ours(*s)],
        ids="-".join,
    )
    def test_our_pages(self, world, raw, path, case):
        """A POST of this site's page ends the session with any of the headers that
        browsers send.
        """
        world.with_settings(**ALL_PATHS)
        raw.log_in()
        answer = raw.ask("POST", path, headers=sender(*case))
        assert answer.status == 303
        assert SESSION not in raw.cookies
        assert raw.open_id is None
        assert world.tiktok.count("revoke") == (path == DISCONNECT)

    @pytest.mark.parametrize("path", [LOGOUT, DISCONNECT])
    @pytest.mark.parametrize("mode", ["navigate", "cors", "no-cors", "same-origin", ""])
    @pytest.mark.parametrize("dest", ["document", "empty", "iframe", "image", ""])
    def test_mode_and_dest_do_not_prove_the_sender(self, world, raw, path, mode, dest):
        """Sec-Fetch-Mode and Sec-Fetch-Dest do not prove the sender."""
        world.with_settings(**ALL_PATHS)
        how = [("sec-fetch-mode", mode), ("sec-fetch-dest", dest)]
        for more, status in (([], 403), ([("origin", ORIGIN)], 303)):
            answer = raw.ask("POST", path, headers=[*how, *more])
            assert answer.status == status

    @pytest.mark.parametrize("path", [LOGOUT, DISCONNECT])
    def test_get_changes_nothing(self, world, raw, path):
        """A GET of any sender shows a question, and ends no session."""
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
        """No header or parameter makes another method count as a POST."""
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
    """A login begins only when a person opens it."""

    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_start(self, world, raw, method):
        """A request that a page or browser sends by itself begins no login."""
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
        """A login by POST is accepted only from a page of this site."""
        world.with_settings(login_methods=methods)
        for case in SENDERS:
            answer = raw.ask("POST", LOGIN, headers=sender(*case))
            assert answer.status == (303 if is_ours(*case) else 403), case
            assert bool(answer.set_cookies) is is_ours(*case)
            raw.cookies.clear()

    def test_senders_do_not_matter(self, raw):
        """A page of any site may begin a login, since that alone begins no session."""
        for case in SENDERS[::7]:
            answer = raw.ask("GET", LOGIN, headers=sender(*case))
            assert answer.status == 303
            raw.cookies.clear()


@memory_only
class TestReturn:
    def test_senders_do_not_matter(self, raw):
        """A callback is accepted with any headers about the sender, since it comes from
        TikTok's site.
        """
        for case in SENDERS[::61]:
            visitor = raw.another()
            path, query = visitor.consent(visitor.begin())
            answer = visitor.ask("GET", path, query=query, headers=sender(*case))
            assert answer.status == 303, case

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
        """Only the signature counts: headers about the sender make no difference."""
        headers, body = world.tiktok.webhook("authorization.removed", signed_in.open_id)
        unsigned = [p for p in headers.items() if p[0] != "tiktok-signature"]
        server = signed_in.another()
        for case in SENDERS[::13]:
            forged = [*unsigned, *sender(*case)]
            assert server.ask("POST", WEBHOOK, headers=forged, body=body).status == 401
        assert signed_in.open_id is not None
        genuine = [*headers.items(), *sender("cross", "null", "garbage")]
        assert server.ask("POST", WEBHOOK, headers=genuine, body=body).status == 200
        assert signed_in.open_id is None

    def test_session_does_not_matter(self, world, signed_in):
        """Without the signature, a signed-in browser cannot deliver a webhook."""
        headers = {**SAME_ORIGIN, "content-type": "application/json"}
        body = world.tiktok.webhook("authorization.removed", signed_in.open_id)[1]
        answer = signed_in.ask("POST", WEBHOOK, headers=headers, body=body)
        assert answer.status == 401
        assert signed_in.open_id is not None

    def test_two_signatures(self, world, signed_in):
        """A repeated signature header is refused."""
        headers, body = world.tiktok.webhook("authorization.removed", signed_in.open_id)
        twice = [("tiktok-signature", headers["tiktok-signature"])] * 2
        answer = signed_in.another().ask("POST", WEBHOOK, headers=twice, body=body)
        assert answer.status == 401
        assert signed_in.open_id is not None
