"""A sweep: the refresh of all tokens of an app that expire soon."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tiktok_oauth_middleware._core.log import logger

from .due import Demand

if TYPE_CHECKING:
    from .service import SessionService
    from .versioned_record import VersionedRecord

#: A sweep reads records until this many are due, then refreshes those; few enough to
#: keep in memory.
_DUE_AT_ONCE = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshSummary:
    """Result of `TikTokTokens.refresh_expiring`: numbers of users."""

    refreshed: int = 0
    #: TikTok did not answer or sent no token; these users stay signed in.
    failed: int = 0
    #: The grant has ended: TikTok ended it, or the refresh token expired.
    ended: int = 0
    #: Records that none of ``secret_keys`` can open; their users count as signed out.
    unreadable: int = 0


async def sweep(
    service: SessionService,
    within: float,
    progress: Callable[[int], object] | None,
) -> RefreshSummary:
    """Refresh the tokens that are due, up to 48 at the same time.

    Args:
        service: of the app.
        within: refresh tokens that expire within this many seconds.
        progress: called now and then with the number of users read so far.

    Raises:
        StoreError: the store failed, or cannot list its keys.
    """
    demand, progress = Demand(within=within), progress or _no_progress
    # A list, not counters: several threads append at the same time.
    results: list[str | None] = []

    def refreshing(
        stored: VersionedRecord,
    ) -> Callable[[], Coroutine[Any, Any, None]]:
        async def work() -> None:
            after = await service.renewed(stored, demand)
            results.append(_result(stored, after))

        return work

    # By id, since some stores list a record twice at times.
    due: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {}
    unreadable: set[str] = set()
    read = 0
    async with aclosing(service.records.pages.sealed()) as pages:
        async for page in pages:
            progress(read)
            read += len(page)
            for each in page.not_ruled_out(*service.refresh.due.times_of_due(within)):
                stored = each.parsed()
                if stored is None:
                    unreadable.add(each.record_id)
                elif service.refresh.due.is_due(stored.record, demand):
                    due[each.record_id] = refreshing(stored)
                if len(due) == _DUE_AT_ONCE:
                    await service.run_all(due.values())
                    due.clear()
    await service.run_all(due.values())
    if unreadable:
        logger.warning(
            "%d stored records cannot be opened; their users count as signed out",
            len(unreadable),
        )
    counts = Counter(result for result in results if result is not None)
    return RefreshSummary(**counts, unreadable=len(unreadable))


def _no_progress(_: int) -> None:
    """Show no progress."""


def _result(before: VersionedRecord, after: VersionedRecord | None) -> str | None:
    """Return how a sweep counts a refresh; None if another process is refreshing."""
    if after is None:
        return "ended"
    if after.record.access_token != before.record.access_token:
        return "refreshed"
    has_failed = (
        after.record.failures and after.record.retry_at != before.record.retry_at
    )
    return "failed" if has_failed else None
