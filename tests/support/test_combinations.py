"""The chosen combinations include each one that may fail alone."""

from __future__ import annotations

from itertools import product

import pytest

from .combinations import Combination, choose, share_of

ALL = ("asyncio", "trio", "wsgi")
STORES = ("memory", "redis", "sqlite")


def of(interfaces, stores, values):
    others = [(("value", place),) for place in range(values)]
    return [Combination(*each) for each in product(interfaces, stores, others)]


@pytest.mark.parametrize("turn", range(3))
@pytest.mark.parametrize("values", [1, 2, 7])
@pytest.mark.parametrize("interfaces", [ALL, ALL[:2], ALL[1:], ALL[:1]])
@pytest.mark.parametrize("stores", [STORES, STORES[:2]])
def test_with_each_parameter(interfaces, stores, values, turn):
    """Each parameter is run with every middleware, event loop and store."""
    chosen = choose(of(interfaces, stores, values), turn)
    pairs = {(each.others, each.interface) for each in chosen}
    assert len(pairs) == values * len(interfaces)
    pairs = {(each.others, each.store) for each in chosen}
    assert len(pairs) == values * len(stores)
    assert len(chosen) == values * max(len(interfaces), len(stores))


@pytest.mark.parametrize("turn", range(3))
def test_all_pairs(turn):
    """Three parameters of a test, or three tests, meet every pair of app and store."""
    pairs = {(each.interface, each.store) for each in choose(of(ALL, STORES, 3), turn)}
    assert pairs == {*product(ALL, STORES)}
    pairs = {
        (each.interface, each.store)
        for function in range(turn, turn + 3)
        for each in choose(of(ALL, STORES, 1), function)
    }
    assert pairs == {*product(ALL, STORES)}


@pytest.mark.parametrize("turn", range(2))
@pytest.mark.parametrize("values", [2, 3, 8])
def test_event_loops_in_turn(values, turn):
    """With one store each parameter meets WSGI and ASGI, with asyncio or Trio."""
    chosen = choose(of(ALL, STORES[:1], values), turn)
    under_wsgi = {each.others for each in chosen if each.interface == "wsgi"}
    under_asgi = {each.others for each in chosen if each.interface != "wsgi"}
    assert under_wsgi == under_asgi
    assert len(chosen) == 2 * values
    assert {each.interface for each in chosen} == {*ALL}


@pytest.mark.parametrize("turn", range(2))
def test_one_parameter(turn):
    """With one store and no further parameters all of them are run."""
    assert choose(of(ALL, STORES[:1], 1), turn) == {*of(ALL, STORES[:1], 1)}


def test_share_of_a_table(monkeypatch):
    """Each row of a table is run under WSGI, and under ASGI with one of the loops."""
    monkeypatch.delenv("COMBINATIONS", raising=False)
    rows = [*range(7)]
    assert share_of("wsgi", rows) == rows
    loops = [*share_of("asyncio", rows), *share_of("trio", rows)]
    assert sorted(loops) == rows
    monkeypatch.setenv("COMBINATIONS", "all")
    assert share_of("trio", rows) == rows
