#!/usr/bin/env bash
# peewee 4.5.3 and Tortoise ORM 1.1.9 on MariaDB: an update that finds its row says 0 rows.
#
# update() returns a number of rows. On SQLite and PostgreSQL it is that of the rows found; on MariaDB
# and MySQL peewee and Tortoise return that of the rows whose values differ, since they connect
# without the flag FOUND_ROWS. So the usual "update, and insert if there was no row" inserts a second
# row, or fails with a duplicate key, when a user does the same thing twice: a vote that is repeated,
# a login twice on one day. A compare-and-swap on a version is refused although it was free. Tests on
# SQLite pass. Django 5.2.19 and SQLAlchemy 2.1.9 set the flag and return 1. Anyone who branches on the
# number is affected. Our stores connect through SQLAlchemy's and Django's dialects, which set the flag.
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
for name in peewee tortoise sqlalchemy django; do echo "CREATE DATABASE $name;"; done >"$folder/setup.sql"
"$server" --no-defaults --datadir="$folder/data" --socket="$folder/socket" \
    --bind-address=127.0.0.1 --port="$port" --init-file="$folder/setup.sql" \
    "${as[@]}" >"$folder/log" 2>&1 &
running=$!
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet peewee==4.5.3 tortoise-orm==1.1.9 asyncmy==0.2.18 \
    PyMySQL==1.2.4 SQLAlchemy==2.1.9 django==5.2.19
cd "$folder"
cat >with_tortoise.py <<'PYTHON'
from tortoise import Tortoise, fields
from tortoise.models import Model


class Vote(Model):
    id = fields.IntField(primary_key=True)
    choice = fields.CharField(20)


async def rows(url):
    await Tortoise.init(db_url=url, modules={"models": [__name__]})
    await Tortoise.generate_schemas()
    await Vote.create(id=1, choice="blue")
    found = [await Vote.filter(id=1).update(choice=choice) for choice in ("blue", "red")]
    await Tortoise.close_connections()
    return found
PYTHON
cat >votes.py <<'PYTHON'
import asyncio
import sys

import pymysql

LIBRARY, SERVER, PORT = sys.argv[1], sys.argv[2], int(sys.argv[3])
CHOICES = ("blue", "red")  # the row has "blue" already


def with_peewee():
    import peewee as p

    database = p.SqliteDatabase(":memory:")
    if SERVER == "mariadb":
        database = p.MySQLDatabase("peewee", host="127.0.0.1", port=PORT, user="root")

    class Vote(p.Model):
        id = p.IntegerField(primary_key=True)
        choice = p.CharField()

        class Meta:
            database = None

    Vote.bind(database)
    Vote.create_table()
    Vote.insert(id=1, choice="blue").execute()
    return [Vote.update(choice=choice).where(Vote.id == 1).execute() for choice in CHOICES]


def with_tortoise():
    from with_tortoise import rows

    url = f"mysql://root:@127.0.0.1:{PORT}/tortoise" if SERVER == "mariadb" else "sqlite://:memory:"
    return asyncio.run(rows(url))


def with_sqlalchemy():
    import sqlalchemy as sa

    url = f"mysql+pymysql://root@127.0.0.1:{PORT}/sqlalchemy" if SERVER == "mariadb" else "sqlite://"
    engine = sa.create_engine(url)
    columns = sa.Column("id", sa.Integer), sa.Column("choice", sa.String(20))
    vote = sa.Table("vote", sa.MetaData(), *columns)
    with engine.begin() as connection:
        vote.create(connection)
        connection.execute(vote.insert().values(id=1, choice="blue"))
        return [connection.execute(vote.update().values(choice=c)).rowcount for c in CHOICES]


def with_django():
    import django
    from django.conf import settings
    from django.db import connection, models

    pymysql.version_info = (2, 2, 1, "final", 0)
    pymysql.install_as_MySQLdb()
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
    if SERVER == "mariadb":
        database = {"ENGINE": "django.db.backends.mysql", "NAME": "django", "USER": "root",
                    "HOST": "127.0.0.1", "PORT": PORT}
    settings.configure(DATABASES={"default": database})
    django.setup()

    class Vote(models.Model):
        id = models.IntegerField(primary_key=True)
        choice = models.CharField(max_length=20)

        class Meta:
            app_label = "votes"

    with connection.schema_editor() as editor:
        editor.create_model(Vote)
    Vote.objects.create(id=1, choice="blue")
    return [Vote.objects.filter(id=1).update(choice=choice) for choice in CHOICES]


print(*globals()[f"with_{LIBRARY}"]())
PYTHON
venv/bin/python - "$port" <<'PYTHON'
import subprocess
import sys
import time
from importlib.metadata import version

import pymysql

PORT = sys.argv[1]
for _ in range(300):
    try:
        connection = pymysql.connect(host="127.0.0.1", port=int(PORT), user="root")
        print("MariaDB", connection.server_version)
        break
    except pymysql.OperationalError:
        time.sleep(0.2)
seen = {}
for library, name in {"peewee": "peewee", "tortoise": "tortoise-orm", "sqlalchemy": "SQLAlchemy",
                      "django": "django"}.items():
    for server in ("sqlite", "mariadb"):
        command = [sys.executable, "votes.py", library, server, PORT]
        seen[library, server] = subprocess.check_output(command, text=True).split()
    equal = {server: seen[library, server][0] for server in ("sqlite", "mariadb")}
    print(f"{name} {version(name)}: rows of an update with equal values: {equal}")
for (library, server), (equal, other) in seen.items():
    wanted = "0" if server == "mariadb" and library in ("peewee", "tortoise") else "1"
    if (equal, other) != (wanted, "1"):
        raise SystemExit(f"the behaviour has changed: {library}, {server}: {equal}, {other}")
PYTHON
# Seen:
#   MariaDB 5.5.5-10.11.19-MariaDB-0+deb12u1
#   peewee 4.5.3: rows of an update with equal values: {'sqlite': '1', 'mariadb': '0'}
#   tortoise-orm 1.1.9: rows of an update with equal values: {'sqlite': '1', 'mariadb': '0'}
#   SQLAlchemy 2.1.9: rows of an update with equal values: {'sqlite': '1', 'mariadb': '1'}
#   django 5.2.19: rows of an update with equal values: {'sqlite': '1', 'mariadb': '1'}
