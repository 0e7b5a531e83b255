"""Findings about the stored records: whether the settings' keys open them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

from tiktok_oauth_middleware._core.backends.command import backend_for, finish
from tiktok_oauth_middleware._core.findings import Finding, good, note
from tiktok_oauth_middleware._core.secret import reveal
from tiktok_oauth_middleware._session.cache import SessionCache
from tiktok_oauth_middleware._session.records import Records
from tiktok_oauth_middleware.errors import ConfigurationError, StoreError
from tiktok_oauth_middleware.stores.registry import open_store

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.store_adapter import StoreAdapter
    from tiktok_oauth_middleware.settings.options import TikTokSettings

#: The most records that are read; a store may hold millions.
_MOST_READ = 1000


def findings(settings: TikTokSettings) -> Iterator[Finding]:
    """Return the findings about the stored records; nothing is written.

    A store that cannot be reached, or cannot list its users, is reported elsewhere.
    """
    scheme, _, rest = reveal(settings.store).partition("://")
    try:
        # Opening an SQLite file that does not exist would create it.
        if scheme == "memory" or (scheme == "sqlite" and not Path(rest[1:]).exists()):
            return
        store = open_store(reveal(settings.store))
        backend = backend_for(store)
        counted = _counted(settings, backend.adapt_store(store))
        read, unreadable = finish(counted, backend)
    except (StoreError, ConfigurationError, OSError):
        return
    if unreadable:
        yield note(
            "store_unknown_key",
            "secret_keys",
            f"{unreadable} of {read} stored users cannot be opened: sealed with a key"
            " that is not in secret_keys, or damaged; they count as signed out",
            "put the key that sealed them at the end of secret_keys",
        )
    elif read:
        yield good("records", "secret_keys", f"secret_keys open {read} stored users")


async def _counted(settings: TikTokSettings, store: StoreAdapter) -> tuple[int, int]:
    """Return how many records were read, and how many of them cannot be opened."""
    records = Records(settings, store, SessionCache(1), time.time)
    try:
        opened: dict[str, bool] = {}  # by id, since some stores list a row twice
        async with aclosing(records.pages.each()) as found:
            async for record_id, stored in found:
                opened[record_id] = stored is not None
                if len(opened) == _MOST_READ:
                    break
    finally:
        await store.close()
    return len(opened), sum(not is_open for is_open in opened.values())
