"""A connection without its query, for an app's code that runs before a code is used.

The query of a callback holds TikTok's code and the login's state. Servers, proxies and
adapters repeat it elsewhere: in ``REQUEST_URI``, in a header such as
``X-Original-URL``, in the event of a serverless platform.

A text that contains the code or the state becomes empty. Nothing is cut out of the
middle of a text, because a client writes the query and could then choose which part of
a cookie is left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

#: Names whose values occur nowhere in the copy.
_SECRET = (b"code", b"state")
#: A shorter value is neither a code nor a state of TikTok's, and may occur anywhere by
#: chance.
_SHORTEST_VALUE = 8
#: The most values that are searched for: one code and one state, as sent and decoded. A
#: callback that repeats either is refused before any of the app's code runs, and a
#: client could otherwise make every text be searched thousands of times.
_MOST_VALUES = 4
#: How deep dicts and lists are searched: an event of AWS holds the query three deep.
_DEEPEST = 6


def without_query(connection: Mapping[str, Any], query: bytes) -> dict[str, Any]:
    """Return a copy of a scope or environ without its query, code and state.

    Objects other than texts, dicts, lists and tuples are the same in the copy, so that
    a session that the app changes is the one that its middleware saves.

    Args:
        connection: the scope or environ.
        query: as the server gave it.
    """
    if not query:
        return dict(connection)
    cut, secrets = b"?" + query, _secrets(query)
    copied = {
        name: _cleaned(value, cut, secrets, _DEEPEST)
        for name, value in connection.items()
    }
    for name, value in (("query_string", b""), ("QUERY_STRING", "")):
        if name in copied:
            copied[name] = value
    return copied


def _secrets(query: bytes) -> list[bytes]:
    """Return the code and the state in a query, as they were sent and decoded."""
    found = set()
    for pair in query.split(b"&"):
        name, _, value = pair.partition(b"=")
        if unquote_to_bytes(name.replace(b"+", b" ")) in _SECRET:
            found |= {value, unquote_to_bytes(value.replace(b"+", b" "))}
            if len(found) >= _MOST_VALUES:
                break
    return [value for value in found if len(value) >= _SHORTEST_VALUE]


def _cleaned(value: Any, cut: bytes, secrets: Sequence[bytes], depth: int) -> Any:
    """Return a value without query and secrets; the same object if it had none."""
    kind = type(value)
    if kind is bytes:
        value = value.partition(cut)[0] if cut in value else value
        return b"" if any(secret in value for secret in secrets) else value
    if kind is str:
        raw = value.encode("utf-8", "surrogatepass")
        cleaned = _cleaned(raw, cut, secrets, depth)
        return value if cleaned is raw else cleaned.decode("utf-8", "surrogatepass")
    if depth and kind in (list, tuple):
        items = [_cleaned(item, cut, secrets, depth - 1) for item in value]
        if any(new is not old for new, old in zip(items, value, strict=True)):
            return kind(items)
    elif depth and kind is dict:
        pairs = {n: _cleaned(v, cut, secrets, depth - 1) for n, v in value.items()}
        if any(pairs[name] is not value[name] for name in value):
            return pairs
    return value
