"""``python -m tiktok_oauth_middleware``: check the settings, or serve the stand-in."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from .errors import ConfigurationError, StoreError
from .settings import TikTokSettings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tiktok_oauth_middleware")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    check = commands.add_parser(
        "check", help="read the settings from the environment and say what is wrong"
    )
    check.set_defaults(run=_check)
    sandbox = commands.add_parser("sandbox", help="serve the stand-in for TikTok")
    sandbox.add_argument("--host", default="127.0.0.1", choices=["127.0.0.1", "::1"])
    sandbox.add_argument("--port", type=int, default=8001)
    sandbox.set_defaults(run=_sandbox)
    given = parser.parse_args(arguments)
    code: int = given.run(given)
    return code


def _check(_: argparse.Namespace) -> int:
    """Print every finding, and the URI to register; return 1 if one is wrong."""
    try:
        settings = TikTokSettings.from_env()
    except ConfigurationError as error:
        for fault in error.faults:
            print(f"wrong: {fault}")
        return 1
    findings = [*_store_findings(settings), *_key_findings(settings)]
    for finding in findings:
        print(finding)
    tab = "Desktop" if settings.is_loopback else "Web"
    print(f"Register this redirect URI at TikTok, in the {tab} tab, to the letter:")
    print(f"  {settings.redirect_uri}")
    return int(any(finding.startswith("wrong") for finding in findings))


def _store_findings(settings: TikTokSettings) -> list[str]:
    """Write, read and delete a value, as a login would."""
    from .stores.base import open_store  # noqa: PLC0415 - after the settings are good

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


def _key_findings(settings: TikTokSettings) -> list[str]:
    """Note what is allowed but seldom meant."""
    notes = []
    if settings.client_key.startswith("sb"):
        notes.append(
            "note: client_key looks like a sandbox's; only its target users can log in"
        )
    if settings.is_loopback:
        notes.append("note: redirect_uri is on loopback; this is development")
    return notes


def _sandbox(given: argparse.Namespace) -> int:
    from .testing.fake import FakeTikTok  # noqa: PLC0415 - for this command only
    from .testing.server import serve  # noqa: PLC0415

    serve(FakeTikTok(), given.host, given.port)
    return 0


if __name__ == "__main__":
    sys.exit(main())
