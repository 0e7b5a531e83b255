"""The SQL statements of `DjangoStore`, for each kind of database."""

from __future__ import annotations

import re
from functools import lru_cache

from .paging import PAGE, ROWS, SWEPT_ROWS
from .table import SERVER_TIME, Statement

_STATEMENTS = {
    "get": "SELECT value FROM {t} WHERE {k} = %(key)s AND expires > {now}",
    "keys": (
        "SELECT {k} FROM {t} WHERE {k} >= %(key)s AND {k} < %(end)s"
        " AND expires > {now} ORDER BY {k}"
    ),
    "page": (
        "SELECT {k} FROM {t} WHERE {k} > %(key)s AND {k} < %(end)s"
        " AND expires > {now} ORDER BY {k} LIMIT {page}"
    ),
    "rows": (
        "SELECT {k}, value FROM {t} WHERE {k} > %(key)s AND {k} < %(end)s"
        " AND expires > {now} ORDER BY {k} LIMIT {rows}"
    ),
    "written": "SELECT 1 FROM {t} WHERE {k} = %(key)s AND mark = %(mark)s",
    "replace": (
        "UPDATE {t} SET value = %(value)s, expires = {now} + %(life)s, mark = %(mark)s"
        " WHERE {k} = %(key)s AND value = %(old)s AND expires > {now}"
    ),
    "delete": (
        "DELETE FROM {t} WHERE {k} = %(key)s AND value = %(old)s AND expires > {now}"
    ),
    "insert": (
        "INSERT INTO {t} ({k}, value, expires, mark)"
        " VALUES (%(key)s, %(value)s, {now} + %(life)s, %(mark)s)"
    ),
    "revive": (
        "UPDATE {t} SET value = %(value)s, expires = {now} + %(life)s, mark = %(mark)s"
        " WHERE {k} = %(key)s AND expires <= {now}"
    ),
    "create": (
        "INSERT INTO {t} ({k}, value, expires, mark)"
        " VALUES (%(key)s, %(value)s, {now} + %(life)s, %(mark)s)"
        " ON CONFLICT ({k}) DO UPDATE SET value = excluded.value,"
        " expires = excluded.expires, mark = excluded.mark"
        " WHERE {t}.expires <= {now}"
    ),
}
_SWEEPS = {
    "postgresql": (
        "DELETE FROM {t} WHERE {k} IN (SELECT {k} FROM {t} WHERE expires <= {now}"
        " LIMIT {most} FOR UPDATE SKIP LOCKED)"
    ),
    "mysql": "DELETE FROM {t} WHERE expires <= {now} LIMIT {most}",
    "sqlite": (
        "DELETE FROM {t} WHERE {k} IN (SELECT {k} FROM {t} WHERE expires <= {now}"
        " LIMIT {most})"
    ),
}


_CONFLICTS = {
    "postgresql": (
        " ON CONFLICT ({k}) DO UPDATE SET value = excluded.value,"
        " expires = excluded.expires, mark = excluded.mark"
        " WHERE {t}.expires <= {now}"
    ),
    # A row that exists stays as it is. The values of the new one have a name that
    # MariaDB does not know, and an older one that MySQL deprecates since 8.0.20:
    # VALUES(). So expired rows are deleted before.
    "mysql": " ON DUPLICATE KEY UPDATE mark = mark",
}
_CONFLICTS["sqlite"] = _CONFLICTS["postgresql"]
_MAKE_ROOM = "DELETE FROM {t} WHERE {k} IN ({keys}) AND expires <= {now}"
_BATCH_TEXTS = {
    "get_many": "SELECT {k}, value FROM {t} WHERE {k} IN ({keys}) AND expires > {now}",
    "create_many": "INSERT INTO {t} ({k}, value, expires, mark) VALUES {rows}",
    "written_many": (
        "SELECT {k} FROM {t} WHERE {k} IN ({keys}) AND mark = %(its_mark)s"
    ),
}


@lru_cache(maxsize=64)
def statements_for(table: str, vendor: str, *, by_server: bool) -> dict[str, Statement]:
    """Return the statements that `Rows` names.

    Args:
        table: The table's name, quoted.
        vendor: The database's name in Django.
        by_server: Whether they read the server's clock; else the time is a parameter.
    """
    texts = {**_STATEMENTS, "sweep": _SWEEPS[vendor]}
    if vendor == "mysql":
        del texts["create"]
    key, now = _words(vendor, by_server=by_server)
    return {
        name: _statement(
            text.format(t=table, k=key, now=now, most=SWEPT_ROWS, page=PAGE, rows=ROWS)
        )
        for name, text in texts.items()
    }


def batch_statements_for(
    table: str, vendor: str, size: int, *, by_server: bool
) -> dict[str, Statement]:
    """Return the statements about `size` rows that `Rows` names.

    Args:
        table: The table's name, quoted.
        vendor: The database's name in Django.
        size: How many rows; their parameters end with ``_0``, ``_1`` and so on.
        by_server: As for `statements_for`.
    """
    key, now = _words(vendor, by_server=by_server)
    places = range(size)
    keys = ", ".join(f"%(key_{n})s" for n in places)
    rows = ", ".join(
        f"(%(key_{n})s, %(value_{n})s, {now} + %(life_{n})s, %(its_mark)s)"
        for n in places
    )
    texts = {**_BATCH_TEXTS}
    texts["create_many"] += _CONFLICTS[vendor]
    if vendor == "mysql":
        texts["make_room"] = _MAKE_ROOM
    return {
        name: _statement(text.format(t=table, k=key, now=now, keys=keys, rows=rows))
        for name, text in texts.items()
    }


def _words(vendor: str, *, by_server: bool) -> tuple[str, str]:
    """Return the SQL for the column of keys and for the present time."""
    key = "`key`" if vendor == "mysql" else '"key"'
    return key, SERVER_TIME[vendor] if by_server else "%(now)s"


def _statement(sql: str) -> Statement:
    names = tuple(re.findall(r"%\((\w+)\)s", sql))
    return Statement(re.sub(r"%\(\w+\)s", "%s", sql), names)
