"""TikTok's endpoints: limits, deadlines, faults."""

from __future__ import annotations

import asyncio
import threading
import time

import httpx2
import pytest

from tiktok_oauth_middleware._core.backends.event_loop import AsyncBackend
from tiktok_oauth_middleware._core.backends.one_step import run
from tiktok_oauth_middleware._core.backends.threads import ThreadBackend
from tiktok_oauth_middleware._oauth.answer_limits import ANSWER_LIMIT
from tiktok_oauth_middleware._oauth.client import TikTokClient
from tiktok_oauth_middleware.errors import (
    GrantRevoked,
    TikTokError,
    TikTokUnavailable,
)

from ...conftest import make_settings
from ...support.patience import HANGS
from .conftest import client


@pytest.mark.parametrize("blocking", [True, False], ids=["blocking", "cooperative"])
class TestFaults:
    def exchange(self, handler, blocking, **options):
        made = client(handler, blocking, **options)

        async def once():
            try:
                return await made.exchange("the-code", "the-verifier")
            finally:
                await made.aclose()

        return run(once()) if blocking else asyncio.run(once())

    def test_redirects_are_not_followed(self, blocking):
        """A redirect is an error, and the form is not sent to its target."""
        calls = []

        def handler(request):
            calls.append(request.url)
            return httpx2.Response(307, headers={"location": "https://evil.example/"})

        with pytest.raises(TikTokUnavailable):
            self.exchange(handler, blocking)
        assert len(calls) == 1

    def test_too_long(self, blocking):
        """An answer of more than 1 MB is refused."""
        body = b'{"a":"' + b"x" * ANSWER_LIMIT + b'"}'
        with pytest.raises(TikTokUnavailable):
            self.exchange(lambda _: httpx2.Response(200, content=body), blocking)

    def test_compressed(self, blocking):
        """A compressed answer is refused before it is unpacked."""
        answer = httpx2.Response(
            200,
            headers={"content-encoding": "gzip"},
            stream=httpx2.ByteStream(b"\x1f\x8b"),
        )
        with pytest.raises(TikTokUnavailable):
            self.exchange(lambda _: answer, blocking)

    def test_network_error(self, blocking):
        """A network failure raises TikTokUnavailable, without the request and its
        secrets.
        """

        def handler(request):
            raise httpx2.ConnectError("the-client-secret-of-tests", request=request)

        with pytest.raises(TikTokUnavailable) as caught:
            self.exchange(handler, blocking)
        assert "the-client-secret" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__ or caught.value.__context__ is None

    def test_secrets_are_masked(self, blocking):
        """A secret that an error's text repeats is masked."""

        def handler(request):
            text = "bad the-client-secret-of-tests for the-code with the-verifier"
            return httpx2.Response(200, json={"error": "x", "error_description": text})

        with pytest.raises(TikTokError) as caught:
            self.exchange(handler, blocking)
        assert "***" in str(caught.value)
        for secret in ("the-client-secret", "the-code", "the-verifier"):
            assert secret not in str(caught.value)

    def test_log_id(self, blocking):
        """TikTok's error code and log_id are kept."""
        answer = {"error": "invalid_grant", "error_description": "used", "log_id": "L1"}
        with pytest.raises(GrantRevoked) as caught:
            self.exchange(lambda _: httpx2.Response(200, json=answer), blocking)
        assert (caught.value.error, caught.value.log_id) == ("invalid_grant", "L1")

    def test_never_repeated(self, blocking):
        """An exchange whose answer is lost is not sent again."""
        calls = []

        def handler(request):
            calls.append(1)
            raise httpx2.ReadError("lost", request=request)

        with pytest.raises(TikTokUnavailable):
            self.exchange(handler, blocking)
        assert len(calls) == 1


class TestDeadline:
    @pytest.fixture
    def dripping(self):
        """A server that sends one byte every 50 ms, without end."""
        import socket

        stop = threading.Event()
        server = socket.create_server(("127.0.0.1", 0))
        server.settimeout(0.1)

        def serve():
            open_sockets = []
            while not stop.is_set():
                try:
                    peer, _ = server.accept()
                except TimeoutError:
                    continue
                open_sockets.append(peer)
                threading.Thread(target=drip, args=(peer,), daemon=True).start()
            for peer in open_sockets:
                peer.close()

        def drip(peer):
            try:
                peer.recv(65536)
                peer.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
                while not stop.wait(0.05):
                    peer.sendall(b"x")
            except OSError:
                pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        stop.set()
        thread.join()
        server.close()

    @pytest.mark.parametrize("blocking", [True, False], ids=["blocking", "cooperative"])
    def test_total(self, dripping, blocking):
        """A call to a server that sends single bytes fails after the total timeout."""
        from tiktok_oauth_middleware import TikTokEndpoints

        settings = make_settings(
            timeout=0.5,
            endpoints=TikTokEndpoints(
                token=f"http://127.0.0.1:{dripping}/v2/oauth/token/"
            ),
        )
        made = TikTokClient(settings, ThreadBackend() if blocking else AsyncBackend())

        async def once():
            try:
                await made.exchange("code", "verifier")
            finally:
                if not blocking:
                    await made.aclose()

        began = time.monotonic()
        with pytest.raises(TikTokUnavailable, match=r"within 0\.5 s"):
            run(once()) if blocking else asyncio.run(once())
        assert time.monotonic() - began < HANGS
