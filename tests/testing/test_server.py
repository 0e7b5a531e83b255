"""The stand-in as a server: HTTP on loopback, which programs control but web pages
cannot.
"""

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

from tiktok_oauth_middleware import TikTokSettings
from tiktok_oauth_middleware.__main__ import main
from tiktok_oauth_middleware._oauth import protocol
from tiktok_oauth_middleware.testing import FakeTikTok
from tiktok_oauth_middleware.testing.server import StandIn, _authorities

from ..support.ports import free_port
from ..support.processes import ends_at_ctrl_c

KEY, SECRET = "awstandinclientkey", "stand-in-client-secret"
REDIRECT = "https://app.example.com/callback"
STEER = {"x-stand-in": "1"}
STEERED = [
    "fail",
    "lose-answer",
    "clear_faults",
    "settings",
    "refuse-next-login",
    "refuse-field",
]


@pytest.fixture
def stand_in():
    with StandIn(FakeTikTok()) as stand_in:
        yield stand_in


@pytest.fixture
def browser(stand_in):
    """Return a client that keeps cookies and follows no redirects."""
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
        """A browser consents, and its code can be exchanged for a token."""
        query = callback(decide(browser, browser.get(ask())))
        assert query["state"] == "a-state"
        assert query["scopes"] == "user.info.basic,video.list"
        answer = exchange(browser, query["code"])
        assert answer["open_id"] == stand_in.fake.people[0].open_id

    def test_chosen_person(self, browser, stand_in):
        """The person who was chosen is the one who logs in."""
        person = stand_in.fake.people[1]
        response = decide(browser, browser.get(ask()), person=person.open_id)
        answer = exchange(browser, callback(response)["code"])
        assert answer["open_id"] == person.open_id

    def test_unticked(self, browser):
        """A scope that was unticked is not granted, not even user.info.basic."""
        response = decide(browser, browser.get(ask()), scope=["video.list"])
        query = callback(response)
        assert query["scopes"] == "video.list"
        assert exchange(browser, query["code"])["scope"] == "video.list"

    def test_cancel(self, browser):
        """After Cancel the callback has access_denied."""
        response = decide(browser, browser.get(ask()), decision="cancel")
        query = callback(response)
        assert query["error"] == "access_denied"
        assert "code" not in query

    @pytest.mark.parametrize(
        ("decision", "error"),
        [
            ("not_eligible", "access_denied"),
            ("server_error", "server_error"),
            ("temporarily_unavailable", "temporarily_unavailable"),
        ],
    )
    def test_come_back_with_an_error(self, browser, decision, error):
        """The consent page offers a choice of errors for the callback."""
        page = browser.get(ask())
        assert f'value="{decision}"' in page.text
        query = callback(decide(browser, page, decision=decision))
        assert query["error"] == error
        assert query["error_description"] not in ("", "User cancelled")
        assert query["state"] == "a-state"
        assert "code" not in query

    def test_no_more_than_asked(self, browser):
        """A form that grants a scope that was not requested is refused."""
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
        """A user who consented before is redirected at once; disable_auto_auth=1 shows
        the page.
        """
        callback(decide(browser, browser.get(ask())))
        assert "code" in callback(browser.get(ask()))
        assert browser.get(ask(disable_auto_auth="1")).status_code == 200

    @pytest.mark.parametrize("before", ['a={"b": 1}', 'a="x', "[x]=1; =; ;", "a"])
    def test_cookies_of_other_apps(self, browser, stand_in, before):
        """Cookies of other apps at this host do not hide the account, which TikTok
        would reconnect.
        """
        decide(browser, browser.get(ask()))
        account = f"stand-in-account={stand_in.fake.people[0].open_id}"
        browser.cookies.clear()
        headers = {"cookie": f"{before}; {account}; other=1"}
        assert browser.get(ask(), headers=headers).status_code == 302

    def test_no_page_for_more(self, browser):
        """Requesting more scopes than were consented to still shows no page."""
        callback(decide(browser, browser.get(ask())))
        more = "user.info.basic,video.list,video.upload"
        query = callback(browser.get(ask(more)))
        assert query["scopes"] == "user.info.basic,video.list"
        page = browser.get(ask(more, disable_auto_auth="1"))
        query = callback(decide(browser, page, scope=more.split(",")))
        assert query["scopes"] == more

    def test_another_browser(self, browser, stand_in):
        """Another browser is shown the page."""
        callback(decide(browser, browser.get(ask())))
        with httpx2.Client(base_url=stand_in.url, trust_env=False) as other:
            assert other.get(ask()).status_code == 200

    def test_without_slash(self, browser):
        """The authorize page also works without its last slash."""
        assert browser.get(ask().replace("/?", "?")).status_code == 200

    def test_refused(self, browser):
        """A refusal of TikTok is a page with its fields, and no redirect."""
        response = browser.get(ask("nonsense"))
        assert "location" not in response.headers
        for text in ("Something went wrong", "invalid_scope", "error_type", "logid"):
            assert text in response.text


