"""Responses of guards and path rules, and when an app's own response is left alone."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from tiktok_oauth_middleware import StoreError
from tiktok_oauth_middleware._web.guard import guard

from ..conftest import API, LOGIN, ORIGIN, PAGE
from ..support.raw_requests import a_scope, drive

OTHER = "https://other.example"
CORS = [
    ("access-control-allow-origin", OTHER),
    ("access-control-allow-credentials", "true"),
    ("access-control-expose-headers", "x-total"),
]
PREFLIGHT = [("origin", OTHER), ("access-control-request-method", "PUT")]
#: Default headers of programs: curl and httpx, urllib, a script's requests.
PROGRAMS = [{"accept": "*/*"}, {}, {"accept": ""}, {"accept": "application/json"}]


@pytest.fixture
def store(clock):
    from tiktok_oauth_middleware import MemoryStore

    return MemoryStore(clock=clock)


def app_of(world, decide):
    """Set the world's app: `decide` gets the auth and returns status, headers and body.

    It is called before the response begins, and can call `guard` as frameworks do.
    """
    if world.interface == "wsgi":

        def app(environ, start_response):
            status, headers, body = decide(environ["tiktok.auth"])
            start_response(f"{status} X", list(headers))
            return [body]

        world.app.wsgi_app.app = app
        return

    async def app(scope, receive, send):
        status, headers, body = decide(scope["tiktok"])
        head = ((n.encode(), v.encode()) for n, v in headers)  # iterated once
        start = {"type": "http.response.start", "status": status, "headers": head}
        await send(start)
        for part in (body[:2], body[2:]):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body"})

    world.app.app = app


def answers(*, status=200, headers=(), body=b"the app's own", scopes=()):
    """Return a `decide` that calls a guard and then gives this answer."""

    def decide(auth):
        guard(auth, scopes)
        return status, list(headers), body

    return decide


class TestReplaced:
    @pytest.mark.parametrize("status", [200, 204, 302, 400, 403, 404, 500, 503])
    @pytest.mark.parametrize("headers", [API, PAGE, {}], ids=["api", "page", "curl"])
    def test_another_status(self, world, raw, status, headers):
        """If the app caught a 401 and answers with another status, its answer stays."""
        sent = [("x-own", "yes"), ("set-cookie", "a=b")]
        app_of(world, answers(status=status, headers=sent))
        answer = raw.ask("GET", "/x", headers=headers)
        assert answer.status == status
        assert answer.body == b"the app's own"
        assert (answer.one("x-own"), answer.set_cookies) == ("yes", {"a": "b"})
        assert answer.one("cache-control") == "private"
        assert answer.one("vary") == "Cookie"

    @pytest.mark.parametrize("status", [200, 302, 401, 404])
    def test_scope(self, world, raw, status):
        """If the app caught a 403 for a scope, its answer stays, even if it is
        a 401.
        """
        raw.log_in(scopes=["user.info.basic"])
        app_of(world, answers(status=status, scopes=["video.list"]))
        answer = raw.ask("GET", "/x", headers=API)
        assert (answer.status, answer.body) == (status, b"the app's own")

    def test_refusal(self, world, raw):
        """An answer with the guard's own status counts as the refusal, and is
        replaced.
        """
        sent = [("x-own", "yes"), ("set-cookie", "a=b"), ("content-encoding", "gzip")]
        app_of(world, answers(status=401, headers=sent))
        answer = raw.ask("GET", "/x", headers=API)
        assert answer.status == 401
        assert json.loads(answer.body) == {
            "error": "login_required",
            "login_url": LOGIN,
        }
        assert answer.one("x-own") is answer.one("content-encoding") is None
        assert not answer.set_cookies
        assert raw.ask("GET", "/x", headers=PAGE).location == f"{LOGIN}?next=/x"

    @pytest.mark.parametrize("scheme", ["Bearer", 'Basic realm="x"', "ApiKey"])
    def test_other_credentials(self, world, raw, scheme):
        """An app's 401 that asks for other credentials does not count as the
        refusal.
        """
        app_of(world, answers(status=401, headers=[("WWW-Authenticate", scheme)]))
        for headers in (API, PAGE):
            answer = raw.ask("GET", "/x", headers=headers)
            assert (answer.status, answer.body) == (401, b"the app's own")
            assert answer.one("www-authenticate") == scheme

    def test_asking_marks_nothing(self, world, raw):
        """After reading only is_authenticated and missing_scopes, the app's 401
        stays.
        """

        def decide(auth):
            assert not auth.is_authenticated
            assert auth.missing_scopes("video.list")
            return 401, [], b"the app's own"

        app_of(world, decide)
        assert raw.ask("GET", "/x", headers=PAGE).body == b"the app's own"

    @pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE"])
    def test_methods(self, world, raw, method):
        """An app's own answer to a refusal stays, for every method."""
        app_of(world, answers(status=200, headers=[("x-own", "yes")]))
        answer = raw.ask(method, "/x", headers=PAGE)
        assert (answer.status, answer.one("x-own")) == (200, "yes")

    @pytest.mark.parametrize("interface", ["wsgi"], indirect=True)
    def test_response_started_again(self, world, raw):
        """A WSGI app that starts its response again with exc_info withdraws its refusal."""

        def app(environ, start_response):
            guard(environ["tiktok.auth"], ())
            start_response("401 Unauthorized", [])
            try:
                raise ValueError
            except ValueError:
                import sys

                start_response("500 Oh", [("x-own", "yes")], sys.exc_info())
            return [b"error page"]

        world.app.wsgi_app.app = app
        answer = raw.ask("GET", "/x", headers=PAGE)
        assert (answer.status, answer.body) == (500, b"error page")


