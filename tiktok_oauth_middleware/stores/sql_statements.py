"""The table of `SQLStore`, and its statements as each database's driver takes them.

Databases differ in how they store values, so the table fixes it: keys are compared byte
for byte (no case, no trailing blanks, whatever the database's collation), values have
room enough, and times are whole milliseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .paging import PAGE, ROWS, SWEPT_ROWS
from .table import MARK_BYTES, SERVER_TIME, Statement

if TYPE_CHECKING:
    from sqlalchemy import MetaData, Table

_KEY_COLUMN_LENGTH = 255


def make_table(
    name: str, schema: str | None, metadata: MetaData | None = None
) -> Table:
    """Return the table's definition, in metadata of its own if none is given."""
    from sqlalchemy import BigInteger, Column, LargeBinary, MetaData, String, Table
    from sqlalchemy.dialects import mysql

    of_mysql = ("mysql", "mariadb")
    key = String(_KEY_COLUMN_LENGTH).with_variant(
        String(_KEY_COLUMN_LENGTH, collation="C"), "postgresql"
    )
    # VARBINARY has no collation: case and trailing blanks count.
    key = key.with_variant(mysql.VARBINARY(_KEY_COLUMN_LENGTH), *of_mysql)
    # BLOB ends at 65,535 bytes.
    value = LargeBinary().with_variant(mysql.MEDIUMBLOB(), *of_mysql)
    mark = LargeBinary(MARK_BYTES).with_variant(mysql.VARBINARY(MARK_BYTES), *of_mysql)
    return Table(
        name,
        MetaData() if metadata is None else metadata,
        Column("key", key, primary_key=True),
        Column("value", value, nullable=False),
        # Milliseconds since 1970: a FLOAT of MariaDB holds such a number to 128 s.
        Column("expires", BigInteger, nullable=False, index=True),
        Column("mark", mark, nullable=False),
        mysql_engine="InnoDB",
        mariadb_engine="InnoDB",
        schema=schema,
    )


def statements_for(
    table: Table, dialect: Any, *, by_server: bool
) -> dict[str, Statement]:
    """Return the statements that `Rows` names.

    Args:
        table: The table.
        dialect: The dialect of SQLAlchemy.
        by_server: Whether they read the server's clock; else the time is a parameter.
    """
    import sqlalchemy as sa

    key, value, expires, mark = table.c
    now = _now(dialect.name, by_server=by_server)
    this = key == sa.bindparam("key", type_=key.type)
    old = value == sa.bindparam("old", type_=value.type)
    fresh = {
        "value": sa.bindparam("value", type_=value.type),
        "expires": now + sa.bindparam("life", type_=sa.BigInteger),
        "mark": sa.bindparam("mark", type_=mark.type),
    }
    is_named = {"key": sa.bindparam("key", type_=key.type)}
    alive, gone = expires > now, expires <= now
    start = sa.bindparam("key", type_=key.type)
    listed = (
        sa.select(key)
        .where(key < sa.bindparam("end", type_=key.type), alive)
        .order_by(key)
    )
    found = {
        "get": sa.select(value).where(this, alive),
        "keys": listed.where(key >= start),
        "page": listed.where(key > start).limit(PAGE),
        "rows": listed.add_columns(value).where(key > start).limit(ROWS),
        "written": sa.select(sa.literal_column("1")).where(
            this, mark == sa.bindparam("mark", type_=mark.type)
        ),
        "replace": sa.update(table).where(this, old, alive).values(fresh),
        "delete": sa.delete(table).where(this, old, alive),
        "insert": sa.insert(table).values({**is_named, **fresh}),
        "revive": sa.update(table).where(this, gone).values(fresh),
    }
    if dialect.name in ("postgresql", "sqlite"):
        insert = _upserts(dialect.name).insert(table).values({**is_named, **fresh})
        new = {c: insert.excluded[c] for c in fresh}
        found["create"] = insert.on_conflict_do_update(
            index_elements=[key], set_=new, where=gone
        )
        some = sa.select(key).where(gone).limit(SWEPT_ROWS)
        if dialect.name == "postgresql":
            some = some.with_for_update(skip_locked=True)
        found["sweep"] = sa.delete(table).where(key.in_(some))
    else:
        found["sweep"] = (
            sa.delete(table)
            .where(gone)
            .with_dialect_options(mysql_limit=SWEPT_ROWS, mariadb_limit=SWEPT_ROWS)
        )
    return {name: _compile(each, dialect) for name, each in found.items()}


def batch_statements_for(
    table: Table, dialect: Any, size: int, *, by_server: bool
) -> dict[str, Statement]:
    """Return the statements about `size` rows that `Rows` names.

    Args:
        table: The table.
        dialect: The dialect of SQLAlchemy.
        size: How many rows; their parameters end with ``_0``, ``_1`` and so on.
        by_server: As for `statements_for`.
    """
    import sqlalchemy as sa

    key, value, expires, mark = table.c
    now = _now(dialect.name, by_server=by_server)
    places = range(size)
    these = key.in_([sa.bindparam(f"key_{n}", type_=key.type) for n in places])
    its_mark = sa.bindparam("its_mark", type_=mark.type)
    rows = [
        {
            "key": sa.bindparam(f"key_{n}", type_=key.type),
            "value": sa.bindparam(f"value_{n}", type_=value.type),
            "expires": now + sa.bindparam(f"life_{n}", type_=sa.BigInteger),
            "mark": its_mark,
        }
        for n in places
    ]
    upsert: Any
    if dialect.name in ("postgresql", "sqlite"):
        insert = _upserts(dialect.name).insert(table).values(rows)
        upsert = insert.on_conflict_do_update(
            index_elements=[key],
            set_={c: insert.excluded[c] for c in ("value", "expires", "mark")},
            where=expires <= now,
        )
    else:
        from sqlalchemy.dialects import mysql

        # A row that exists stays as it is. The values of the new one have a name that
        # MariaDB does not know, and an older one that MySQL deprecates since 8.0.20:
        # VALUES(). So expired rows are deleted before.
        insert = mysql.insert(table).values(rows)
        upsert = insert.on_duplicate_key_update({"mark": mark})
    found = {
        "get_many": sa.select(key, value).where(these, expires > now),
        "create_many": upsert,
        "written_many": sa.select(key).where(these, mark == its_mark),
    }
    if dialect.name not in ("postgresql", "sqlite"):
        found["make_room"] = sa.delete(table).where(these, expires <= now)
    return {name: _compile(each, dialect) for name, each in found.items()}


def _upserts(name: str) -> Any:
    """Return the module of SQLAlchemy with a database's INSERT ... ON CONFLICT."""
    if name == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql
    from sqlalchemy.dialects import sqlite

    return sqlite


def _now(name: str, *, by_server: bool) -> Any:
    import sqlalchemy as sa

    if by_server:
        return sa.literal_column(SERVER_TIME[name], sa.BigInteger)
    return sa.bindparam("now", type_=sa.BigInteger)


def _compile(statement: Any, dialect: Any) -> Statement:
    made = statement.compile(dialect=dialect)
    fixed = {name: value for name, value in made.params.items() if value is not None}
    is_positional = made.positiontup is not None
    names = made.positiontup if is_positional else tuple(made.params)
    return Statement(made.string, names, is_positional, fixed)
