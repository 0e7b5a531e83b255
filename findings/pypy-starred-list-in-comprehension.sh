#!/usr/bin/env bash
# PyPy 7.3.19 (Python 3.11): a second "for" of a comprehension may not go through [*items].
#
# A comprehension with two loops over a dictionary that another thread may change is usually written
# with copies: "for rows in [*table.values()] for row in [*rows]". CPython runs that; PyPy's compiler
# refuses the module with "SyntaxError: cannot use starred expression here". Since Python 3.9,
# "for x in [y]" inside a comprehension is compiled as an assignment, and PyPy does so with the star
# still in it. The first loop, (*rows,), {*rows} and [*rows, *more] are compiled as usual. Code that
# is only tested on CPython ends for users of PyPy at its import, and neither ruff nor a check of
# syntax on CPython tells. One module of ours was like that; it uses list() now, and a test looks for
# the shape in all of them. Needs PyPy 3.11 of Debian 13: named by PYPY, or brought by .ci/pythons.py.
set -euo pipefail
cd "$(dirname "$0")/.."
pypy=${PYPY:-$(python3 -c 'import sys
sys.path.insert(0, ".ci")
from pythons import find
print(find("pypy3.11", []).path)')}
program=$(mktemp)
trap 'rm -f "$program"' EXIT
cat >"$program" <<'PYTHON'
import platform
import sys

TABLE = {"a": [1], "b": [2, 3]}
WAYS = {
    "first loop": "[row for row in [*TABLE['b']]]",
    "second loop, list()": "[row for rows in TABLE.values() for row in list(rows)]",
    "second loop, tuple": "[row for rows in TABLE.values() for row in (*rows,)]",
    "second loop, list": "[row for rows in TABLE.values() for row in [*rows]]",
}


def outcome(expression):
    try:
        return eval(expression, {"TABLE": TABLE})
    except SyntaxError as error:
        return error.msg


pypy = getattr(sys, "pypy_version_info", None)
name = platform.python_implementation()
version = "{}.{}.{}".format(*pypy[:3]) if pypy else platform.python_version()
found = {way: outcome(expression) for way, expression in WAYS.items()}
for way, result in found.items():
    print(name, version, way, result)
expected = dict.fromkeys(WAYS, [1, 2, 3]) | {"first loop": [2, 3]}
if pypy:
    assert version == "7.3.19", "another PyPy"
    expected["second loop, list"] = "cannot use starred expression here"
assert found == expected, "changed"
PYTHON
python3 "$program"
"$pypy" "$program"
# Seen:
#   CPython 3.11.7 second loop, list [1, 2, 3]
#   PyPy 7.3.19 second loop, list cannot use starred expression here
