#!/usr/bin/env bash
# cachelib 0.17.0, FileSystemCache: an expired key cannot be added again; so with Flask-Caching 2.5.1.
#
# add() stores a value unless the key is there, and says whether it has: a lock for one worker at a
# time, "this mail was sent in the last hour", or a code that is valid once. FileSystemCache looks
# only whether the key's file exists, not whether it has expired, and get() and has() leave an
# expired file where it is. So such a key is there for add() and gone for get(): a lock that ran out
# because its worker was killed is never free again, and the job it guards no longer runs, without
# an error. The file goes when the key is set or deleted, or when the folder has more than 500
# entries (threshold), which many never reach. With SimpleCache, also cachelib's, and with Redis the
# key can be added once it has expired. This affects anyone who uses a folder as the cache of Flask,
# as on one machine without Redis. Our middleware's locks are in stores of its own: each is a lease,
# which the next caller can have once it has ended.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet cachelib==0.17.0 flask-caching==2.5.1 flask==3.1.3
cd "$folder"
venv/bin/python - <<'PYTHON'
import time
from importlib.metadata import version

from cachelib import FileSystemCache, SimpleCache
from flask import Flask
from flask_caching import Cache

for package in ("cachelib", "flask-caching"):
    print(package, version(package))
app = Flask(__name__)
flask = Cache(app, config={"CACHE_TYPE": "FileSystemCache", "CACHE_DIR": "flask"})
caches = {"a folder": FileSystemCache("folder"), "memory": SimpleCache(), "Flask, a folder": flask}
seen = {}
with app.app_context():
    for name, cache in caches.items():
        seen[name] = [cache.add("lock", "worker 1", timeout=1)]
    time.sleep(3)
    for name, cache in caches.items():
        seen[name] += [cache.get("lock"), cache.add("lock", "worker 2", timeout=60), cache.get("lock")]
for name, (first, expired, again, value) in seen.items():
    print(f"{name}: added {first}; expired: {expired}; added again {again}: {value}")
blocked = [True, None, False, None]
if seen != {
    "a folder": blocked,
    "memory": [True, None, True, "worker 2"],
    "Flask, a folder": blocked,
}:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   cachelib 0.17.0
#   flask-caching 2.5.1
#   a folder: added True; expired: None; added again False: None
#   memory: added True; expired: None; added again True: worker 2
#   Flask, a folder: added True; expired: None; added again False: None
