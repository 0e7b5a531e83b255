"""The apps that a measured server runs; as a program, prints a cookie for one.

The session is made from a seed, so that the cookie is valid in every process. The
handler answers 500 to any other request, so that no figure counts requests that were
not signed in.
"""

from __future__ import annotations

import base64
import sys
import time
from typing import Any

from tiktok_oauth_middleware import MemoryStore, TikTokOAuthMiddleware
from tiktok_oauth_middleware._core.base64url import to_text
from tiktok_oauth_middleware._session.cookie import Ticket
from tiktok_oauth_middleware._session.record import digest, record_id

from . import peers
from .world import BODY, COOKIE, FOREIGN, bare, head, login_record, settings

_OPEN_ID = "11111111-2222-4333-8444-555555555555"
_SECRET = bytes(range(32))


async def _reading(scope: Any, receive: Any, send: Any) -> None:
    auth = scope["tiktok"]
    token = auth.token
    if token is None or not token.access_token or not auth.scopes:
        raise AssertionError
    await send(head())
    await send(BODY)


async def _reading_session(scope: Any, receive: Any, send: Any) -> None:
    session = scope["session"]
    if not session.get("access_token") or not session.get("scopes"):
        raise AssertionError
    await send(head())
    await send(BODY)


def _ours() -> tuple[TikTokOAuthMiddleware, str]:
    store = MemoryStore()
    app = TikTokOAuthMiddleware(_reading, settings(), store=store)
    core = app._core
    named = record_id(core.settings.client_key, _OPEN_ID)
    raw = base64.urlsafe_b64decode(named + "==") + _SECRET
    value = core.cookies._signer.sign(to_text(raw)).decode()
    ticket = Ticket(named, digest(_SECRET))
    record = login_record(_OPEN_ID, ticket.digest, time.time())
    key = core.service.records._key(named)
    sealed = core.service.records._box.seal(record.pack(), key)
    store.compare_and_set(key, None, sealed, 1e6)
    return app, f"{FOREIGN}; {COOKIE}={value}"


ours, _cookie = _ours()
starlette = peers.session_app()
starlette.app = _reading_session
__all__ = ["bare", "ours", "starlette"]

if __name__ == "__main__":
    print(
        _cookie
        if sys.argv[1] != "starlette"
        else peers.session_cookies(starlette, _OPEN_ID)
    )
