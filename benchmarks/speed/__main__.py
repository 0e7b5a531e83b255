"""Measure groups by name, print their tables, write the report; see the package."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

from .report import write
from .row import Row, table, to_plain

GROUPS = (
    "requests",
    "wsgi",
    "instructions",
    "stores",
    "databases",
    "logins",
    "network",
    "users",
    "start",
    "growth",
    "served",
)
#: On a busy machine ratios were up to 1.5 times as large, but never four times the
#: goal.
_SLACK = 4


def main() -> int:
    """Run the groups, each in a new process; a missed figure does not fail the run."""
    args = _read()
    if args.json:
        found = asyncio.run(_rows(args.groups[0], args.rounds))
        print(json.dumps([to_plain(row) for row in found]))
        return 0
    everything: dict[str, list[Row]] = {}
    for group in args.groups or GROUPS:
        print(f"\n{group}\n", flush=True)
        everything[group] = _measured(group, args.rounds)
        print(table(everything[group]), flush=True)
    if args.write is not None:
        write(everything, args.write)
    return _check(everything) if args.check else 0


def _check(measured: Mapping[str, Sequence[Row]]) -> int:
    """Return 1 if a ratio is too far beyond its goal to be noise."""
    lost = [
        row
        for row in itertools.chain.from_iterable(measured.values())
        if row.unit == "x"
        and row.goal is not None
        and not row.at_least
        and row.figure > _SLACK * row.goal
    ]
    for row in lost:
        print(f"far slower than it was: {row.what}: {row.figure:.2f} of the peer")
    return 1 if lost else 0


def _read() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed")
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=", ".join(GROUPS))
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--write", type=Path, help="a folder for the tables and charts")
    parser.add_argument(
        "--check", action="store_true", help="fail where a ratio is far beyond its goal"
    )
    parser.add_argument("--json", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    unknown = set(args.groups) - set(GROUPS)
    if unknown:
        parser.error(f"no such group: {', '.join(sorted(unknown))}")
    return args


def _measured(group: str, rounds: int) -> list[Row]:
    done = subprocess.run(
        [sys.executable, "-m", __package__, group, "--rounds", str(rounds), "--json"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return [Row(**found) for found in json.loads(done.stdout.splitlines()[-1])]


async def _rows(group: str, rounds: int) -> list[Row]:
    return [row async for row in import_module(f".{group}", __package__).rows(rounds)]


if __name__ == "__main__":
    sys.exit(main())