class TestSockets:
    """WebSockets, which a guard refuses before they are accepted."""

    pytestmark = pytest.mark.parametrize("interface", ["asyncio"], indirect=True)

    def connect(self, world, raw, *messages, extensions=()):
        async def app(scope, receive, send):
            await receive()
            guard(scope["tiktok"], ())
            for message in messages:
                await send(message)

        world.app.app = app
        scope = a_scope("/x", type="websocket", scheme="wss", subprotocols=[])
        scope["extensions"] = {name: {} for name in extensions}
        return raw.portal.call(drive, world.app, scope, [{"type": "websocket.connect"}])

    @pytest.mark.parametrize("code", [None, 1000, 1008, 4401, 4403])
    def test_refusal(self, world, raw, code):
        """However a framework closes a refused WebSocket, the client gets 4401."""
        close = {"type": "websocket.close"} | ({} if code is None else {"code": code})
        sent = self.connect(world, raw, close)
        assert sent == [{"type": "websocket.close", "code": 4401}]

    @pytest.mark.parametrize("code", [1001, 1011, 1013, 3000, 4000, 4429])
    def test_own_code(self, world, raw, code):
        """An app that caught the refusal can close with its own code."""
        close = {"type": "websocket.close", "code": code, "reason": "full"}
        assert self.connect(world, raw, close) == [close]

    def test_accepted(self, world, raw):
        """An app that caught the refusal may accept, and close as it likes."""
        messages = [
            {"type": "websocket.accept"},
            {"type": "websocket.send", "text": "the public part"},
            {"type": "websocket.close", "code": 1000},
        ]
        assert self.connect(world, raw, *messages) == messages

    def test_own_response(self, world, raw):
        """An app that caught the refusal may answer the handshake itself."""
        messages = [
            {"type": "websocket.http.response.start", "status": 404, "headers": []},
            {"type": "websocket.http.response.body", "body": b"none"},
        ]
        sent = self.connect(
            world, raw, *messages, extensions=["websocket.http.response"]
        )
        assert sent == messages

    def test_own_refusal_is_replaced(self, world, raw):
        """The answer to a refused handshake names the login address, if the server can
        send answers.
        """
        start = {"type": "websocket.http.response.start", "status": 401}
        sent = self.connect(
            world,
            raw,
            start,
            {"type": "websocket.http.response.body", "body": b"no"},
            extensions=["websocket.http.response"],
        )
        assert sent[0]["status"] == 401
        assert json.loads(sent[1]["body"])["error"] == "login_required"


