"""``tokens list`` and ``tokens sweep``, for the command line and for manage.py.

A store may hold millions of users. They are read a few hundred at a time, progress is
shown on a terminal, and after Ctrl-C the command prints how far it came and how to go
on.
"""

from __future__ import annotations

import argparse
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from ._command_output import Report, moment
from ._core.redact import one_line
from .settings.rows import DAY
from .stores.paging import ROWS

if TYPE_CHECKING:
    from ._core.progress import Progress

#: The most users that are sorted by open_id; more are printed in the store's order.
SORTED = 10_000
#: The largest numbers of the command line.
_MOST_DAYS, _MOST_SECONDS = 100_000, 400 * 86400
_FORM = "{:<40}  {:<20}  {:<20}  {:>8}  {}"


def add_list_arguments(parser: Any) -> None:
    """Declare the options of a list."""
    parser.add_argument(
        "--ending",
        metavar="DAYS",
        type=_days,
        help="only those whose grant ends within this many days, the soonest first",
    )
    parser.add_argument(
        "--after",
        metavar="OPEN_ID",
        default="",
        help="continue after this user; write --after=OPEN_ID",
    )
    _add_progress(parser)


def add_sweep_arguments(parser: Any) -> None:
    """Declare the options of a sweep."""
    parser.add_argument(
        "--within",
        metavar="SECONDS",
        type=_seconds,
        default=3600,
        help="renew the tokens that expire within this many seconds (3600)",
    )
    _add_progress(parser)


def _days(text: str) -> float:
    return _number(text, _MOST_DAYS, "days")


def _seconds(text: str) -> float:
    return _number(text, _MOST_SECONDS, "seconds")


def _number(text: str, most: float, unit: str) -> float:
    """Return a number from the command line; argparse prints what is wrong with it.

    Raises:
        ArgumentTypeError: not a number, or out of bounds, as infinity and NaN are.
    """
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number <= most:
        message = (
            f"{one_line(text)!r} is not a number of {unit}; it must be 0 to {most:.0f}"
        )
        raise argparse.ArgumentTypeError(message)
    return number


def _add_progress(parser: Any) -> None:
    parser.add_argument(
        "--progress",
        action="store_true",
        help="report progress on standard error even if that is not a terminal",
    )


class _Listing:
    """Users as they are read; counts the records that cannot be opened."""

    def __init__(self, users: Generator[Any, None, int]) -> None:
        self._users = users
        self.unreadable = 0

    def __iter__(self) -> Iterator[Any]:
        self.unreadable = yield from self._users


def list_users(
    tokens: Any, report: Report, *, ending: float | None = None, after: str = ""
) -> int:
    """Print a line for every stored user; return the exit code.

    It is 1 if the user to continue after is no longer stored, because that user's place
    in the list is then unknown.

    Args:
        tokens: a `TikTokTokens`.
        report: where to write.
        ending: only users whose grant ends within this many days, the soonest first.
        after: the open_id of the user to continue after.

    Raises:
        StoreError: the store failed.
    """
    report.line(
        _FORM.format("open_id", "token ends", "grant ends", "sessions", "scopes")
    )
    if ending is not None:
        return _list_ending(tokens, report, ending)
    listing = _Listing(tokens.iter_users(after=after))
    progress, listed, last, is_sorted = report.shown(beside_lines=True), 0, "", False
    try:
        users = iter(listing)
        first = [*islice(users, SORTED + 1)]
        is_sorted = len(first) <= SORTED
        if is_sorted:
            first.sort(key=lambda user: user.open_id)
        for user in chain(first, users):
            report.line(_line(user))
            listed, last = listed + 1, user.open_id
            if progress is not None and not listed % 100:
                progress.show(partial("{} users listed".format, listed))
        is_lost = bool(after) and not listed and not _is_stored(tokens, after)
    except KeyboardInterrupt:
        _clear(progress)
        on = ""
        if last and not is_sorted:
            on = f"; go on with --after={one_line(last)}"
        return report.stopped(f"{listed} users listed{on}")
    _clear(progress)
    if is_lost:
        report.line(f"{one_line(after)} is not stored any more: list without --after")
        return 1
    report.line(f"{listed} stored" if not after else f"{listed} stored after that user")
    _report_unreadable(report, listing.unreadable)
    return 0


def _is_stored(tokens: Any, open_id: str) -> bool:
    return any(user.open_id == open_id for user in tokens.iter_users())


