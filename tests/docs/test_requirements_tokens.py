"""What docs/requirements*.md names as a proof is a test that there is."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROOFS = sorted(
    {
        (document.name, *proof)
        for document in (ROOT / "docs").glob("requirements*.md")
        for proof in re.findall(
            r"`([\w/]+\.py)(?:::(\w+))?(?:::(\w+))?[^`]*`", document.read_text()
        )
    }
)


def test_some():
    """There are documents that name tests."""
    assert len(PROOFS) > 50


@pytest.mark.parametrize(
    "proof", PROOFS, ids=["::".join(filter(None, p[1:])) for p in PROOFS]
)
def test_there(proof):
    """A test that is named is in the file where it is said to be."""
    _, path, *names = proof
    body = ast.parse((ROOT / path).read_text(encoding="utf-8")).body
    for name in filter(None, names):
        found = [node for node in body if getattr(node, "name", "") == name]
        assert len(found) == 1
        body = getattr(found[0], "body", [])