class TestPrograms:
    @pytest.mark.parametrize("headers", PROGRAMS, ids=repr)
    @pytest.mark.parametrize("way", ["guard", "rule"])
    def test_login(self, world, raw, headers, way):
        """A client whose Accept does not name HTML gets 401 in JSON and no redirect."""
        if way == "rule":
            world.with_settings(protect=["/ruled"])
        path = "/ruled/x" if way == "rule" else "/private"
        for method in ("GET", "POST"):
            answer = raw.ask(method, path, headers=headers)
            assert answer.status == 401
            assert json.loads(answer.body)["error"] == "login_required"
            assert answer.one("content-type") == "application/json"

    @pytest.mark.parametrize("headers", PROGRAMS, ids=repr)
    def test_scope(self, world, raw, headers):
        """Such a client gets 403 in JSON if a scope is missing."""
        raw.log_in(scopes=["user.info.basic"])
        answer = raw.ask("GET", "/videos", headers=headers)
        assert answer.status == 403
        assert json.loads(answer.body)["missing"] == ["video.list"]

    def test_unlisted_scope(self, world, raw, caplog):
        """If no login can request the scope, the log names the option to add it to."""
        world.with_settings(scopes=["user.info.basic"], optional_scopes=[])
        raw.log_in(scopes=["user.info.basic"])
        assert raw.ask("GET", "/videos", headers=API).status == 403
        [line] = [r.getMessage() for r in caplog.records if "a guard" in r.getMessage()]
        assert "a guard asks for ['video.list']" in line
        assert "(TIKTOK_OPTIONAL_SCOPES)" in line

    def test_unlisted_scope_in_a_browser(self, world, raw):
        """If no login can request the scope, the page says that the site is at
        fault.
        """
        world.with_settings(scopes=["user.info.basic"], optional_scopes=[])
        raw.log_in(scopes=["user.info.basic"])
        answer = raw.ask("GET", "/videos", headers=PAGE)
        assert answer.status == 403
        text = answer.body.decode()
        assert "That is a fault of the site and not yours" in text
        assert "What is missing is: video.list." in text
        assert "scopes=video.list" not in text

    @pytest.mark.parametrize(
        "accept",
        ["text/html", "application/xhtml+xml", "text/html,*/*;q=0.8", "*/*,TEXT/HTML"],
    )
    def test_browser(self, raw, accept):
        """A client that names HTML is sent to log in."""
        answer = raw.ask("GET", "/private", headers={"accept": accept})
        assert answer.location == f"{LOGIN}?next=/private"


class TestLongAddresses:
    """A redirect's headers stay below the limits of nginx (4,096 bytes) and gunicorn
    (4,094).
    """

    @pytest.mark.parametrize("length", [10, 1900, 2040, 2100, 2300, 3900, 8000, 60_000])
    @pytest.mark.parametrize("unit", ["x", "%C3%BC", "a=b&", "/", "%2525"])
    def test_bounded(self, raw, length, unit):
        """The redirect is short for every request, and returns to its address if that
        fits.
        """
        query = ("q=" + unit * length)[:length].rstrip("%25C3B")
        answer = raw.ask("GET", "/private", query=query.encode(), headers=PAGE)
        assert answer.status == 303
        head = sum(len(name) + len(value) + 4 for name, value in answer.headers)
        assert head <= 3800
        back = parse_qs(urlsplit(answer.location).query).get("next")
        if back is not None:
            assert len(back[0]) <= 2048
            assert back[0].partition("?")[2] == quote(query, safe="%/?:@!$&'()*+,;=~[]")
        else:
            assert len(query) > 1500
            assert answer.location == LOGIN

    def test_long_path(self, world, raw):
        """A long path is left out of the redirect, by a rule and by a guard."""
        world.with_settings(protect=["/ruled"])
        for path in ("/ruled/" + "x" * 3000, "/private/" + "ü" * 1200):
            assert raw.ask("GET", path, headers=PAGE).location == LOGIN

    def test_scopes_stay(self, world, raw):
        """The scopes stay in a link whose return address is left out."""
        raw.log_in(scopes=["user.info.basic"])
        answer = raw.ask("GET", "/videos", query=b"q=" + b"x" * 3000, headers=PAGE)
        assert answer.location == f"{LOGIN}?scopes=video.list"

    def test_login_works(self, raw):
        """A login that began at a long address ends at the usual page."""
        answer = raw.ask("GET", "/private", query=b"x" * 3500, headers=PAGE)
        assert answer.location == LOGIN
        assert raw.log_in().location == "/"


