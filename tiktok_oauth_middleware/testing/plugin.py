"""pytest fixtures for a user's own tests: `fake_tiktok` and `tiktok_login`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .fake import FakeTikTok


@pytest.fixture
def fake_tiktok() -> FakeTikTok:
    """A stand-in for TikTok; build the app's settings with its key and secret.

    Give the middleware its ``transport``.
    """
    from .fake import FakeTikTok  # noqa: PLC0415 - only for who uses it

    return FakeTikTok()


@pytest.fixture
def tiktok_login(fake_tiktok: FakeTikTok) -> Callable[..., Any]:
    """Log a test client in: ``tiktok_login(client, person, scopes=...)``."""
    from .login import login_as  # noqa: PLC0415

    def login(client: Any, person: Any = None, **choice: Any) -> Any:
        return login_as(client, fake_tiktok, person, **choice)

    return login
