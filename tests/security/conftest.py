"""Shared by the tests of weaknesses: a visitor that sends raw requests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..conftest import World
from ..support.raw import Raw, Visitors


@pytest.fixture
def raw(world: World) -> Iterator[Raw]:
    """Return a visitor of the world, without a browser."""
    with Visitors() as visitors:
        yield visitors.visit(world)


#: For tests that do not depend on the kind of store.
memory_only = pytest.mark.parametrize("store", ["memory"], indirect=True)
