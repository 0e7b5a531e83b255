"""What a child of ``fork()`` replaces."""

from __future__ import annotations

import os

import pytest

from tiktok_oauth_middleware._core.fork import register_after_fork


class Forked:
    """An object that notes in a pipe that its ``after_fork`` was called."""

    def __init__(self, pipe: int, name: bytes) -> None:
        self._pipe = pipe
        self._name = name
        register_after_fork(self)

    def after_fork(self) -> None:
        os.write(self._pipe, self._name)
        raise RuntimeError(self._name.decode())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")
def test_one_that_raises():
    """Each object is told of the fork, although others raise."""
    reads, writes = os.pipe()
    objects = [Forked(writes, name) for name in (b"a", b"b", b"c")]
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.close(writes)
    os.waitpid(child, 0)
    with os.fdopen(reads, "rb") as called:
        assert sorted(called.read()) == [*b"abc"]
    assert len(objects) == 3