def _list_ending(tokens: Any, report: Report, days: float) -> int:
    listing, stored = _Listing(tokens.iter_users()), 0
    progress = report.shown()
    try:
        for stored, _ in enumerate(listing, 1):
            if progress is not None and not stored % 100:
                progress.show(partial("{} users read".format, stored))
        found = tokens.ending(days * DAY)
    except KeyboardInterrupt:
        _clear(progress)
        return report.stopped(f"{stored} users read, none listed")
    _clear(progress)
    for user in found:
        report.line(_line(user))
    if report.is_brief:
        report.line(f"{len(found)} stored")
    else:
        report.line(f"{len(found)} of {stored} stored end within {days:g} days")
    _report_unreadable(report, listing.unreadable)
    return 0


def _line(user: Any) -> str:
    return _FORM.format(
        one_line(user.open_id),
        moment(user.token_expires_at),
        "unknown" if user.ends_at is None else moment(user.ends_at),
        user.sessions,
        ",".join(sorted(user.scopes)) or "none",
    )


class Sweep:
    """A sweep of the command line: counts, reports, and can be stopped."""

    def __init__(self, report: Report, *, counts: bool = True) -> None:
        """Prepare.

        Args:
            report: where to write.
            counts: whether `on_event` will be called.
        """
        self._report = report
        self._is_counting = counts
        self._progress = report.shown()
        self._read = 0
        self._counts = {"refresh": 0, "refresh_failed": 0, "session_ended": 0}

    def on_event(self, event: Any) -> None:
        """Count an event, and print those that need attention."""
        if event.name not in self._counts:
            return
        self._counts[event.name] += 1
        if event.name != "refresh":
            _clear(self._progress)
            what = "ended" if event.name == "session_ended" else "failed"
            open_id = one_line(event.open_id or "")
            self._report.line(f"{what}: {open_id} ({event.reason})")

    def run(self, tokens: Any, within: float) -> int:
        """Refresh tokens that expire soon; return the exit code.

        Args:
            tokens: a `TikTokTokens` whose `on_event` is this sweep's.
            within: seconds.

        Raises:
            StoreError: the store failed.
        """
        try:
            done = tokens.refresh_expiring(within, progress=self._show)
        except KeyboardInterrupt:
            _clear(self._progress)
            return self._report.stopped(
                f"{self._sentence()}; the refreshes under way were finished; the next"
                " sweep does the rest"
            )
        _clear(self._progress)
        self._report.line(
            f"refreshed {done.refreshed}, failed {done.failed}, ended {done.ended}"
        )
        _report_unreadable(self._report, done.unreadable)
        return int(done.failed > 0)

    def _show(self, read: int) -> None:
        self._read = read
        if self._progress is not None:
            self._progress.show(self._sentence)

    def _sentence(self) -> str:
        refreshed, failed, ended = self._counts.values()
        counts = f", {refreshed} refreshed, {failed} failed, {ended} ended"
        return f"{self._read} users read{counts if self._is_counting else ''}"


class TokensInLoop:
    """The blocking methods of a `TikTokTokens` whose store needs an event loop.

    Each runs the method of the same name for asyncio, in one loop for all of them.
    """

    def __init__(self, tokens: Any) -> None:
        import asyncio

        self._tokens = tokens
        self._runner = asyncio.Runner()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._tokens, f"a{name}")
        return lambda *args, **options: self._runner.run(method(*args, **options))

    def iter_users(self, *, after: str = "") -> Generator[Any, None, int]:
        """Yield all stored users; return how many records cannot be opened."""
        users = self._tokens.aiter_users(after=after)
        try:
            while some := self._runner.run(_some(users)):
                yield from some
        finally:
            self._runner.run(users.aclose())
        return int(self.unreadable())

    def close(self) -> None:
        """Close the connections and the event loop."""
        try:
            self._runner.run(self._tokens.aclose())
        finally:
            self._runner.close()


async def _some(users: AsyncGenerator[Any, None]) -> list[Any]:
    """Return the next users; an empty list at the end."""
    found = []
    async for user in users:
        found.append(user)
        if len(found) == ROWS:
            break
    return found


def _report_unreadable(report: Report, count: int) -> None:
    if count:
        report.line(
            f"{count} more cannot be opened: sealed with a key that is not in"
            f" {report.keys_option}, or damaged; their users count as signed out. Put"
            f" the key that sealed them at the end of {report.keys_option}."
        )


def _clear(progress: Progress | None) -> None:
    if progress is not None:
        progress.clear()
