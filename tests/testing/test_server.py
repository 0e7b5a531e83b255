"""The stand-in as a server: real HTTP on this machine, steered by programs only."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2
import pytest

from tiktok_oauth_middleware import TikTokSettings, tiktok
from tiktok_oauth_middleware.testing import FakeTikTok
from tiktok_oauth_middleware.testing.server import StandIn

KEY, SECRET = "awstandinclientkey", "stand-in-client-secret"
REDIRECT = "https://app.example.com/callback"
STEER = {"x-stand-in": "1"}


@pytest.fixture
def stand_in():
    with StandIn(FakeTikTok()) as stand_in:
        yield stand_in


@pytest.fixture
def browser(stand_in):
    """A client with cookies, which follows nothing."""
    with httpx2.Client(base_url=stand_in.url, trust_env=False) as client:
        yield client


def ask(scope="user.info.basic,video.list", **changes):
    """Return the path and query of an authorize request."""
    query = {
        "client_key": KEY,
        "response_type": "code",
        "scope": scope,
        "redirect_uri": REDIRECT,
        "state": "a-state",
        **changes,
    }
    return f"/v2/auth/authorize/?{urlencode(query)}"


def decide(browser, page, **changes):
    """Submit the form of a consent page."""
    found = re.search(r'name="request" value="([^"]+)"', page.text)
    people = re.findall(r'name="person" value="([^"]+)"', page.text)
    form = {
        "request": found.group(1),
        "person": people[0],
        "scope": ["user.info.basic", "video.list"],
        "decision": "continue",
        **changes,
    }
    return browser.post("/stand-in/decide", data=form)


def callback(response):
    assert response.status_code == 302, response.text
    location = response.headers["location"]
    assert location.startswith(REDIRECT + "?")
    return dict(parse_qsl(urlsplit(location).query, keep_blank_values=True))


def exchange(browser, code):
    form = {
        "client_key": KEY,
        "client_secret": SECRET,
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": REDIRECT,
    }
    return browser.post("/v2/oauth/token/", data=form).json()


class TestConsent:
    def test_journey(self, browser, stand_in):
        """A browser consents, and the code it brings back is worth a token."""
        query = callback(decide(browser, browser.get(ask())))
        assert query["state"] == "a-state"
        assert query["scopes"] == "user.info.basic,video.list"
        answer = exchange(browser, query["code"])
        assert answer["open_id"] == stand_in.fake.people[0].open_id

    def test_somebody_else(self, browser, stand_in):
        """The person who was chosen is the one who logs in."""
        person = stand_in.fake.people[1]
        response = decide(browser, browser.get(ask()), person=person.open_id)
        answer = exchange(browser, callback(response)["code"])
        assert answer["open_id"] == person.open_id

    def test_unticked(self, browser):
        """A scope that was unticked is not granted, user.info.basic no less."""
        response = decide(browser, browser.get(ask()), scope=["video.list"])
        query = callback(response)
        assert query["scopes"] == "video.list"
        assert exchange(browser, query["code"])["scope"] == "video.list"

    def test_cancel(self, browser):
        """Cancel brings access_denied back."""
        response = decide(browser, browser.get(ask()), decision="cancel")
        query = callback(response)
        assert query["error"] == "access_denied"
        assert "code" not in query

    def test_no_more_than_asked(self, browser):
        """A form that grants what was not asked for is refused."""
        response = decide(
            browser, browser.get(ask()), scope=["user.info.basic", "video.upload"]
        )
        assert response.status_code == 400

    @pytest.mark.parametrize("changes", [{"request": "made-up"}, {"person": "nobody"}])
    def test_made_up(self, browser, changes):
        """A form about an unknown request or person is refused."""
        response = decide(browser, browser.get(ask()), **changes)
        assert response.status_code == 400

    def test_silent_reconnect(self, browser):
        """Who consented is sent straight back; disable_auto_auth=1 shows the page."""
        callback(decide(browser, browser.get(ask())))
        assert "code" in callback(browser.get(ask()))
        assert browser.get(ask(disable_auto_auth="1")).status_code == 200

    def test_no_page_for_more(self, browser):
        """Asked for more than the consent was for, TikTok still shows no page."""
        callback(decide(browser, browser.get(ask())))
        more = "user.info.basic,video.list,video.upload"
        query = callback(browser.get(ask(more)))
        assert query["scopes"] == "user.info.basic,video.list"
        page = browser.get(ask(more, disable_auto_auth="1"))
        query = callback(decide(browser, page, scope=more.split(",")))
        assert query["scopes"] == more

    def test_another_browser(self, browser, stand_in):
        """Another browser is asked."""
        callback(decide(browser, browser.get(ask())))
        with httpx2.Client(base_url=stand_in.url, trust_env=False) as other:
            assert other.get(ask()).status_code == 200

    def test_without_slash(self, browser):
        """The authorize page answers without its last slash too."""
        assert browser.get(ask().replace("/?", "?")).status_code == 200

    def test_refused(self, browser):
        """What TikTok refuses is a page with its fields, and no redirect."""
        response = browser.get(ask("nonsense"))
        assert "location" not in response.headers
        for text in ("Something went wrong", "invalid_scope", "error_type", "logid"):
            assert text in response.text


class TestApi:
    def test_kept_connection(self, stand_in):
        """One connection carries many requests."""
        address = urlsplit(stand_in.url)
        with socket.create_connection((address.hostname, address.port)) as connection:
            file = connection.makefile("rb")
            for _ in range(3):
                connection.sendall(b"GET /v2/oauth/token HTTP/1.1\r\nHost: x\r\n\r\n")
                assert file.readline().startswith(b"HTTP/1.1 404")
                while (line := file.readline()) != b"\r\n":
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                assert file.read(length) == b"Unsupported path(Janus)"
            file.close()

    def test_one_segment(self, stand_in):
        """An answer comes whole, so that no part waits for an acknowledgement."""
        address = urlsplit(stand_in.url)
        ask = f"GET /v2/oauth/token HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n"
        with socket.create_connection((address.hostname, address.port)) as connection:
            for _ in range(20):
                connection.sendall(ask.encode())
                assert connection.recv(65536).endswith(b"Unsupported path(Janus)")

    def test_disconnect(self, browser, stand_in):
        """A dropped connection is dropped on the wire."""
        stand_in.fake.fail("token", disconnect=True)
        with pytest.raises(httpx2.RemoteProtocolError):
            browser.post("/v2/oauth/token/", data={"a": "b"})

    def test_endpoints(self, stand_in):
        """The endpoints are valid settings, slashes included."""
        settings = TikTokSettings(
            client_key=KEY,
            client_secret=SECRET,
            redirect_uri=REDIRECT,
            secret_keys=["a-key-of-tests-which-is-long-enough"],
            endpoints=stand_in.endpoints,
        )
        assert settings.endpoints.token.endswith("/v2/oauth/token/")

    def test_environment(self, stand_in):
        """The environment it names leads an app here."""
        environment = {
            **stand_in.environment(REDIRECT),
            "TIKTOK_SECRET_KEYS": "a-key-of-tests-which-is-long-enough",
        }
        settings = TikTokSettings.from_env(environment)
        assert settings.endpoints == stand_in.endpoints
        assert settings.client_key == KEY

    def test_avatar(self, browser):
        """Avatars are drawn, and their links lead here."""
        query = callback(decide(browser, browser.get(ask())))
        token = exchange(browser, query["code"])["access_token"]
        bearer = {"authorization": f"Bearer {token}"}
        user = browser.get("/v2/user/info/?fields=avatar_url", headers=bearer).json()
        picture = browser.get(user["data"]["user"]["avatar_url"])
        assert picture.headers["content-type"] == "image/svg+xml"
        assert picture.text.startswith("<svg")
        assert browser.get("/stand-in/avatar/nobody.svg").status_code == 404

    def test_gone(self):
        """A closed stand-in answers nobody, and gives its port back."""
        with StandIn(FakeTikTok()) as stand_in:
            url = stand_in.url
        with pytest.raises(httpx2.ConnectError):
            httpx2.get(url, trust_env=False)
        with StandIn(FakeTikTok(), port=urlsplit(url).port):
            assert httpx2.get(url, trust_env=False).status_code == 200


class TestSteering:
    @pytest.mark.parametrize("path", ["fail", "lose-answer", "mend", "settings"])
    @pytest.mark.parametrize("headers", [{}, {"x-stand-in": "yes"}])
    def test_not_from_a_page(self, browser, path, headers):
        """Without the header that no page can send, nothing is steered."""
        response = browser.post(f"/stand-in/{path}", json={}, headers=headers)
        assert response.status_code == 403

    def test_fail(self, browser):
        """Another process switches faults on and off."""
        wanted = {"endpoint": "token", "times": 5, "status": 503}
        assert browser.post("/stand-in/fail", json=wanted, headers=STEER).is_success
        assert browser.post("/v2/oauth/token/", data={"a": "b"}).status_code == 503
        assert browser.post("/stand-in/mend", json={}, headers=STEER).is_success
        assert browser.post("/v2/oauth/token/", data={"a": "b"}).status_code == 200

    def test_settings(self, browser, stand_in):
        """Another process sets lifetimes and grace."""
        wanted = {"access_lifetime": 7200, "refresh_lifetime": 15552000, "grace": 5}
        assert browser.post("/stand-in/settings", json=wanted, headers=STEER).is_success
        fake = stand_in.fake
        assert (fake.access_lifetime, fake.refresh_lifetime) == (7200, 15552000)
        assert fake.grace == 5

    @pytest.mark.parametrize("body", [b"", b"[", b"[]", b'{"nonsense": 1}', b"1"])
    def test_nonsense(self, browser, body):
        """Nonsense is told so."""
        response = browser.post("/stand-in/settings", content=body, headers=STEER)
        assert response.status_code == 400

    def test_unknown(self, browser):
        """An unknown command is 404."""
        response = browser.post("/stand-in/dance", json={}, headers=STEER)
        assert response.status_code == 404

    def test_journal(self, browser):
        """The journal counts, and holds no secret."""
        query = callback(decide(browser, browser.get(ask())))
        answer = exchange(browser, query["code"])
        response = browser.get("/stand-in/journal", headers=STEER)
        assert response.json()["exchanges"] == 1
        assert response.json()["refreshes"] == 0
        for secret in (SECRET, query["code"], answer["access_token"]):
            assert secret not in response.text


def test_command():
    """The sandbox command says where it is, and ends with Ctrl-C in good order."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [
            sys.executable,
            "-u",
            "-m",
            "tiktok_oauth_middleware",
            "sandbox",
            "--port",
            str(port),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        lines = [process.stdout.readline() for _ in range(11)]
        assert f"http://127.0.0.1:{port}" in lines[0]
        reply = httpx2.get(
            f"http://127.0.0.1:{port}{urlsplit(tiktok.TOKEN).path}", trust_env=False
        )
        assert reply.status_code == 404
    finally:
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=20)
    assert process.returncode == 0, rest
    assert "Traceback" not in rest
    token = f"TIKTOK_ENDPOINTS_TOKEN=http://127.0.0.1:{port}/v2/oauth/token/"
    assert token in "".join(lines)
    # Pasted into a shell, the lines are all that the settings need.
    exports = "\n".join(line for line in lines if line.startswith("  export"))
    check = "from tiktok_oauth_middleware import TikTokSettings as S; S.from_env()"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(
        ["sh", "-c", f"{exports}\n{sys.executable} -c '{check}'"],
        check=True,
        env={**os.environ, "PATH": path},
    )


def test_journal_is_json(browser):
    """The journal is JSON."""
    assert isinstance(json.loads(browser.get("/stand-in/journal").text), dict)
