"""A stand-in for TikTok, for local development and your own tests, offline."""

from __future__ import annotations

from .fake import ConsentRefused, FakeTikTok, LoginFlowError
from .login import TikTokLogin, alogin_as, login_as
from .people import Person

__all__ = [
    "ConsentRefused",
    "FakeTikTok",
    "LoginFlowError",
    "Person",
    "TikTokLogin",
    "alogin_as",
    "login_as",
]
