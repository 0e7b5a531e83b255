#!/usr/bin/env bash
# mysql-connector-python 26.10.0, asyncio: connecting to a server without TLS is a TypeError.
#
# By default the connector uses TLS where the server has it, and none where it has not. Its module
# for asyncio reads the connection's cipher in both cases, and where there is none it raises "cannot
# unpack non-iterable NoneType object", after the server has accepted the user. Nothing in the
# message speaks of TLS. With ssl_disabled=True it connects, and the blocking one connects without
# any option. MariaDB of Debian 12 has no TLS unless it is set up, nor have many databases in
# a private network. This affects anyone who moves from the blocking connector to asyncio. Our SQL
# store's documentation names asyncmy there.
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
echo "CREATE DATABASE finding;" >"$folder/setup.sql"
"$server" --no-defaults --datadir="$folder/data" --socket="$folder/socket" \
    --bind-address=127.0.0.1 --port="$port" --init-file="$folder/setup.sql" \
    "${as[@]}" >"$folder/log" 2>&1 &
running=$!
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet mysql-connector-python==26.10.0
"$folder/venv/bin/python" - "$port" <<'PYTHON'
import asyncio
import sys
import time

import mysql.connector
import mysql.connector.aio

SERVER = {"host": "127.0.0.1", "port": int(sys.argv[1]), "user": "root", "database": "finding"}
for _ in range(300):
    try:
        connection = mysql.connector.connect(**SERVER)
        break
    except mysql.connector.Error:
        time.sleep(0.2)
print("connector", mysql.connector.__version__, "server", connection.server_info)
print("blocking: connected")


async def connect(**options):
    try:
        connection = await mysql.connector.aio.connect(**SERVER, **options)
    except TypeError as error:
        return f"TypeError: {error}"
    await connection.close()
    return "connected"


default, disabled = asyncio.run(connect()), asyncio.run(connect(ssl_disabled=True))
print("asyncio:", default)
print("asyncio, ssl_disabled=True:", disabled)
if not default.startswith("TypeError") or disabled != "connected":
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   connector 26.10.0 server 5.5.5-10.11.19-MariaDB-0+deb12u1
#   blocking: connected
#   asyncio: TypeError: cannot unpack non-iterable NoneType object
#   asyncio, ssl_disabled=True: connected
