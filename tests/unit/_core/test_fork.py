"""What a child of ``fork()`` replaces."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from tiktok_oauth_middleware import MemoryStore
from tiktok_oauth_middleware._core.fork import register_after_fork
from tiktok_oauth_middleware.testing import FakeTikTok
from tiktok_oauth_middleware.testing.handler import OpenConsents

from ...conftest import make_settings
from ...support.processes import forks, in_child
from ...support.source import HOME, tree

pytestmark = [
    forks,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
]


class Forked:
    """An object that notes in a pipe that its ``after_fork`` was called."""

    def __init__(self, pipe: int, name: bytes) -> None:
        self._pipe = pipe
        self._name = name
        register_after_fork(self)

    def after_fork(self) -> None:
        os.write(self._pipe, self._name)
        raise RuntimeError(self._name.decode())


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


@contextmanager
def held_by_another_thread(lock: Any) -> Iterator[None]:
    """Hold a lock inside the block; a reentrant one would be free for this thread."""
    with ThreadPoolExecutor(1) as other:
        assert other.submit(lock.acquire).result()
        try:
            yield
        finally:
            other.submit(lock.release).result()


def memory() -> Any:
    return MemoryStore()


def provider() -> Any:
    return FakeTikTok.for_settings(make_settings()).provider


def api() -> Any:
    return FakeTikTok.for_settings(make_settings())._api


def django() -> Any:
    pytest.importorskip("django", reason="django is not installed")
    from ...support.django_once import configure

    configure()
    from tiktok_oauth_middleware.django import project

    return project._installed


@pytest.mark.parametrize("make", [memory, provider, api, OpenConsents, django])
def test_a_lock_of_another_thread(make):
    """A child that is forked while another thread has a lock finds it free."""
    owner = make()
    with held_by_another_thread(owner._lock):
        assert in_child(lambda: owner._lock.acquire(timeout=10)) == "True"


#: What a child must not inherit from another thread.
LOCKS = {"Lock", "RLock", "Condition", "Semaphore", "Event", "SimpleQueue"}
#: Classes whose objects a child does not use, and why.
NOT_INHERITED = {
    "SQLiteConnection": "SQLiteStore.after_fork forgets its connections",
    "_Lease": "the watch forgets its leases",
    "_Waiting": "it belongs to an event loop, whose connections a child does not use",
    "PooledConnections": "SQLConnections.after_fork forgets them",
}


def locks() -> Iterator[tuple[str, ast.ClassDef | None]]:
    """Yield the file and the class of each lock that is no local variable."""
    for path in sorted(HOME.rglob("*.py")):
        module = tree(path)
        classes = [n for n in ast.walk(module) if isinstance(n, ast.ClassDef)]
        owners = {node: each for each in classes for node in ast.walk(each)}
        bodies = [node for each in (module, *classes) for node in each.body]
        for node in ast.walk(module):
            if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
                continue
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            is_kept = node in bodies or any(
                isinstance(target, ast.Attribute) for target in targets
            )
            if is_kept and any(_makes_a_lock(each) for each in ast.walk(node.value)):
                yield path.name, owners.get(node)


def _makes_a_lock(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    return getattr(node.func, "attr", getattr(node.func, "id", "")) in LOCKS


def test_each_lock_is_replaced():
    """Each lock belongs to a class that replaces it in a child; none to a module."""
    found = [*locks()]
    assert {owner.name for _, owner in found if owner} >= NOT_INHERITED.keys()
    for file, owner in found:
        assert owner is not None, f"{file} has a lock that a child may find locked"
        methods = {n.name for n in owner.body if isinstance(n, ast.FunctionDef)}
        if owner.name not in NOT_INHERITED:
            assert "after_fork" in methods, f"{file}: {owner.name}"
