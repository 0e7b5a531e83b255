"""One row for each option: its kind, bounds and meaning, written at its field.

`option` and `row` put the row into the metadata of a dataclass field. The checks,
`from_env`, the documentation and the ``check`` command read the rows and nothing else.
A field without a row stops the import, and a type checker refuses a row whose kind does
not match the field's type.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Generic, TypeVar, cast

from .endpoints import ADDRESSES, TikTokEndpoints

DAY = 86400

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind(Generic[T]):
    """A type of options: the values it accepts, and their form in a variable."""

    #: The required form of a value, for messages; ``{example}`` is that of the row.
    expected: str
    accepts: Callable[[object], bool]
    #: Parses a text from the environment; raises ValueError if it is invalid. None: an
    #: option of this kind has no variable of its own.
    parse: Callable[[str], T] | None
    #: What a number counts, in messages; None for other kinds.
    unit: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionRow:
    """All facts about one option, besides its name, type and default."""

    kind: Kind[Any]
    #: What the option does, as the documentation says it.
    meaning: str
    #: A valid value: the checks use it instead of one that is missing or of a wrong
    #: type, so that the other options are checked all the same.
    stand_in: Any
    #: An item that a list may hold.
    example: str = ""
    #: The bounds of a number, both included.
    least: float | None = None
    most: float | None = None
    #: The names of this option in other portals, providers and libraries.
    other_names: Sequence[str] = ()
    #: What to do if its variable is missing, where it is required.
    if_missing: str = ""

    def __post_init__(self) -> None:
        """Refuse a number without bounds and bounds without a number."""
        is_number = self.kind.unit is not None
        if [self.least is not None, self.most is not None] != [is_number, is_number]:
            message = f"{self.meaning!r}: a number has two bounds, nothing else has any"
            raise TypeError(message)

    def wrong_type(self, value: object) -> str | None:
        """Return what the option must be, if the type of `value` is wrong."""
        if self.kind.accepts(value):
            return None
        return self.kind.expected.format(example=self.example)

    def out_of_bounds(self, value: float) -> str | None:
        """Return the bounds of the option, if the number `value` is not within them."""
        if self.least is None or self.most is None or self.least <= value <= self.most:
            return None
        return f"{self.least} to {self.most}{self.kind.unit}"


def row(kind: Kind[Any], meaning: str, **more: Any) -> Mapping[str, OptionRow]:
    """Return the metadata of a required option's field; `more` are those of its row."""
    return {"row": OptionRow(kind=kind, meaning=meaning, **more)}


def option(
    kind: Kind[T], meaning: str, *, default: T, show: bool = True, **more: Any
) -> T:
    """Return the field of an option that has a default.

    Args:
        kind: of the option.
        meaning: what the option does.
        default: its value if none is given.
        show: whether a repr of the settings shows the value.
        more: further fields of `OptionRow`.
    """
    metadata = row(kind, meaning, stand_in=default, **more)
    # To a type checker a field is its default, as with `dataclasses.field`.
    return field(default=default, repr=show, metadata=metadata)


def rows_of(cls: type) -> Mapping[str, OptionRow]:
    """Return the rows of a class of settings by the names of the options, in order.

    Raises:
        TypeError: a field has no row, so nothing would check its value.
    """
    found = {each.name: each.metadata.get("row") for each in fields(cls)}
    bare = [name for name, value in found.items() if not isinstance(value, OptionRow)]
    if bare:
        message = f"{cls.__name__}.{bare[0]} has no row; make its field with option()"
        raise TypeError(message)
    return cast("Mapping[str, OptionRow]", found)


def required_options(cls: type) -> Sequence[str]:
    """Return the names of the options that have no default, in order."""
    return [
        each.name
        for each in fields(cls)
        if each.default is MISSING and each.default_factory is MISSING
    ]


def meant_option(name: str, cls: type) -> str | None:
    """Return the option that a name which is none seems to mean, or None."""
    rows = rows_of(cls)
    for option_name, each in rows.items():
        if name.upper() in each.other_names:
            return option_name
    near = difflib.get_close_matches(name.lower(), rows, n=1, cutoff=0.8)
    return near[0] if near else None


# --- kinds -------------------------------------------------------------------------


def _is_list(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(i, str) for i in value)


def _parse_list(text: str) -> Sequence[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _parse_seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        message = "is not a number of seconds"
        raise ValueError(message) from None


def _parse_count(text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text.strip()):
        message = "is not a whole number"
        raise ValueError(message)
    return int(text)


_BOOLEANS = {
    **dict.fromkeys(("true", "1", "yes"), True),
    **dict.fromkeys(("false", "0", "no"), False),
}


def _parse_flag(text: str) -> bool:
    if text.lower() not in _BOOLEANS:
        message = "is neither true nor false"
        raise ValueError(message)
    return _BOOLEANS[text.lower()]


TEXT: Kind[str] = Kind(
    expected="a string", accepts=lambda value: isinstance(value, str), parse=str
)
OPTIONAL_TEXT: Kind[str | None] = Kind(
    expected="a string or None",
    accepts=lambda value: value is None or isinstance(value, str),
    parse=lambda text: text or None,
)
LIST: Kind[Sequence[str]] = Kind(
    expected='a list of strings, such as ["{example}"]',
    accepts=_is_list,
    parse=_parse_list,
)
# True and False are numbers in Python, but not durations.
SECONDS: Kind[float] = Kind(
    expected="a number of seconds",
    accepts=lambda value: type(value) in (int, float),
    parse=_parse_seconds,
    unit=" seconds",
)
COUNT: Kind[int] = Kind(
    expected="a whole number",
    accepts=lambda value: type(value) is int,
    parse=_parse_count,
    unit="",
)
FLAG: Kind[bool] = Kind(
    expected="True or False",
    accepts=lambda value: isinstance(value, bool),
    parse=_parse_flag,
)
ENDPOINTS: Kind[TikTokEndpoints] = Kind(
    expected="a TikTokEndpoints of strings",
    accepts=lambda value: all(
        isinstance(getattr(value, name, None), str) for name in ADDRESSES
    ),
    parse=None,
)
