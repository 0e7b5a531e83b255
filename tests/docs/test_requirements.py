"""Every test that docs/requirements.md names is there, and every row names one."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = [
    line
    for line in (ROOT / "docs/requirements.md").read_text().splitlines()
    if re.match(r"\| [A-Z]", line)
]


@cache
def names_in(file: str) -> frozenset[str]:
    """Return the tests of a file, a class's with its name before them."""
    found = set()
    for node in ast.parse((ROOT / file).read_text()).body:
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{f.name}" for f in node.body if _is_test(f)}
        elif _is_test(node):
            found.add(node.name)
    return frozenset(found)


def _is_test(node: ast.AST) -> bool:
    is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    return is_function and node.name.startswith("test_")


@pytest.mark.parametrize("row", ROWS, ids=[row.split()[1] for row in ROWS])
def test_row_names_tests_that_exist(row):
    """A row names at least one test, and no test that is not there."""
    named = re.findall(r"`((?:hardening/)?tests/[\w/]+\.py)::([\w:]+)`", row)
    assert named
    assert len(named) == row.count("::test_")
    for file, test in named:
        assert (ROOT / file).is_file(), file
        assert test in names_in(file), f"{file}::{test}"


def test_each_requirement_has_one_row():
    """No requirement stands there twice."""
    ids = [row.split()[1] for row in ROWS]
    assert len(ids) == len(set(ids)) > 0
