"""The login journey over real sockets, on the servers that people deploy.

One process per server, with settings from the environment, a stand-in for TikTok on its
own port, and SQLite; all servers have the same tests.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs, quote, urlsplit

import httpx2
import pytest

from ..conftest import API, CALLBACK, LOGIN, LOGOUT, PAGE
from ..support.recipes import blocks
from .conftest import FURTHER, KINDS, WEBHOOK, until
from .tabs import LENGTHS, cut_off, fifty_tabs

#: The servers whose limits of headers differ.
TABS = (
    "uvicorn-h11",
    "uvicorn-httptools",
    "gunicorn-sync",
    "gunicorn-workers",
    "waitress",
)
#: The servers that notice a lost connection in different ways.
CUT_OFF = (
    "uvicorn-h11",
    "uvicorn-workers",
    "hypercorn-asyncio",
    "hypercorn-trio",
    "granian-asgi",
    "daphne",
    "gunicorn-asgi",
    "gunicorn-sync",
    "gunicorn-gthread",
    "gunicorn-workers",
    "waitress",
)
#: One kind of each program, with several workers where it has them.
RESTARTED = (
    "uvicorn-workers",
    "hypercorn-trio",
    "granian-asgi",
    "daphne",
    "gunicorn-asgi",
    "gunicorn-workers",
    "waitress",
    "cheroot",
    "uwsgi",
    "wsgiref",
    "gevent",
    "tornado",
    "twisted",
)
if os.environ.get("SERVERS") == "all":
    #: Their own headers and ends of connections.
    OTHERS = ("gevent", "gunicorn-gevent", "eventlet", "tornado", "twisted", "cherrypy")
    TABS, CUT_OFF, RESTARTED = TABS + OTHERS, CUT_OFF + OTHERS, tuple(KINDS)


def test_page():
    """Some test here runs each program in the docs' page of servers."""
    commands = [kind.command for kind in {**KINDS, **FURTHER}.values()]
    run = {c.removeprefix("-c PAGE:") for c in commands if c.startswith("-c PAGE:")}
    assert {*blocks("operations/servers.md")} == {*run, "mod_wsgi"}


def test_home(browser):
    """The home page is public, and is kept out of shared caches."""
    response = browser.get("/")
    assert response.status_code == 200
    assert "Log in with TikTok" in response.text
    assert response.headers["cache-control"] == "private"
    assert "cookie" in response.headers["vary"].lower()


def test_guarded_page(browser):
    """A guarded page redirects a browser to the login, and that to TikTok."""
    response = browser.get("/profile?tab=1")
    assert response.status_code == 303
    to = response.headers["location"]
    assert to.startswith(LOGIN + "?")
    assert parse_qs(urlsplit(to).query) == {"next": ["/profile?tab=1"]}
    authorize = browser.get(to)
    assert authorize.status_code == 303
    assert authorize.headers["location"].startswith(browser.server.stand_in.url)


def test_login(browser):
    """A user who consents at TikTok is signed in and back at the page."""
    back = browser.log_in(browser.get("/profile?tab=1").headers["location"])
    assert back.status_code == 303
    assert back.headers["location"] == "/profile?tab=1"
    assert browser.person.display_name in browser.get("/profile?tab=1").text
    assert browser.me().json()["open_id"] == browser.person.open_id


def test_page_of_consent(browser):
    """A login works with the stand-in's own pages."""
    page = browser.get(browser.get(LOGIN).headers["location"])
    assert "It is not TikTok" in page.text
    name = page.text.partition('name="request" value="')[2].partition('"')[0]
    decision = {
        "request": name,
        "person": browser.server.tiktok.people[1].open_id,
        "scope": "user.info.basic",
        "decision": "continue",
    }
    stand_in = browser.server.stand_in.url
    decided = browser.client.post(f"{stand_in}/stand-in/decide", data=decision)
    assert browser.get(decided.headers["location"]).headers["location"] == "/"
    assert browser.me().json()["open_id"] == decision["person"]


@pytest.mark.parametrize(
    ("wanted", "sent"),
    [
        ("/profile?q=a%2Fb%20c&x=%C3%A9", "/profile?q=a%2Fb%20c&x=%C3%A9"),
        ("/s/a%2Fb%25c", "/s/a%2Fb%25c"),
        ("/s/café ☕?q=été", "/s/caf%C3%A9%20%E2%98%95?q=%C3%A9t%C3%A9"),
        ("/s?a=1&b=2;c=3#top", "/s?a=1&b=2;c=3#top"),
        ("//elsewhere.example/", "/"),
    ],
)
def test_next(browser, wanted, sent):
    """`next` is unchanged after the login, whatever is encoded in it."""
    back = browser.log_in(f"{LOGIN}?next={quote(wanted, safe='')}")
    assert back.headers["location"] == sent


