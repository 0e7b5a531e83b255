"""``python -m hardening.paths``: every framework, 2,000 random targets each."""

from __future__ import annotations

import argparse
import sys
import time

from . import apps
from .run import differ


def main() -> int:
    """Print a line for each app; return 1 if a target reached a protected view."""
    parser = argparse.ArgumentParser(prog="python -m hardening.paths")
    parser.add_argument("names", nargs="*", help="apps whose names begin so")
    parser.add_argument("--targets", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=20260101)
    given = parser.parse_args()
    leaked = 0
    for app in apps.installed():
        if given.names and not app.name.startswith(tuple(given.names)):
            continue
        begun = time.perf_counter()
        found = differ(app, given.targets, given.seed)
        leaked += len(found.leaked)
        verdict = "FAIL" if found.leaked else "PASS"
        print(
            f"{verdict} {app.name:<26} {found.tried:>7} tried,"
            f" {found.reached:>6} reach the bare app, {found.public:>5} public,"
            f" {len(found.leaked):>4} in spite of the rules"
            f" ({time.perf_counter() - begun:.0f} s)",
            flush=True,
        )
        for server, target in found.leaked[:10]:
            print(f"     {server}: {target.raw!r} claimed {target.claimed!r}")
    return int(leaked > 0)


if __name__ == "__main__":
    sys.exit(main())
