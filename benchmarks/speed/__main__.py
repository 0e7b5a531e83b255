"""Measure groups by name, print their tables, write the report; see the package."""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

from .report import write
from .row import Row, table, to_plain

GROUPS = ("requests", "wsgi", "stores", "logins", "start", "growth", "served")


def main() -> int:
    """Run the groups, each in a process of its own; no figure fails the run."""
    told = _read()
    if told.json:
        found = asyncio.run(_rows(told.groups[0], told.rounds))
        print(json.dumps([to_plain(row) for row in found]))
        return 0
    everything: dict[str, list[Row]] = {}
    for group in told.groups or GROUPS:
        print(f"\n{group}\n", flush=True)
        everything[group] = _measured(group, told.rounds)
        print(table(everything[group]), flush=True)
    if told.write is not None:
        write(everything, told.write)
    return 0


def _read() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed")
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=", ".join(GROUPS))
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--write", type=Path, help="a folder for the tables and charts")
    parser.add_argument("--json", action="store_true", help=argparse.SUPPRESS)
    told = parser.parse_args()
    unknown = set(told.groups) - set(GROUPS)
    if unknown:
        parser.error(f"no such group: {', '.join(sorted(unknown))}")
    return told


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
