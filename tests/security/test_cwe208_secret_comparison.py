"""Secrets are compared in constant time (CWE-208)."""

from __future__ import annotations

import ast

import pytest

from ..support.source import SOURCES, tree

#: Words in the names of values that only `hmac.compare_digest` may compare.
SECRET = ("secret", "digest", "signature", "verifier", "mac")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_secrets_are_not_compared_by_equals(path):
    """No secret is compared with ``==``."""
    for node in ast.walk(tree(path)):
        if not isinstance(node, ast.Compare):
            continue
        for operator, other in zip(node.ops, node.comparators, strict=True):
            if not isinstance(operator, ast.Eq | ast.NotEq):
                continue
            for side in (node.left, other):
                word = ast.unparse(side).rpartition(".")[2]
                assert not word.endswith(SECRET) or ast.unparse(node) in ALLOWED


#: Comparisons that reveal nothing: of settings with each other when they are
#: built, of a hash with another that the same browser showed, of one spelling of a MAC
#: that was found to be right.
ALLOWED = {
    "key == client_secret",
    "key == secret",
    "s.digest == digest",
    "other.digest != previous_digest",
    "base64_encode(base64_decode(mac)) != mac",
}
