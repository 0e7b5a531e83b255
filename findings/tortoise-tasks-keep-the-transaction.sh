#!/usr/bin/env bash
# Tortoise ORM 1.1.9, Piccolo 1.38.0: what a task stores after a transaction is lost, or an error.
#
# Both keep the transaction of a request in a context variable, and a task begins with a copy of the
# variables of the code that starts it. A task that is started inside a transaction and outlives it,
# to send a mail, write an audit line or refresh a token, goes on with the transaction that has
# ended. With Tortoise on SQLite its create() succeeds, and belongs to whatever transaction another
# request has open at that moment: if that one is rolled back, the row is gone, though nobody saw an
# error. Piccolo raises ValueError, "no active connection". A test, in which the task ends before
# the transaction or nothing else runs, passes. This affects anyone who uses asyncio.create_task in
# a view or a service whose caller may have opened a transaction, as one at each request by a
# middleware. Starting the task behind the transaction helps. The work that our middleware leaves
# behind a request begins with an empty context, so that it takes no request's transaction along.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet tortoise-orm==1.1.9 "piccolo[sqlite]==1.38.0"
cd "$folder"
cat >models.py <<'PYTHON'
from tortoise import fields
from tortoise.models import Model


class Row(Model):
    id = fields.IntField(primary_key=True)
    name = fields.TextField()
PYTHON
venv/bin/python -W ignore - <<'PYTHON'
import asyncio
import sqlite3
from importlib.metadata import version

from models import Row
from piccolo.columns import Text
from piccolo.engine.sqlite import SQLiteEngine
from piccolo.table import Table, create_db_tables
from tortoise import Tortoise
from tortoise.transactions import in_transaction

for name in ("tortoise-orm", "piccolo"):
    print(name, version(name))


def rows(path):
    return [name for (name,) in sqlite3.connect(path).execute("SELECT name FROM row ORDER BY id")]


async def with_tortoise(path, *, is_inside):
    await Tortoise.init(db_url=f"sqlite://{path}", modules={"models": ["models"]})
    await Tortoise.generate_schemas()
    is_time = asyncio.Event()

    async def audit():
        await is_time.wait()
        await Row.create(name="audit")

    async def order():
        async with in_transaction():
            await Row.create(name="order")
            if is_inside:
                return asyncio.create_task(audit())
        return asyncio.create_task(audit())

    async def order_that_fails():
        async with in_transaction():
            await Row.create(name="order that fails")
            is_time.set()
            await asyncio.sleep(0.5)
            raise LookupError

    task = await asyncio.create_task(order())
    await asyncio.gather(asyncio.create_task(order_that_fails()), return_exceptions=True)
    await task  # it raises nothing
    await Tortoise.close_connections()
    return rows(path)


async def with_piccolo(path):
    database = SQLiteEngine(path=path)

    class Row(Table, db=database):
        name = Text()

    await create_db_tables(Row)
    is_time = asyncio.Event()

    async def audit():
        await is_time.wait()
        await Row.insert(Row(name="audit"))

    async with database.transaction():
        await Row.insert(Row(name="order"))
        task = asyncio.create_task(audit())
    is_time.set()
    return repr((await asyncio.gather(task, return_exceptions=True))[0])


seen = {
    "Tortoise, a task begun inside": asyncio.run(with_tortoise("first", is_inside=True)),
    "Tortoise, begun behind it": asyncio.run(with_tortoise("second", is_inside=False)),
    "Piccolo": asyncio.run(with_piccolo("third")),
}
for name, what in seen.items():
    print(f"{name}: {what}")
if [*seen.values()] != [["order"], ["order", "audit"], "ValueError('no active connection')"]:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   tortoise-orm 1.1.9
#   piccolo 1.38.0
#   Tortoise, a task begun inside: ['order']
#   Tortoise, begun behind it: ['order', 'audit']
#   Piccolo: ValueError('no active connection')
