#!/usr/bin/env bash
# redis-py 8.1.0, asyncio: with RESP3, its default, a closed connection is noticed too late.
#
# A server, a proxy or a firewall closes connections that were idle. Before redis-py uses a
# connection of its pool it checks whether the server has closed it, and connects again. With
# RESP3, the default since redis-py 8, the asyncio client no longer notices, since such a
# connection may have push messages waiting: the command is sent into the closed connection and
# fails with "Connection closed by server". The default retries hide it, at the price of sending
# the command twice; a client without retries, as for INCR or a queue, where nothing may happen
# twice, fails with the first command after each pause. With protocol=2 both clients connect again,
# and so does the blocking one with RESP3. This affects anyone who updates to redis-py 8 with
# retries off. Our Redis store asks for RESP2. Needs a Redis server (Debian: redis-server).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet redis==8.1.0
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
redis-server --bind 127.0.0.1 --port "$port" --dir "$folder" --save "" --timeout 1 >"$folder/log" &
trap 'kill "$!" 2>/dev/null; wait 2>/dev/null; rm -rf "$folder"' EXIT
"$folder/venv/bin/python" - "$port" <<'PYTHON'
import asyncio
import sys
import time

import redis
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

URL = f"redis://127.0.0.1:{sys.argv[1]}"
for _ in range(100):
    try:
        server = redis.Redis.from_url(URL).info("server")["redis_version"]
        break
    except redis.ConnectionError:
        time.sleep(0.1)
print("redis-py", redis.__version__, "server", server)


async def after_a_pause(**options):
    client = redis.asyncio.Redis.from_url(URL, retry=Retry(NoBackoff(), 0), **options)
    await client.set("key", "value")
    await asyncio.sleep(3)  # the server closes connections that are idle for a second
    try:
        return (await client.get("key")).decode()
    except redis.ConnectionError as error:
        return f"ConnectionError: {error}"
    finally:
        await client.aclose()


async def main():
    default, two = await asyncio.gather(after_a_pause(), after_a_pause(protocol=2))
    print("default:   ", default)
    print("protocol=2:", two)
    if not default.startswith("ConnectionError") or two != "value":
        raise SystemExit("the behaviour has changed")


asyncio.run(main())
PYTHON
# Seen:
#   redis-py 8.1.0 server 7.0.15
#   default:    ConnectionError: Connection closed by server.
#   protocol=2: value