@pytest.mark.parametrize(
    "target", ["/profile?q=a%2Fb&x=%C3%A9", "/members/caf%C3%A9%20%E2%98%95?x=%25"]
)
def test_back_to_encoded_pages(browser, target):
    """A login returns to a page's address with its encoded characters unchanged."""
    back = browser.log_in(browser.get(target).headers["location"])
    assert back.headers["location"] == target
    # The example has no pages below /members: a signed-in user gets a 404.
    expected = 200 if target.startswith("/profile") else 404
    assert browser.get(target).status_code == expected


def test_scope_is_asked_once(browser):
    """A page requests its scope from TikTok once, then says that it is missing."""
    browser.log_in()
    ask = browser.get("/videos")
    assert ask.status_code == 303
    login = ask.headers["location"]
    assert parse_qs(urlsplit(login).query)["scopes"] == ["video.list"]
    back = browser.log_in(login, scopes=["user.info.basic"])
    assert back.headers["location"] == "/videos"
    closed = browser.get("/videos")
    assert closed.status_code == 403
    assert "What is missing is: video.list" in closed.text
    assert browser.get("/videos", headers=API).json()["missing"] == ["video.list"]
    browser.log_in(login)
    assert browser.get("/videos").status_code == 200
    assert browser.me().json()["scopes"] == ["user.info.basic", "video.list"]


def test_json(browser):
    """A program gets 401 in JSON, by a guard and by a path rule."""
    for path in ("/api/me", "/members/x"):
        response = browser.get(path, headers=API)
        assert response.status_code == 401
        assert response.headers["content-type"].startswith("application/json")
        assert response.headers["www-authenticate"] == "Cookie"
        assert response.json() == {"error": "login_required", "login_url": LOGIN}


@pytest.mark.parametrize(
    ("path", "status"),
    [("/", 200), ("/profile", 303), (LOGIN, 405), (LOGOUT, 405), (CALLBACK, 405)],
)
def test_head(browser, path, status):
    """HEAD has no body, begins no login, and leaves the connection usable."""
    response = browser.request("HEAD", path, headers=PAGE)
    assert response.status_code == status
    assert response.content == b""
    assert "set-cookie" not in response.headers
    assert browser.get("/").status_code == 200


def test_logout(browser, new_browser):
    """A POST from the site logs out, and the old cookie is then anonymous."""
    browser.log_in()
    thief = new_browser()
    thief.client.cookies.set("tiktok", browser.cookie, domain="127.0.0.1")
    assert thief.me().status_code == 200
    response = browser.log_out()
    assert response.status_code == 303
    assert response.headers["location"] == "/"
    assert browser.cookie is None
    assert browser.me().status_code == 401
    # Another worker uses its cached session for at most a second.
    until(lambda: thief.me().status_code == 401, "the end of the session")


def test_logout_of_strangers(browser):
    """A POST from another site ends no session."""
    browser.log_in()
    for headers in ({"origin": "https://elsewhere.example"}, {}):
        response = browser.request("POST", LOGOUT, headers={**PAGE, **headers})
        assert response.status_code == 403
        assert browser.me().status_code == 200


def test_logout_page(browser):
    """The logout path, opened by hand, shows a question and does not log out."""
    browser.log_in()
    response = browser.get(LOGOUT)
    assert response.status_code == 200
    assert f'method="post" action="{LOGOUT}"' in response.text
    assert browser.me().status_code == 200


def test_form_that_the_app_does_not_read(browser):
    """A form's body that is not read does not disturb the next request."""
    for path, status in ((LOGIN, 303), (LOGOUT, 303), ("/members/x", 401)):
        response = browser.post(path, content=b"GET / HTTP/1.1\r\n\r\n" * 1000)
        assert response.status_code == status
        assert again(browser, "/").status_code == 200


def again(browser, path):
    """GET a path; once more if the server closed the connection, as browsers do.

    A server may close it without a word, because a body was not read.
    """
    try:
        return browser.get(path)
    except httpx2.RemoteProtocolError:
        return browser.get(path)


