"""``store create`` and ``store copy``, for the command line and for manage.py.

URLs of stores hold passwords, so no message contains one, not even an error.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from ._command_output import INTERRUPTED, Output
from ._core.progress import Progress
from ._core.secret import reveal
from .errors import ConfigurationError
from .stores.registry import create_store, open_store, store_fault

if TYPE_CHECKING:
    from ._core.backends.base import Backend
    from ._session.copying import CopyReport
    from .settings.options import TikTokSettings

_ABOUT = "a store's URL, or env:NAME for the environment variable that holds it"


def hide_urls(parser: Any) -> None:
    """Remove URLs, which may hold a password, from a parser's messages."""
    error = parser.error
    parser.error = lambda message: error(_without_urls(message))


def _without_urls(text: str) -> str:
    """Return a text in which only the scheme is left of each URL."""
    return re.sub(r"([a-zA-Z][\w+.-]*:/).*", r"\1/...", text, flags=re.DOTALL)


def add_arguments(parser: Any) -> None:
    """Declare both actions on a parser of argparse."""
    hide_urls(parser)
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    create = actions.add_parser(
        "create",
        help="make the table that the store needs",
        description="Makes the table of an SQL database. An existing one stays.",
    )
    create.add_argument(
        "urls", metavar="URL", nargs="*", help=f"{_ABOUT}; the app's if not given"
    )
    copy = actions.add_parser(
        "copy",
        help="copy all users from one store to another",
        description=(
            "Copies every user from one store to another. Both may be in use. Safe to"
            " repeat: what is newer stays. Exit code: 0, or 1 if something was not"
            " copied, or 130 if it was interrupted."
        ),
    )
    copy.add_argument("urls", metavar="FROM TO", nargs="*", help=f"each {_ABOUT}")


def run_action(
    action: str,
    urls: Sequence[str],
    settings: Callable[[], TikTokSettings],
    out: Output,
    progress: TextIO,
) -> int:
    """Run an action of the command line; return the exit code.

    Args:
        action: "create" or "copy".
        urls: its arguments.
        settings: returns the app's settings.
        out: gets the result.
        progress: gets the progress of a copy.

    Raises:
        ConfigurationError: an argument or a setting is wrong; nothing was done.
        StoreError: a store failed; what was done stays.
    """
    if action == "copy":
        if len(urls) != len(("FROM", "TO")):
            message = "store copy takes two URLs: FROM and TO"
            raise ConfigurationError(message)
        return copy(settings(), (urls[0], urls[1]), out=out, progress=progress)
    if len(urls) > 1:
        message = "store create takes one URL"
        raise ConfigurationError(message)
    if urls:
        url = _store_url(urls[0], "URL")
    else:
        # This variable is enough: a person who migrates need not know the app's
        # secrets.
        url = os.environ.get("TIKTOK_STORE") or reveal(settings().store)
    out.write(f"{create_store(url)}\n")
    return 0


def copy(
    settings: TikTokSettings,
    between: tuple[str, str],
    *,
    out: Output,
    progress: TextIO,
    clock: Callable[[], float] = time.time,
) -> int:
    """Copy all users from one store to another; return the exit code.

    Args:
        settings: the app's: keys, client key, and how long sessions last.
        between: URLs of the store to copy from and of the one to copy to, or ``env:``
            and the name of a variable that holds one.
        out: gets the result.
        progress: gets the progress: one line that is rewritten on a terminal, else a
            line every ten seconds.
        clock: seconds since 1970.

    Raises:
        ConfigurationError: a URL names no store, both name the same one, or the keys
            do not match; nothing was copied.
        StoreError: a store failed; what was copied stays.
    """
    from ._core.backends.command import backend_for, finish

    urls = _store_url(between[0], "FROM"), _store_url(between[1], "TO")
    for url, which in zip(urls, ("FROM", "TO"), strict=True):
        if url.startswith("memory:"):
            message = f"{which} is memory://, which only its own process can read"
            raise ConfigurationError(message)
    if urls[0] == urls[1]:
        message = "FROM and TO are the same store; nothing was copied"
        raise ConfigurationError(message)
    stores = [open_store(url, clock=clock) for url in urls]
    shown, last = Progress(progress), _Last()

    def show(report: CopyReport) -> None:
        last.report = report
        shown.show(lambda: _sentence(report))

    backend = backend_for(*stores)
    work = _copied(settings, stores, backend, clock, show)
    try:
        report = finish(work, backend)
    except KeyboardInterrupt:
        shown.clear()
        done = "nothing was copied" if last.report is None else _sentence(last.report)
        out.write(f"interrupted: {done}\n")
        out.write(
            "run the same command again to go on: what was copied is not copied twice\n"
        )
        return INTERRUPTED
    shown.clear()
    _print_report(report, out)
    return 0 if report.is_complete else 1


