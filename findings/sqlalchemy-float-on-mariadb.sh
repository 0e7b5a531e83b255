#!/usr/bin/env bash
# SQLAlchemy 2.1.9 with PyMySQL 1.2.4 on MariaDB: Float keeps a Unix time to 128 s.
#
# Column(Float) is a FLOAT of four bytes on MySQL and MariaDB, while it is eight bytes on SQLite
# and PostgreSQL. A time in seconds since 1970 needs more than the 24 bits that it has: it is
# rounded to a multiple of 128 s, silently. A lock or a session that is to last ten seconds is
# stored as one that ended a minute ago, or lives a minute too long; a table that was tested on
# SQLite loses its meaning on MariaDB. Our SQL store keeps whole milliseconds in a BIGINT, and the
# contract test for third-party stores checks it. Needs a MariaDB server on the machine (Debian:
# mariadb-server); it runs in a temporary folder on a port of its own.
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
"$folder/venv/bin/pip" install --quiet SQLAlchemy==2.1.9 PyMySQL==1.2.4
"$folder/venv/bin/python" - "$port" <<'PYTHON'
import sys
import time

import sqlalchemy as sa

url = f"mysql+pymysql://root@127.0.0.1:{sys.argv[1]}/finding"
engine = sa.create_engine(url)
for _ in range(300):
    try:
        with engine.connect() as connection:
            print(connection.scalar(sa.text("SELECT version()")))
        break
    except sa.exc.OperationalError:
        time.sleep(0.2)
table = sa.Table("t", sa.MetaData(), sa.Column("ends", sa.Float, nullable=False))
table.create(engine)
given = 1_796_000_010.5
with engine.begin() as connection:
    connection.execute(table.insert().values(ends=given))
    ended = connection.scalar(
        sa.select(sa.func.count()).select_from(table).where(table.c.ends <= given - 10)
    )
    kept = connection.scalar(sa.text("SELECT CAST(ends AS DOUBLE) FROM t"))
print(f"given {given}, kept {kept}; ended 10 s before its time: {bool(ended)}")
assert kept != given and kept % 128 == 0, "changed"
PYTHON
# Seen:
#   10.11.19-MariaDB-0+deb12u1
#   given 1796000010.5, kept 1796000000.0; ended 10 s before its time: True
