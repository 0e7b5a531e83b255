#!/usr/bin/env bash
# Django 5.2.19: incr() of a database or file cache sets the entry's timeout to five minutes.
#
# incr() and decr() change a number; with Redis, memcached and locmem the entry ends when it would
# have ended. The database's and the file's backend inherit a method that reads, adds and calls
# set() without a timeout, so that the cache's default, 300 seconds, replaces the entry's own: a
# counter of "five tries in a minute" that starts by add(key, 0, timeout=60) never ends while
# someone tries, a quota for a day is forgotten after five minutes of silence, and an entry that is
# to stay (timeout=None) goes. Tests, which mostly use locmem, pass. This affects anyone whose
# limiter or counter moves to a cache in the database. Our limits count in a store of ours.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet Django==5.2.19
cd "$folder"
venv/bin/python - <<'PYTHON'
import time

import django
from django.conf import settings

BACKENDS = "django.core.cache.backends"
settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "file.db"}},
    CACHES={
        "default": {"BACKEND": f"{BACKENDS}.locmem.LocMemCache"},
        "file": {"BACKEND": f"{BACKENDS}.filebased.FileBasedCache", "LOCATION": "files"},
        "database": {"BACKEND": f"{BACKENDS}.db.DatabaseCache", "LOCATION": "entries"},
    },
)
django.setup()

from django.core.cache import caches
from django.core.management import call_command

call_command("createcachetable")
print("Django", django.__version__)
found = {}
for name in settings.CACHES:
    cache = caches[name]
    for key in ("alone", "counted"):
        cache.add(key, 0, timeout=3)
    cache.incr("counted")
    time.sleep(4)
    found[name] = cache.get("alone"), cache.get("counted")
    print(f"{name}: of two entries for 3 s, after 4 s: {found[name]}")
expected = {"default": (None, None), "file": (None, 1), "database": (None, 1)}
if found != expected:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   Django 5.2.19
#   default: of two entries for 3 s, after 4 s: (None, None)
#   file: of two entries for 3 s, after 4 s: (None, 1)
#   database: of two entries for 3 s, after 4 s: (None, 1)
