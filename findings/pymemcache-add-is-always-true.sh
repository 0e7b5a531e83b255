#!/usr/bin/env bash
# pymemcache 4.0.0: by default add() says True where the key is there, so that a lock locks nothing.
#
# add() stores a value only if there is none yet, and says whether it did: by that one takes a lock,
# or marks a code as used, and every other client of memcached answers so. pymemcache's clients
# (Client, PooledClient, HashClient) do not wait for the answer by default and return True, as
# delete(), replace(), touch() and append() do for keys that are not there: ten workers hold the
# lock at once, and a code is used ten times. Its docstring says so, behind the parameters; get()
# and incr() wait, and a test with one worker passes. default_noreply=False helps; Django's backend
# and dogpile.cache set it, cachelib, which Flask-Caching uses, takes the client that it is given.
# This affects anyone who writes a lock, a limiter or a store of sessions by hand. Our package has
# no memcached store, since memcached drops rows when it is full; the contract tests for a store of
# one's own ask whether a row is created once, and the page on such stores warns.
# Needs memcached (Debian: memcached).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pymemcache==4.0.0 aiomcache==0.8.2 cachelib==0.17.0
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
memcached -u nobody -l 127.0.0.1 -p "$port" &
trap 'kill "$!" 2>/dev/null; wait 2>/dev/null; rm -rf "$folder"' EXIT
"$folder/venv/bin/python" - "$port" <<'PYTHON'
import asyncio
import sys
import time
from importlib.metadata import version

import aiomcache
from cachelib import MemcachedCache
from pymemcache import Client, HashClient, PooledClient

ADDRESS = "127.0.0.1", int(sys.argv[1])
for _ in range(100):
    try:
        print("memcached", Client(ADDRESS).version().decode())
        break
    except ConnectionRefusedError:
        time.sleep(0.1)
for name in ("pymemcache", "aiomcache", "cachelib"):
    print(name, version(name))


async def with_aiomcache():
    client = aiomcache.Client(*ADDRESS)
    return [await client.add(b"aiomcache", b"held") for _ in range(2)]


clients = {
    "Client": Client(ADDRESS),
    "PooledClient": PooledClient(ADDRESS),
    "HashClient": HashClient([ADDRESS]),
    "cachelib": MemcachedCache(Client(ADDRESS)),
    "Client, default_noreply=False": Client(ADDRESS, default_noreply=False),
}
seen = {
    name: [client.add(name.replace(" ", ""), "held") for _ in range(2)]
    for name, client in clients.items()
}
seen["aiomcache"] = asyncio.run(with_aiomcache())
for name, (first, second) in seen.items():
    print(f"{name}: the first add() {first}, the second {second}")
always = [name for name, (_, second) in seen.items() if second]
if always != ["Client", "PooledClient", "HashClient", "cachelib"]:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   memcached 1.6.18
#   pymemcache 4.0.0
#   aiomcache 0.8.2
#   cachelib 0.17.0
#   Client: the first add() True, the second True
#   PooledClient: the first add() True, the second True
#   HashClient: the first add() True, the second True
#   cachelib: the first add() True, the second True
#   Client, default_noreply=False: the first add() True, the second False
#   aiomcache: the first add() True, the second False
