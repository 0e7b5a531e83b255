"""Chooses the middleware, event loop and store of each test run.

Most tests of flows could run with each of asyncio, Trio and WSGI, on each store, with
each of their own parameters. This product was half of all tests, and almost none of it
could fail alone: flows are the same code for all, the middlewares and the stores have
their own test suites, and `WHOLE` lists the modules in which one affects another. So these
combinations of the product are run:

- each further parameter with every middleware, event loop and store. The store that goes
  with a middleware differs between functions and parameters, so that each pair is run by
  a third of the tests;
- if the store is always the same, each parameter under WSGI and under ASGI, with asyncio
  and Trio in turn. A long table in one test is shared out the same way: `share_of`.

``COMBINATIONS=all`` runs the product. A test that is named with its
parameters is run.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar
from zlib import crc32

import pytest

#: Modules that run in every combination: the journey, and tests that depend on how a
#: middleware's backend waits, is cancelled, and reports a broken connection.
WHOLE = (
    "tests/flows/test_journey.py",
    "tests/flows/test_outages.py",
    "tests/security/test_cwe488",
    "tests/security/test_cwe754",
)
LOOPS = ("asyncio", "trio")
#: The parameters that say how a test calls: through a middleware, or as a job.
CALLERS = ("interface", "backend", "ask")
#: Their values, as names of event loops, or "wsgi" for threads.
CALLS = {
    **{name: name for name in (*LOOPS, "wsgi")},
    **{f"aget on {name}": name for name in LOOPS},
    "blocking": "wsgi",
    "get": "wsgi",
}


T = TypeVar("T")


def share_of(interface: str, rows: Sequence[T]) -> Sequence[T]:
    """Return the rows of a table to run: all under WSGI; under ASGI every second one
    with asyncio, and the others with Trio.
    """
    if interface not in LOOPS or os.environ.get("COMBINATIONS") == "all":
        return rows
    return rows[LOOPS.index(interface) :: len(LOOPS)]


class Combination(NamedTuple):
    """The combination of one test; `others` are the indexes of its further
    parameters.
    """

    interface: str
    store: str
    others: tuple[tuple[str, int], ...]


def left_out(items: Iterable[pytest.Item]) -> Iterator[pytest.Item]:
    """Return the redundant tests."""
    functions: dict[str, list[tuple[Combination, pytest.Item]]] = defaultdict(list)
    for item in items:
        callspec = getattr(item, "callspec", None)
        if callspec is None or item.nodeid.startswith(WHOLE):
            continue
        caller = next((name for name in CALLERS if name in callspec.params), "")
        # Other tests have parameters of these names, too, with other values.
        if (call := CALLS.get(str(callspec.params.get(caller)))) is None:
            continue
        others = sorted(
            (name, place)
            for name, place in callspec.indices.items()
            if name not in (caller, "store")
        )
        store = str(callspec.params.get("store"))
        combination = Combination(call, store, tuple(others))
        functions[item.nodeid.partition("[")[0]].append((combination, item))
    for name, tests in functions.items():
        chosen = choose([combination for combination, _ in tests], crc32(name.encode()))
        yield from (item for combination, item in tests if combination not in chosen)


def choose(product: list[Combination], turn: int) -> set[Combination]:
    """Return the combinations of a function to run; `turn` differs between
    functions.
    """
    interfaces = sorted({each.interface for each in product})
    stores = sorted({each.store for each in product})
    others = sorted({each.others for each in product})
    loops = [interface for interface in interfaces if interface in LOOPS]

    def is_chosen(each: Combination) -> bool:
        number = turn + others.index(each.others)
        interface, store = interfaces.index(each.interface), stores.index(each.store)
        if len(stores) == 1:
            is_loop = each.interface in loops and len(others) > 1
            return not is_loop or each.interface == loops[number % len(loops)]
        if len(interfaces) < len(stores):
            return interface == (store + number) % len(interfaces)
        return store == (interface + number) % len(stores)

    return {each for each in product if is_chosen(each)}
