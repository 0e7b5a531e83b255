#!/usr/bin/env bash
# mysql-connector-python 26.10.0: %% stays %% in a statement with parameters.
#
# With PEP 249's styles "format" and "pyformat" a percent sign of the statement itself is written
# twice where there are parameters, and PyMySQL, mysqlclient and psycopg send one. MySQL's own
# connector names itself "pyformat" and sends both. LIKE 'a%%' finds the same, so that most
# statements work; DATE_FORMAT(time, '%%Y-%%m') is "%Y-%m" for each row, and a report by months has
# one line with the sum of all, without an error. With a single % it is right there, and the others
# raise. This affects anyone who changes the driver, and SQL that several drivers run. Our SQL
# store's statements have no percent sign but those of their parameters.
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
"$folder/venv/bin/pip" install --quiet mysql-connector-python==26.10.0 PyMySQL==1.2.4
"$folder/venv/bin/python" - "$port" <<'PYTHON'
import sys
import time
from importlib.metadata import version

import mysql.connector
import pymysql

SERVER = {"host": "127.0.0.1", "port": int(sys.argv[1]), "user": "root", "database": "finding"}
for _ in range(300):
    try:
        connection = pymysql.connect(autocommit=True, **SERVER)
        break
    except pymysql.OperationalError:
        time.sleep(0.2)
cursor = connection.cursor()
cursor.execute("CREATE TABLE logins (time DATE)")
cursor.execute("INSERT INTO logins VALUES ('2026-01-05'), ('2026-01-09'), ('2026-02-01')")
REPORT = """
    SELECT DATE_FORMAT(time, '%%Y-%%m') AS month, COUNT(*) FROM logins
    WHERE time >= %s GROUP BY month ORDER BY month
"""


def report(connection, statement):
    cursor = connection.cursor()
    try:
        cursor.execute(statement, ("2026-01-01",))
    except ValueError as error:
        return type(error).__name__
    return [tuple(row) for row in cursor.fetchall()]


print("PyMySQL", version("PyMySQL"), "connector", mysql.connector.__version__)
print("paramstyle:", pymysql.paramstyle, mysql.connector.paramstyle)
connections = {"PyMySQL": connection, "connector": mysql.connector.connect(**SERVER)}
found = {}
for name, connection in connections.items():
    found[name] = report(connection, REPORT), report(connection, REPORT.replace("%%", "%"))
    print(f"{name}: with %% {found[name][0]}, with % {found[name][1]}")
right = [("2026-01", 2), ("2026-02", 1)]
if found != {"PyMySQL": (right, "ValueError"), "connector": ([("%Y-%m", 3)], right)}:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   PyMySQL 1.2.4 connector 26.10.0
#   paramstyle: pyformat pyformat
#   PyMySQL: with %% [('2026-01', 2), ('2026-02', 1)], with % ValueError
#   connector: with %% [('%Y-%m', 3)], with % [('2026-01', 2), ('2026-02', 1)]
