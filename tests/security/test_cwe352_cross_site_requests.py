"""Who may ask our paths for what, and how.

Each matrix is a full product of what requests say of themselves. What must come of it
is said by a few lines beside it, written from the rules and not from the code.
"""

from __future__ import annotations

import itertools
import json
import re

import pytest

from ..conftest import (
    API,
    CALLBACK,
    LOGIN,
    LOGOUT,
    ORIGIN,
    PAGE,
    SAME_ORIGIN,
    query_of,
)
from ..support.raw import a_scope, drive
from .conftest import memory_only

DISCONNECT = "/auth/tiktok/disconnect"
WEBHOOK = "/hooks/tiktok"
ALL_PATHS = {"disconnect_path": DISCONNECT, "webhook_path": WEBHOOK}
SESSION = "__Host-tiktok"

#: By what it is: the values of each header about the sender, in order.
SITES = {
    "none": [],
    "ours": ["same-origin"],
    "same site": ["same-site"],
    "cross": ["cross-site"],
    "typed": ["none"],
    "twice": ["same-origin", "same-origin"],
    "contradiction": ["same-origin", "cross-site"],
    "garbage": ["unheard-of"],
    "empty": [""],
    "case": ["Same-Origin"],
}
ORIGINS = {
    "none": [],
    "ours": [ORIGIN],
    "same site": ["https://other.example.com"],
    "cross": ["https://evil.example"],
    "null": ["null"],
    "twice": [ORIGIN, ORIGIN],
    "contradiction": [ORIGIN, "https://evil.example"],
    "garbage": ["\xff"],
    "empty": [""],
    "look-alike": [ORIGIN + ".evil.example"],
    "port": [ORIGIN + ":8443"],
    "http": [ORIGIN.replace("https", "http")],
}
REFERERS = {
    "none": [],
    "ours": [ORIGIN + "/page?x=y"],
    "same site": ["https://other.example.com/"],
    "cross": ["https://evil.example/" + ORIGIN],
    "twice": [ORIGIN + "/", ORIGIN + "/"],
    "contradiction": [ORIGIN + "/", "https://evil.example/"],
    "garbage": ["\xff"],
    "empty": [""],
    "userinfo": [ORIGIN + "@evil.example/"],
    "look-alike": [ORIGIN + ".evil.example/"],
}
#: Nothing between Sec-Fetch-Mode and Sec-Fetch-User speaks of the sender.
SENDERS = [*itertools.product(SITES, ORIGINS, REFERERS)]


def sender(site, origin, referer):
    """Return the headers of one sender."""
    return [
        *(("sec-fetch-site", value) for value in SITES[site]),
        *(("origin", value) for value in ORIGINS[origin]),
        *(("referer", value) for value in REFERERS[referer]),
    ]


def is_ours(*said):
    """Every header that is sent must name this site, exactly, and one must be sent.

    A page with ``Referrer-Policy: no-referrer`` sends ``Origin: null``, and is ours if
    Sec-Fetch-Site says so.
    """
    site, origin, referer = said
    if origin == "null":
        return site == "ours" and referer in ("ours", "none")
    return "ours" in said and set(said) <= {"ours", "none"}


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
        """A GET, whoever sends it, asks whether to, and ends nothing."""
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
        """What a page or browser fetches by itself begins no login, whoever asks."""
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


