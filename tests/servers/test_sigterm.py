"""SIGTERM at a deployment, while TikTok is processing a login's code or a refresh.

TikTok's answer uses up a code or a refresh token, so a lost answer costs the user a new
login. docs/operations/servers.md says what each server does.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.client import HTTPException
from http.client import HTTPResponse as Answer
from pathlib import Path

import pytest

from tiktok_oauth_middleware.testing.server import StandIn

from ..conftest import LOGIN, Gate
from .conftest import KINDS, SECONDS, Browser, Server, SlowTikTok, local, send

CODE, REFRESH = "authorization_code", "refresh_token"
#: Servers that do not answer, but finish their requests.
UNANSWERED = {"daphne", "twisted", "mod_wsgi"}
#: Servers that end at once, in the middle of a request.
ENDS_AT_ONCE = {"waitress", "cheroot", "wsgiref", "eventlet", "bjoern"}
#: A server whose thread waits forever to pass on a body.
MAY_HANG = {"twisted"}
ANSWERED = KINDS.keys() - UNANSWERED - ENDS_AT_ONCE
RUN = ["uvicorn-h11", "daphne", "gunicorn-gthread"]
if os.environ.get("SERVERS") == "all":
    RUN = list(KINDS)
#: Seconds from SIGTERM to TikTok's answer.
MEANWHILE = 1.5
#: Seconds in which a server notices that a client has closed its connection.
NOTICED = 0.5


@pytest.fixture(params=RUN)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    kind = KINDS[request.param]
    if kind.missing:
        pytest.skip(f"{kind.missing} is not installed")
    folder = tmp_path
    if request.param == "mod_wsgi":  # its user cannot enter pytest's folders
        folder = Path(tempfile.mkdtemp())
    with StandIn(SlowTikTok()) as stand_in:
        server = Server(request.param, kind, folder, stand_in)
        server.environment["TIKTOK_TIMEOUT"] = "60"
        try:
            server.start()
            yield server
        finally:
            if server.process:
                server.stop()
    if request.param == "mod_wsgi":
        shutil.rmtree(folder)


@pytest.fixture
def browser(server: Server) -> Iterator[Browser]:
    browser = Browser(server)
    yield browser
    browser.client.close()


@pytest.fixture
def interrupt(browser: Browser, gate: Gate) -> Callable[..., Answer | None]:
    """Return a function that restarts the server while TikTok processes a request.

    It returns the answer to the request; None if the server closed the connection, or
    the client did because of `leaves`.
    """
    server = browser.server

    def interrupt(
        target: str, grant_type: str, *, leaves: bool = False
    ) -> Answer | None:
        tiktok = server.tiktok
        tiktok.grant_type, tiktok.gate = grant_type, gate
        with send(server, target, dict(browser.client.cookies)) as sent:
            gate.wait()
            browser.client.close()
            if leaves:
                sent.close()
                time.sleep(NOTICED)
            server.process.send_signal(signal.SIGTERM)
            time.sleep(MEANWHILE)
            gate.open()
            answer = None if leaves else answer_to(sent)
        tiktok.gate = None
        if server.name in MAY_HANG:
            with suppress(subprocess.TimeoutExpired):
                server.process.wait(10)
            server.process.kill()
        server.process.wait(SECONDS)
        server.stop()  # and its workers
        # Work of a process that has ended counts as failed after three times as long.
        server.environment["TIKTOK_TIMEOUT"] = "5"
        server.start()
        browser.reopen(browser.client.cookies)
        return answer

    return interrupt


def answer_to(sent: socket.socket) -> Answer | None:
    answer = Answer(sent, method="GET")
    try:
        answer.begin()
        answer.read()
    except (HTTPException, ConnectionError):
        return None
    return answer


def test_unfinished_login(server, browser, interrupt):
    """A code that TikTok is processing is sent once, and the login succeeds or shows a
    page.
    """
    begun = browser.get(f"{LOGIN}?next=/profile?a=b").headers["location"]
    callback = browser.decide(begun)
    answer = interrupt(local(callback), CODE)
    # Like a browser: a lost answer's cookies are lost, too.
    again = browser.get(callback)
    assert server.tiktok.count("token", grant_type=CODE) == 1
    if server.name in ENDS_AT_ONCE:
        assert answer is None
        assert again.status_code == 400
        assert "Try again" in again.text
        assert browser.me().status_code == 401
        return
    if server.name in UNANSWERED:
        assert answer is None
    else:
        assert answer is not None
        assert answer.status == 303
        assert answer.headers["location"] == "/profile?a=b"
        assert answer.headers.get_all("set-cookie")[-1].startswith("tiktok=")
    assert again.status_code == 303
    assert again.headers["location"] == "/profile?a=b"
    assert browser.me().status_code == 200


def test_unfinished_refresh(server, browser, interrupt):
    """A refresh token that TikTok is replacing is not lost, if the server waits."""
    tiktok = server.tiktok
    usual, tiktok.access_lifetime = tiktok.access_lifetime, 1
    browser.log_in()
    tiktok.access_lifetime = usual
    time.sleep(1)
    answer = interrupt("/api/me", REFRESH)
    if server.name in ANSWERED:
        assert answer is not None
        assert answer.status == 200
    else:
        assert answer is None
    if server.name in ENDS_AT_ONCE:
        # TikTok refuses the token that it has replaced. The user stays signed in as
        # long as another process may still store the new one; a new login ends this
        # state.
        assert browser.me().json().get("token_expires_at") is None
        assert "invalid_grant" in server.log.read_text()
        assert browser.log_in().status_code == 303
    assert browser.me().json()["token_expires_at"]
    sent = tiktok.count("token", grant_type=REFRESH)
    assert sent == (2 if server.name in ENDS_AT_ONCE else 1)


def test_client_has_gone(server, browser, interrupt):
    """A refresh whose client has gone is not lost either, if the server waits."""
    tiktok = server.tiktok
    usual, tiktok.access_lifetime = tiktok.access_lifetime, 1
    browser.log_in()
    tiktok.access_lifetime = usual
    time.sleep(1)
    interrupt("/api/me", REFRESH, leaves=True)
    is_lost = browser.me().json().get("token_expires_at") is None
    assert is_lost == (server.name in ENDS_AT_ONCE)


def test_ctrl_c(tmp_path):
    """uWSGI's workers, which catch SIGINT in C, still end at it after a login.

    uWSGI kills a worker that has not ended after 30 seconds, and says so.
    """
    kind = KINDS["uwsgi"]
    if kind.missing:
        pytest.skip(f"{kind.missing} is not installed")
    with StandIn(SlowTikTok()) as stand_in:
        server = Server("uwsgi", kind, tmp_path, stand_in)
        # A shell makes processes that it starts in the background ignore the signal.
        usual = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            server.start()
        finally:
            signal.signal(signal.SIGINT, usual)
        try:
            browser = Browser(server)
            for _ in range(10):  # in each worker
                assert browser.log_in().status_code == 303
            browser.client.close()
            server.process.send_signal(signal.SIGINT)
            server.process.wait(2 * SECONDS)
        finally:
            if not server.is_gone():
                server.stop()
    log = server.log.read_text()
    assert "goodbye to uWSGI" in log
    assert "taking too much time to die" not in log
