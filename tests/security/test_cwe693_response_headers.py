"""Headers of every answer of the middleware, on every interface, and references of error
pages.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest

from tiktok_oauth_middleware import LoginRefused
from tiktok_oauth_middleware._web.pages import PROBLEMS

from ..conftest import API, CALLBACK, LOGIN, LOGOUT, PAGE, SAME_ORIGIN, query_of
from ..support.app_users import CONNECT, begin, connect, connecting, sign_in
from ..support.asgi_calls import call, http_scope
from ..support.deliveries import HOOK
from ..support.every_event import DISCONNECT, Breakable

PACKAGE = "tiktok_oauth_middleware"


@pytest.fixture
def store(clock):
    return Breakable(clock=clock)


@pytest.fixture
def world(world):
    return world.with_settings(
        webhook_path=HOOK, disconnect_path=DISCONNECT, protect=["/ruled"]
    )


# --- how to get each answer --------------------------------------------------------


def denied(world):
    return world.browser().log_in(deny=True)


def expired(world):
    browser = world.browser()
    callback = browser.consent(browser.begin())
    world.clock.advance(601)
    return browser.get(callback)


def replayed(world):
    browser = world.browser()
    callback = browser.consent(browser.begin())
    cookies = browser.cookies()
    browser.get(callback)
    world.clock.advance(61)
    return world.browser(**cookies).get(callback)


def mismatch(world):
    return world.browser().get(f"{CALLBACK}?code=a&state=b")


def already(world):
    browser, other = world.browser(), world.browser()
    browser.log_in()
    return browser.get(other.consent(other.begin()))


def failed(world):
    browser = world.browser()
    return browser.get(f"{CALLBACK}?state={query_of(browser.begin())['state']}")


def refused_by_tiktok(world):
    world.tiktok.fail("token", error="invalid_client")
    return world.browser().log_in()


def tiktok_away(world):
    world.tiktok.fail("token", status=500)
    return world.browser().log_in()


def broken(world, method="get", path="/who", headers=PAGE):
    browser = world.browser()
    browser.log_in()
    world.clock.advance(2)
    world.store.is_broken = True
    made = getattr(browser, method)(path, headers=headers)
    world.store.is_broken = False
    return made


def scope_denied(world, headers=PAGE):
    browser = world.browser()
    browser.log_in()
    asked = browser.get(browser.get("/upload").headers["location"])
    browser.get(browser.consent(asked.headers["location"], scopes=["user.info.basic"]))
    return browser.get("/upload", headers=headers)


def app_user(world, user_id="user-1", **options):
    """Return a browser that is signed in to an app with its own users."""
    made = connecting(world, **options).browser()
    sign_in(made, user_id)
    return made


def taken(world):
    first = app_user(world)
    connect(first)
    second = first.world.browser()
    sign_in(second, "user-2")
    return connect(second)


def other_user(world):
    browser = app_user(world)
    callback = browser.consent(begin(browser))
    sign_in(browser, "user-2")
    return browser.get(callback)


def undecided(world):
    world.further["current_user"] = lambda _: 7
    return connecting(world).browser().post(CONNECT)


def connect_failed(world):
    browser = app_user(world)
    state = query_of(begin(browser))["state"]
    return browser.get(f"{CALLBACK}?state={state}")


def connect_failed_at_tiktok(world):
    world.tiktok.fail("token", error="invalid_client")
    return connect(app_user(world))


def long_ago(world):
    browser = world.with_settings(protect_recent=["/ruled/pay"]).browser()
    browser.log_in()
    browser.world.clock.advance(301)
    form = {**PAGE, **SAME_ORIGIN, "sec-fetch-mode": "navigate"}
    return browser.post("/ruled/pay", headers=form)


def by_form(world):
    return world.with_settings(login_methods=["POST"]).browser().get(LOGIN)


def disconnect_failed(world):
    browser = world.browser()
    browser.log_in()
    world.tiktok.fail("revoke", status=500)
    return browser.post(DISCONNECT)


def step_up(world):
    browser = world.browser()
    browser.log_in()
    return browser.get("/upload")


def scope_unlisted(world):
    world.with_settings(optional_scopes=[])
    browser = world.browser()
    browser.log_in()
    return browser.get("/upload")


def unfinished(world):
    browser = world.browser()
    browser.get(browser.get("/private").headers["location"])
    return browser.get("/private")


def delivered(world, **headers):
    signed, body = world.tiktok.webhook("video.upload.failed", "somebody")
    return world.browser().client.post(
        HOOK, content=body, headers={**signed, **headers}
    )


def get(path, headers=PAGE) -> Callable[[Any], Any]:
    return lambda world: world.browser().get(path, headers=headers)


def decided_by(error):
    """Return a step in which `on_login` raises an error."""

    def on_login(login):
        raise error

    def step(world):
        world.further["on_login"] = on_login
        return world.start().browser().log_in()

    return step


PAGES = {
    "login_denied": denied,
    "login_refused": decided_by(LoginRefused("<b>Not</b> you")),
    "login_undecided": decided_by(RuntimeError()),
    "stale_login_link": get(f"{LOGIN}?carried=abc"),
    "login_expired": expired,
    "login_replayed": replayed,
    "state_mismatch": mismatch,
    "already_signed_in": already,
    "login_unfinished": unfinished,
    "login_failed": failed,
    "tiktok_error": refused_by_tiktok,
    "tiktok_unavailable": tiktok_away,
    "store_error": broken,
    "scope_not_offered": get(f"{LOGIN}?scopes=research.data.basic"),
    "not_a_page_visit": get(LOGIN, {**PAGE, "sec-fetch-dest": "image"}),
    "cross_site": lambda world: world.browser().post(LOGOUT, headers={}),
    "method_not_allowed": lambda world: world.browser().post(CALLBACK),
    "login_by_form": by_form,
    "confirm_logout": get(LOGOUT),
    "confirm_disconnect": get(DISCONNECT),
    "disconnect_failed": disconnect_failed,
    "scope_required": scope_denied,
    "scope_unlisted": scope_unlisted,
    "reauthentication_required": long_ago,
    "confirm_connect": lambda world: app_user(world).get(CONNECT),
    "account_taken": taken,
    "connect_signed_out": lambda world: app_user(world, None).post(CONNECT),
    "connect_other_user": other_user,
    "connect_denied": lambda world: connect(app_user(world), deny=True),
    "connect_failed": connect_failed,
    "connect_tiktok_failed": connect_failed_at_tiktok,
    "connect_undecided": undecided,
}
#: Pages that need other requests than a browser's, or fifty accounts.
ELSEWHERE = {"query_too_long", "login_required", "connect_full"}
JSON = {
    "401 of a guard": get("/private", API),
    "401 of a rule": get("/ruled/x", API),
    "403 of a guard": lambda world: scope_denied(world, API),
    "503 of the store": lambda world: broken(world, headers=API),
    "503 of a logout": lambda world: broken(
        world, "post", LOGOUT, {**API, **SAME_ORIGIN}
    ),
    "200 of a webhook": delivered,
    "401 of a webhook": lambda world: delivered(
        world, **{"tiktok-signature": "t=1,s=2"}
    ),
    "405 of a webhook": get(HOOK, API),
    "413 of a webhook": lambda world: world.browser().client.post(
        HOOK, content=b"x" * 70_000
    ),
}
REDIRECTS = {
    "to TikTok": get(LOGIN),
    "to TikTok, by a form": lambda world: world.browser().post(LOGIN),
    "back from TikTok": lambda world: world.browser().log_in(),
    "a refused next": lambda world: world.browser().log_in("?next=//elsewhere.example"),
    "after a logout": lambda world: world.browser().log_out(),
    "after a disconnect": lambda world: world.browser().post(DISCONNECT),
    "to log in, by a guard": get("/private"),
    "to log in, by a rule": get("/ruled/x"),
    "for a scope": step_up,
}
#: no-store (RFC 9111 section 5.2.2.5), and headers against sniffing and referrers.
ALWAYS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
}
#: Headers of documents, which redirects do not have.
OPENER = "cross-origin-opener-policy"


#: Answers at the callback's address, which contains a code and a state.
AT_CALLBACK = {
    "account_taken",
    "connect_other_user",
    "connect_denied",
    "connect_failed",
    "connect_tiktok_failed",
    "login_denied",
    "login_expired",
    "login_refused",
    "login_replayed",
    "login_undecided",
    "state_mismatch",
    "already_signed_in",
    "login_failed",
    "tiktok_error",
    "tiktok_unavailable",
    "method_not_allowed",
    "back from TikTok",
    "a refused next",
    CALLBACK,
}


def always(name):
    """Return the headers that an answer must have."""
    if name not in AT_CALLBACK:
        return ALWAYS
    return {**ALWAYS, "referrer-policy": "strict-origin"}


def assert_always(made, answer=""):
    for name, value in always(answer).items():
        assert made.headers.get_list(name) == [value], name


def test_all_pages():
    """The tests' table has every page."""
    assert PAGES.keys() | ELSEWHERE == PROBLEMS.keys()


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


