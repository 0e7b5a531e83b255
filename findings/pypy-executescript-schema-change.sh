#!/usr/bin/env bash
# PyPy 7.3.19 (Python 3.11): executescript fails after another connection changed the tables.
#
# SQLite's schema is read once per connection. When another process creates a table, the next
# statement is prepared again, unnoticed: CPython, and PyPy's own execute, use sqlite3_prepare_v2,
# which does that. PyPy's executescript uses the first sqlite3_prepare, which does not: the
# statement ends with "database schema has changed", although it is valid, and code that waits for
# "database is locked" does not match it. The usual place for executescript is the start of a
# program, "CREATE TABLE IF NOT EXISTS ..." in every worker: whichever comes second on a new file
# fails, at random. Our store executes each statement of its layout by itself. Needs PyPy 3.11 of
# Debian 13: named by PYPY, or brought by .ci/pythons.py.
set -euo pipefail
cd "$(dirname "$0")/.."
pypy=${PYPY:-$(python3 -c 'import sys
sys.path.insert(0, ".ci")
from pythons import find
print(find("pypy3.11", []).path)')}
program=$(mktemp)
trap 'rm -f "$program"' EXIT
cat >"$program" <<'PYTHON'
import os
import platform
import sqlite3
import sys
import tempfile

TABLE = "CREATE TABLE IF NOT EXISTS entries (x)"


def outcome(action, statement):
    try:
        action(statement).close()
    except sqlite3.OperationalError as error:
        return str(error)
    return "ok"


def run(method):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "file.db")
        second, first = (sqlite3.connect(path, isolation_level=None) for _ in "12")
        second.execute("SELECT count(*) FROM sqlite_master").fetchall()
        first.execute(TABLE).close()  # another worker, a moment earlier
        found = outcome(getattr(second, method), TABLE)
        first.close()
        second.close()
    return found


pypy = getattr(sys, "pypy_version_info", None)
name = platform.python_implementation()
version = "{}.{}.{}".format(*pypy[:3]) if pypy else platform.python_version()
found = {method: run(method) for method in ("execute", "executescript")}
print(name, version, found)
expected = {"execute": "ok", "executescript": "ok"}
if pypy:
    assert version == "7.3.19", "another PyPy"
    expected["executescript"] = "database schema has changed"
assert found == expected, "changed"
PYTHON
python3 "$program"
"$pypy" "$program"
# Seen:
#   CPython 3.11.7 {'execute': 'ok', 'executescript': 'ok'}
#   PyPy 7.3.19 {'execute': 'ok', 'executescript': 'database schema has changed'}
