"""The tests that docs/requirements*.md name exist, and every requirement names one."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted((ROOT / "docs/evidence").glob("requirements*.md"))
#: A file, and perhaps a class and a test in it.
PROOF = re.compile(r"`([\w./-]+\.py)((?:::\w+)*)[^`]*`")


def rows(document):
    """Return the lines of the tables that begin with the id of a requirement."""
    lines = document.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if re.match(r"\| [A-Z]", line)]


@cache
def body_of(file):
    return ast.parse((ROOT / file).read_text(encoding="utf-8")).body


def is_there(file, names):
    """Return whether the file has the class or test exactly once."""
    body = body_of(file) if (ROOT / file).is_file() else []
    found = body
    for name in names:
        found = [node for node in body if getattr(node, "name", "") == name]
        body = getattr(found[0], "body", []) if found else []
    return len(found) == 1 if names else bool(found)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_named_tests_exist(document):
    """Each test that a page of requirements names exists in the file that it names."""
    proofs = PROOF.findall(document.read_text(encoding="utf-8"))
    assert len(proofs) > 50
    if not (ROOT / "hardening").exists():  # it is not in the sdist
        proofs = [proof for proof in proofs if not proof[0].startswith("hardening/")]
    missing = [
        f for f in proofs if not is_there(f[0], [n for n in f[1].split("::") if n])
    ]
    assert not missing


def test_rows_name_tests():
    """Each row of docs/evidence/requirements.md names a test, with its file."""
    for row in rows(ROOT / "docs/evidence/requirements.md"):
        named = [names for _, names in PROOF.findall(row) if "::test_" in names]
        assert len(named) == row.count("::test_") > 0, row


def test_each_requirement_has_one_row():
    """No requirement has two rows in docs/evidence/requirements.md."""
    ids = [row.split()[1] for row in rows(ROOT / "docs/evidence/requirements.md")]
    assert len(ids) == len(set(ids)) > 0
