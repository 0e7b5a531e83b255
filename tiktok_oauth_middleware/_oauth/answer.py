"""Reading an answer of TikTok: a JSON object, or the error that it states."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, NoReturn

from tiktok_oauth_middleware._core.redact import mask, one_line
from tiktok_oauth_middleware.errors import (
    GrantRevoked,
    TikTokError,
    TikTokUnavailable,
)

_LONGEST_WAIT = 300.0


_LONGEST_DATE = 40


#: How much of an answer that is no JSON is shown, in bytes.
_LONGEST_EXCERPT = 80


#: Errors that pass by themselves, whatever status they come with.
TRANSIENT = frozenset(
    {
        "server_error",
        "temporarily_unavailable",
        "internal_error",
        "rate_limit_exceeded",
    }
)


_TOO_MANY = 429


_SERVER_ERROR = 500


def read_answer(
    status: int, body: bytes, secrets: Iterable[str], wait: float | None
) -> dict[str, Any]:
    """Return the JSON object of a success, or raise what the answer means."""
    answer = read_object(body)
    if answer is None:
        words = "an answer that is no JSON object"
        begins = body[:_LONGEST_EXCERPT].decode("utf-8", "replace").strip()
        if begins:
            words += f", and begins: {one_line(mask(begins, secrets))}"
        raise unavailable("", one_line(words), "", status, wait)
    parts = error_parts(answer)
    if not parts[0] and is_success(status):
        return answer
    code, description, log_id = (one_line(mask(part, secrets)) for part in parts)
    if status >= _SERVER_ERROR or status == _TOO_MANY or code in TRANSIENT:
        raise unavailable(code, description, log_id, status, wait)
    if code == "invalid_grant":
        raise GrantRevoked(code, description, log_id, status)
    raise TikTokError(code, description, log_id, status)


#: What TikTok calls the code of an error, and its text, in the order of trust.
_CODES = ("error", "code", "error_code", "err_code", "errCode")


_TEXTS = (
    "error_description",
    "message",
    "description",
    "error_msg",
    "err_msg",
    "errMsg",
    "msg",
)


_LOG_IDS = ("log_id", "logid", "logId", "request_id")


def error_parts(answer: dict[str, Any]) -> tuple[str, str, str]:
    """Return code, text and log_id of any shape of error; code "" is no error.

    ``/v2/oauth/*`` writes a flat ``error``; resource endpoints an object, there on
    success too with the code ``ok``, or the same keys without the object; the first API
    puts numbers under ``data``, and ``message: "error"`` beside it.
    """
    error, data = answer.get("error"), answer.get("data")
    if isinstance(error, dict):
        code = code_of(error)
        where = [error, answer]
    elif _one_code(error):
        code, where = _one_code(error), [answer]
    else:
        code, where = code_of(answer), [answer]
        if not code and isinstance(data, dict) and "access_token" not in data:
            code, where = code_of(data), [data, answer]
    return code, first_of(where, _TEXTS), first_of(where, _LOG_IDS)


def code_of(fields: dict[str, Any]) -> str:
    found = (_one_code(fields[name]) for name in _CODES if name in fields)
    return next(filter(None, found), "")


def _one_code(value: object) -> str:
    """Return the code of an error as text; "" for what means that there is none."""
    if value is None or value is False or value in ("", "ok", 0, "0"):
        return ""
    if isinstance(value, str):
        return value
    return str(value) if type(value) is int else "unreadable"


def first_of(where: list[dict[str, Any]], names: tuple[str, ...]) -> str:
    """Return the first text under one of `names`, in the order of `where`."""
    texts = (text_of(fields.get(name)) for fields in where for name in names)
    return next(filter(None, texts), "")


def text_of(value: object) -> str:
    return value if isinstance(value, str) else ""


def unavailable(
    error: str, description: str, log_id: str, status: int, wait: float | None
) -> TikTokUnavailable:
    unavailable = TikTokUnavailable(error, description, log_id, status)
    unavailable.retry_after = wait
    return unavailable


def wait_of(retry_after: str, now: float | None) -> float | None:
    """Return for how long a Retry-After asks to wait; None where it asks nothing.

    It holds seconds or a date (RFC 9110 section 10.2.3); a date that is over is 0.
    """
    if re.fullmatch(r"[0-9]{1,9}", retry_after):
        return min(float(retry_after), _LONGEST_WAIT)
    if now is None or not retry_after.isascii() or len(retry_after) > _LONGEST_DATE:
        return None
    from datetime import UTC, datetime
    from email.utils import parsedate_tz

    read = parsedate_tz(retry_after)  # all three forms of RFC 9110 section 5.6.7
    if read is None or read[9]:  # which are all in GMT
        return None
    try:
        at = datetime(*read[:6], tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):  # the 25th hour, the year 0
        return None
    return min(max(at - now, 0.0), _LONGEST_WAIT)


def read_object(body: bytes | str) -> dict[str, Any] | None:
    """Return a JSON object in UTF-8; None for all else, and for what says it twice.

    Which of two values under one name counts, readers differ over (RFC 8259 section
    4): an answer that holds both is not to be relied on.
    """
    try:
        text = body if isinstance(body, str) else body.decode()
        read = json.loads(
            text, parse_constant=_no_constant, object_pairs_hook=_each_once
        )
    except (ValueError, RecursionError):
        return None
    return read if isinstance(read, dict) else None


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(pairs)
    if len(read) < len(pairs):
        message = "a name twice"
        raise ValueError(message)
    return read


def is_success(status: int) -> bool:
    return 200 <= status < 300  # noqa: PLR2004 - the definition of 2xx


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and Infinity are not JSON
