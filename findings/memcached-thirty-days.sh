#!/usr/bin/env bash
# pymemcache 4.0.0, aiocache 0.12.3, dogpile.cache 1.5.0: an entry for forty days is gone at once.
#
# memcached takes an expiry above 30 days for a date, as seconds since 1970: 40 days are then in
# February 1970, and the entry is never there. set() says that it was stored. These libraries, and
# aiomcache 0.8.2, hand the number of seconds on as it is; Django's backend and cachelib turn long
# ones into dates. With a session of two weeks everything works, and when someone prolongs it to "90
# days" each user is logged out at each click, while the tests, with a cache in memory, pass. The
# refresh tokens of most providers live longer than 30 days, TikTok's 180. This affects anyone who
# keeps such a token, a "remember me" or a flag of a device there, or moves from Redis by changing
# aiocache's backend. Our contract tests for a store of one's own have a row of 400 days, which such
# a store fails, and the page on such stores says so.
# Needs memcached (Debian: memcached).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pymemcache==4.0.0 "aiocache[memcached]==0.12.3" \
    aiomcache==0.8.2 dogpile.cache==1.5.0 cachelib==0.17.0 django==5.2.19
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
memcached -u nobody -l 127.0.0.1 -p "$port" &
trap 'kill "$!" 2>/dev/null; wait 2>/dev/null; rm -rf "$folder"' EXIT
"$folder/venv/bin/python" - "$port" <<'PYTHON'
import asyncio
import sys
import time
from importlib.metadata import version

import aiomcache
from aiocache import MemcachedCache as AioCache
from cachelib import MemcachedCache as CacheLib
from django.core.cache.backends.memcached import PyMemcacheCache
from dogpile.cache import make_region
from dogpile.cache.api import NO_VALUE
from pymemcache import Client

HOST, PORT = "127.0.0.1", int(sys.argv[1])
for _ in range(100):
    try:
        print("memcached", Client((HOST, PORT)).version().decode())
        break
    except ConnectionRefusedError:
        time.sleep(0.1)
for name in ("pymemcache", "aiocache", "aiomcache", "dogpile.cache", "cachelib", "django"):
    print(name, version(name))


def with_pymemcache(seconds):
    client = Client((HOST, PORT))
    client.set("pymemcache", "a token", expire=seconds)
    return client.get("pymemcache")


async def with_aiomcache(seconds):
    client = aiomcache.Client(HOST, PORT)
    await client.set(b"aiomcache", b"a token", exptime=seconds)
    return await client.get(b"aiomcache")


async def with_aiocache(seconds):
    cache = AioCache(endpoint=HOST, port=PORT)
    await cache.set("aiocache", "a token", ttl=seconds)
    return await cache.get("aiocache")


def with_dogpile(seconds):
    given = {"url": [f"{HOST}:{PORT}"], "memcached_expire_time": seconds}
    region = make_region().configure("dogpile.cache.pymemcache", arguments=given)
    region.set("dogpile", "a token")
    return None if (found := region.get("dogpile")) is NO_VALUE else found


def with_cachelib(seconds):
    cache = CacheLib(Client((HOST, PORT)))
    cache.set("cachelib", "a token", timeout=seconds)
    return cache.get("cachelib")


def with_django(seconds):
    cache = PyMemcacheCache(f"{HOST}:{PORT}", {})
    cache.set("django", "a token", timeout=seconds)
    return cache.get("django")


found = {
    "pymemcache": with_pymemcache,
    "aiomcache": lambda seconds: asyncio.run(with_aiomcache(seconds)),
    "aiocache": lambda seconds: asyncio.run(with_aiocache(seconds)),
    "dogpile.cache": with_dogpile,
    "cachelib": with_cachelib,
    "django": with_django,
}
seen = {}
for name, store_and_read in found.items():
    seen[name] = [store_and_read(days * 86400) is not None for days in (20, 40)]
    print(f"{name}: there for 20 days {seen[name][0]}, for 40 days {seen[name][1]}")
gone = dict.fromkeys(("pymemcache", "aiomcache", "aiocache", "dogpile.cache"), [True, False])
if seen != {**gone, "cachelib": [True, True], "django": [True, True]}:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   memcached 1.6.18
#   pymemcache 4.0.0
#   aiocache 0.12.3
#   aiomcache 0.8.2
#   dogpile.cache 1.5.0
#   cachelib 0.17.0
#   django 5.2.19
#   pymemcache: there for 20 days True, for 40 days False
#   aiomcache: there for 20 days True, for 40 days False
#   aiocache: there for 20 days True, for 40 days False
#   dogpile.cache: there for 20 days True, for 40 days False
#   cachelib: there for 20 days True, for 40 days True
#   django: there for 20 days True, for 40 days True
