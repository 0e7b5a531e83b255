"""A stand-in and an app that is registered at it; one on a port, and a client of it."""

from __future__ import annotations

import httpx2
import pytest

from tiktok_oauth_middleware.testing import FakeTikTok
from tiktok_oauth_middleware.testing.server import StandIn

from .registered_app import REDIRECT, App


@pytest.fixture
def stand_in():
    with StandIn(FakeTikTok()) as stand_in:
        yield stand_in


@pytest.fixture
def browser(stand_in):
    """Return a client that keeps cookies and follows no redirects."""
    with httpx2.Client(base_url=stand_in.url, trust_env=False) as client:
        yield client


@pytest.fixture
def fake(clock):
    """Return a stand-in at which one app is registered."""
    return FakeTikTok(redirect_uris=[REDIRECT], clock=clock)


@pytest.fixture
def app(fake):
    """Return the registered app."""
    return App(fake)