FORM = {
    "accept": "text/html,application/xhtml+xml,*/*;q=0.8",
    "content-type": "application/x-www-form-urlencoded",
    "origin": ORIGIN,
    "referer": f"{ORIGIN}/private?page=2",
    "sec-fetch-mode": "navigate",
    "sec-fetch-dest": "document",
    "sec-fetch-site": "same-origin",
}


class TestForms:
    """A browser that sends a form after its session has ended."""

    @pytest.mark.parametrize("way", ["guard", "rule"])
    def test_page(self, world, raw, way):
        """A page says what happened, and links to a login that returns to the form."""
        if way == "rule":
            world.with_settings(protect=["/ruled"])
        path = "/ruled/send" if way == "rule" else "/private"
        answer = raw.ask("POST", path, headers=FORM, body=b"text=long")
        assert answer.status == 401
        assert answer.one("www-authenticate") == "Cookie"
        assert answer.one("content-type") == "text/html; charset=utf-8"
        assert answer.one("cache-control") == "no-store"
        assert "What you sent was not accepted" in answer.text
        assert f'href="{LOGIN}?next=/private%3Fpage%3D2"' in answer.text
        assert not answer.set_cookies

    def test_old_browser(self, raw):
        """A browser that sends no Sec-Fetch headers gets the page, too."""
        headers = {k: v for k, v in FORM.items() if not k.startswith("sec-")}
        assert "Please log in" in raw.ask("POST", "/private", headers=headers).text

    @pytest.mark.parametrize(
        "referer",
        [None, "https://evil.example/private", f"{ORIGIN}.evil.example/", "/private"],
    )
    def test_elsewhere(self, raw, referer):
        """If the form was not on a page of this site, the login leads to the default
        page.
        """
        headers = {k: v for k, v in FORM.items() if k != "referer"}
        headers |= {} if referer is None else {"referer": referer}
        text = raw.ask("POST", "/private", headers=headers).text
        assert f'href="{LOGIN}"' in text
        assert "evil" not in text

    def test_scope(self, raw, world):
        """A form that needs a further scope gets a 403 page with a link to allow it."""

        def decide(auth):
            challenge = guard(auth, ["video.list"])
            return (challenge.status if challenge else 200), [], b"taken"

        raw.log_in(scopes=["user.info.basic"])
        app_of(world, decide)
        answer = raw.ask("POST", "/x", headers=FORM)
        assert answer.status == 403
        assert "video.list" in answer.text
        link = f"{LOGIN}?next=/private%3Fpage%3D2&amp;scopes=video.list"
        assert f'href="{link}"' in answer.text

    @pytest.mark.parametrize(
        "change",
        [
            {"sec-fetch-mode": "cors", "sec-fetch-dest": "empty"},
            {"x-requested-with": "XMLHttpRequest"},
            {"accept": "*/*"},
            {"accept": "application/json"},
        ],
        ids=repr,
    )
    def test_script(self, raw, change):
        """A script that posts gets JSON."""
        answer = raw.ask("POST", "/private", headers=FORM | change)
        assert json.loads(answer.body)["error"] == "login_required"

    @pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS"])
    def test_other_methods(self, world, raw, method):
        """A request with a method that no form sends gets JSON."""
        world.with_settings(protect=["/ruled"])
        answer = raw.ask(method, "/ruled/x", headers=FORM)
        assert json.loads(answer.body)["error"] == "login_required"

    def test_outage(self, world, raw, store, monkeypatch):
        """If the store cannot be reached, a form gets the page that says so."""
        raw.log_in()

        def fail(*args, **kwargs):
            raise StoreError

        world.store = Broken()
        world.start()
        answer = raw.ask("POST", "/private", headers=FORM)
        assert answer.status == 503
        assert answer.one("content-type") == "text/html; charset=utf-8"


class Broken:
    """A store that cannot be reached, for both interfaces."""

    def get(self, key):
        raise OSError

    def compare_and_set(self, key, old, new, ttl):
        raise OSError

    def lock(self, key, ttl):
        raise OSError

    def close(self):
        """Close nothing."""


