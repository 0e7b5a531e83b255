"""Responses of the middleware's own: JSON and redirects."""

from __future__ import annotations

import json

import pytest

from tiktok_oauth_middleware._core.http import Cookie
from tiktok_oauth_middleware._web.responses import (
    BASE_HEADERS,
    json_response,
    redirect,
    redirect_with_cookies,
)


def headers(response):
    assert len({name for name, _ in response.headers}) == len(response.headers)
    return dict(response.headers)


def test_json_answer_is_json():
    """An answer for a program is JSON with no-store."""
    response = json_response(401, {"error": "login_required", "missing": ["a"]})
    assert response.status == 401
    assert json.loads(response.body) == {"error": "login_required", "missing": ["a"]}
    assert headers(response) == dict(BASE_HEADERS) | {
        "content-type": "application/json",
        "cross-origin-opener-policy": "same-origin",
    }


def test_json_answer_is_not_sniffed():
    """Markup in an answer for a program stays JSON to every browser."""
    response = json_response(403, {"x": "<script>\u2028</script>"})
    assert headers(response)["x-content-type-options"] == "nosniff"
    assert response.body.isascii()


def test_redirect_is_a_303():
    """A redirect is a 303, so that the next request is a GET, with no-store."""
    response = redirect("/x?y=z#a")
    assert response.status == 303
    sent = headers(response)
    assert sent["location"] == "/x?y=z#a"
    assert dict(BASE_HEADERS).items() <= sent.items()
    assert response.body == b""


@pytest.mark.parametrize("bad", ["/a\r\nx: y", "/\x00", "/\xe4", "/\u2028"])
def test_redirect_with_cookies_is_checked(bad):
    """A location or a cookie that may not be sent is refused."""
    with pytest.raises(ValueError, match="location"):
        redirect_with_cookies(bad, [])
    for name, value in (("a", bad), (bad, "1")):
        cookie = Cookie(name=name, value=value, max_age=9, secure=True)
        with pytest.raises(ValueError, match="cookie"):
            redirect_with_cookies("/", [cookie])


def test_redirect_has_no_opener_policy():
    """A redirect has no policy for openers, with which WebKit never gets Back to it."""
    assert "cross-origin-opener-policy" not in headers(redirect("https://tiktok.com/"))


def test_redirect_sets_each_cookie():
    """Each cookie of a redirect has its own header."""
    cookies = [Cookie(name=name, value="v", max_age=1, secure=True) for name in "ab"]
    sent = [v for k, v in redirect("/", cookies=cookies).headers if k == "set-cookie"]
    assert sent == [cookie.header()[1] for cookie in cookies]


def test_base_headers_keep_our_own_form_working():
    """With the referrer policy a browser sends the origin with the page's own form."""
    assert dict(BASE_HEADERS)["referrer-policy"] != "no-referrer"
