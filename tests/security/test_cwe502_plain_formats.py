"""The source deserializes plain formats only (CWE-502)."""

from __future__ import annotations

import ast

import pytest

from ..support.source import SOURCES, tree

FORBIDDEN_MODULES = {
    "pickle",
    "marshal",
    "shelve",
    "yaml",
    "subprocess",
    "gzip",
    "bz2",
    "lzma",
}

FORBIDDEN_CALLS = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "system",
    "popen",
    "decompress",
}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_plain_formats(path):
    """Nothing is unpickled, evaluated or unpacked."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not FORBIDDEN_MODULES & {name.partition(".")[0] for name in names}
        if isinstance(node, ast.Call):
            called = node.func
            name = getattr(called, "id", None) or getattr(called, "attr", None)
            # Expressions and statements of SQL are compiled by methods of that name.
            is_method = isinstance(called, ast.Attribute) and name == "compile"
            assert name not in FORBIDDEN_CALLS or is_method, ast.unparse(node)
