"""What an answer shows, to whom, and who may keep it."""

from __future__ import annotations

import itertools
import re
from urllib.parse import quote

import pytest

from tiktok_oauth_middleware._web.guard import guard

from ..conftest import API, CALLBACK, LOGIN, LOGOUT, PAGE, SAME_ORIGIN, make_settings
from .conftest import memory_only


class SharedCache:
    """Keeps what an HTTP cache may keep for everybody, and serves it (RFC 9111)."""

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


#: Every way in which an app can find out, or tell, who is signed in.
LOOKS = {
    "is_authenticated": lambda auth: auth.is_authenticated,
    "open_id": lambda auth: auth.open_id,
    "scopes": lambda auth: sorted(auth.scopes),
    "token": lambda auth: auth.token and auth.token.access_token,
    "user": lambda auth: auth.user and auth.user.display_name,
    "missing_scopes": lambda auth: sorted(auth.missing_scopes("video.list")),
    "guard": lambda auth: guard(auth, ()),
}
#: What only one kind of cache reads, and each reads before Cache-Control.
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
SAID = {
    "nothing": [],
    "public": [("Cache-Control", "public, max-age=600")],
    "shared": [("Cache-Control", "s-maxage=600"), ("Vary", "Accept-Encoding")],
    "several": [("Cache-Control", "max-age=600"), ("Cache-Control", "public")],
    "for CDNs": [("CDN-Cache-Control", "max-age=600"), ("Surrogate-Control", "x")],
    "for vendors": [(name, "max-age=600") for name in FOR_ONE_CACHE],
    "for who understands": [("Cache-Control", "must-understand, no-store, max-age=9")],
}


def show(world, look, said):
    """Put an app in the middle that answers with what it sees in one way.

    It does so with 401 if a guard refused, as the guards of frameworks do.
    """
    if world.shell == "wsgi":

        def app(environ, start_response):
            text = repr(look(environ["tiktok.auth"]))
            refused = environ["tiktok.auth"]._challenge is not None
            start_response("401 Unauthorized" if refused else "200 OK", list(said))
            return [text.encode()]

        world.app.wsgi_app.app = app
        return

    head = [(name.encode(), value.encode()) for name, value in said]

    async def app(scope, receive, send):
        text = repr(look(scope["tiktok"]))
        status = 200 if scope["tiktok"]._challenge is None else 401
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": text.encode()})

    world.app.app = app


@memory_only
class TestSharedCache:
    """What depended on a session is served to nobody else."""

    @pytest.mark.parametrize("said", SAID.values(), ids=SAID.keys())
    @pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS.keys())
    def test_every_way_of_looking(self, world, raw, look, said):
        """However an app looks, and whatever it says, a shared cache keeps nothing."""
        anonymous, other = raw.another(), raw.another()
        raw.log_in()
        other.log_in(person=world.tiktok.people[1], scopes=["user.info.basic"])
        show(world, look, said)
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

    @pytest.mark.parametrize("said", SAID.values(), ids=SAID.keys())
    def test_nobody_looked(self, world, raw, said):
        """An answer that does not depend on the session is left as the app made it."""
        raw.log_in()
        show(world, lambda auth: "the same for all", said)
        assert raw.ask("GET", "/x").headers == said

    def test_rule(self, world, raw):
        """A path that a rule protects depends on the session, who looks or not."""
        world.with_settings(protect=["/x"])
        show(world, lambda auth: "for members", [])
        raw.log_in()
        answer = raw.ask("GET", "/x", headers=PAGE)
        assert (answer.one("cache-control"), answer.one("vary")) == (
            "private",
            "Cookie",
        )

    @pytest.mark.parametrize("shell", ["asyncio", "trio"], indirect=True)
    @pytest.mark.parametrize("word", ["user", "auth"])
    def test_starlettes_words(self, world, raw, word):
        """Starlette's ``request.user`` and ``request.auth`` count as having looked."""

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
        """Neither our own answers nor a replaced one tell any cache to keep them."""
        show(world, members_only("guard"), SAID["for vendors"])
        for path in (LOGIN, LOGOUT, CALLBACK, "/x"):
            for headers in (PAGE, API):
                answer = raw.ask("GET", path, headers=headers)
                assert answer.one("cache-control") == "no-store"
                for name in FOR_ONE_CACHE:
                    assert answer.one(name.lower()) is None

    def test_answers_with_a_cookie(self, raw):
        """No answer that sets or deletes a cookie is kept by anybody."""
        path, query = raw.consent(raw.begin())
        kept = dict(raw.cookies)
        answers = [raw.ask("GET", LOGIN), raw.ask("GET", path, query=query)]
        answers.append(raw.ask("POST", LOGOUT, headers=SAME_ORIGIN))
        raw.cookies = kept
        answers.append(raw.ask("GET", path, query=query))
        for answer in answers:
            assert answer.set_cookies
            assert answer.one("cache-control") == "no-store"


METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY", "x"]
TYPES = [
    None,
    "application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "text/html",
    "text/plain; charset=utf-7",
    "application/octet-stream",
    "\xff",
]
ACCEPTS = ["text/html", "application/json", "*/*", "", "image/*", "\xff"]
SECRET = "for members only"