@pytest.mark.parametrize("code", PAGES)
def test_page(world, code, caplog):
    """A page has every header, runs and fetches nothing, and shows its reference."""
    caplog.set_level(logging.INFO, PACKAGE)
    made = PAGES[code](world)
    problem = PROBLEMS[code]
    assert made.status_code == problem.status
    assert_always(made, code)
    assert made.headers.get_list(OPENER) == ["same-origin"]
    assert made.headers["content-type"] == "text/html; charset=utf-8"
    assert made.headers["x-frame-options"] == "DENY"
    policy = made.headers["content-security-policy"].split("; ")
    assert policy[0] == "default-src 'none'"
    assert re.fullmatch(r"style-src 'sha256-[A-Za-z0-9+/]{43}='", policy[1])
    form = (
        "form-action 'self' https://www.tiktok.com"
        if "<form" in made.text  # the answer to a form may redirect to TikTok
        else "form-action 'self'"
    )
    assert policy[2:] == [form, "frame-ancestors 'none'", "base-uri 'none'"]
    assert problem.title.replace("'", "&#x27;") in made.text
    for tag, attributes in Tags(made.text).found:
        assert tag not in ("script", "img", "link", "iframe", "object", "base")
        assert not any(name.startswith("on") or name == "src" for name in attributes)
        for name in ("href", "action"):
            target = attributes.get(name) or "/"
            assert re.match(r"/(?!/)", target), target
    if problem.status >= 400:
        [reference] = re.findall(r"<code>([0-9a-f]{8})</code></footer>", made.text)
        lines = [r.getMessage() for r in caplog.records if r.name == PACKAGE]
        assert sum(reference in line for line in lines) == 1


