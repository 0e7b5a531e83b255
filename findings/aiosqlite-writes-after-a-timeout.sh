#!/usr/bin/env bash
# aiosqlite 0.22.1: a write that was given up is done later, and then locks the database.
#
# SQLite lets one connection write at a time; the others wait. aiosqlite waits in a thread, and a
# cancelled task stops waiting for the thread only. If a request gives up while its INSERT waits for
# the lock, by asyncio.timeout or because its client has gone, the thread gets the lock afterwards,
# and runs the INSERT. Nobody commits: the connection stays in its transaction, every other
# connection's write ends in "database is locked", and the next commit() on this one, by
# another request, stores what was reported as failed. A rollback in `except TimeoutError` comes
# behind the INSERT, and helps; so does SQLAlchemy's pool, which closes such a connection. This
# affects anyone who keeps one connection for a program, as the examples of aiosqlite's page do,
# and has a timeout or cancels requests. Our SQLite store writes in threads of its own, a whole
# transaction in one call, so that nobody can leave in its middle.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet aiosqlite==0.22.1
cd "$folder"
venv/bin/python - <<'PYTHON'
import asyncio
import sqlite3
from importlib.metadata import version

import aiosqlite

print("aiosqlite", version("aiosqlite"))


def outcome_of_another_write():
    """Return what happens to a write by another connection, such as another process."""
    other = sqlite3.connect("data.db", timeout=0.2)
    try:
        other.execute("INSERT INTO tokens VALUES ('of another')")
        other.rollback()
        return "possible"
    except sqlite3.OperationalError as error:
        return str(error)
    finally:
        other.close()


async def main():
    holder = sqlite3.connect("data.db", isolation_level=None)
    holder.execute("CREATE TABLE tokens (value TEXT)")
    db = await aiosqlite.connect("data.db")
    holder.execute("BEGIN IMMEDIATE")
    try:
        async with asyncio.timeout(0.5):
            await db.execute("INSERT INTO tokens VALUES ('given up')")
            await db.commit()
        given_up = "was written"
    except TimeoutError:
        given_up = "ended in TimeoutError"
    holder.execute("COMMIT")
    holder.close()
    await asyncio.sleep(2)
    another = outcome_of_another_write()
    await db.execute("INSERT INTO tokens VALUES ('next')")
    await db.commit()
    async with db.execute("SELECT value FROM tokens") as cursor:
        stored = [value for (value,) in await cursor.fetchall()]
    await db.close()
    print("the write behind a lock", given_up)
    print("then a write by another connection:", another)
    print("after the next commit the table has", stored)
    return given_up, another, stored


if asyncio.run(main()) != (
    "ended in TimeoutError", "database is locked", ["given up", "next"]
):
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   aiosqlite 0.22.1
#   the write behind a lock ended in TimeoutError
#   then a write by another connection: database is locked
#   after the next commit the table has ['given up', 'next']
