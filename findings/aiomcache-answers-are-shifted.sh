#!/usr/bin/env bash
# aiomcache 0.8.2, aiocache 0.12.3: after one timeout each answer is that of the call before.
#
# A call that is cancelled, by asyncio.timeout, by a client that has gone, or by the five seconds
# that aiocache gives each call, gives its connection back to the pool before memcached has
# answered. The next call on this connection reads that answer, and the one after it reads the next
# call's. For get() the key in the answer is then another one than asked for, and the result is
# None: a store of sessions finds nobody logged in, at each read of another user's than before,
# until the process ends or a write meets an answer that does not fit, which is a ClientException.
# add() is answered by one word without a key, so that a lock which is held is said to be taken now.
# This affects anyone who keeps sessions or locks there: memcached has to stand still for one
# moment. In our SQL store a cancelled statement leaves no answer behind for the next one, which a
# test does with each driver.
# Needs memcached (Debian: memcached).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "aiocache[memcached]==0.12.3" aiomcache==0.8.2
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
memcached -u nobody -l 127.0.0.1 -p "$port" &
server=$!
trap 'kill -CONT "$server"; kill "$server"; wait || true; rm -rf "$folder"' EXIT
"$folder/venv/bin/python" - "$port" "$server" <<'PYTHON'
import asyncio
import os
import signal
import sys
import time
from importlib.metadata import version
from pathlib import Path

import aiomcache
from aiocache import MemcachedCache

PORT, SERVER = map(int, sys.argv[1:])
for name in ("aiomcache", "aiocache"):
    print(name, version(name))


def stop_server():
    os.kill(SERVER, signal.SIGSTOP)
    threads = list(Path(f"/proc/{SERVER}/task").iterdir())
    while any("State:\tT" not in (thread / "status").read_text() for thread in threads):
        time.sleep(0.01)


async def time_out(call):
    """Let the server stand still until the call has timed out."""
    stop_server()
    try:
        async with asyncio.timeout(1):
            await call
    except TimeoutError:
        pass
    finally:
        os.kill(SERVER, signal.SIGCONT)
    await asyncio.sleep(0.5)


async def with_aiocache():
    cache = MemcachedCache(endpoint="127.0.0.1", port=PORT, pool_size=1)
    for name in ("ada", "bob"):
        await cache.set(name, f"session of {name}")
    await time_out(cache.get("ada"))
    return [await cache.get(name) for name in ("bob", "ada", "bob", "ada")]


async def with_aiomcache():
    client = aiomcache.Client("127.0.0.1", PORT, pool_size=1)
    await client.add(b"held", b"by another")
    await time_out(client.add(b"free", b"mine"))
    return [await client.add(b"held", b"mine") for _ in range(2)]


async def main():
    for _ in range(100):
        try:
            await aiomcache.Client("127.0.0.1", PORT).version()
            break
        except OSError:
            await asyncio.sleep(0.1)
    sessions = await with_aiocache()
    print("aiocache, four reads of two sessions:", sessions)
    locks = await with_aiomcache()
    print("aiomcache, add() of a lock that is held:", locks)
    return sessions, locks


sessions, locks = asyncio.run(main())
if sessions != [None] * 4 or locks != [True, False]:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   aiomcache 0.8.2
#   aiocache 0.12.3
#   aiocache, four reads of two sessions: [None, None, None, None]
#   aiomcache, add() of a lock that is held: [True, False]
