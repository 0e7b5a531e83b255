"""The stand-in's own knowledge of TikTok's wire format.

Nothing here is imported from the rest of the package: if the package misreads TikTok's
documents, its stand-in must not repeat that mistake.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Mapping
from urllib.parse import SplitResult, parse_qsl, urlsplit

_OAUTH = "/v2/oauth"
AUTHORIZE = "/v2/auth/authorize/"
TOKEN = f"{_OAUTH}/token/"
REVOKE = f"{_OAUTH}/revoke/"
USER_INFO = "/v2/user/info/"
VIDEO_LIST = "/v2/video/list/"
VIDEO_QUERY = "/v2/video/query/"
CREATOR_INFO = "/v2/post/publish/creator_info/query/"

BROWSER_ORIGIN = "https://www.tiktok.com"
API_ORIGIN = "https://open.tiktokapis.com"

#: The exact media type of a form: no parameter after it.
FORM = "application/x-www-form-urlencoded"

#: The fields of a profile that each scope permits
#: (https://developers.tiktok.com/doc/tiktok-api-v2-get-user-info).
PROFILE_FIELDS: Mapping[str, tuple[str, ...]] = {
    "user.info.basic": (
        "open_id",
        "union_id",
        "avatar_url",
        "avatar_url_100",
        "avatar_large_url",
        "display_name",
    ),
    "user.info.profile": (
        "bio_description",
        "profile_deep_link",
        "profile_web_link",
        "is_verified",
        "username",
    ),
    "user.info.stats": (
        "follower_count",
        "following_count",
        "likes_count",
        "video_count",
    ),
}

#: The statuses of the errors of resource endpoints.
STATUS_OF: Mapping[str, int] = {
    "access_token_invalid": 401,
    "scope_not_authorized": 401,
    "scope_permission_missed": 400,
    "invalid_params": 400,
    "rate_limit_exceeded": 429,
    "internal_error": 500,
}

_VERIFIER = re.compile(r"[A-Za-z0-9\-._~]{43,128}")
_HOSTS = ("tiktok.com", "tiktokapis.com", "tiktokapis.us")
_SIGNED = ("x-expires", "x-signature")


def is_elsewhere(parts: SplitResult, origin: str) -> bool:
    """Whether an address is on a host of TikTok's that is not `origin`.

    Version 1 of the API was at open-api.tiktok.com, which was shut down. Other hosts
    belong to a stand-in.
    """
    host = (parts.hostname or "").rstrip(".")
    is_tiktok = any(host == known or host.endswith(f".{known}") for known in _HOSTS)
    return is_tiktok and f"{parts.scheme}://{parts.netloc}" != origin


def proves(verifier: str | None, challenge: str) -> bool:
    """Whether a verifier matches a challenge: both or neither, and lowercase hex.

    The method is called S256. RFC 7636 demands base64url, which TikTok refuses here
    (https://developers.tiktok.com/doc/login-kit-desktop).
    """
    if not challenge or verifier is None:
        return not challenge and verifier is None
    if _VERIFIER.fullmatch(verifier) is None:  # RFC 7636 section 4.1
        return False
    return hashlib.sha256(verifier.encode("ascii")).hexdigest() == challenge


def signature(body: bytes, secret: str, at: int) -> str:
    """Return the TikTok-Signature header of a webhook's body, signed at `at`.

    https://developers.tiktok.com/doc/webhooks-verification
    """
    signed = b"%d." % at + body
    mac = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    return f"t={at},s={mac}"


def log_id(now: float) -> str:
    """Return a log_id in the form of real answers: the time, and twenty hex digits."""
    stamp = time.strftime("%Y%m%d%H%M%S", time.gmtime(now))
    return stamp + secrets.token_hex(10).upper()


class SignedLinks:
    """Links to pictures, as TikTok's: signed, with an expiry, and with ``&``."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def make(self, address: str, until: int) -> str:
        """Return `address` with a query that makes it valid until then."""
        nonce = secrets.randbelow(90000) + 10000
        # Real links have a parameter of this name, which is not a token.
        query = f"lk3s=a5d48078&nonce={nonce}&refresh_token={secrets.token_hex(2)}"
        link = f"{address}?{query}&x-expires={until}"
        mac = base64.b64encode(self._mac(link)).decode().replace("+", "%2B")
        mac = mac.replace("/", "%2F").replace("=", "%3D")
        return f"{link}&x-signature={mac}&shp=a5d48078&shcp=8aecc5ac"

    def is_good(self, link: str, now: float) -> bool:
        """Whether a link was made here, byte for byte, and has not expired."""
        signed, _, rest = link.partition("&x-signature=")
        query = dict(parse_qsl(urlsplit(link).query, keep_blank_values=True))
        until, mac = (query.get(name, "") for name in _SIGNED)
        expected = base64.b64encode(self._mac(signed)).decode()
        is_whole = rest.endswith("&shp=a5d48078&shcp=8aecc5ac")
        is_ours = hmac.compare_digest(mac.encode(), expected.encode())
        return is_whole and is_ours and until.isdecimal() and now < int(until)

    def _mac(self, link: str) -> bytes:
        # The host is left out, because a server may have several names.
        parts = urlsplit(link)
        signed = f"{parts.path}?{parts.query}"
        return hmac.new(self._key, signed.encode(), hashlib.sha1).digest()