@memory_only
class TestProtectedContent:
    """Nothing of a protected answer goes out with the way to log in."""

    @pytest.mark.parametrize("way", ["rule", "guard"])
    def test_no_request_gets_content(self, world, raw, way):
        """Whatever its method and types, an anonymous request sees no content."""
        if way == "rule":
            world.with_settings(protect=["/x"])
        show(world, members_only(way), [("x-secret", "yes"), ("set-cookie", "a=b")])
        for method, kind, accept in itertools.product(METHODS, TYPES, ACCEPTS):
            headers = [("accept", accept)]
            headers += [] if kind is None else [("content-type", kind)]
            answer = raw.ask(method, "/x", headers=headers, body=b"<x>=1&a=b")
            assert SECRET not in answer.text
            assert answer.one("x-secret") is None
            assert answer.one("cache-control") == "no-store"
            if answer.status == 303:
                assert method in ("GET", "HEAD")
                assert answer.location == f"{LOGIN}?next=/x"
                assert answer.body == b""
            else:
                assert answer.status == 401
                is_page = method == "POST" and accept == "text/html"
                begin = b"<!doctype html>" if is_page else b'{"error"'
                assert method == "HEAD" or answer.body.startswith(begin)
            assert not answer.set_cookies
        raw.log_in()
        assert SECRET in raw.ask("GET", "/x", headers=API).text

    def test_posted_body_does_not_come_back(self, raw):
        """What was posted to a guarded path is neither kept nor sent on."""
        body = b"card=4111111111111111"
        answer = raw.ask("POST", "/private", headers=PAGE, body=body)
        assert answer.status == 401
        assert "4111" not in f"{answer.headers} {answer.text}"
        assert not answer.set_cookies


def members_only(way):
    """Return a look that gives the secret, with a guard before it or without."""

    def look(auth):
        if way == "guard":
            guard(auth, ())
        return SECRET

    return look


MARKUP = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg onload=alert(1)>",
    "</title></style><script>",
    "<!--",
    "javascript:alert(1)",
    "&lt;script&gt;",
    "+ADw-script+AD4-",
    "{{7*7}}${7*7}%(x)s",
]


@memory_only
class TestMarkup:
    """What anybody sends stands on our pages as text, if at all."""

    @pytest.mark.parametrize("value", MARKUP)
    def test_every_parameter(self, world, raw, value):
        """Markup in any parameter of any path of ours is no markup on its page."""
        world.with_settings(disconnect_path="/bye", login_methods=("POST",))
        encoded = quote(value, safe="")
        genuine = raw.consent(raw.ask("POST", LOGIN, headers=SAME_ORIGIN).location)[
            1
        ].decode()
        names = ["next", "scopes", "state", "code", "error", "error_description"]
        names += ["errCode", "error_type", "log_id", encoded]
        for name, path in itertools.product(names, [LOGIN, CALLBACK, LOGOUT, "/bye"]):
            query = f"{name}={encoded}"
            for more in ("", f"&{genuine}", f"&error=x&{genuine}"):
                for method in ("GET", "POST"):
                    sent = f"{query}{more}".encode()
                    assert_plain(raw.ask(method, path, query=sent, headers=PAGE))

    @pytest.mark.parametrize("value", MARKUP)
    def test_path_and_mount(self, world, raw, value):
        """Nor is markup in a path, a mount point or a header."""
        world.with_settings(protect=["/ruled"])
        for headers in (PAGE, API, {"accept": "image/*"}):
            assert_plain(raw.ask("GET", f"/ruled/{value}", headers=headers))
            assert_plain(raw.ask("GET", f"/private/{value}", headers=headers))
        for path in (LOGIN, LOGOUT):
            odd = f"/{value}"
            more = {**PAGE, "host": value, "referer": value, "user-agent": value}
            assert_plain(raw.ask("GET", path, mount=odd, headers=more))
            assert_plain(raw.ask("POST", path, mount=odd, headers=more))

    @pytest.mark.parametrize("value", MARKUP)
    def test_what_tiktok_says(self, world, raw, value):
        """Nor is markup in TikTok's own answers."""
        for fields in ({"error": value}, {"body": value.encode()}):
            world.tiktok.fail("token", **fields)
            assert_plain(raw.log_in())
            world.tiktok.clear_faults()


def assert_plain(answer):
    """Judge a page: the tags that it has are its own."""
    assert answer.status < 600
    kind = answer.one("content-type") or ""
    if not kind.startswith("text/html") or answer.one("cache-control") != "no-store":
        return
    rest = re.sub(r"<style>.*?</style>", "", answer.text, flags=re.DOTALL)
    tags = {tag.lower() for tag in re.findall(r"<\s*/?\s*([^\s>]+)", rest)}
    assert tags <= {
        *("!doctype", "html", "head", "meta", "title", "body", "main", "h1", "p"),
        *("div", "form", "button", "a", "footer", "code"),
    }
    for attribute in re.findall(r"<[a-z][^>]*>", rest):
        assert " on" not in attribute
        assert "javascript:" not in attribute.partition("?")[0]


@memory_only
class TestNothingToLoop:
    """A failed login ends on a page; no answer goes to TikTok by itself again."""

    @pytest.fixture
    def settings(self):
        return make_settings(protect=["/"])

    @pytest.mark.parametrize(
        "query", [b"", b"error=access_denied", b"code=x&state=y", b"state=y", b"&&"]
    )
    def test_failed_callback(self, raw, query):
        """Though every path is protected, a callback that fails shows a page."""
        answer = raw.ask("GET", CALLBACK, query=query, headers=PAGE)
        assert 400 <= answer.status < 500
        assert answer.one("location") is None
        assert answer.one("refresh") is None
        assert "http-equiv" not in answer.text
        assert f'href="{LOGIN}"' in answer.text