class TestApi:
    def test_kept_connection(self, stand_in):
        """One connection carries many requests."""
        address = urlsplit(stand_in.url)
        request = f"GET /v2/oauth/token HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n"
        with socket.create_connection((address.hostname, address.port)) as connection:
            file = connection.makefile("rb")
            for _ in range(3):
                connection.sendall(request.encode())
                assert file.readline().startswith(b"HTTP/1.1 404")
                while (line := file.readline()) != b"\r\n":
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                assert file.read(length) == b"Unsupported path(Janus)"
            file.close()

    def test_one_segment(self, stand_in):
        """An answer is sent in one segment, so that no part waits for an
        acknowledgement.
        """
        address = urlsplit(stand_in.url)
        ask = f"GET /v2/oauth/token HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n"
        with socket.create_connection((address.hostname, address.port)) as connection:
            for _ in range(20):
                connection.sendall(ask.encode())
                assert connection.recv(65536).endswith(b"Unsupported path(Janus)")

    def test_disconnect(self, browser, stand_in):
        """A dropped connection is closed without an answer."""
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
        """The printed environment variables make an app use this server."""
        environment = {
            **stand_in.environment(REDIRECT),
            "TIKTOK_SECRET_KEYS": "a-key-of-tests-which-is-long-enough",
        }
        settings = TikTokSettings.from_env(environment)
        assert settings.endpoints == stand_in.endpoints
        assert settings.client_key == KEY

    def test_avatar(self, browser):
        """Avatars are drawn, and their links lead to this server."""
        query = callback(decide(browser, browser.get(ask())))
        token = exchange(browser, query["code"])["access_token"]
        bearer = {"authorization": f"Bearer {token}"}
        user = browser.get("/v2/user/info/?fields=avatar_url", headers=bearer).json()
        picture = browser.get(user["data"]["user"]["avatar_url"])
        assert picture.headers["content-type"] == "image/svg+xml"
        assert picture.text.startswith("<svg")

    def test_link_ends(self, browser, stand_in):
        """After a picture's link has expired, user info returns another."""
        query = callback(decide(browser, browser.get(ask())))
        token = exchange(browser, query["code"])["access_token"]
        stand_in.fake.access_lifetime = 7 * 3600
        bearer = {"authorization": f"Bearer {token}"}

        def link():
            answer = browser.get("/v2/user/info/?fields=avatar_url", headers=bearer)
            return answer.json()["data"]["user"]["avatar_url"]

        stand_in.fake.provider.link_lifetime = 3600
        old = link()
        stand_in.fake.advance(3601)
        assert browser.get(old).status_code == 403
        assert browser.get(link()).status_code == 200

    @pytest.mark.parametrize(
        "change",
        [
            lambda link: link.replace("&", "&amp;"),
            lambda link: link.replace("x-expires=", "x-expires=9"),
            lambda link: link.replace("lk3s=a", "lk3s=b"),
            lambda link: link.partition("?")[0],
            lambda link: link.partition("&shp")[0],
            lambda link: link.replace("demo.creator", "new.account"),
            lambda link: link.replace("%", "%25"),
        ],
    )
    def test_link_byte_for_byte(self, browser, stand_in, change):
        """A picture's link works only in the exact spelling."""
        query = callback(decide(browser, browser.get(ask())))
        token = exchange(browser, query["code"])["access_token"]
        bearer = {"authorization": f"Bearer {token}"}
        answer = browser.get("/v2/user/info/?fields=avatar_url", headers=bearer)
        link = answer.json()["data"]["user"]["avatar_url"]
        assert browser.get(link).status_code == 200
        assert browser.get(change(link)).status_code == 403

    def test_unknown_picture(self, browser):
        """A picture of an unknown user is not drawn."""
        assert browser.get("/stand-in/avatar/nobody.svg").status_code == 403
        for name in ("9", "x", "-1", "9" * 5000):
            assert browser.get(f"/stand-in/face/{name}.svg").status_code == 404

    def test_videos(self, browser):
        """The list of videos has covers that are drawn."""
        query = callback(decide(browser, browser.get(ask())))
        token = exchange(browser, query["code"])["access_token"]
        answer = browser.post(
            "/v2/video/list/?fields=id,cover_image_url",
            headers={"authorization": f"Bearer {token}"},
            json={"max_count": 3},
        ).json()
        assert len(answer["data"]["videos"]) == 3
        cover = browser.get(answer["data"]["videos"][0]["cover_image_url"])
        assert cover.text.startswith("<svg")

    def test_gone(self):
        """A closed stand-in does not answer, and its port is free."""
        with StandIn(FakeTikTok()) as stand_in:
            url = stand_in.url
        with pytest.raises(httpx2.ConnectError):
            httpx2.get(url, trust_env=False)
        with StandIn(FakeTikTok(), port=urlsplit(url).port):
            assert httpx2.get(url, trust_env=False).status_code == 200


