"""Trying again after a login that did not work, on every interface and store."""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import quote

import pytest

from ..conftest import CALLBACK, LOGIN


def again(response):
    """Return the address of the page's link *Try again*."""
    found = re.search(r'href="([^"]+)">Try again<', response.text)
    assert found, response.text
    return unescape(found[1])


@pytest.mark.parametrize("target", ["/private/caf%C3%A9?q=1&r=a%20b", "/"])
def test_again(browser, target):
    """*Try again* requests the same scopes, and keeps the first login's target."""
    query = f"?next={quote(target, safe='')}&scopes=video.upload"
    link = again(browser.log_in(query, deny=True))
    path, _, asked = link.partition("?")
    assert path == LOGIN
    response = browser.log_in(f"?{asked}")
    assert response.headers["location"] == target
    assert "video.upload" in browser.me()["scopes"]


def test_plain(browser):
    """After a login that asked for nothing special, it is the plain login path."""
    assert again(browser.log_in(deny=True)) == LOGIN


def test_too_late(browser, world):
    """Trying an expired login again leads to its target, too."""
    callback = browser.consent(browser.begin("?next=/private"))
    world.clock.advance(601)
    assert again(browser.get(callback)) == f"{LOGIN}?next=/private"


def test_foreign(browser):
    """A login of another browser is unknown here, and nothing is kept of it."""
    response = browser.get(f"{CALLBACK}?code=abc&state=foreign&next=/private")
    assert again(response) == LOGIN
