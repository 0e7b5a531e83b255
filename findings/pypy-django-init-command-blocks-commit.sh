#!/usr/bin/env bash
# PyPy 7.3.19 (Python 3.11), Django 5.2.17: with SQLite's init_command no migration commits.
#
# Django's documentation shows "init_command": "PRAGMA journal_mode=WAL;" among the options of a
# SQLite database. The PRAGMA returns a row, which Django does not fetch, and Django closes the
# cursor. CPython then resets the statement, as nothing refers to it. PyPy keeps it open, and for
# SQLite a write is in progress from then on: the first COMMIT on that connection ends with "cannot
# commit transaction - SQL statements in progress", far from the line at fault, and migrate stops
# at its first step. Reading the row, or an unrelated SELECT left unread, does no harm. Our Django
# example sets the option on CPython only.
# Needs PyPy 3.11 of Debian 13: named by PYPY, or brought by .ci/pythons.py.
set -euo pipefail
cd "$(dirname "$0")/.."
pypy=${PYPY:-$(python3 -c 'import sys
sys.path.insert(0, ".ci")
from pythons import find
print(find("pypy3.11", []).path)')}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
# Without wheels of one Python: all of it is pure.
"$folder/venv/bin/pip" install --quiet --target "$folder/site" --no-deps \
    django==5.2.17 asgiref==3.9.1 sqlparse==0.5.3
cat >"$folder/program.py" <<'PYTHON'
import platform
import sys

import django
from django.conf import settings
from django.core.management import call_command
from django.db import DatabaseError
from django.db.migrations.exceptions import MigrationSchemaMissing

options = {"init_command": "PRAGMA journal_mode=WAL;"} if sys.argv[2:] else {}
database = {"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[1]}
settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes"],
    DATABASES={"default": {**database, "OPTIONS": options}},
)
django.setup()
pypy = getattr(sys, "pypy_version_info", None)
assert pypy is None or pypy[:3] == (7, 3, 19), "another PyPy"
try:
    call_command("migrate", verbosity=0)
    found = "migrated"
except (DatabaseError, MigrationSchemaMissing) as error:
    found = str(error)
print(platform.python_implementation(), "with" if options else "without", found, sep=": ")
fails = bool(pypy and options)
expected = "cannot commit transaction - SQL statements in progress" if fails else "migrated"
assert expected in found, "changed"
PYTHON
export PYTHONPATH="$folder/site" PYTHONDONTWRITEBYTECODE=1
for python in python3 "$pypy"; do
    rm -f "$folder"/file.db*
    "$python" "$folder/program.py" "$folder/file.db"
    rm -f "$folder"/file.db*
    "$python" "$folder/program.py" "$folder/file.db" init_command
done
# Seen:
#   CPython: without: migrated
#   CPython: with: migrated
#   PyPy: without: migrated
#   PyPy: with: Unable to create the django_migrations table (cannot commit transaction - SQL
#   statements in progress)
