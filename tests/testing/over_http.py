"""Requests to a stand-in on a port: a browser's, an app's, and a program's."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlencode, urlsplit

from .registered_app import KEY, REDIRECT, SECRET


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


STEER = {"x-stand-in": "1"}