class TestSteering:
    @pytest.mark.parametrize("path", STEERED)
    @pytest.mark.parametrize("headers", [{}, {"x-stand-in": "yes"}])
    def test_not_from_a_page(self, browser, path, headers):
        """A command without the header that no web page can send is refused."""
        response = browser.post(f"/stand-in/{path}", json={}, headers=headers)
        assert response.status_code == 403

    def test_fail(self, browser):
        """Another process switches faults on and off."""
        wanted = {"endpoint": "token", "times": 5, "status": 503}
        assert browser.post("/stand-in/fail", json=wanted, headers=STEER).is_success
        assert browser.post("/v2/oauth/token/", data={"a": "b"}).status_code == 503
        assert browser.post("/stand-in/clear_faults", json={}, headers=STEER).is_success
        assert browser.post("/v2/oauth/token/", data={"a": "b"}).status_code == 200

    def test_settings(self, browser, stand_in):
        """Another process sets lifetimes and the grace period."""
        wanted = {"access_lifetime": 7200, "refresh_lifetime": 15552000, "grace": 5}
        assert browser.post("/stand-in/settings", json=wanted, headers=STEER).is_success
        fake = stand_in.fake
        assert (fake.access_lifetime, fake.refresh_lifetime) == (7200, 15552000)
        assert fake.grace == 5

    def test_refusals(self, browser, stand_in):
        """Another process lets a login or a field of the profile be refused."""
        wanted = {"error": None, "description": None, "further": {"errCode": "10008"}}
        path = "/stand-in/refuse-next-login"
        assert browser.post(path, json=wanted, headers=STEER).is_success
        query = callback(decide(browser, browser.get(ask())))
        assert query == {"errCode": "10008", "state": "a-state"}
        path = "/stand-in/refuse-field"
        wanted = {"name": "profile_web_link"}
        assert browser.post(path, json=wanted, headers=STEER).is_success
        assert stand_in.fake.provider.refused_fields

    @pytest.mark.parametrize("body", [b"", b"[", b"[]", b'{"nonsense": 1}', b"1"])
    def test_nonsense(self, browser, body):
        """An unreadable instruction is answered 400."""
        response = browser.post("/stand-in/settings", content=body, headers=STEER)
        assert response.status_code == 400

    def test_unknown(self, browser):
        """An unknown command is 404."""
        response = browser.post("/stand-in/dance", json={}, headers=STEER)
        assert response.status_code == 404

    def test_journal(self, browser):
        """The journal counts requests, and contains no secret."""
        query = callback(decide(browser, browser.get(ask())))
        answer = exchange(browser, query["code"])
        response = browser.get("/stand-in/journal", headers=STEER)
        assert response.json()["exchanges"] == 1
        assert response.json()["refreshes"] == 0
        for secret in (SECRET, query["code"], answer["access_token"]):
            assert secret not in response.text


