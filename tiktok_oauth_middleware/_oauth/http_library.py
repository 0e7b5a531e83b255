"""The HTTP library below Authlib: httpx2 with httpcore2, or httpx with httpcore.

Authlib uses httpx2 if it is installed, and httpx if not. This package needs the same
one, so it takes the library from Authlib's class instead of importing it, and httpcore
from that library's dependencies.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

from authlib.integrations.httpx_client import AsyncOAuth2Client, OAuth2Client

__all__ = ["AsyncOAuth2Client", "OAuth2Client", "httpcore", "httpx"]

_base = next(kind for kind in OAuth2Client.__mro__ if kind.__name__ == "Client")
httpx: Any = sys.modules[_base.__module__.partition(".")[0]]
#: The library that httpx sends requests with: httpcore2 for httpx2, else httpcore.
httpcore: Any = importlib.import_module(httpx.__name__.replace("httpx", "httpcore"))