@memory_only
@pytest.mark.parametrize("shell", ["asyncio", "trio"], indirect=True)
class TestWebSockets:
    """A WebSocket carries the session for our own pages and listed origins only."""

    def accepts(self, raw, headers):
        """Whether a protected WebSocket lets these headers pass to the app."""
        [message] = raw.connect("/ruled/ws", headers=headers)
        # 4401 is ours; the app itself, which has no WebSocket, closes with 1000.
        assert message["type"] == "websocket.close"
        assert message["code"] in (1000, 4401)
        return message["code"] == 1000

    def test_senders(self, world, raw):
        """Its Origin must be ours, once; no other header stands in for it."""
        world.with_settings(protect=["/ruled"])
        raw.log_in()
        for said in SENDERS:
            site, origin, referer = said
            accepted = self.accepts(raw, sender(site, origin, referer))
            assert accepted is (origin == "ours"), said

    def test_listed_origins(self, world, raw):
        """An origin of websocket_origins is as good as ours, and no other becomes so."""
        listed = "https://other.example.com"
        world.with_settings(protect=["/ruled"], websocket_origins=[listed])
        raw.log_in()
        for said in ORIGINS:
            accepted = self.accepts(raw, sender("none", said, "none"))
            assert accepted is (said in ("ours", "same site")), said

    def test_anonymous(self, world, raw):
        """Without a session our own Origin is nobody's either."""
        world.with_settings(protect=["/ruled"])
        assert not self.accepts(raw, sender("ours", "ours", "ours"))

    def test_open_one_stays_whose_it_was(self, world, raw):
        """An open WebSocket says whose it is as when it was opened, after a logout too."""
        raw.log_in()
        said = []

        async def app(scope, receive, send):
            await receive()
            await send({"type": "websocket.accept"})
            for _ in range(2):
                await receive()
                said.append(scope["tiktok"].open_id)

        cookie = f"{SESSION}={raw.cookies[SESSION]}".encode()
        lines = [(b"origin", ORIGIN.encode()), (b"cookie", cookie)]
        scope = a_scope("/ws", lines, type="websocket", scheme="wss", subprotocols=[])
        inner, world.app.app = world.app.app, app
        messages = [{"type": "websocket.connect"}, {"type": "websocket.receive"}]

        async def receive():
            if messages:
                return messages.pop(0)
            # The browser logs out while the WebSocket is open.
            world.app.app = inner
            out = a_scope(
                LOGOUT,
                [(b"cookie", cookie), (b"origin", ORIGIN.encode())],
                method="POST",
            )
            head, *_ = await drive(world.app, out)
            assert head["status"] == 303
            return {"type": "websocket.receive"}

        async def send(message):
            assert message == {"type": "websocket.accept"}

        open_id = world.tiktok.people[0].open_id
        raw.portal.call(world.app, scope, receive, send)
        assert said == [open_id, open_id]
        assert raw.open_id is None

    def test_our_paths_are_no_websockets(self, world, raw):
        """A handshake on a path of ours begins, finishes and ends nothing."""
        world.with_settings(**ALL_PATHS)
        raw.log_in()
        for path in (LOGIN, CALLBACK, LOGOUT, DISCONNECT, WEBHOOK):
            [message] = raw.connect(path, headers=sender("none", "ours", "none"))
            assert message["type"] == "websocket.close"
        assert raw.open_id is not None


METHODS = [
    *("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"),
    *("PROPFIND", "QUERY", "X", "get", "Post", "", "GET ", "POST,GET"),
]
#: What each path answers to a page of ours, by method; anything else is 405.
ANSWERS = {
    LOGIN: {"GET": 303, "POST": 303},
    CALLBACK: {"GET": 400},
    LOGOUT: {"GET": 200, "POST": 303},
    DISCONNECT: {"GET": 200, "POST": 303},
    WEBHOOK: {"POST": 401},
}


@memory_only
class TestMethods:
    @pytest.mark.parametrize("path", ANSWERS)
    def test_methods(self, world, raw, path):
        """Each path answers its own methods, and refuses and names them to others."""
        world.with_settings(**ALL_PATHS)
        for method in METHODS:
            answer = raw.ask(method, path, headers=SAME_ORIGIN)
            status = ANSWERS[path].get(method, 405)
            assert answer.status == status, method
            if status == 405:
                assert answer.one("allow") == ", ".join(ANSWERS[path])
                assert not answer.set_cookies
            raw.cookies.clear()
        assert world.tiktok.requests == []

    @pytest.mark.parametrize("path", ANSWERS)
    def test_head_has_no_body(self, world, raw, path):
        """A HEAD is answered without a body."""
        world.with_settings(**ALL_PATHS)
        assert raw.ask("HEAD", path).body == b""

    @pytest.mark.parametrize("path", ANSWERS)
    def test_every_answer_has_its_headers(self, world, raw, path):
        """No answer of ours is kept, sniffed, framed, or sent on with its address."""
        world.with_settings(**ALL_PATHS)
        for method, headers in itertools.product(METHODS, (PAGE, API, SAME_ORIGIN)):
            answer = raw.ask(method, path, headers=headers)
            assert_headed(answer, is_callback=path == CALLBACK)

    def test_every_refusal_has_its_headers(self, world, raw):
        """Nor is any answer that stands in for the app's."""
        world.with_settings(protect=["/ruled"])
        for method, headers in itertools.product(METHODS, (PAGE, API)):
            for path in ("/ruled/x", "/private", "/upload"):
                answer = raw.ask(method, path, headers=headers)
                if answer.status in (303, 401):
                    assert_headed(answer)
        raw.log_in()
        for headers in (PAGE, API):
            assert_headed(raw.ask("GET", "/upload", headers=headers))


