"""What CPython compiles and PyPy does not, since CI runs no PyPy."""

from __future__ import annotations

import ast

import pytest

from ..support.source import HOME, tree


def refused(source: ast.AST) -> list[str]:
    """Return the loops of comprehensions, after the first, that go through ``[*x]``.

    PyPy 7.3.19 says "cannot use starred expression here".
    """
    return [
        ast.unparse(loop.iter)
        for node in ast.walk(source)
        for loop in getattr(node, "generators", [])[1:]
        if isinstance(loop.iter, ast.List) and len(loop.iter.elts) == 1
        if isinstance(loop.iter.elts[0], ast.Starred)
    ]


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("{x for y in z for x in [*y]}", ["[*y]"]),
        ("(x for y in z for x in [*y] if x)", ["[*y]"]),
        ("[x for x in [*y]]", []),
        ("[x for y in z for x in (*y,)]", []),
        ("[x for y in z for x in [*y, 1]]", []),
        ("[x for y in z for x in [y]]", []),
    ],
)
def test_what_pypy_refuses(expression: str, found: list[str]) -> None:
    """As in the finding of this name."""
    assert refused(ast.parse(expression)) == found


def test_no_module_has_it() -> None:
    """A module with it could not be imported."""
    found = {path.name: refused(tree(path)) for path in HOME.rglob("*.py")}
    assert {name: each for name, each in found.items() if each} == {}
