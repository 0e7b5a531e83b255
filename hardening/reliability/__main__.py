"""Run figures by name and print a line for each; see the package's docstring."""

from __future__ import annotations

import argparse
import sys
import time
from importlib import import_module

from .crew import silence
from .figure import STORES, Run, is_installed

FIGURES = (
    "single_flight",
    "callbacks",
    "kills",
    "takeover",
    "outages",
    "tiktok_down",
    "isolation",
    "logout",
    "flood",
    "jar",
    "slow_peers",
    "restarts",
    "many_users",
    "free_threads",
)
#: Figures that can only be measured with one of the stores.
_NEEDS = {"kills": "sqlite", "outages": "redis"}


def main() -> int:
    """Return 1 if a target was missed."""
    silence()
    args = _read()
    stores = args.store or ["sqlite", "redis"]
    for store in [store for store in stores if not is_installed(store)]:
        print(f"{STORES[store]} is not installed: what needs it is not run")
        stores.remove(store)
    passed = [_figure(name, args, stores) for name in args.names or FIGURES]
    return 0 if all(passed) else 1


def _read() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m hardening.reliability")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(FIGURES))
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument(
        "--store",
        choices=STORES,
        action="append",
        help="once for each; sqlite and redis if not given",
    )
    parser.add_argument("--seed", type=int, default=20260101)
    args = parser.parse_args()
    unknown = set(args.names) - set(FIGURES)
    if unknown:
        parser.error(f"no such figure: {', '.join(sorted(unknown))}")
    return args


def _figure(name: str, args: argparse.Namespace, stores: list[str]) -> bool:
    if not stores or _NEEDS.get(name, stores[0]) not in stores:
        print(f"SKIP {name}: needs {_NEEDS.get(name, 'a store')}", flush=True)
        return True
    passed, began = True, time.monotonic()
    run = Run(scale=args.scale, seed=args.seed, stores=tuple(stores))
    for result in import_module(f".{name}", __package__).run(run):
        took = time.monotonic() - began
        print(f"{result.line(args.seed)} took={took:.1f}s", flush=True)
        passed, began = passed and result.passed, time.monotonic()
    return passed


if __name__ == "__main__":
    sys.exit(main())
