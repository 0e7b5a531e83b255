"""Headers that name another host, path, scheme or user are not believed (CWE-348)."""

from __future__ import annotations

import itertools
import json
import re

from ..conftest import (
    API,
    CALLBACK,
    LOGIN,
    LOGOUT,
    PAGE,
    SAME_ORIGIN,
    query_of,
)
from ..support.raw_requests import a_scope, drive
from ..support.senders import ALL_PATHS, DISCONNECT, SESSION
from .conftest import memory_only

#: Headers that some proxies or apps trust about a request or a user.
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
    # WSGI servers cannot distinguish these from the ones with hyphens.
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
        """Return the answers to one visitor, without random parts."""
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
            # A login is redirected to the site's own address only once.
            query = b"moved=1" if path == LOGIN else b""
            sent = [*headers.items(), *more]
            answer = raw.ask(method, path, query=query, headers=sent)
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
        """Every answer is the same without these headers, with each, and with all of
        them.
        """
        world.with_settings(protect=["/ruled"])
        plain = self.seen(raw, [])
        assert "redirect_uri=https%3A%2F%2Fapp.example.com" in plain[0]
        assert "; Secure" in plain[0]
        for spoofed in SPOOFED:
            assert self.seen(raw, [spoofed]) == plain, spoofed
        several = {name: value for name, value in SPOOFED if name != "host"}
        assert self.seen(raw, [*several.items()]) == plain

    def test_signed_in_user_stays(self, raw):
        """No header changes the signed-in user."""
        raw.log_in()
        before = json.loads(raw.ask("GET", "/who", headers=API).body)
        for spoofed in SPOOFED:
            answer = raw.ask("GET", "/who", headers=[*API.items(), spoofed])
            assert json.loads(answer.body) == before, spoofed

    def test_callback_ignores_them(self, raw):
        """A login is finished at the configured address, whatever these headers are."""
        several = [pair for pair in SPOOFED if pair[0].startswith("x-")]
        path, query = raw.consent(raw.begin(headers=several))
        answer = raw.ask("GET", path, query=query, headers=several)
        assert (answer.status, answer.location) == (303, "/")
        assert all("; Secure" in line for line in answer.all("set-cookie"))


@memory_only
class TestIdentity:
    """The user is passed to the app in one object, and in no header."""

    def test_app_gets_one_object(self, world, raw):
        """The app gets the request's own headers, and in addition only the
        TikTokAuth.
        """
        raw.log_in()
        seen = []
        cookie = f"{SESSION}={raw.cookies[SESSION]}"
        headers = [("host", "app.example.com"), ("remote-user", "spoofed")]
        if world.interface == "wsgi":

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
        """A query above 64 kB is refused without effect on every path that
        reads one.
        """
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

    def test_login_address_has_seven_parameters(self, raw):
        """The login address at TikTok has its seven parameters."""
        assert list(query_of(raw.begin())) == [
            "client_key",
            "response_type",
            "scope",
            "redirect_uri",
            "state",
            "code_challenge",
            "code_challenge_method",
        ]