def assert_headed(answer, *, is_callback=False):
    """Judge the headers of an answer of ours."""
    assert answer.one("cache-control") == "no-store"
    assert answer.one("x-content-type-options") == "nosniff"
    policy = "strict-origin" if is_callback else "same-origin"
    assert answer.one("referrer-policy") == policy
    assert answer.one("cross-origin-opener-policy") == "same-origin"
    assert answer.one("content-length") is not None
    kind = answer.one("content-type")
    assert kind in (
        "text/html; charset=utf-8",
        "application/json",
        "text/plain; charset=utf-8",
    )
    if answer.one("location") is not None:
        assert answer.status == 303
        assert answer.body == b""
    if kind.startswith("text/html"):
        policy = answer.one("content-security-policy")
        for part in (
            "default-src 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ):
            assert part in policy.split("; ")
        assert re.search(r"style-src 'sha256-[\w+/=]+'", policy)
        assert answer.one("x-frame-options") == "DENY"
        if answer.body:
            assert b"<script" not in answer.body
            assert not re.search(rb"(src|href|action)=.?(\w+:)?//|url\(", answer.body)


#: Headers that some proxy or app takes for the truth about a request or a user.
SPOOFED = [
    *(("host", value) for value in ("evil.example", "app.example.com@evil.example")),
    ("host", "app.example.com/public?"),
    ("host", "app.example.com#"),
    ("host", ""),
    *(
        (name, value)
        for name in (
            "x-forwarded-host",
            "x-forwarded-server",
            "x-original-host",
            "x-host",
            "x-http-host-override",
            "forwarded",
        )
        for value in ("evil.example", "host=evil.example;proto=http")
    ),
    ("x-forwarded-proto", "http"),
    ("x-forwarded-scheme", "http"),
    ("x-forwarded-ssl", "off"),
    ("x-forwarded-port", "8443"),
    ("front-end-https", "off"),
    *(
        (name, value)
        for name in (
            "x-original-url",
            "x-rewrite-url",
            "x-original-uri",
            "x-forwarded-uri",
            "x-forwarded-path",
            "x-forwarded-prefix",
            "x-script-name",
            "script-name",
            "x-accel-redirect",
        )
        for value in ("/", LOGIN, LOGOUT)
    ),
    ("x-http-method-override", "GET"),
    ("x-http-method", "POST"),
    *(
        (name, "11111111-2222-4333-8444-555555555555")
        for name in (
            "remote-user",
            "x-remote-user",
            "x-forwarded-user",
            "x-auth-request-user",
            "x-user",
            "x-tiktok-open-id",
            "tiktok",
            "tiktok-auth",
            "tiktok.auth",
            "authorization",
            "x-ssl-client-cert",
        )
    ),
    # Servers under WSGI can not tell these from the ones with hyphens.
    ("x_forwarded_host", "evil.example"),
    ("x_original_url", "/"),
    ("remote_user", "somebody"),
    ("x_forwarded_user", "somebody"),
    ("cookies", f"{SESSION}=x"),
    ("x_cookie", f"{SESSION}=x"),
]


@memory_only
class TestSpoofedHeaders:
    """No header names another host, path, scheme or user."""

    def seen(self, raw, more):
        """Return all answers to one visitor, less what is random in them."""
        raw.cookies.clear()
        found = []
        for method, path, headers in (
            ("GET", LOGIN, PAGE),
            ("GET", "/who", API),
            ("GET", "/ruled/x", PAGE),
            ("GET", "/ruled/x", API),
            ("POST", "/ruled/x", API),
            ("GET", "/private", API),
            ("GET", "/private", PAGE),
            ("GET", LOGOUT, PAGE),
            ("POST", LOGOUT, SAME_ORIGIN),
            ("POST", LOGOUT, {}),
            ("GET", CALLBACK, PAGE),
            ("GET", "/", PAGE),
        ):
            # A login that was sent on to the site's own address once is not again.
            query = b"moved=1" if path == LOGIN else b""
            said = [*headers.items(), *more]
            answer = raw.ask(method, path, query=query, headers=said)
            text = f"{answer.status} {sorted(answer.headers)} {answer.text}"
            for random in (
                r"state=[\w-]+",
                r"code_challenge=\w+",
                r"login-[\w-]+=[\w-]*",
                r"Reference <code>\w+",
                r"'content-length', '\d+'",
            ):
                text = re.sub(random, "random", text)
            found.append(text)
        return found

    def test_nothing_changes(self, world, raw):
        """Every answer is the same with and without each of them, and all at once."""
        world.with_settings(protect=["/ruled"])
        plain = self.seen(raw, [])
        assert "redirect_uri=https%3A%2F%2Fapp.example.com" in plain[0]
        assert "; Secure" in plain[0]
        for spoofed in SPOOFED:
            assert self.seen(raw, [spoofed]) == plain, spoofed
        several = {name: value for name, value in SPOOFED if name != "host"}
        assert self.seen(raw, [*several.items()]) == plain

    def test_signed_in_user_stays(self, raw):
        """Who is signed in is nobody else by any header."""
        raw.log_in()
        before = json.loads(raw.ask("GET", "/who", headers=API).body)
        for spoofed in SPOOFED:
            answer = raw.ask("GET", "/who", headers=[*API.items(), spoofed])
            assert json.loads(answer.body) == before, spoofed

    def test_callback_ignores_them(self, raw):
        """A login is finished at the configured address, whatever the proxy says."""
        several = [pair for pair in SPOOFED if pair[0].startswith("x-")]
        path, query = raw.consent(raw.begin(headers=several))
        answer = raw.ask("GET", path, query=query, headers=several)
        assert (answer.status, answer.location) == (303, "/")
        assert all("; Secure" in line for line in answer.all("set-cookie"))


@memory_only
class TestIdentity:
    """Who is signed in is told through one object, and no header."""

    def test_app_gets_one_object(self, world, raw):
        """The app sees the request's own headers, and beside them our object only."""
        raw.log_in()
        seen = []
        cookie = f"{SESSION}={raw.cookies[SESSION]}"
        headers = [("host", "app.example.com"), ("remote-user", "spoofed")]
        if world.shell == "wsgi":

            def app(environ, start_response):
                seen.append(dict(environ))
                start_response("200 OK", [])
                return []

            raw.ask("GET", "/", headers=headers)
            world.app.wsgi_app.app = app
            raw.ask("GET", "/", headers=headers)
            [environ] = seen
            assert environ["tiktok.auth"].is_authenticated
            ours = [key for key in environ if "tiktok" in key.lower()]
            assert ours == ["tiktok.auth"]
            assert "REMOTE_USER" not in environ
            assert environ["HTTP_REMOTE_USER"] == "spoofed"
            assert environ["HTTP_COOKIE"] == cookie
            assert {k for k in environ if k.startswith("HTTP_")} == {
                "HTTP_HOST",
                "HTTP_REMOTE_USER",
                "HTTP_COOKIE",
            }
            return

        async def app(scope, receive, send):
            seen.append(scope)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body"})

        world.app.app = app
        lines = [(n.encode(), v.encode()) for n, v in [*headers, ("cookie", cookie)]]
        given = a_scope("/", lines)
        raw.portal.call(drive, world.app, given)
        [scope] = seen
        assert scope["tiktok"].is_authenticated
        assert scope["headers"] == lines
        assert set(scope) - set(given) == {"tiktok", "user", "auth"}
        assert all(scope[key] == given[key] for key in given)

    def test_no_query_is_too_long_for_its_path(self, world, raw):
        """A query above 64 kB is refused on every path that reads one, to no effect."""
        world.with_settings(**ALL_PATHS)
        raw.log_in()
        too_long = b"next=/&x=" + b"x" * 65_536
        for path, method in itertools.product(
            (LOGIN, CALLBACK, LOGOUT, DISCONNECT), ("GET", "POST")
        ):
            if (path, method) == (CALLBACK, "POST"):
                continue
            answer = raw.ask(method, path, query=too_long, headers=SAME_ORIGIN)
            assert answer.status == 414
            assert not answer.set_cookies
        assert raw.open_id is not None
        assert raw.ask("GET", LOGIN, query=b"x=" + b"x" * 65_000).status == 303

    def test_login_address_holds_what_it_must(self, raw):
        """What a person is sent to TikTok with is its seven parameters."""
        assert list(query_of(raw.begin())) == [
            "client_key",
            "response_type",
            "scope",
            "redirect_uri",
            "state",
            "code_challenge",
            "code_challenge_method",
        ]
