"""pytest fixtures for an app's tests: `fake_tiktok` and `tiktok_login`.

A test suite with its own settings overrides `fake_tiktok`; `tiktok_login` then logs in
at that stand-in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .fake import FakeTikTok
    from .login import TikTokLogin

__all__ = ["fake_tiktok", "tiktok_login"]


@pytest.fixture
def fake_tiktok() -> FakeTikTok:
    """A stand-in for TikTok, at which your test registers its app.

    Give the middleware its ``transport`` and ``clock``.
    """
    from .fake import FakeTikTok

    return FakeTikTok()


@pytest.fixture
def tiktok_login(fake_tiktok: FakeTikTok) -> TikTokLogin:
    """Log a test client in: ``tiktok_login(client, person, scopes=...)``."""
    from .login import login_as

    def login(client: Any, person: Any = None, **choice: Any) -> Any:
        return login_as(client, fake_tiktok, person, **choice)

    return login
