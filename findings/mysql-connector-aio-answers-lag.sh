#!/usr/bin/env bash
# mysql-connector-python 26.10.0, asyncio: after a timeout each answer is that of the statement before.
#
# A web app bounds a statement by asyncio.timeout, or its server cancels the request whose client
# has gone. MySQL's own connector then waits no longer, and leaves the connection open, with the answer
# still to come. The next statement on it reads that answer, the one after it the answer of the
# next, and so on, until the connection is closed: a row of another query, or of another user,
# without an error where the columns fit. Only a ping() or rollback() in between fails. aiomysql and
# asyncmy close a connection whose statement was cancelled: the next one is an error, and their pools
# open another connection. This affects anyone who keeps a connection of the connector for several
# requests. Our SQL store's documentation names asyncmy for asyncio, and the store closes a
# connection whose statement was cancelled.
# Needs a MariaDB server on the machine (Debian: mariadb-server); it runs in a temporary folder on
# a port of its own.
set -euo pipefail
server=$(command -v mariadbd || echo /usr/sbin/mariadbd)
folder=$(mktemp -d)
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
as=()
[ "$(id -u)" -ne 0 ] || as=(--user=root)
trap 'kill "$running" 2>/dev/null; wait 2>/dev/null; rm -rf "$folder"' EXIT
mariadb-install-db --no-defaults --datadir="$folder/data" --skip-test-db \
    --auth-root-authentication-method=normal "${as[@]}" >/dev/null 2>&1
"$server" --no-defaults --datadir="$folder/data" --socket="$folder/socket" \
    --bind-address=127.0.0.1 --port="$port" "${as[@]}" >"$folder/log" 2>&1 &
running=$!
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet mysql-connector-python==26.10.0 aiomysql==0.3.2 asyncmy==0.2.18
"$folder/venv/bin/python" - "$port" <<'PYTHON'
import asyncio
import socket
import sys
import time
from importlib.metadata import version

import aiomysql
import asyncmy
import mysql.connector.aio

SERVER = {"host": "127.0.0.1", "port": int(sys.argv[1]), "user": "root"}
for package in ("mysql-connector-python", "aiomysql", "asyncmy"):
    print(package, version(package))
for _ in range(300):
    try:
        socket.create_connection((SERVER["host"], SERVER["port"])).close()
        break
    except ConnectionRefusedError:
        time.sleep(0.2)


async def ask(connection, statement):
    cursor = connection.cursor()
    if asyncio.iscoroutine(cursor):
        cursor = await cursor
    async with cursor:
        await cursor.execute(statement)
        return (await cursor.fetchone())[0]


async def answers(connection):
    """Return what four statements get after a fifth one, which was given up."""
    try:
        await asyncio.wait_for(ask(connection, "SELECT 'slow' FROM (SELECT SLEEP(5)) AS s"), 1)
        raise SystemExit("the statement was not slow")
    except TimeoutError:
        pass
    found = []
    for name in ("ada", "bob", "eve", "joe"):
        try:
            found.append(await asyncio.wait_for(ask(connection, f"SELECT '{name}'"), 60))
        except Exception as error:
            found.append(type(error).__name__)
    return found


async def main():
    connector = await mysql.connector.aio.connect(**SERVER, ssl_disabled=True)
    found = {"connector": await answers(connector)}
    found["aiomysql"] = await answers(await aiomysql.connect(**SERVER))
    found["asyncmy"] = await answers(await asyncmy.connect(**SERVER))
    return found


seen = asyncio.run(main())
for name, found in seen.items():
    print(f"{name}: asked for ada, bob, eve and joe, got {', '.join(found)}")
others = {*seen["aiomysql"], *seen["asyncmy"]}
if seen["connector"] != ["slow", "ada", "bob", "eve"] or others & {"slow", "ada", "bob", "eve"}:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   mysql-connector-python 26.10.0
#   aiomysql 0.3.2
#   asyncmy 0.2.18
#   connector: asked for ada, bob, eve and joe, got slow, ada, bob, eve
#   aiomysql: asked for ada, bob, eve and joe, got InterfaceError, InterfaceError, InterfaceError, InterfaceError
#   asyncmy: asked for ada, bob, eve and joe, got InterfaceError, InterfaceError, InterfaceError, InterfaceError
