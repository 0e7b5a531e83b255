"""The stand-in over HTTP: consent, pictures, and the names that it answers under."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import httpx2
import pytest

from tiktok_oauth_middleware.testing.handler import hosts_of

from .over_http import ask, callback, decide, exchange


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


class TestPictures:
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
        names = hosts_of("127.0.0.1", 80)
        assert {"127.0.0.1", "127.0.0.1:80", "localhost", "[::1]"} <= names
        assert "127.0.0.1" not in hosts_of("127.0.0.1", 8001)

    def test_other_address(self):
        """A server that is started for another address answers under that, too."""
        assert "192.0.2.7:8001" in hosts_of("192.0.2.7", 8001)