@pytest.mark.parametrize(
    "path",
    [
        "/auth%2Ftiktok/login",
        "/auth%2Ftiktok%2Fcallback?code=x&state=y",
        "/%61uth/tiktok/login",
        "/auth/tiktok/login/",
        "//auth/tiktok/login",
        "/auth/./tiktok/login",
        "/auth/tiktok/login%00",
        "/auth/tiktok/login%FF",
        "/auth/tiktok/login;x=1",
    ],
)
def test_encoded_paths(browser, path):
    """An unusually encoded path signs no user in, and causes no error."""
    answer = browser.get_raw(path)
    assert answer.status in (303, 400, 404)
    location = answer.headers.get("location", "")
    if answer.status == 303 and not location.startswith(LOGIN):
        # The server decoded it before the middleware: then it is the login path.
        assert location.startswith(browser.server.stand_in.url)
        assert answer.headers["set-cookie"].startswith("tiktok-login-")
    else:
        # Missing, or protected, since the app may drop control characters.
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "path",
    [
        "/members",
        "/members%2Fx",
        "/%6Dembers/x",
        "//members/x",
        "/x/../members",
        "/members%0A",
        "/members%0D%0A",
        "/%09members",
        "http://app.example.com/members",
    ],
)
def test_encoded_paths_stay_protected(browser, path):
    """A protected path is protected in every spelling, or does not exist."""
    assert browser.get_raw(path, API).status in (400, 401, 404)


def test_two_cookies(browser):
    """The session's cookie and the deletion of the login's cookie both arrive."""
    back = browser.log_in()
    cookies = back.headers.get_list("set-cookie")
    assert len(cookies) == 2
    login, session = cookies
    assert session.startswith("tiktok=")
    assert login.startswith("tiktok-login-")
    assert "Max-Age=0" in login
    assert all("HttpOnly" in cookie for cookie in cookies)
    assert list(browser.client.cookies) == ["tiktok"]


def test_code_is_used_once(browser):
    """A callback that is opened again redirects to the same page, and the session
    stays.
    """
    begun = browser.get(LOGIN + "?next=/profile?again=1")
    callback = browser.decide(begun.headers["location"])
    before = browser.server.tiktok.count("token", grant_type="authorization_code")
    for _ in range(2):
        answer = browser.get(callback)
        assert answer.status_code == 303
        assert answer.headers["location"] == "/profile?again=1"
    after = browser.server.tiktok.count("token", grant_type="authorization_code")
    assert after == before + 1
    assert browser.me().status_code == 200


def test_stranger_at_a_callback(browser, new_browser):
    """A browser without the login's cookie gets a page and no session."""
    callback = browser.decide(browser.get(LOGIN).headers["location"])
    stranger = new_browser()
    for _ in range(2):
        answer = stranger.get(callback)
        assert answer.status_code == 400
        assert answer.headers["content-type"].startswith("text/html")
        assert answer.headers["referrer-policy"] == "strict-origin"
        assert "set-cookie" not in answer.headers
        assert browser.get(callback).status_code == 303
    assert stranger.me().status_code == 401


def test_webhook(browser):
    """A delivery that TikTok signed is read from the socket and ends the session."""
    person = browser.server.tiktok.people[2]
    browser.log_in(person=person)
    headers, body = browser.server.tiktok.webhook(
        "authorization.removed", person.open_id
    )
    forged = browser.request("POST", WEBHOOK, headers=headers, content=body + b" ")
    assert forged.status_code == 401
    assert browser.me().status_code == 200
    report = browser.request("POST", WEBHOOK, headers=headers, content=body)
    assert report.status_code == 200
    until(lambda: browser.me().status_code == 401, "the end of the session")


def test_tokens_that_came_due(browser, server):
    """Simultaneous requests with a token due for refresh cause one refresh at
    TikTok.
    """
    tiktok = server.tiktok
    usual, tiktok.access_lifetime = tiktok.access_lifetime, 1
    try:
        browser.log_in(person=tiktok.people[1])
    finally:
        tiktok.access_lifetime = usual
    before = tiktok.count("token", grant_type="refresh_token")
    time.sleep(1)
    tiktok.slow_down("token", seconds=0.3)
    try:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: browser.me(), range(8)))
    finally:
        tiktok.clear_faults()
    assert {answer.status_code for answer in answers} == {200}
    assert tiktok.count("token", grant_type="refresh_token") == before + 1


@LENGTHS
@pytest.mark.parametrize("server", TABS, indirect=True)
def test_fifty_tabs(server, length, newest):
    """After fifty logins begun at once every request works, and so do the newest."""
    fifty_tabs(server, length, newest)


@pytest.mark.parametrize("server", CUT_OFF, indirect=True)
def test_cut_off(server, gate):
    """A browser that disconnects and repeats the request is signed in, once."""
    cut_off(server, gate)


@pytest.mark.parametrize("server", RESTARTED, indirect=True)
def test_restart(browser, server):
    """A session and a login under way survive a restart of the server."""
    browser.log_in()
    under_way = browser.get(LOGIN).headers["location"]
    browser.client.close()
    server.stop()
    server.start()
    browser.reopen(browser.client.cookies)
    assert browser.me().status_code == 200
    assert browser.get(browser.decide(under_way)).status_code == 303
    assert browser.me().status_code == 200
