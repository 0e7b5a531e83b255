"""``python -m tiktok_oauth_middleware``: ``check``, ``tokens`` and ``sandbox``.

Everything reads the settings from the environment, as the app does, and no command
prints a token or a key.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing
from typing import TYPE_CHECKING

from .errors import (
    ConfigurationError,
    NotSignedIn,
    StoreError,
    TikTokOAuthError,
)
from .settings import TikTokSettings
from .text import one_line

if TYPE_CHECKING:
    from .tokens import TikTokTokens


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code."""
    given = _parser().parse_args(arguments)
    try:
        code: int = given.run(given)
    except TikTokOAuthError as error:
        for line in str(error).splitlines():
            print(f"wrong: {line}", file=sys.stderr)
        return 1
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tiktok_oauth_middleware")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    check = commands.add_parser(
        "check", help="read the settings from the environment and say what is wrong"
    )
    check.set_defaults(run=_check)
    tokens = commands.add_parser("tokens", help="list or tend the stored users")
    actions = tokens.add_subparsers(required=True, metavar="ACTION")
    actions.add_parser("list", help="every stored user").set_defaults(run=_list)
    for name, words, run in (
        ("refresh", "renew a user's token now", _refresh),
        ("forget", "end a user's sessions and forget their tokens", _forget),
        ("disconnect", "forget a user, and revoke the app at TikTok", _disconnect),
    ):
        action = actions.add_parser(name, help=words)
        action.add_argument("open_id")
        action.set_defaults(run=run)
    sandbox = commands.add_parser("sandbox", help="serve the stand-in for TikTok")
    sandbox.add_argument("--host", default="127.0.0.1", choices=["127.0.0.1", "::1"])
    sandbox.add_argument("--port", type=int, default=8001)
    sandbox.set_defaults(run=_sandbox)
    return parser


# --- check -------------------------------------------------------------------------


def _check(_: argparse.Namespace) -> int:
    """Print every finding, and the URI to register; return 1 if one is wrong."""
    try:
        settings = TikTokSettings.from_env()
    except ConfigurationError as error:
        for fault in error.faults:
            print(f"wrong: {fault}")
        return 1
    findings = [*_store_findings(settings), *_notes(settings)]
    for finding in findings:
        print(finding)
    tab = "Desktop" if settings.is_loopback else "Web"
    print(f"Register this redirect URI at TikTok, in the {tab} tab, to the letter:")
    print(f"  {settings.redirect_uri}")
    return int(any(finding.startswith("wrong") for finding in findings))


def _store_findings(settings: TikTokSettings) -> list[str]:
    """Write, read and delete a value, as a login would."""
    from .stores.urls import open_store  # noqa: PLC0415 - after the settings are good

    key = f"tiktok:check:{os.getpid()}"
    try:
        store = open_store(settings.store)
        store.compare_and_set(key, None, b"1", 60)
        is_there = store.get(key) == b"1"
        store.compare_and_set(key, b"1", None, 60)
        store.close()
    except (ConfigurationError, StoreError) as error:
        return [f"wrong: store: {error}"]
    if not is_there:
        return ["wrong: store does not give back what was written"]
    if settings.store.startswith("memory"):
        return ["note: store is memory://; a restart signs everybody out"]
    return ["good: store can be written and read"]


def _notes(settings: TikTokSettings) -> list[str]:
    """Note what is allowed but seldom meant."""
    notes = []
    if settings.client_key.startswith("sb"):
        notes.append(
            "note: client_key looks like a sandbox's; only its target users can log in"
        )
    if settings.is_loopback:
        notes.append("note: redirect_uri is on loopback; this is development")
    return notes


# --- tokens ------------------------------------------------------------------------


def _list(_: argparse.Namespace) -> int:
    """Print a line for every stored user."""
    with _tokens() as tokens:
        users = tokens.users()
    form = "{:<40}  {:<20}  {:<20}  {:>8}  {}"
    print(form.format("open_id", "token ends", "grant ends", "sessions", "scopes"))
    for user in sorted(users, key=lambda user: user.open_id):
        end = user.refresh_expires_at
        print(
            form.format(
                one_line(user.open_id),
                _moment(user.token_expires_at),
                "unknown" if end is None else _moment(end),
                user.sessions,
                ",".join(sorted(user.scopes)) or "none",
            )
        )
    print(f"{len(users)} stored")
    return 0


def _refresh(given: argparse.Namespace) -> int:
    """Renew one user's token, due or not."""
    with _tokens() as tokens:
        token = tokens.renew(given.open_id)
    print(f"refreshed: the token ends {_moment(token.expires_at)}")
    return 0


def _forget(given: argparse.Namespace) -> int:
    with _tokens() as tokens:
        known = tokens.forget(given.open_id)
    if not known:
        message = "this user is not stored"
        raise NotSignedIn(message)
    print("forgotten, here; the app stays connected at TikTok")
    return 0


def _disconnect(given: argparse.Namespace) -> int:
    with _tokens() as tokens:
        outcome = tokens.disconnect(given.open_id)
    print(
        {
            "revoked": "forgotten here, and disconnected at TikTok",
            "gone": "there was nothing to disconnect, here or at TikTok",
            "failed": "forgotten here, but TikTok could not be told",
        }[outcome]
    )
    return int(outcome == "failed")


def _tokens() -> AbstractContextManager[TikTokTokens]:
    from .tokens import TikTokTokens  # noqa: PLC0415 - loads the whole package

    return closing(TikTokTokens(TikTokSettings.from_env()))


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(seconds))


# --- sandbox -----------------------------------------------------------------------


def _sandbox(given: argparse.Namespace) -> int:
    from .testing.fake import FakeTikTok  # noqa: PLC0415 - for this command only
    from .testing.server import serve  # noqa: PLC0415

    serve(FakeTikTok(), given.host, given.port)
    return 0


if __name__ == "__main__":
    sys.exit(main())
