"""The findings of ``check`` about a deployment.

Settings that no deployment could use are refused when they are built. Here, valid
settings are compared with TikTok's portal and with the machine. Nothing is changed,
except for a value that is written to the store and deleted again. Nothing but the store
is reached over the network, unless `online` or `live` is set.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from tiktok_oauth_middleware._core.findings import Finding
from tiktok_oauth_middleware._core.secret import reveal
from tiktok_oauth_middleware.stores.registry import diagnose_store

from . import dependencies, keys, machine, portal, records
from .findings import of_faults

if TYPE_CHECKING:
    from tiktok_oauth_middleware.settings.options import TikTokSettings

__all__ = ["Finding", "diagnose", "of_faults"]


def diagnose(
    settings: TikTokSettings,
    *,
    mount: str = "",
    online: bool = False,
    live: bool = False,
    clock: Callable[[], float] = time.time,
) -> Iterator[Finding]:
    """Return the findings about valid settings, by subject.

    Args:
        settings: the app's.
        mount: the prefix that the server removes from the path, or "".
        online: whether to ask TikTok for the time; no credentials are sent.
        live: whether to ask TikTok if it accepts the credentials, which are sent.
        clock: returns the seconds since 1970; it is compared with TikTok's.
    """
    yield from portal.findings(settings, mount)
    yield from keys.findings(settings)
    yield from diagnose_store(reveal(settings.store))
    yield from records.findings(settings)
    yield from machine.findings(settings, clock, online=online)
    yield from dependencies.findings()
    if live:
        from . import live as live_check

        yield from live_check.findings(settings)