def sandbox(tmp_path, *arguments, **environment):
    """Run the sandbox command until its output is complete; return the output."""
    port = free_port()
    command = ["-u", "-m", "tiktok_oauth_middleware", "sandbox", "--port", str(port)]
    process = subprocess.Popen(
        ends_at_ctrl_c(*command, *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={
            **os.environ,
            "PYTHONUNBUFFERED": "1",
            "XDG_STATE_HOME": str(tmp_path / "a state's folder"),
            **environment,
        },
    )
    lines = []
    try:
        while not lines or not lines[-1].startswith("and open it"):
            lines.append(process.stdout.readline())
            assert lines[-1], lines
        reply = httpx2.get(
            f"http://127.0.0.1:{port}{urlsplit(protocol.TOKEN).path}", trust_env=False
        )
        assert reply.status_code == 404
    finally:
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=120)
    assert process.returncode == 0, rest
    assert "Traceback" not in rest
    assert f"http://127.0.0.1:{port}" in lines[0]
    return "".join(lines), port


def pasted(printed, code):
    """Paste the printed lines into a shell and run Python there; return its output."""
    exports = "\n".join(
        line for line in printed.splitlines() if line.startswith("  export")
    )
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-c", f"{exports}\n{sys.executable} -c '{code}'"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PATH": path},
    )
    return done.stdout


SETTINGS = "from tiktok_oauth_middleware import TikTokSettings as S; s = S.from_env(); "


class TestCommand:
    def test_all_that_is_needed(self, tmp_path):
        """The printed lines set all that the settings need."""
        printed, port = sandbox(tmp_path)
        token = f"http://127.0.0.1:{port}/v2/oauth/token/"
        assert f"TIKTOK_ENDPOINTS_TOKEN={token}\n" in printed
        assert "write its port into TIKTOK_REDIRECT_URI" in printed
        assert pasted(printed, SETTINGS + "print(s.endpoints.token)") == f"{token}\n"

    def test_same_key(self, tmp_path):
        """Each paste and each sandbox uses the same key, which is not printed."""
        reveal = SETTINGS + "print(s.secret_keys[0].reveal())"
        one, two = (sandbox(tmp_path)[0] for _ in range(2))
        keys = {pasted(printed, reveal) for printed in (one, one, two)}
        assert len(keys) == 1
        key = keys.pop().strip()
        assert len(key) >= 32
        assert key not in one
        [file] = tmp_path.rglob("sandbox-key")
        assert file.read_text() == key
        assert file.stat().st_mode & 0o777 == 0o600

    def test_no_place_for_a_key(self, tmp_path):
        """If no key can be stored, each paste makes a new one, and the command
        says so.
        """
        blocked = tmp_path / "file"
        blocked.write_text("")
        printed, _ = sandbox(tmp_path, XDG_STATE_HOME=str(blocked))
        assert "could not be kept" in printed
        reveal = SETTINGS + "print(s.secret_keys[0].reveal())"
        assert len({pasted(printed, reveal) for _ in range(2)}) == 2

    @pytest.mark.parametrize(
        "arguments",
        [
            ["user.info.basic,portability.all.single"],
            ["user.info.basic", "portability.all.single"],
            ["user.info.basic", "--scopes", "portability.all.single"],
            ["user.info.basic, portability.all.single, user.info.basic"],
        ],
    )
    def test_scopes(self, tmp_path, arguments):
        """The scopes of the command line are what the app is approved for."""
        printed, _ = sandbox(tmp_path, "--scopes", *arguments)
        scopes = pasted(printed, SETTINGS + 'print(",".join(s.scopes))')
        assert scopes == "user.info.basic,portability.all.single\n"

    def test_port_is_taken(self, stand_in, capsys):
        """A port that is taken is reported in one line."""
        port = str(urlsplit(stand_in.url).port)
        assert main(["sandbox", "--port", port]) == 1
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith(f"wrong: port {port} of 127.0.0.1 cannot be used: ")
        assert "--port" in line

    @pytest.mark.parametrize("port", ["65536", "-1", "http", "1e3", "\u0663"])
    def test_no_port(self, capsys, port):
        """A number that cannot be a port is a usage error."""
        with pytest.raises(SystemExit) as ended:
            main(["sandbox", "--port", port])
        assert ended.value.code == 2
        assert "is not a port; it must be 0 to 65535" in capsys.readouterr().err

    @pytest.mark.parametrize("scopes", ["", ",", "user info;basic", "a\x1bb"])
    def test_no_scopes(self, capsys, scopes):
        """A text that cannot be a scope is a usage error."""
        with pytest.raises(SystemExit) as ended:
            main(["sandbox", "--scopes", scopes])
        assert ended.value.code == 2
        assert "\x1b" not in capsys.readouterr().err


