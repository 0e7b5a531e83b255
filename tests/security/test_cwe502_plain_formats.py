"""What the package's own source does not do, whatever it is sent."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import tiktok_oauth_middleware

HOME = Path(tiktok_oauth_middleware.__file__).parent
SOURCES = sorted(path for path in HOME.rglob("*.py") if "testing" not in path.parts)
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


def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_plain_formats(path):
    """Nothing is unpickled, evaluated or unpacked: formats are plain and versioned."""
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


#: Words in the name of what only `hmac.compare_digest` may compare.
SECRET = ("secret", "digest", "signature", "verifier", "mac")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_secrets_are_not_compared_by_equals(path):
    """No ``==`` tells a secret from another one, byte by byte."""
    for node in ast.walk(tree(path)):
        if not isinstance(node, ast.Compare):
            continue
        for operator, other in zip(node.ops, node.comparators, strict=True):
            if not isinstance(operator, ast.Eq | ast.NotEq):
                continue
            for side in (node.left, other):
                word = ast.unparse(side).rpartition(".")[2]
                assert not word.endswith(SECRET) or ast.unparse(node) in ALLOWED


#: Comparisons that tell nobody anything: of settings with each other when they are
#: built, of a hash with another that the same browser showed, of one spelling of a MAC
#: that was found to be right.
ALLOWED = {
    "key == client_secret",
    "key == secret",
    "s.digest != digest",
    "s.digest != previous",
    "base64_encode(base64_decode(mac)) != mac",
}
