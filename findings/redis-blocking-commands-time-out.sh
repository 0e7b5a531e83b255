#!/usr/bin/env bash
# redis-py 8.1.0: BLPOP with a timeout of seven seconds is an error, after a minute.
#
# BLPOP, BRPOP, BLMOVE, XREAD and others wait in the server, for as long as the call says, and then
# give None. redis-py 8 has a socket_timeout of five seconds by default, where it had none, and
# it counts for such a command as well: after five seconds the client ends the connection and sends
# the command again, ten times, and then raises TimeoutError. So a worker that waits longer than
# five seconds for its next job, or without limit (timeout=0), never sees None, and ends or logs an
# error after each quiet minute; each of its tries opens a connection. A timeout below five seconds
# works, and so does socket_timeout=None. Both clients do it, blocking and asyncio. This affects
# anyone who updates a queue's worker to redis-py 8. Our Redis store uses no command that waits in
# the server. Needs a Redis server (Debian: redis-server).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet redis==8.1.0
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
redis-server --bind 127.0.0.1 --port "$port" --dir "$folder" --save "" >"$folder/log" &
trap 'kill "$!" 2>/dev/null; wait 2>/dev/null; rm -rf "$folder"' EXIT
"$folder/venv/bin/python" - "$port" <<'PYTHON'
import asyncio
import sys
import time

import redis
import redis.asyncio

PORT = int(sys.argv[1])
for _ in range(100):
    try:
        server = redis.Redis(port=PORT).info("server")["redis_version"]
        break
    except redis.ConnectionError:
        time.sleep(0.1)
print("redis-py", redis.__version__, "server", server)


async def pop(seconds, **options):
    client = redis.asyncio.Redis(port=PORT, **options)
    begun = time.monotonic()
    try:
        found = await client.blpop("jobs", timeout=seconds)
    except redis.TimeoutError:
        found = "TimeoutError"
    finally:
        await client.aclose()
    waited = time.monotonic() - begun
    about = "a minute" if waited > 40 else f"{seconds} s" if waited < seconds + 3 else "long"
    return f"{found} after {about}"


def block(seconds):
    client = redis.Redis(port=PORT, retry=None)
    try:
        return client.blpop("jobs", timeout=seconds)
    except redis.TimeoutError:
        return "TimeoutError"


async def main():
    found = await asyncio.gather(
        pop(3), pop(7), pop(7, socket_timeout=None), asyncio.to_thread(block, 7)
    )
    print("3 s:                        ", found[0])
    print("7 s:                        ", found[1])
    print("7 s, socket_timeout=None:   ", found[2])
    print("7 s, blocking, no retries:   ", found[3])
    return found


expected = ["None after 3 s", "TimeoutError after a minute", "None after 7 s", "TimeoutError"]
if asyncio.run(main()) != expected:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   redis-py 8.1.0 server 7.0.15
#   3 s:                         None after 3 s
#   7 s:                         TimeoutError after a minute
#   7 s, socket_timeout=None:    None after 7 s
#   7 s, blocking, no retries:    TimeoutError
