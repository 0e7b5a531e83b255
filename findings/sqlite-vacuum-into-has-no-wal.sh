#!/usr/bin/env bash
# SQLite 3.54.1 (apsw 3.54.1.0): a copy made by VACUUM INTO is not in WAL mode.
#
# WAL is a property of a database file that survives closing it, so programs set it once, when
# they make the file. VACUUM INTO, the way to back up a database that is in use, writes a copy
# whose journal mode is "delete" again. Whoever restores such a backup runs without a WAL from
# then on, without a sign of it: each write blocks all readers, and reads without a timeout end in
# SQLITE_BUSY. (The backup API copies the mode, as the last line shows.) We set the mode at every
# opening, and `check` reports a file that had none.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet apsw==3.54.1.0
cd "$folder"
venv/bin/python - <<'PYTHON'
import apsw

print("SQLite", apsw.sqlite_lib_version())


def mode(path):
    connection = apsw.Connection(path)
    found = connection.execute("PRAGMA journal_mode").fetchone()[0]
    connection.close()
    return found


first = apsw.Connection("first.db")
first.execute("PRAGMA journal_mode = WAL")
first.execute("CREATE TABLE t (x); INSERT INTO t VALUES (1)")
first.execute("VACUUM INTO 'copy.db'")
second = apsw.Connection("backup.db")
with second.backup("main", first, "main") as backup:
    backup.step()
first.close()
second.close()
modes = {name: mode(f"{name}.db") for name in ("first", "copy", "backup")}
print(modes)
assert modes == {"first": "wal", "copy": "delete", "backup": "wal"}, "changed"
PYTHON
# Seen:
#   SQLite 3.54.1
#   {'first': 'wal', 'copy': 'delete', 'backup': 'wal'}
