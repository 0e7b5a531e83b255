#!/usr/bin/env bash
# aiocache 0.12.3, in memory: what was set in an event loop that has ended never expires.
#
# The memory cache deletes an entry by a timer of the event loop in which it was set; get() does not
# look at the time. Where each call has a loop of its own, the timer ends with that loop: an entry
# with ttl=1 is still there after an hour, until the process ends, and the memory grows. That is so
# in Flask's async views (asgiref's async_to_sync), in Celery and RQ jobs that call asyncio.run(),
# and in tests of Starlette's client without `with`. add(), by which one takes a lock or marks a
# code as used, then says "already in use" for ever. In uvicorn, with one loop, all works. cashews
# 7.6.0, another cache for asyncio, keeps the time with the entry. This affects anyone who caches a
# profile or a token by it in blocking code: it is served long after its end. Our memory store
# compares the time at each read, in every thread and loop.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet aiocache==0.12.3 cashews==7.6.0 "flask[async]==3.1.3"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import asyncio
import time
from importlib.metadata import version

from aiocache import SimpleMemoryCache
from cashews import Cache
from flask import Flask

for name in ("aiocache", "cashews", "flask"):
    print(name, version(name))
app = Flask(__name__)
cache = SimpleMemoryCache()
other = Cache()
other.setup("mem://")


@app.get("/login")
async def login():
    await cache.set("token", "an old token", ttl=1)
    await cache.add("lock", "held", ttl=1)
    await other.set("token", "an old token", expire=1)
    return ""


@app.get("/")
async def page():
    try:
        await cache.add("lock", "held", ttl=1)
        lock = "free"
    except ValueError:
        lock = "held"
    return [await cache.get("token"), lock, await other.get("token")]


async def in_one_loop():
    await cache.set("token", "an old token", ttl=1)
    await asyncio.sleep(2)
    return await cache.get("token")


client = app.test_client()
client.get("/login")
time.sleep(2)
token, lock, others = client.get("/").json
print(f"two seconds after ttl=1: aiocache {token}, its lock is {lock}; cashews {others}")
alone = asyncio.run(in_one_loop())
print(f"in one event loop: aiocache {alone}")
if (token, lock, others, alone) != ("an old token", "held", None, None):
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   aiocache 0.12.3
#   cashews 7.6.0
#   flask 3.1.3
#   two seconds after ttl=1: aiocache an old token, its lock is held; cashews None
#   in one event loop: aiocache None
