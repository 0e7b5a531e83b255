#!/usr/bin/env bash
# Django 5.2.19: aincr() of a cache on Redis or in memory counts 100 requests at once as 1.
#
# incr() of the Redis and the in-memory cache is one atomic step, and keeps the entry's timeout. Its
# async twin aincr() is not built on it: it reads the value, adds one, and writes it back, by the
# default of BaseCache, which no backend of Django replaces. Requests at the same time read the same
# number, so that a limit of tries or of calls, moved to an async view, hardly ever counts; and the
# write gives the entry the cache's default timeout of five minutes, so that a block for an hour ends
# early. No error, and a test with one request after another passes. Anyone who counts in a cache from
# async views is affected; `await sync_to_async(cache.incr)(key)` counts right. Our middleware counts
# nothing in Django's caches: its store writes by compare-and-swap, and its locks are the store's.
# Needs a Redis server (Debian: redis-server).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet django==5.2.19 redis==8.1.0
redis-server --port 0 --unixsocket "$folder/socket" --dir "$folder" --save "" >"$folder/log" &
trap 'kill "$!" 2>/dev/null; wait 2>/dev/null; rm -rf "$folder"' EXIT
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import asyncio
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import django
from django.conf import settings
from django.core.cache import caches
from redis import Redis

SOCKET = Path(sys.argv[1]) / "socket"
HOUR = 3600
BACKENDS = "django.core.cache.backends."
settings.configure(
    CACHES={
        "default": {"BACKEND": BACKENDS + "redis.RedisCache", "LOCATION": f"unix://{SOCKET}"},
        "memory": {"BACKEND": BACKENDS + "locmem.LocMemCache"},
    }
)
django.setup()
print("Django", django.__version__)
while not SOCKET.exists():
    time.sleep(0.1)


async def in_tasks(cache):
    await asyncio.gather(*(cache.aincr("tries") for _ in range(100)))


def in_threads(cache):
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda _: cache.incr("tries"), range(100)))


seen = {}
for name, title in {"default": "Redis", "memory": "memory"}.items():
    cache = caches[name]
    cache.set("tries", 0, timeout=HOUR)
    in_threads(cache)
    counted = cache.get("tries")
    cache.set("tries", 0, timeout=HOUR)
    asyncio.run(in_tasks(cache))
    seen[title] = counted, cache.get("tries")
    print(f"{title}: incr() counts {counted} of 100, aincr() {seen[title][1]}")
client = Redis(unix_socket_path=str(SOCKET))
left = client.ttl(caches["default"].make_key("tries"))
print("Redis: the hour is now", "five minutes" if left <= 300 else f"{left} s")
if not all(sync == 100 and task < 50 for sync, task in seen.values()) or left > 300:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   Django 5.2.19
#   Redis: incr() counts 100 of 100, aincr() 1
#   memory: incr() counts 100 of 100, aincr() 1
#   Redis: the hour is now five minutes
