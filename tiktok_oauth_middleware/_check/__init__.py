"""What is good, odd or wrong of a deployment: the findings of ``check``.

`checks` refuses settings that no deployment could use; here good settings are held
against TikTok's portal and the machine they are used on. Nothing is changed, but for a
value that is written to the store and deleted again, and nothing but the store is asked
over the network, unless that is wanted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from tiktok_oauth_middleware._core.findings import Finding
from tiktok_oauth_middleware._core.secret import reveal
from tiktok_oauth_middleware.stores.registry import diagnose_store

from . import keys, machine, portal, records
from .findings import of_faults

if TYPE_CHECKING:
    from tiktok_oauth_middleware.settings.options import TikTokSettings

__all__ = ["Finding", "diagnose", "of_faults"]


def diagnose(
    settings: TikTokSettings,
    *,
    mount: str = "",
    online: bool = False,
    clock: Callable[[], float] = time.time,
) -> Iterator[Finding]:
    """Return the findings about good settings, by subject.

    Args:
        settings: of the app.
        mount: the prefix that the server takes off the path, "" for none.
        online: ask TikTok's token endpoint for the time; it is sent no credentials.
        clock: seconds since 1970: the one to be judged.
    """
    yield from portal.findings(settings, mount)
    yield from keys.findings(settings)
    yield from diagnose_store(reveal(settings.store))
    yield from records.findings(settings)
    yield from machine.findings(settings, clock, online=online)
