"""Feed parsers by name and print a line for each; see the package's docstring."""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from .feed import FOUND, SLOWEST
from .parsers import BY_NAME

_ROOT = Path(__file__).parent.parent.parent


def main() -> int:
    """Return 1 if a parser broke the contract."""
    args = _read()
    if args.engine == "chance" and args.asked is None:
        print("atheris is not installed: inputs are seeds changed at random")
    passed = [_fed(name, args) for name in args.names or BY_NAME]
    return 0 if all(passed) else 1


def _read() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m hardening.fuzz")
    parser.add_argument("names", nargs="*", metavar="PARSER", help=", ".join(BY_NAME))
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=20260101)
    parser.add_argument("--engine", choices=["atheris", "chance"], dest="asked")
    args = parser.parse_args()
    unknown = set(args.names) - set(BY_NAME)
    if unknown:
        parser.error(f"no such parser: {', '.join(sorted(unknown))}")
    has_atheris = importlib.util.find_spec("atheris") is not None
    args.engine = args.asked or ("atheris" if has_atheris else "chance")
    return args


def _fed(name: str, args: argparse.Namespace) -> bool:
    command = [sys.executable, "-m", "hardening.fuzz.feed", name]
    command += ["--inputs", str(args.inputs), "--seed", str(args.seed)]
    done = subprocess.run(
        [*command, "--engine", args.engine],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        print(f"FAIL {name} ended by itself: {done.stderr[-2000:]}", flush=True)
        return False
    result: dict[str, Any] = json.loads(lines[-1])
    passed = not result["failures"] and result["slowest_ms"] <= SLOWEST * 1000
    print(
        f"{'PASS' if passed else 'FAIL'} {name} engine={result['engine']}"
        f" inputs={result['inputs']} seconds={result['seconds']:.1f}"
        f" slowest_ms={result['slowest_ms']:.1f} failures={result['failures']}"
        f" seed={args.seed}",
        flush=True,
    )
    for line in result["found"]:
        print(f"  {FOUND.relative_to(_ROOT)}/{line}", flush=True)
    return passed


if __name__ == "__main__":
    sys.exit(main())
