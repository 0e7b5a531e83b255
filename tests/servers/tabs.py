"""Fifty tabs at once, and interrupted callbacks, on a server with default settings.

Servers refuse a request whose headers are too long, each with its own limit, and
proxies refuse such an answer. So the cookies of a browser in which many tabs begin a
login at the same moment must be within every server's default limit.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest

from ..conftest import LOGIN, PAGE, Gate
from .conftest import SECONDS, Browser, Server, send

LIMIT = 4096
#: The length of each login's target, and how many of the newest logins succeed.
LENGTHS = pytest.mark.parametrize(("length", "newest"), [(40, 7), (300, 7), (2000, 1)])


def ask(site: Server, target: str, cookies: dict[str, str]) -> tuple[Any, list[str]]:
    """GET an address with cookies; return the answer and the cookies it sets."""
    connection = HTTPConnection(urlsplit(site.url).netloc, timeout=SECONDS)
    headers = dict(PAGE)
    if cookies:
        headers["cookie"] = "; ".join(f"{n}={v}" for n, v in cookies.items())
    try:
        connection.request("GET", target, headers=headers)
        answer = connection.getresponse()
        answer.read()
        return answer, answer.headers.get_all("set-cookie") or []
    finally:
        connection.close()


def applied(jar: dict[str, str], lines: list[str]) -> None:
    for line in lines:
        name, _, value = line.partition(";")[0].partition("=")
        if value:
            jar[name] = value
        else:
            jar.pop(name, None)


def begin(site: Server, target: str, cookies: dict[str, str]) -> tuple[str, list[str]]:
    """Begin a login; return the address at TikTok and the cookies that it sets.

    A proxy with default settings passes on another Host than the site's, so the login
    is redirected once to the site's address, where the browser already is.
    """
    answer, lines = ask(site, f"{LOGIN}?next={target}", cookies)
    location = str(answer.headers["location"])
    if location.startswith(site.url + LOGIN):
        answer, lines = ask(site, location.removeprefix(site.url), cookies)
        location = str(answer.headers["location"])
    assert answer.status == 303
    assert location.startswith(site.stand_in.url)
    return location, lines


def fifty_tabs(site: Server, length: int, newest: int) -> None:
    """Begin fifty logins at once: every request works, and so do the newest logins."""
    target = "/profile?" + "x" * (length - 9)
    jar: dict[str, str] = {}
    answer, lines = ask(site, "/", jar)
    assert answer.status == 200

    # Signed in, so that there is a session cookie, too.
    location, lines = begin(site, "/", {})
    applied(jar, lines)
    callback = site.tiktok.consent(location).removeprefix(site.url)
    applied(jar, ask(site, callback, jar)[1])
    assert list(jar) == ["tiktok"]

    shown = dict(jar)
    with ThreadPoolExecutor(4) as pool:
        begun = list(pool.map(lambda _: begin(site, target, shown), range(50)))
    for _, lines in begun:
        applied(jar, lines)
        size = len("; ".join(f"{n}={v}" for n, v in jar.items()))
        assert size <= LIMIT
    assert ask(site, "/", jar)[0].status == 200

    # In the order of the answers, which may differ from that of the requests.
    newest = newest if site.kind.workers == 1 else 1
    one_by_one = [begin(site, target, shown) for _ in range(newest)]
    for _, lines in one_by_one:
        applied(jar, lines)
    for location, _ in one_by_one:
        assert ask(site, "/", jar)[0].status == 200
        callback = site.tiktok.consent(location).removeprefix(site.url)
        answer, lines = ask(site, callback, jar)
        assert answer.status == 303
        assert answer.headers["location"] == target
        assert lines[-1].startswith("tiktok=")
        applied(jar, lines)
    assert ask(site, "/", jar)[0].status == 200


def cut_off(site: Server, gate: Gate) -> None:
    """Disconnect and repeat the request: the browser is signed in, once."""
    tiktok: Any = site.tiktok
    location, lines = begin(site, "/profile?a=b", {})
    jar: dict[str, str] = {}
    applied(jar, lines)
    callback = tiktok.consent(location).removeprefix(site.url)
    before = tiktok.count("token", grant_type="authorization_code")
    tiktok.gate = gate
    try:
        send_first = send(site, callback, jar)
        gate.wait()
        send_first.close()
        with ThreadPoolExecutor(2) as pool:
            again = [pool.submit(ask, site, callback, jar) for _ in range(2)]
            gate.open()
            answers = [each.result(2 * SECONDS) for each in again]
    finally:
        tiktok.gate = None
    for answer, lines in answers:
        assert answer.status == 303
        assert answer.headers["location"] == "/profile?a=b"
        assert lines[-1].startswith("tiktok=")
    assert tiktok.count("token", grant_type="authorization_code") == before + 1
    applied(jar, answers[0][1])
    assert list(jar) == ["tiktok"]
    browser = Browser(site)
    try:
        browser.reopen(jar)
        assert browser.me().status_code == 200
        stranger = ask(site, callback, {})[0]
        assert stranger.status == 400
    finally:
        browser.client.close()