@pytest.mark.parametrize("name", JSON)
def test_json(world, name):
    """A program's response is JSON with no-store, and sets no login cookie."""
    made = JSON[name](world)
    assert made.status_code == int(name[:3])
    assert_always(made)
    assert made.headers.get_list(OPENER) == ["same-origin"]
    assert made.headers["content-type"] == "application/json"
    assert isinstance(made.json(), dict)
    assert "set-cookie" not in made.headers


@pytest.mark.parametrize("name", REDIRECTS)
def test_redirect(world, name):
    """A redirect is a 303, so that the next request is a GET, with no-store."""
    made = REDIRECTS[name](world)
    assert made.status_code == 303
    assert_always(made, name)
    assert OPENER not in made.headers
    assert made.text == ""
    assert made.headers["location"].startswith(("/", "https://www.tiktok.com/v2/auth/"))
    assert not made.headers["location"].startswith("//")


def test_references_of_an_outage(world, caplog):
    """Each page's reference is in the log, even in an outage that is logged once a
    second.
    """
    browser = world.browser()
    browser.log_in()
    world.clock.advance(2)
    world.store.is_broken = True
    references = {
        browser.get("/who", headers=API).json()["reference"] for _ in range(20)
    }
    lines = [r.getMessage() for r in caplog.records if r.name == PACKAGE]
    assert len(lines) < 5
    assert references
    for reference in references:
        assert any(reference in line for line in lines)


@pytest.mark.parametrize("interface", ["asyncio"])
@pytest.mark.parametrize("path", [LOGIN, CALLBACK])
async def test_query_too_long(world, path, caplog, anyio_backend):
    """A query that is too long gets a page, too."""
    caplog.set_level(logging.INFO, PACKAGE)
    scope = http_scope(path, query_string=b"a=" + b"x" * 70_000)
    start, body = await call(world.app, scope)
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    assert start["status"] == 414
    assert {name: headers[name] for name in ALWAYS} == always(path)
    [reference] = re.findall(rb"<code>([0-9a-f]{8})</code></footer>", body["body"])
    assert reference.decode() in caplog.text
