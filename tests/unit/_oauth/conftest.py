"""A client of TikTok whose requests a function answers."""

from __future__ import annotations

import httpx2

from tiktok_oauth_middleware._core.backends.event_loop import AsyncBackend
from tiktok_oauth_middleware._core.backends.threads import ThreadBackend
from tiktok_oauth_middleware._oauth.client import TikTokClient

from ...conftest import make_settings


def client(handler, blocking=True, **options):
    """Return a client whose requests a function answers.

    Args:
        handler: takes a request of httpx and returns the answer.
        blocking: whether the client is for threads, and not for an event loop.
        options: of the settings.
    """
    backend = ThreadBackend() if blocking else AsyncBackend()
    transport = httpx2.MockTransport(handler)
    return TikTokClient(make_settings(**options), backend, transport=transport)