class _Last:
    """The last report of a copy."""

    report: CopyReport | None = None


async def _copied(
    settings: TikTokSettings,
    stores: list[Any],
    backend: Backend,
    clock: Callable[[], float],
    show: Callable[[CopyReport], None],
) -> CopyReport:
    from ._core.clocks import SERVER_CLOCK_SKEW
    from ._session.cache import SessionCache
    from ._session.connections import Connections
    from ._session.copying import Copy
    from ._session.records import Records

    adapters = [backend.adapt_store(store) for store in stores]
    source, target = (
        Records(settings, adapter, SessionCache(1), clock) for adapter in adapters
    )
    work = Copy(
        source,
        target,
        Connections(settings, adapters[1], target, clock),
        login_seconds=settings.login_lifetime + SERVER_CLOCK_SKEW,
        clock=clock,
        progress=show,
    )
    try:
        await work.check_keys()
        await _refuse_same(*adapters)
        return await work.run()
    finally:
        show(work.report)
        for adapter in adapters:
            await adapter.close()


async def _refuse_same(source: Any, target: Any) -> None:
    """Raise ConfigurationError if both URLs lead to the same rows.

    Raises:
        StoreError: a store failed, or cannot be written.
    """
    key, value = f"tiktok:check:{secrets.token_hex(8)}", secrets.token_bytes(8)
    await target.compare_and_set(key, None, value, 60)
    try:
        is_same = await source.get(key) is not None
    finally:
        await target.compare_and_set(key, value, None, 1)
    if is_same:
        message = "FROM and TO are the same store; nothing was copied"
        raise ConfigurationError(message)


def _store_url(url: str, which: str) -> str:
    """Return a URL without a fault, from the environment if it says so.

    Raises:
        ConfigurationError: it has a fault, or there is no such variable.
    """
    name = url.removeprefix("env:")
    if name != url:
        if not re.fullmatch(r"[A-Za-z_]\w*", name) or not os.environ.get(name):
            message = f"{which}: env: needs the name of a variable that is set"
            raise ConfigurationError(message)
        url = os.environ[name]
    fault = store_fault(url)
    if fault is not None:
        message = f"{which}: {fault}"
        raise ConfigurationError(message)
    return url


# --- what is printed -----------------------------------------------------------------


def _sentence(report: CopyReport) -> str:
    return (
        f"{report.users} users read: {report.copied} copied, {report.updated} updated,"
        f" {report.kept} kept, {report.ended} ended"
    )


def _print_report(report: CopyReport, out: Output) -> None:
    lines = [_sentence(report), f"other rows copied: {report.notes}"]
    if report.foreign:
        lines.append(
            f"{report.foreign} rows belong to other TikTok apps and were left; copy"
            " them with the settings of those apps"
        )
    if report.unreadable:
        lines.append(
            f"not copied: {report.unreadable} users whose records none of"
            " TIKTOK_SECRET_KEYS opens, who count as signed out; put the key that"
            " sealed them at its end, and copy again"
        )
    lines += [
        f"not copied: {count} rows of the kind {kind!r}, which this version does not"
        " know; copy again with the version that wrote them"
        for kind, count in sorted(report.unknown.items())
    ]
    if report.disputed:
        lines.append(
            f"not connected: {report.disputed} accounts are connected to different"
            " users in FROM and TO; they stay with the user in TO. Disconnect each in"
            " the store where it is wrong, and copy again"
        )
    if report.suspicious:
        lines.append(
            f"not ended: {report.suspicious} users are missing in FROM since the last"
            " copy, more than half of all; they stay in TO. If FROM was emptied, all is"
            " well"
        )
    for line in lines:
        out.write(f"{line}\n")
