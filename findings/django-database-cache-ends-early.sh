#!/usr/bin/env bash
# Django 5.2.19: an entry of a database cache ends up to a second early, and then blocks add().
#
# The database's backend cuts the time of an entry's end to whole seconds. timeout=1 therefore
# lasts between nothing and one second; a lock by add("lock", 1, timeout=1), or a code that is
# valid for two seconds, can be gone at once, and two workers do at the same time what one was to
# do. In the second that follows, get() says that there is no entry, and add() that there is one:
# it stores nothing and returns False (unless a get() has removed the entry), so that whoever
# waits for the lock waits for nobody. locmem, the file's backend and diskcache keep an entry for
# its time. It shows with short timeouts only, and by chance. This affects anyone who locks or
# limits by a cache in the database. Our SQL store counts in milliseconds of the database's clock,
# and takes a lock by one statement.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet django==5.2.19
"$folder/venv/bin/python" - <<'PYTHON'
import time

import django
from django.conf import settings

CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    "database": {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "entries",
    },
}
settings.configure(
    CACHES=CACHES,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    USE_TZ=True,
)
django.setup()
from django.core.cache import caches
from django.core.management import call_command

print("Django", django.__version__)
call_command("createcachetable", verbosity=0)


def sleep_until(moment):
    time.sleep(max(0, moment - time.time()))


def story(cache):
    """Return what get() and add() say after 0.4 s of one second, and after its end."""
    for _ in range(20):
        second = int(time.time()) + 1
        sleep_until(second + 0.8)
        cache.set("lock", "first", timeout=1)
        sleep_until(second + 1.2)
        after = cache.get("lock")
        on_time = time.time() < second + 1.7
        sleep_until(second + 2.1)
        cache.set_many({"lock": "first", "other": "first"}, timeout=1)
        sleep_until(second + 3.3)
        added = cache.add("lock", "second", timeout=60)
        gone = cache.get("other")
        cache.delete("lock")
        if on_time and time.time() < second + 3.9:  # else this machine was too slow
            return after, gone, added
    raise SystemExit("this machine is too slow")


seen = {"locmem": story(caches["default"]), "database": story(caches["database"])}
for name, (after, gone, added) in seen.items():
    print(f"{name}: after 0.4 of 1 s {after}; when it has ended get() {gone}, add() {added}")
if seen != {"locmem": ("first", None, True), "database": (None, None, False)}:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   Django 5.2.19
#   locmem: after 0.4 of 1 s first; when it has ended get() None, add() True
#   database: after 0.4 of 1 s None; when it has ended get() None, add() False
