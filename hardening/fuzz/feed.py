"""Feeds one parser, in a separate process, because an engine may end it.

Prints one line of JSON. The contract is checked here and not by the engine, so that a
violation does not end the run, and the check is the same for both engines.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import sys
import time
import traceback
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from .mutate import mutated, mutated_json

if TYPE_CHECKING:
    from .parsers import Parser

FOUND = Path(__file__).parent / "found"
#: The longest time that an input may take, in seconds of CPU.
SLOWEST = 0.1
_LONGEST_INPUT = 4096
_SHOWN = 5


class Feeder:
    """Counts, times and checks a parser's inputs; ends the process when done."""

    def __init__(self, parser: Parser, inputs: int, engine: str) -> None:
        from .parsers import OURS

        self._ours = OURS
        self._parser = parser
        self._inputs = inputs
        self._engine = engine
        self._began = time.monotonic()
        self._slowest = 0.0
        self._failures: dict[str, str] = {}
        self.fed = self._failed = 0

    def feed(self, data: bytes) -> None:
        """Feed one input; after the last, report and end the process."""
        problem, seconds = self._once(data)
        if seconds > SLOWEST:
            # The machine is shared: an input counts as slow only if it is slow twice.
            seconds = min(seconds, *(self._once(data)[1] for _ in range(3)))
            problem = problem or ("slow" if seconds > SLOWEST else "")
        self._slowest = max(self._slowest, seconds)
        if problem:
            self._note(problem, data)
        self.fed += 1
        if self.fed >= self._inputs:
            self.end()

    def _once(self, data: bytes) -> tuple[str, float]:
        problem, began = "", time.thread_time()
        try:
            self._parser.call(data)
        except self._ours:
            pass
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            problem = f"{type(error).__name__}: {error} ({where.name}:{where.lineno})"
        return problem, time.thread_time() - began

    def _note(self, problem: str, data: bytes) -> None:
        self._failed += 1
        kind = problem.partition(":")[0] + problem.rpartition("(")[2]
        if kind in self._failures:
            return
        FOUND.mkdir(exist_ok=True)
        name = f"{self._parser.name}-{hashlib.sha256(data).hexdigest()[:12]}"
        (FOUND / name).write_bytes(data)
        self._failures[kind] = f"{name}: {problem[:200]} {data[:80]!r}"

    def end(self) -> None:
        """Print the results and end the process, even inside the engine."""
        result = {
            "parser": self._parser.name,
            "engine": self._engine,
            "inputs": self.fed,
            "seconds": time.monotonic() - self._began,
            "slowest_ms": self._slowest * 1000,
            "failures": self._failed,
            "found": list(self._failures.values())[:_SHOWN],
        }
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()
        os._exit(0)


def _kept(parser: Parser) -> list[bytes]:
    """Return the first inputs of a run: those that failed before, then the seeds."""
    found = sorted(FOUND.glob(f"{parser.name}-*")) if FOUND.exists() else []
    return [*(path.read_bytes() for path in found), *parser.seeds]


def _by_chance(parser: Parser, feeder: Feeder, seed: int) -> None:
    """Feed seeds changed at random, and then change the results again."""
    chance = random.Random(f"{parser.name} {seed}")
    pool = _kept(parser)
    for data in pool:
        feeder.feed(data)
    keep = len(pool) + 500
    while True:
        data = _changed(parser, chance.choice(pool), chance)
        feeder.feed(data)
        if len(pool) < keep:
            pool.append(data)
        elif chance.random() < 0.01:
            pool[chance.randrange(len(pool) // 2, len(pool))] = data


def _changed(parser: Parser, data: bytes, chance: random.Random) -> bytes:
    start = parser.json_from
    if start is not None and chance.random() < 0.5:
        made = mutated_json(data[start:], chance)
        if made is not None:
            return (data[:start] + made)[:_LONGEST_INPUT]
    return mutated(data, chance, parser.words)


def _by_coverage(name: str, inputs: int, seed: int) -> None:
    """Let atheris choose inputs by the branches that they reach."""
    import atheris

    with atheris.instrument_imports(include=["tiktok_oauth_middleware"]):
        from .parsers import BY_NAME

    parser = BY_NAME[name]
    feeder = Feeder(parser, inputs, "atheris")

    def change(data: bytes, longest: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if chance.random() < 0.5:
            return _changed(parser, data, chance)[:longest]
        return bytes(atheris.Mutate(data, longest))

    with TemporaryDirectory(prefix="fuzz-") as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        for number, data in enumerate(_kept(parser)):
            (corpus / str(number)).write_bytes(data)
        words = Path(folder) / "words"
        words.write_text("".join(f'"{_escaped(word)}"\n' for word in parser.words))
        options = [f"-seed={seed}", f"-max_len={_LONGEST_INPUT}"]
        options += [f"-dict={words}"] if parser.words else []
        options += ["-timeout=60", "-rss_limit_mb=0", "-verbosity=0"]
        # A failure is reported with its input; atheris would write a file into the
        # checkout.
        options += [f"-artifact_prefix={folder}/"]
        arguments = [sys.argv[0], *options, str(corpus)]
        atheris.Setup(arguments, feeder.feed, custom_mutator=change)
        atheris.Fuzz()


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def main() -> None:
    """Feed the parser of this name."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("--inputs", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--engine", choices=["atheris", "chance"], required=True)
    args = parser.parse_args()
    if args.engine == "atheris":
        _by_coverage(args.name, args.inputs, args.seed)
        return
    from .parsers import BY_NAME

    found = BY_NAME[args.name]
    _by_chance(found, Feeder(found, args.inputs, "chance"), args.seed)


if __name__ == "__main__":
    main()
