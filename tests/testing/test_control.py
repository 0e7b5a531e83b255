"""The stand-in's control: programs may use it, and web pages cannot."""

from __future__ import annotations

import json

import pytest

from .over_http import STEER, ask, callback, decide, exchange
from .registered_app import SECRET

STEERED = [
    "fail",
    "lose-answer",
    "clear-faults",
    "settings",
    "refuse-next-login",
    "refuse-field",
]


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
        assert browser.post("/stand-in/clear-faults", json={}, headers=STEER).is_success
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


def test_journal_is_json(browser):
    """The journal is JSON."""
    assert isinstance(json.loads(browser.get("/stand-in/journal").text), dict)
