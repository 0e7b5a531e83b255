#!/usr/bin/env bash
# aiocache 0.12.3 with redis-py 8.1.0: RedLock lets all but the first process in at once.
#
# RedLock(cache, key, lease) is for work that one caller at a time should do: the first one takes a
# key in Redis, and by the documentation later callers block until it is released, at most for the
# lease; cached_stampede uses it. They wait for an asyncio.Event of their own process. In a process
# that does not hold the lock there is no such event, and the code takes that for a lock that has
# just been released: it goes on at once. So several workers do the same work at the same time,
# whatever the lease, while a test with tasks of one process passes. (The docstring advises against
# the lock where exclusion must be strict, and says that Redis implements it correctly; issue 979
# lists other races.) This affects anyone who guards a refresh of a token, or a slow report, by it:
# with four workers the refresh token is used four times. Our lock is an entry of the store, and
# who waits for it asks the store again.
# Needs a Redis server (Debian: redis-server).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
port=$(python3 - <<'PYTHON'
import socket

with socket.create_server(("127.0.0.1", 0)) as free:
    print(free.getsockname()[1])
PYTHON
)
redis-server --port "$port" --bind 127.0.0.1 --save "" --dir "$folder" >"$folder/log" &
server=$!
trap 'kill "$server"; wait || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet aiocache==0.12.3 redis==8.1.0
cat >job.py <<'PYTHON'
"""Hold the lock for a second, and print from when to when."""
import asyncio
import sys
import time

from aiocache import Cache
from aiocache.lock import RedLock

PORT, START = int(sys.argv[1]), float(sys.argv[2])


async def main():
    cache = Cache(Cache.REDIS, endpoint="127.0.0.1", port=PORT)
    await cache.exists("connected")
    await asyncio.sleep(max(0, START - time.time()))
    async with RedLock(cache, "refresh", lease=30):
        begun = time.time()
        await asyncio.sleep(1)
        print(begun, time.time())
    await cache.close()


asyncio.run(main())
PYTHON
venv/bin/python - "$port" <<'PYTHON'
import subprocess
import sys
import time
from importlib.metadata import version

for package in ("aiocache", "redis"):
    print(package, version(package))


COMMAND = ["venv/bin/python", "-W", "ignore", "job.py", sys.argv[1], str(time.time() + 10)]
jobs = [subprocess.Popen(COMMAND, stdout=subprocess.PIPE, text=True) for _ in range(3)]
lines = [job.communicate()[0] for job in jobs]
spans = [tuple(map(float, line.split())) for line in lines]
most = max(sum(begun <= moment < ended for begun, ended in spans) for moment, _ in spans)
print("of three processes", most, "hold the lock at the same time")
if most < 2:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   aiocache 0.12.3
#   redis 8.1.0
#   of three processes 3 hold the lock at the same time
