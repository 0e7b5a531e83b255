#!/usr/bin/env bash
# mysql-connector-python 26.10.0, asyncio: after a timeout each answer is one too old.
#
# A statement that is cancelled, by asyncio.timeout or because its client has gone, has been sent, and
# the server answers it. MySQL's own connector leaves this answer on the connection and goes on using
# it: the next statement reads the answer of the one before, and so does each after that, until the
# connection is closed. "SELECT name ... WHERE id = 2" returns the name of user 1, an UPDATE returns
# rows, and nothing is raised. The connector's own pool opens a new connection instead, and asyncmy
# 0.2.18 closes it, so that the next statement is an error. This affects anyone who keeps one
# connection for a program or a task, and has timeouts: one lock that is held too long is enough. Our
# SQL store's documentation names asyncmy, and a test cancels a statement with each of its drivers and
# reads the next answer.
# Needs a MariaDB server on the machine (Debian: mariadb-server); it runs in a temporary folder on a
# port of its own.
set -euo pipefail
server=$(command -v mariadbd || echo /usr/sbin/mariadbd)
folder=$(mktemp -d)
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
as=()
[ "$(id -u)" -ne 0 ] || as=(--user=root)
trap 'kill "$running" 2>/dev/null; wait 2>/dev/null; rm -rf "$folder"' EXIT
mariadb-install-db --no-defaults --datadir="$folder/data" --skip-test-db \
    --auth-root-authentication-method=normal "${as[@]}" >/dev/null 2>&1
echo "CREATE DATABASE finding;" >"$folder/setup.sql"
"$server" --no-defaults --datadir="$folder/data" --socket="$folder/socket" \
    --bind-address=127.0.0.1 --port="$port" --init-file="$folder/setup.sql" \
    "${as[@]}" >"$folder/log" 2>&1 &
running=$!
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet mysql-connector-python==26.10.0 asyncmy==0.2.18
"$folder/venv/bin/python" - "$port" <<'PYTHON'
import asyncio
import sys
import time
from importlib.metadata import version

import asyncmy
from mysql.connector.aio import MySQLConnectionPool, connect
from mysql.connector.errors import Error

SERVER = {"host": "127.0.0.1", "port": int(sys.argv[1]), "user": "root"}
SERVER |= {"database": "finding", "autocommit": True}
NAME = "SELECT name FROM users WHERE id = %s"
NAMES = {1: "Ann", 2: "Bob", 3: "Cy"}


async def connector():
    return await connect(ssl_disabled=True, **SERVER)


async def rows(connection, statement, *values):
    cursor = connection.cursor()
    if asyncio.iscoroutine(cursor):  # the connector's
        cursor = await cursor
    await cursor.execute(statement, values)
    found = await cursor.fetchall() if cursor.description else []
    await cursor.close()
    return [row[0] for row in found]


async def users_after_a_timeout(open_connection, close):
    """Return the user that each of three queries got, after one that took too long."""
    holder = await connector()
    await rows(holder, "LOCK TABLES users WRITE")
    connection = await open_connection()
    try:
        async with asyncio.timeout(0.5):
            await rows(connection, NAME, 1)
        raise SystemExit("the statement did not wait")
    except TimeoutError:
        pass
    await rows(holder, "UNLOCK TABLES")
    await holder.close()
    if close:
        await connection.close()
        connection = await open_connection()
    got = {}
    for user in (2, 3, 1):
        try:
            got[user] = (await rows(connection, NAME, user))[0]
        except Exception as error:
            got[user] = type(error).__name__
    return got


async def main():
    for _ in range(300):
        try:
            setup = await connector()
            break
        except Error:
            time.sleep(0.2)
    await rows(setup, "CREATE TABLE users (id INT PRIMARY KEY, name VARCHAR(20))")
    for user, name in NAMES.items():
        await rows(setup, "INSERT INTO users VALUES (%s, %s)", user, name)
    await setup.close()
    print("mysql-connector-python", version("mysql-connector-python"))
    print("asyncmy", version("asyncmy"))
    pool = MySQLConnectionPool(pool_size=1, ssl_disabled=True, **SERVER)
    await pool.initialize_pool()
    kept = await users_after_a_timeout(connector, close=False)
    pooled = await users_after_a_timeout(pool.get_connection, close=True)
    other = await users_after_a_timeout(lambda: asyncmy.connect(**SERVER), close=False)
    for title, got in {"kept": kept, "pool": pooled, "asyncmy": other}.items():
        print(f"{title}:", ", ".join(f"user {user} is {name}" for user, name in got.items()))
    wrong = [name for user, name in other.items() if name in NAMES.values() and name != NAMES[user]]
    if kept != {2: "Ann", 3: "Bob", 1: "Cy"} or pooled != NAMES or wrong:
        raise SystemExit("the behaviour has changed")


asyncio.run(main())
PYTHON
# Seen:
#   mysql-connector-python 26.10.0
#   asyncmy 0.2.18
#   kept: user 2 is Ann, user 3 is Bob, user 1 is Cy
#   pool: user 2 is Bob, user 3 is Cy, user 1 is Ann
#   asyncmy: user 2 is InterfaceError, user 3 is InterfaceError, user 1 is InterfaceError
