#!/usr/bin/env bash
# psycopg 3.3.9, asyncio: a timeout of one second takes up to eleven, where the server hangs.
#
# If the task of a statement is cancelled, psycopg asks the server over a second connection to end
# the statement, and waits for that and then for the statement, five seconds each at most, before
# the CancelledError goes on. A server on a host that is frozen, or behind a network that drops
# packets, answers neither: asyncio.timeout(1), wait_for and anyio's deadlines end after eleven
# seconds. With a server that is well they end after one. This affects anyone whose deadline is to
# protect an app from a database that hangs: requests and their memory pile up meanwhile, and a
# shutdown that cancels its tasks waits as long. asyncpg ends after one second in both cases. Our
# SQL store gives up at its timeout and leaves such a statement to end by itself; a test freezes a
# PostgreSQL server. Needs PostgreSQL's server programs (Debian: postgresql); it runs in a temporary
# folder on a port of its own.
set -euo pipefail
programs=$(dirname "$(ls /usr/lib/postgresql/*/bin/initdb | tail -n 1)")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
as=()
if [ "$(id -u)" = 0 ]; then
    as=(setpriv --reuid=postgres --regid=postgres --clear-groups)
    chown postgres: "$folder"
fi
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
"${as[@]}" "$programs/initdb" -D "$folder/data" -U finding --auth=trust --no-sync >/dev/null
"${as[@]}" "$programs/postgres" -D "$folder/data" -p "$port" -k "$folder" -h 127.0.0.1 \
    >"$folder/log" 2>&1 &
server=$!
trap 'kill -CONT "$server"; kill -QUIT "$server"; wait || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "psycopg[binary]==3.3.9" asyncpg==0.32.0
"$folder/venv/bin/python" - "$port" "$server" <<'PYTHON'
import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import asyncpg
import psycopg

PORT, SERVER = map(int, sys.argv[1:])
ADDRESS = f"postgresql://finding@127.0.0.1:{PORT}/postgres"


def send_to_server(number):
    """Send a signal to the server and to the process of each connection."""
    parent = f"PPid:\t{SERVER}\n"
    os.kill(SERVER, number)
    for status in Path("/proc").glob("[0-9]*/status"):
        if parent in status.read_text():
            os.kill(int(status.parent.name), number)


async def seconds_until_timeout(execute, is_frozen):
    statement = asyncio.create_task(execute("SELECT pg_sleep(60)"))
    await asyncio.sleep(0.5)
    if is_frozen:
        send_to_server(signal.SIGSTOP)
    begun = time.monotonic()
    try:
        async with asyncio.timeout(1):
            await statement
    except TimeoutError:
        return round(time.monotonic() - begun)
    finally:
        if is_frozen:
            send_to_server(signal.SIGCONT)


async def main():
    for _ in range(300):
        try:
            connection = await psycopg.AsyncConnection.connect(ADDRESS)
            break
        except psycopg.OperationalError:
            await asyncio.sleep(0.1)
    print("psycopg", psycopg.__version__, "asyncpg", asyncpg.__version__)
    found = {}
    for name, is_frozen in {"a server that is well": False, "a server that hangs": True}.items():
        connection = await psycopg.AsyncConnection.connect(ADDRESS)
        other = await asyncpg.connect(ADDRESS)
        found[name] = [
            await seconds_until_timeout(execute, is_frozen)
            for execute in (connection.execute, other.execute)
        ]
        print(f"{name}: a timeout of 1 s ends after {found[name][0]} s by psycopg, "
              f"{found[name][1]} s by asyncpg")
        other.terminate()
    return found


(well, well2), (hangs, hangs2) = asyncio.run(main()).values()
if hangs < 8 or max(well, well2, hangs2) > 5:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   psycopg 3.3.9 asyncpg 0.32.0
#   a server that is well: a timeout of 1 s ends after 1 s by psycopg, 1 s by asyncpg
#   a server that hangs: a timeout of 1 s ends after 11 s by psycopg, 1 s by asyncpg
