"""The settings of an app that logs users in with TikTok."""

from __future__ import annotations

from .endpoints import TikTokEndpoints
from .options import TikTokSettings

__all__ = ["TikTokEndpoints", "TikTokSettings"]
