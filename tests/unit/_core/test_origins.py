"""Origins of URLs, as browsers write them."""

from __future__ import annotations

import pytest

from tiktok_oauth_middleware._core.origins import origin_of

# --- origin_of ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://app.example.com/x/y", "https://app.example.com"),
        ("https://app.example.com:443/", "https://app.example.com"),
        ("https://app.example.com:8443/", "https://app.example.com:8443"),
        ("http://127.0.0.1:80/", "http://127.0.0.1"),
        ("http://127.0.0.1:443/", "http://127.0.0.1:443"),
        ("http://localhost:8000/cb", "http://localhost:8000"),
        ("HTTPS://APP.Example.COM/", "https://app.example.com"),
        ("https://user:pw@app.example.com/", "https://app.example.com"),
        ("http://[::1]:8000/cb", "http://[::1]:8000"),
    ],
)
def test_origin_is_written_as_browsers_do(url, origin):
    """An origin is scheme, host in lower case, and the port if it is not the usual."""
    assert origin_of(url) == origin


@pytest.mark.parametrize("url", ["", "/x", "https://", "https://:80/", "mailto:a@b"])
def test_url_without_a_host_has_no_origin(url):
    """A URL that names no host is refused."""
    with pytest.raises(ValueError, match="host"):
        origin_of(url)


@pytest.mark.parametrize("url", ["https://a:99999/", "https://a:b/", "https://[::1/"])
def test_invalid_url_has_no_origin(url):
    """A port that is none, or a broken address, is a ValueError."""
    with pytest.raises(ValueError, match=r"[Pp]ort|IPv6"):
        origin_of(url)
