#!/usr/bin/env bash
# Litestar 2.25.0: expires_in=0 keeps a value for ever; on Redis it is an error.
#
# A store's set() takes expires_in, in seconds or as a timedelta. MemoryStore and FileStore treat
# zero, as a number or a timedelta, like None: the value stays for good. RedisStore passes it on,
# and Redis refuses it; it also refuses a timedelta of less than a second, which it sends as zero
# seconds, while the other two keep such a value for that time. expires_in is often a difference,
# "the token's end minus now" or "the rest of the window": at its end it is zero, and what was to
# be gone is there for ever in development, and a 500 in production. A negative number ends the
# value at once in the first two, so only one second in the whole time shows it. This affects anyone
# who caches tokens or codes in a Litestar store. Our stores give each entry an end, whatever its
# time, and none of our entries is written with less than a second.
# Needs a Redis server (Debian: redis-server).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet litestar==2.25.0 redis==8.1.0
redis-server --port 0 --unixsocket "$folder/socket" --dir "$folder" --save "" >"$folder/log" &
trap 'kill "$!" 2>/dev/null; wait 2>/dev/null; rm -rf "$folder"' EXIT
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import asyncio
import sys
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

from litestar.stores.file import FileStore
from litestar.stores.memory import MemoryStore
from litestar.stores.redis import RedisStore
from redis.asyncio import Redis
from redis.exceptions import ResponseError

FOLDER = Path(sys.argv[1])
TIMES = {"0": 0, "0.5 s": timedelta(seconds=0.5), "-1": -1, "1": 1}


async def after_a_pause(store, time):
    try:
        await store.set("token", b"value", expires_in=time)
    except ResponseError:
        return "ResponseError"
    await asyncio.sleep(1.5)
    return "there" if await store.get("token") else "gone"


async def main():
    while not (FOLDER / "socket").exists():
        await asyncio.sleep(0.1)
    client = Redis(unix_socket_path=str(FOLDER / "socket"))
    stores = MemoryStore(), FileStore(FOLDER / "files", create_directories=True), RedisStore(client)
    found = {}
    for store in stores:
        name = type(store).__name__
        found[name] = {text: await after_a_pause(store, time) for text, time in TIMES.items()}
        print(f"{name}:", ", ".join(f"{time} {state}" for time, state in found[name].items()))
    await client.aclose()
    return found


print("litestar", version("litestar"), "redis-py", version("redis"))
kept = {"0": "there", "0.5 s": "gone", "-1": "gone", "1": "gone"}
refused = dict.fromkeys(TIMES, "ResponseError") | {"1": "gone"}
if asyncio.run(main()) != {"MemoryStore": kept, "FileStore": kept, "RedisStore": refused}:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   litestar 2.25.0 redis-py 8.1.0
#   MemoryStore: 0 there, 0.5 s gone, -1 gone, 1 gone
#   FileStore: 0 there, 0.5 s gone, -1 gone, 1 gone
#   RedisStore: 0 ResponseError, 0.5 s ResponseError, -1 ResponseError, 1 gone
