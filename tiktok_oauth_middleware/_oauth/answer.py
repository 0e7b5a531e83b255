"""Reading an answer of TikTok: a JSON object, or the error that it states."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, NoReturn

from tiktok_oauth_middleware._core.redact import mask, one_line
from tiktok_oauth_middleware.errors import GrantRevoked, TikTokError, TikTokUnavailable

#: Codes of temporary errors, with any status.
TRANSIENT = frozenset(
    {
        "server_error",
        "temporarily_unavailable",
        "internal_error",
        "rate_limit_exceeded",
    }
)
_SUCCESS = range(200, 300)
#: The longest ``Retry-After`` that is obeyed, in seconds, and its longest date.
_LONGEST_WAIT = 300.0
_LONGEST_DATE = 40
#: How much of a text or HTML page in place of an answer is shown, in characters.
_LONGEST_EXCERPT = 80
#: How much of it is searched for secrets first, which may go on after the excerpt.
_SEARCHED = 8192
_MAY_HOLD_TOKENS = re.compile(r"token|(?<![a-z])(act|rft)(\.|%2e)|\x00", re.IGNORECASE)
#: TikTok's names for the code of an error, its text and its log_id, the most reliable
#: first.
_CODES = ("error", "code", "error_code", "err_code", "errCode")
_TEXT_FIELDS = (
    "error_description",
    "message",
    "description",
    "error_msg",
    "err_msg",
    "errMsg",
    "msg",
)
_LOG_IDS = ("log_id", "logid", "logId", "request_id")


def read_answer(
    status: int, body: bytes, secrets: Iterable[str], wait: float | None
) -> dict[str, Any]:
    """Return the JSON object of a success.

    Args:
        status: of the response.
        body: of the response, whole.
        secrets: texts to mask if TikTok's error repeats one.
        wait: how long TikTok asked to wait, in seconds.

    Raises:
        GrantRevoked: exactly ``invalid_grant``.
        TikTokUnavailable: 5xx, 429, a transient error, or a body that is not an object.
        TikTokError: any other error.
    """
    answer = read_json_object(body)
    if answer is None:
        text = "an answer that is not a JSON object"
        excerpt = _excerpt(body, secrets)
        if excerpt:
            text += f", and begins: {one_line(excerpt)}"
        raise _unavailable(wait, "", one_line(text), "", status)
    parts = error_parts(answer)
    if not parts[0] and is_success(status):
        return answer
    code, description, log_id = (one_line(mask(part, secrets)) for part in parts)
    if (
        status >= HTTPStatus.INTERNAL_SERVER_ERROR
        or status == HTTPStatus.TOO_MANY_REQUESTS
        or code in TRANSIENT
    ):
        raise _unavailable(wait, code, description, log_id, status)
    if code == "invalid_grant":
        raise GrantRevoked(code, description, log_id, status)
    raise TikTokError(code, description, log_id, status)


def _excerpt(body: bytes, secrets: Iterable[str]) -> str:
    """Return the beginning of a page; "" for broken JSON, which may hold new tokens."""
    text = body[:_SEARCHED].decode("utf-8", "replace").strip()
    if not re.match("[<A-Za-z]", text) or _MAY_HOLD_TOKENS.search(text):
        return ""
    return mask(text, secrets)[:_LONGEST_EXCERPT]


def is_success(status: int) -> bool:
    """Whether an HTTP status is 2xx."""
    return status in _SUCCESS


def _unavailable(
    wait: float | None, code: str, description: str, log_id: str, status: int
) -> TikTokUnavailable:
    error = TikTokUnavailable(code, description, log_id, status)
    error.retry_after = wait
    return error


def error_parts(answer: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return code, text and log_id of any shape of error; code "" is no error.

    ``/v2/oauth/*`` writes a flat ``error``. Resource endpoints write an ``error``
    object, also on success, with the code ``ok``; or its keys without the object. The
    first API writes numbers under ``data``, and ``message: "error"`` beside it.
    """
    error, data = answer.get("error"), answer.get("data")
    if isinstance(error, dict):
        code, sources = _first_code(error), [error, answer]
    elif _code(error):
        code, sources = _code(error), [answer]
    else:
        code, sources = _first_code(answer), [answer]
        if not code and isinstance(data, dict) and "access_token" not in data:
            code, sources = _first_code(data), [data, answer]
    return code, _first_text(sources, _TEXT_FIELDS), _first_text(sources, _LOG_IDS)


def _first_code(fields: Mapping[str, Any]) -> str:
    found = (_code(fields[name]) for name in _CODES if name in fields)
    return next(filter(None, found), "")


def _code(value: object) -> str:
    """Return the code of an error as text; "" for the values that mean success."""
    if value is None or value is False or value in ("", "ok", 0, "0"):
        return ""
    if isinstance(value, str):
        return value
    return str(value) if type(value) is int else "unreadable"


def _first_text(sources: Iterable[Mapping[str, Any]], names: Sequence[str]) -> str:
    """Return the first text that a source has under one of `names`, or ""."""
    for fields in sources:
        for name in names:
            if isinstance(value := fields.get(name), str) and value:
                return value
    return ""


def retry_after_seconds(header: str, now: float | None) -> float | None:
    """Return how long a ``Retry-After`` asks to wait; None if it is missing or invalid.

    It holds seconds or a date (RFC 9110 section 10.2.3); a date in the past is 0. More
    than 300 seconds count as 300.

    Args:
        header: the value of the header, or "".
        now: seconds since 1970; None leaves dates unread.
    """
    if not header:
        return None
    if re.fullmatch(r"[0-9]+", header):
        return min(float(header), _LONGEST_WAIT)  # infinity from 310 digits on
    if now is None or not header.isascii() or len(header) > _LONGEST_DATE:
        return None
    from datetime import UTC, datetime
    from email.utils import parsedate_tz

    date = parsedate_tz(header)  # all three forms of RFC 9110 section 5.6.7
    if date is None or date[9]:  # not GMT, which all three require
        return None
    try:
        at = datetime(*date[:6], tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):  # the 25th hour, the year 0
        return None
    return min(max(at - now, 0.0), _LONGEST_WAIT)


def read_json_object(body: bytes | str) -> dict[str, Any] | None:
    """Return a JSON object; None if the body is anything else, or repeats a name.

    Parsers differ over which of two values under one name counts (RFC 8259 section 4),
    so an answer with both is refused.
    """
    try:
        text = body if isinstance(body, str) else body.decode()
        read = _DECODER.decode(text)
    except (ValueError, RecursionError):
        return None
    return read if isinstance(read, dict) else None


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(pairs)
    if len(read) < len(pairs):
        message = "a name twice"
        raise ValueError(message)
    return read


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and Infinity are not JSON


_DECODER = json.JSONDecoder(
    parse_constant=_refuse_constant, object_pairs_hook=_unique_names
)
