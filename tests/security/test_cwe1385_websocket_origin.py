"""WebSockets: which origins a handshake may come from (CWE-1385)."""

from __future__ import annotations

import pytest

from ..conftest import (
    CALLBACK,
    LOGIN,
    LOGOUT,
    ORIGIN,
)
from ..support.raw_requests import a_scope, drive
from ..support.senders import (
    ALL_PATHS,
    DISCONNECT,
    ORIGINS,
    SENDERS,
    SESSION,
    WEBHOOK,
    sender,
)
from .conftest import memory_only


@memory_only
@pytest.mark.parametrize("interface", ["asyncio", "trio"], indirect=True)
class TestWebSockets:
    """A WebSocket is authenticated for the site's own pages and listed origins only."""

    def accepts(self, raw, headers):
        """Whether a protected WebSocket lets these headers pass to the app."""
        [message] = raw.connect("/ruled/ws", headers=headers)
        # 4401 is ours; the app itself, which has no WebSocket, closes with 1000.
        assert message["type"] == "websocket.close"
        assert message["code"] in (1000, 4401)
        return message["code"] == 1000

    def test_senders(self, world, raw):
        """The only Origin must be the site's own; no other header replaces it."""
        world.with_settings(protect=["/ruled"])
        raw.log_in()
        for case in SENDERS:
            site, origin, referer = case
            accepted = self.accepts(raw, sender(site, origin, referer))
            assert accepted is (origin == "ours"), case

    def test_listed_origins(self, world, raw):
        """An origin in websocket_origins is accepted like the site's own, and no other."""
        listed = "https://other.example.com"
        world.with_settings(protect=["/ruled"], websocket_origins=[listed])
        raw.log_in()
        for case in ORIGINS:
            accepted = self.accepts(raw, sender("none", case, "none"))
            assert accepted is (case in ("ours", "same site")), case

    def test_anonymous(self, world, raw):
        """Without a session a WebSocket of the site's own Origin is anonymous."""
        world.with_settings(protect=["/ruled"])
        assert not self.accepts(raw, sender("ours", "ours", "ours"))

    def test_open_websocket_keeps_its_user(self, world, raw):
        """An open WebSocket keeps the user with whom it was opened, even after a logout."""
        raw.log_in()
        open_ids = []

        async def app(scope, receive, send):
            await receive()
            await send({"type": "websocket.accept"})
            for _ in range(2):
                await receive()
                open_ids.append(scope["tiktok"].open_id)

        cookie = f"{SESSION}={raw.cookies[SESSION]}".encode()
        lines = [(b"origin", ORIGIN.encode()), (b"cookie", cookie)]
        scope = a_scope("/ws", lines, type="websocket", scheme="wss", subprotocols=[])
        inner, world.app.app = world.app.app, app
        messages = [{"type": "websocket.connect"}, {"type": "websocket.receive"}]

        async def receive():
            if messages:
                return messages.pop(0)
            # The browser logs out while the WebSocket is open.
            world.app.app = inner
            out = a_scope(
                LOGOUT,
                [(b"cookie", cookie), (b"origin", ORIGIN.encode())],
                method="POST",
            )
            head, *_ = await drive(world.app, out)
            assert head["status"] == 303
            return {"type": "websocket.receive"}

        async def send(message):
            assert message == {"type": "websocket.accept"}

        open_id = world.tiktok.people[0].open_id
        raw.portal.call(world.app, scope, receive, send)
        assert open_ids == [open_id, open_id]
        assert raw.open_id is None

    def test_websockets_of_our_paths_have_no_effect(self, world, raw):
        """A handshake on a path of the middleware has no effect."""
        world.with_settings(**ALL_PATHS)
        raw.log_in()
        for path in (LOGIN, CALLBACK, LOGOUT, DISCONNECT, WEBHOOK):
            [message] = raw.connect(path, headers=sender("none", "ours", "none"))
            assert message["type"] == "websocket.close"
        assert raw.open_id is not None
