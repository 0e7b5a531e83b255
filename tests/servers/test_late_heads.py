"""A WSGI response whose head is replaced after start_response, on a real server."""

from __future__ import annotations

import threading

import httpx2
from cheroot.wsgi import Server

from tiktok_oauth_middleware import TikTokOAuthWSGIMiddleware
from tiktok_oauth_middleware._web.guard import guard

from ..conftest import make_settings


def test_late_guard():
    """A refusal after start_response is sent with one length, by a real server."""

    def app(environ, start_response):
        assert environ["tiktok.auth"].open_id is None
        own = [("Content-Length", "6"), ("Set-Cookie", "a=b")]
        start_response("401 Unauthorized", own)
        guard(environ["tiktok.auth"], ())
        return [b"secret"]

    wrapped = TikTokOAuthWSGIMiddleware(app, make_settings())
    server = Server(("127.0.0.1", 0), wrapped)
    server.prepare()
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        with httpx2.Client(trust_env=False) as client:
            answer = client.get(f"http://127.0.0.1:{server.bind_addr[1]}/")
    finally:
        server.stop()
        thread.join(10)
    assert answer.json()["error"] == "login_required"
    assert answer.headers.get_list("content-length") == [str(len(answer.content))]
    assert "set-cookie" not in answer.headers
