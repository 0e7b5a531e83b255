"""A database's errors, by whether the same statement may succeed when sent again."""

from __future__ import annotations

import re

from tiktok_oauth_middleware.errors import StoreError

#: Codes of deadlocks and serialization failures: SQLSTATEs, and numbers of MySQL.
_CONFLICT = frozenset({"40001", "40P01", 1213, 1020})
#: Codes of a server that is no longer the primary.
_READ_ONLY = frozenset({"25006", 1290, 1792, 1836})
#: Code of a node of a Galera cluster that has lost the others; those still answer.
_NOT_IN_CLUSTER = frozenset({1047})
#: Codes for a connection that the server ends: by an administrator's command, at an
#: idle timeout, a shutdown or a crash. A pooler in between may keep it open.
_CONNECTION_ENDED = frozenset({"57P01", "57P02", "57P05", 1053, 1927})
#: Codes of errors that MySQL's and MariaDB's client libraries find, not the server.
_OF_CLIENT = frozenset({*range(2000, 3000), *range(5000, 6000)})
_NO_TABLE = frozenset({"42P01", 1146})
#: Meanings of other errors, with what to do, by their codes or by words of the driver's
#: text: libpq has no code for a connection that failed.
_MEANINGS: tuple[tuple[frozenset[object], str, str], ...] = (
    (
        frozenset({"42501", 1142, 1044}),
        "attempt to write a readonly database",
        "its user may not do that: take the user who owns the database, or grant the"
        " right to this one",
    ),
    (
        frozenset({"28P01", "28000", 1045, 1698}),
        "authentication failed|no password supplied",
        "wrong user or password",
    ),
    (
        frozenset({"3D000", 1049}),
        'database ".*" does not exist',
        "there is no such database: create it, as its name is in the URL",
    ),
    (frozenset({"3F000"}), "(?!)", "there is no such schema: create it first"),
    (
        frozenset({"53300", 1040, 1203, 1226}),
        "too many (clients|connections)|remaining connection slots",
        "it takes no more connections: raise its limit, or run fewer processes",
    ),
    (
        frozenset({"26000", "42P05"}),
        "(?!)",
        "a pooler in between mixes up prepared statements: for asyncpg add"
        " statement_cache_size=0 to the URL, for psycopg leave prepare_threshold out",
    ),
    (
        _READ_ONLY,
        "(?!)",
        "it takes no writes: it is a replica, or was set to read only",
    ),
    (
        frozenset({"53100", 1021, 1114}),
        "database or disk is full",
        "its disk is full, or its own limit is reached",
    ),
    (
        frozenset({"57014", "55P03", 1205, 1969, 3024}),
        "database (table )?is locked",
        "it took too long: another program may be holding a lock",
    ),
    (
        frozenset({2006, 2013}),
        "(?!)",
        "it did not answer in time, or the connection was lost",
    ),
    (
        frozenset({"57P03"}),
        "the database system is",
        "it is starting, recovering or shutting down",
    ),
    (_NOT_IN_CLUSTER, "(?!)", "this node is not a part of its cluster now"),
    (
        frozenset({2002, 2003, 2005}),
        "(?i)connection refused|could not translate host name|failed to resolve host",
        "nothing answers there: check host and port, and that it runs",
    ),
)


class ExecutionError(Exception):
    """A statement failed, and would fail again; raised from the library's error.

    Args:
        cause: The error of the database's driver, which carries the code.
    """

    def __init__(self, cause: BaseException) -> None:
        super().__init__(_error_name(cause))
        self.cause = cause


class ConflictError(ExecutionError):
    """A deadlock or serialization failure: the same statement may succeed."""


class ConnectionLostError(ExecutionError):
    """The connection was lost: the statement may succeed on a new one."""


def is_conflict(cause: BaseException) -> bool:
    """Whether a driver reports a deadlock or a serialization failure."""
    return not _CONFLICT.isdisjoint(error_codes(cause))


def needs_new_connection(cause: BaseException) -> bool:
    """Whether the server reports that this connection cannot be used any longer.

    The server ends it, or accepts no writes, as after a failover, or no statement at
    all, as a node of a cluster that has lost the others.
    """
    ended = _READ_ONLY | _CONNECTION_ENDED | _NOT_IN_CLUSTER
    return not ended.isdisjoint(error_codes(cause))


def is_answer(cause: BaseException) -> bool:
    """Whether an error is the server's answer, so that no other will follow.

    MySQL's and MariaDB's client libraries have codes of their own.
    """
    codes = error_codes(cause)
    return bool(codes) and _OF_CLIENT.isdisjoint(codes)


def store_error(
    action: str, cause: BaseException, create_table: str = ""
) -> StoreError:
    """Return the error to raise from a library's error.

    Its message has names and codes only: a driver's text may quote the address and
    the rows.

    Args:
        action: What the database could not do.
        cause: The driver's error.
        create_table: How the table is created, for a missing one.
    """
    message = f"the database could not {action}: {_error_name(cause)}"
    # SQLite has no code for a missing table.
    if not _NO_TABLE.isdisjoint(error_codes(cause)) or "no such table" in str(cause):
        message += f"; there is no such table: {create_table}"
    for known, words, meaning in _MEANINGS:
        if not known.isdisjoint(error_codes(cause)) or re.search(words, str(cause)):
            message += f"; {meaning}"
            break
    return StoreError(message)


def error_codes(cause: BaseException) -> list[object]:
    """Return the codes in a driver's error: SQLSTATEs, and numbers of MySQL."""
    found = [getattr(cause, name, None) for name in ("sqlstate", "pgcode")]
    found += [arg for arg in cause.args[:1] if isinstance(arg, int)]
    return [code for code in found if code]


def _error_name(cause: BaseException) -> str:
    # MySQL's number is the last: PyMySQL has its SQLSTATE too, which many errors share.
    return " ".join([type(cause).__name__, *map(str, error_codes(cause)[-1:])])