class TestCORS:
    """An app whose CORS middleware is inside of this one."""

    @pytest.mark.parametrize("headers", [API, PAGE], ids=["program", "browser"])
    @pytest.mark.parametrize("vary", [None, "Origin", "Accept-Encoding, Origin", "*"])
    def test_refusal_keeps_its_headers(self, world, raw, headers, vary):
        """A refusal keeps the app's Access-Control headers and its Vary."""
        sent = CORS + ([("vary", vary)] if vary else [])
        app_of(world, answers(status=401, headers=sent))
        answer = raw.ask("GET", "/x", headers={**headers, "origin": OTHER})
        assert answer.status == (401 if headers is API else 303)
        for name, value in CORS:
            assert answer.one(name) == value
        wanted = {"*": "*", None: None}.get(vary, f"{vary}, Cookie")
        assert answer.one("vary") == wanted

    def test_scope(self, world, raw):
        """The refusal of a missing scope carries the app's CORS headers too."""
        raw.log_in(scopes=["user.info.basic"])
        app_of(world, answers(status=403, headers=CORS, scopes=["video.list"]))
        answer = raw.ask("GET", "/x", headers={**API, "origin": OTHER})
        assert json.loads(answer.body)["missing"] == ["video.list"]
        assert answer.one("access-control-allow-origin") == OTHER

    @pytest.mark.parametrize("value", ["a\r\nset-cookie: b=c", "ü", "a\x00"])
    def test_odd_value(self, world, raw, value):
        """A value with characters that a header may not contain is left out."""
        sent = [("access-control-allow-origin", value), ("vary", value)]
        if world.interface == "wsgi":
            app_of(world, answers(status=401, headers=sent))
        else:
            app_of(world, answers(status=401, headers=[(n, "x") for n, _ in sent]))
            inner = world.app.app

            async def app(scope, receive, send):
                async def odd(message):
                    if message["type"] == "http.response.start":
                        pairs = [(n.encode(), v.encode("latin-1")) for n, v in sent]
                        message["headers"] = pairs
                    await send(message)

                await inner(scope, receive, odd)

            world.app.app = app
        answer = raw.ask("GET", "/x", headers=API)
        assert answer.status == 401
        assert answer.one("access-control-allow-origin") is None

    @pytest.mark.parametrize("status", [200, 204, 400])
    def test_preflight(self, world, raw, status):
        """A preflight to a path with a rule is answered by the app."""
        world.with_settings(protect=["/"])
        sent = [*CORS, ("access-control-allow-methods", "PUT"), ("vary", "Origin")]
        app_of(world, lambda auth: (status, sent, b""))
        answer = raw.ask("OPTIONS", "/x", headers=PREFLIGHT)
        assert answer.status == status
        assert answer.one("access-control-allow-methods") == "PUT"
        assert answer.one("access-control-allow-origin") == OTHER
        assert "Origin" in answer.one("vary")
        assert answer.one("cache-control") == "no-store"
        assert answer.one("x-content-type-options") == "nosniff"
        assert (answer.one("content-type") is None) is (status == 204)

    def test_preflight_gets_only_cors_headers(self, world, raw):
        """If the app answers a preflight with a page, only its CORS headers are
        sent.
        """
        world.with_settings(protect=["/"])
        sent = [*CORS, ("set-cookie", "a=b"), ("x-secret", "yes")]
        app_of(world, lambda auth: (200, sent, b"for members"))
        answer = raw.ask("OPTIONS", "/x", headers=PREFLIGHT)
        assert (answer.status, answer.body) == (200, b"")
        assert answer.one("x-secret") is None
        assert not answer.set_cookies

    @pytest.mark.parametrize("status", [200, 401])
    def test_preflight_and_guard(self, world, raw, status):
        """If a guard also refuses a preflight, and the app catches that, still only its
        CORS headers are sent.
        """
        world.with_settings(protect=["/"])
        sent = [*CORS, ("x-secret", "yes")]
        app_of(world, answers(status=status, headers=sent, body=b"for members"))
        answer = raw.ask("OPTIONS", "/x", headers=PREFLIGHT)
        assert (answer.status, answer.body) == (status, b"")
        assert answer.one("x-secret") is None

    @pytest.mark.parametrize("status", [200, 302, 401, 404, 405, 500])
    def test_app_without_cors(self, world, raw, status):
        """If the app's answer has no CORS headers, a preflight is refused."""
        world.with_settings(protect=["/"])
        app_of(world, lambda auth: (status, [("x-secret", "yes")], b"for members"))
        answer = raw.ask("OPTIONS", "/x", headers=PREFLIGHT)
        assert answer.status == 401
        assert answer.one("x-secret") is None
        assert json.loads(answer.body)["error"] == "login_required"

    @pytest.mark.parametrize(
        ("method", "headers"),
        [
            ("OPTIONS", PREFLIGHT[:1]),
            ("OPTIONS", PREFLIGHT[1:]),
            ("OPTIONS", []),
            ("GET", PREFLIGHT),
            ("PUT", PREFLIGHT),
            # Headers that may make an app use another method.
            ("OPTIONS", [*PREFLIGHT, ("x-http-method-override", "DELETE")]),
            ("OPTIONS", [*PREFLIGHT, ("X-HTTP-Method", "DELETE")]),
            ("OPTIONS", [*PREFLIGHT, ("x-method-override", "")]),
            ("OPTIONS", [*PREFLIGHT, ("content-length", "14")]),
            ("OPTIONS", [*PREFLIGHT, ("transfer-encoding", "chunked")]),
        ],
    )
    def test_no_preflight(self, world, raw, method, headers):
        """A request that is not exactly a preflight does not pass a rule."""
        world.with_settings(protect=["/"])
        seen = []
        app_of(world, lambda auth: seen.append(auth) or (200, CORS, b""))
        assert raw.ask(method, "/x", headers=headers).status == 401
        assert seen == []

    @pytest.mark.parametrize(
        ("query", "status"),
        [
            ("_method=DELETE", 401),
            ("a=b&_METHOD=DELETE", 401),
            ("a=b;%5Fmethod=DELETE", 401),
            ("_HttpMethod=DELETE", 401),
            ("X-HTTP-Method-Override=PUT", 401),
            ("method_override=PUT", 401),
            ("method-override", 401),
            ("x=" + 9000 * "y", 401),
            ("payment_method=card&method=dhl", 204),
            ("q=_method", 204),
            ("", 204),
        ],
        ids=lambda value: str(value)[:30],
    )
    def test_query_that_names_a_method(self, world, raw, query, status):
        """A preflight whose query may make the app use another method does not pass a
        rule.
        """
        world.with_settings(protect=["/"])
        app_of(world, lambda auth: (204, CORS, b""))
        asked = {"query": query.encode(), "headers": PREFLIGHT}
        assert raw.ask("OPTIONS", "/x", **asked).status == status

    def test_body_of_a_preflight(self, world, raw):
        """A preflight's body without a length, as HTTP/2 allows, does not reach the
        app.
        """
        world.with_settings(protect=["/"])
        app_of(world, lambda auth: (204, CORS, b""))
        asked = {"headers": PREFLIGHT, "body": b"_method=DELETE"}
        if world.interface == "wsgi":  # WSGI has a length
            assert raw.ask("OPTIONS", "/x", **asked).status == 401
            return
        inner, seen = world.app.app, []

        async def app(scope, receive, send):
            seen.append(await receive())
            await inner(scope, receive, send)

        world.app.app = app
        assert raw.ask("OPTIONS", "/x", **asked).status == 204
        assert seen == [{"type": "http.request", "body": b"", "more_body": False}]

    def test_preflight_is_anonymous(self, world, raw):
        """A preflight has no session: browsers send it without cookies."""
        world.with_settings(protect=["/"])
        seen = []

        def decide(auth):
            seen.append(auth.is_authenticated)
            return 204, CORS, b""

        app_of(world, decide)
        assert raw.ask("OPTIONS", "/x", headers=PREFLIGHT).status == 204
        assert seen == [False]

    @pytest.mark.parametrize("interface", ["asyncio", "trio"], indirect=True)
    def test_socket_is_not_a_preflight(self, world, raw):
        """A WebSocket with the headers of a preflight is refused."""
        world.with_settings(protect=["/"])
        sent = raw.connect("/x", headers=PREFLIGHT)
        assert sent == [{"type": "websocket.close", "code": 4401}]
