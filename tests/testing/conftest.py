"""The stand-in on a port, and a client of it."""

from __future__ import annotations

import httpx2
import pytest

from tiktok_oauth_middleware.testing import FakeTikTok
from tiktok_oauth_middleware.testing.server import StandIn


@pytest.fixture
def stand_in():
    with StandIn(FakeTikTok()) as stand_in:
        yield stand_in


@pytest.fixture
def browser(stand_in):
    """Return a client that keeps cookies and follows no redirects."""
    with httpx2.Client(base_url=stand_in.url, trust_env=False) as client:
        yield client
