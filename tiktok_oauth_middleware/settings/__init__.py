"""The settings of an app that logs its users in with TikTok."""

from __future__ import annotations

from .options import TikTokEndpoints, TikTokSettings

__all__ = ["TikTokEndpoints", "TikTokSettings"]