def test_journal_is_json(browser):
    """The journal is JSON."""
    assert isinstance(json.loads(browser.get("/stand-in/journal").text), dict)


class TestHost:
    """The server answers only under loopback's names, since a web page can use any
    other name.
    """

    @staticmethod
    def send(stand_in, request):
        """Send a request; return the status of the answer, and all of it."""
        address = urlsplit(stand_in.url)
        with socket.create_connection((address.hostname, address.port)) as wire:
            wire.sendall(request.replace(b"PORT", str(address.port).encode()))
            wire.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: wire.recv(65536), b""))
        return int(answer.split(b" ", 2)[1]), answer

    STEERING = (
        b"POST /stand-in/fail HTTP/1.1\r\n%sX-Stand-In: 1\r\n"
        b'Content-Length: 21\r\n\r\n{"endpoint": "token"}'
    )

    @pytest.mark.parametrize(
        "hosts",
        [
            b"Host: 127.0.0.1:PORT\r\n",
            b"Host: localhost:PORT\r\n",
            b"HOST: LocalHost:PORT\r\n",
            b"Host: [::1]:PORT\r\n",
            b"Host:   127.0.0.1:PORT  \r\n",
        ],
    )
    def test_own(self, stand_in, hosts):
        """Loopback's names with the port of this server are answered."""
        assert self.send(stand_in, self.STEERING % hosts)[0] == 200
        assert stand_in.fake._api._faults

    @pytest.mark.parametrize(
        "hosts",
        [
            b"",
            b"Host: \r\n",
            b"Host: evil.example\r\n",
            b"Host: evil.example:PORT\r\n",
            b"Host: 127.0.0.1.evil.example:PORT\r\n",
            b"Host: localhost.evil.example:PORT\r\n",
            b"Host: evil.example:PORT@127.0.0.1:PORT\r\n",
            b"Host: user@127.0.0.1:PORT\r\n",
            b"Host: 127.0.0.1\r\n",
            b"Host: localhost\r\n",
            b"Host: 127.0.0.1:1\r\n",
            b"Host: 127.0.0.1:0PORT\r\n",
            b"Host: 127.0.0.1:PORT:PORT\r\n",
            b"Host: 127.0.0.1:PORT.\r\n",
            b"Host: localhost.:PORT\r\n",
            b"Host: 127.0.0.1:PORT, evil.example\r\n",
            b"Host: 127.0.0.1:PORT/evil\r\n",
            b"Host: 0.0.0.0:PORT\r\n",
            b"Host: 2130706433:PORT\r\n",
            b"Host: 127.1:PORT\r\n",
            b"Host: ::1:PORT\r\n",
            b"Host: [::1]\r\n",
            b"Host: [::ffff:127.0.0.1]:PORT\r\n",
            b"Host: 127.0.0.1:PORT\r\nHost: evil.example\r\n",
            b"Host: evil.example\r\nHost: 127.0.0.1:PORT\r\n",
            b"Host: 127.0.0.1:PORT\r\nHost: 127.0.0.1:PORT\r\n",
            b"X-Forwarded-Host: 127.0.0.1:PORT\r\nHost: evil.example:PORT\r\n",
        ],
    )
    def test_foreign(self, stand_in, hosts):
        """Any other name, a missing name, and several names are refused without
        effect.
        """
        status, answer = self.send(stand_in, self.STEERING % hosts)
        assert status == 403
        assert b"answers at" in answer
        assert not stand_in.fake._api._faults

    @pytest.mark.parametrize(
        "line",
        [
            b"GET /",
            b"GET /v2/auth/authorize/?client_key=x",
            b"GET /stand-in/journal",
            b"GET /stand-in/face/0.svg",
            b"POST /stand-in/decide",
            b"POST /v2/oauth/token/",
            b"HEAD /",
            b"OPTIONS /",
            b"OPTIONS *",
            b"PUT /",
            b"PATCH /",
            b"DELETE /",
        ],
    )
    def test_every_path_and_method(self, stand_in, line):
        """A foreign name is refused for all paths and methods."""
        request = line + b" HTTP/1.1\r\nHost: evil.example:PORT\r\n\r\n"
        assert self.send(stand_in, request)[0] == 403
        assert stand_in.fake.requests == []

    @pytest.mark.parametrize(
        ("target", "status"),
        [
            (b"http://127.0.0.1:PORT/stand-in/journal", 200),
            (b"HTTP://LOCALHOST:PORT/stand-in/journal", 200),
            (b"http://127.0.0.1:PORT", 200),
            (b"http://evil.example:PORT/stand-in/journal", 403),
            (b"http://127.0.0.1/stand-in/journal", 403),
            (b"http://evil@127.0.0.1:PORT/stand-in/journal", 403),
            (b"https://127.0.0.1:PORT/stand-in/journal", 403),
            (b"evil.example/stand-in/journal", 403),
        ],
    )
    def test_absolute_form(self, stand_in, target, status):
        """The address in an absolute request line counts as the Host header does."""
        request = b"GET " + target + b" HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n\r\n"
        assert self.send(stand_in, request)[0] == status

    def test_absolute_form_does_not_help(self, stand_in):
        """A foreign Host is refused even with the right name in the request line."""
        line = b"GET http://127.0.0.1:PORT/ HTTP/1.1\r\n"
        assert self.send(stand_in, line + b"Host: evil.example\r\n\r\n")[0] == 403

    def test_http_10(self, stand_in):
        """HTTP/1.0 without a Host header is refused too."""
        assert self.send(stand_in, b"GET / HTTP/1.0\r\n\r\n")[0] == 403

    def test_connection_ends(self, stand_in):
        """After a refusal the connection is closed, and later requests on it are not
        read.
        """
        one = b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n"
        two = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n\r\n"
        _, answer = self.send(stand_in, one + two)
        assert answer.count(b"HTTP/1.1 ") == 1

    def test_port_80(self):
        """At port 80 browsers send no port."""
        names = _authorities("127.0.0.1", 80)
        assert {"127.0.0.1", "127.0.0.1:80", "localhost", "[::1]"} <= names
        assert "127.0.0.1" not in _authorities("127.0.0.1", 8001)

    def test_other_address(self):
        """A server that is started for another address answers under that, too."""
        assert "192.0.2.7:8001" in _authorities("192.0.2.7", 8001)
