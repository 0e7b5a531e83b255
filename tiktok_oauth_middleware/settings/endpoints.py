"""TikTok's addresses, or those of a stand-in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from tiktok_oauth_middleware._oauth import protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class TikTokEndpoints:
    """TikTok's addresses; those of a stand-in may use plain http on loopback."""

    authorize: str = protocol.AUTHORIZE
    token: str = protocol.TOKEN
    revoke: str = protocol.REVOKE
    user_info: str = protocol.USER_INFO


#: TikTok's own addresses, by the name of the endpoint.
ADDRESSES: Mapping[str, str] = asdict(TikTokEndpoints())
