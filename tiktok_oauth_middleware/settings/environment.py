"""Settings from environment variables: ``TIKTOK_`` and an option's name in capitals.

A variable that looks like a misspelt option is an error, because nothing else would
report that it has no effect.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tiktok_oauth_middleware.errors import ConfigurationError

from .endpoints import ADDRESSES, TikTokEndpoints
from .rows import FLAG, LIST, OPTIONAL_TEXT, TEXT, OptionRow, required_options, rows_of
from .validate import QUOTES

if TYPE_CHECKING:
    from .options import TikTokSettings

_PREFIX = "TIKTOK_"
#: Names that TikTok's business and shop portals use.
_OTHER_PORTALS = ("APP_ID", "APP_KEY", "APP_SECRET")
#: Options whose own check reports a quote.
_REPORT_QUOTES = ("client_key", "client_secret", "secret_keys")
#: Options whose own check reports a blank at an end.
_REPORT_BLANKS = ("client_key", "client_secret", "redirect_uri")


def variables_of(cls: type) -> Mapping[str, str]:
    """Return the variables of the options of `cls`, each with its option's name.

    Each address counts as an option here, such as ``endpoints.token``.
    """
    found = {}
    for name, each in rows_of(cls).items():
        if each.kind.parse is not None:
            found[f"{_PREFIX}{name.upper()}"] = name
            continue
        for address in ADDRESSES:
            found[f"{_PREFIX}{name}_{address}".upper()] = f"{name}.{address}"
    return found


def read_environment(
    cls: type[TikTokSettings], environ: Mapping[str, str]
) -> TikTokSettings | ConfigurationError:
    """Return the settings in the environment, or what is wrong with them.

    The error is not raised here, because reporters of exceptions record the locals of
    every frame: here, the secrets.
    """
    rows, variables = rows_of(cls), variables_of(cls)
    faults = [*_misspelt(environ, variables)]
    given: dict[str, Any] = {}
    addresses: dict[str, str] = {}
    for variable, name in variables.items():
        if variable not in environ:
            continue
        parse = rows[name].kind.parse if name in rows else None
        if parse is None:
            addresses[name.partition(".")[2]] = environ[variable]
            continue
        try:
            given[name] = parse(environ[variable])
        except ValueError as error:
            faults.append(f"{variable} {error}")
    faults += _quoted(environ, variables)
    faults += _padded(environ, rows, variables)
    faults += _bracketed(environ, rows, variables)
    faults += _in_files(environ, variables)
    for name in required_options(cls):
        if f"{_PREFIX}{name.upper()}" not in environ:
            faults.append(_missing(name, rows[name], environ))
            given[name] = rows[name].stand_in
    settings = None
    try:
        settings = cls(**given, endpoints=TikTokEndpoints(**addresses))
    except ConfigurationError as error:
        faults += error.faults
    return settings if settings and not faults else ConfigurationError(faults)


def _missing(name: str, row: OptionRow, environ: Mapping[str, str]) -> str:
    """Report that an option is not set, and what to do, or which variable is meant."""
    variable = f"{_PREFIX}{name.upper()}"
    others = (other for other in row.other_names if f"{_PREFIX}{other}" in environ)
    other = next(others, None)
    if other is None:
        return f"{variable} is not set; {row.if_missing}"
    portal = (
        ", and is what TikTok's business and shop portals give: this login takes the"
        " client key and secret of developers.tiktok.com"
        if other in _OTHER_PORTALS
        else ""
    )
    return f"{variable} is not set; {_PREFIX}{other} is, which is not an option{portal}"


def _quoted(environ: Mapping[str, str], variables: Mapping[str, str]) -> Iterator[str]:
    """Name variables whose value is in quotes."""
    for variable, name in variables.items():
        value = environ.get(variable, "")
        if value[:1] in QUOTES and name not in _REPORT_QUOTES:
            yield (
                f"{variable} begins with a quote, which is not part of a value; write"
                " it without"
            )


def _padded(
    environ: Mapping[str, str],
    rows: Mapping[str, OptionRow],
    variables: Mapping[str, str],
) -> Iterator[str]:
    """Name variables whose value has a blank at an end, as lines of Windows files have.

    Lists and numbers are read without it, and some options have a check of their own.
    """
    for variable, name in variables.items():
        value = environ.get(variable, "")
        kind = rows[name].kind if name in rows else TEXT
        is_text = kind in (TEXT, OPTIONAL_TEXT, FLAG)
        if is_text and name not in _REPORT_BLANKS and value != value.strip():
            yield (
                f"{variable} begins or ends with a space or line break; write it"
                " without"
            )


def _bracketed(
    environ: Mapping[str, str],
    rows: Mapping[str, OptionRow],
    variables: Mapping[str, str],
) -> Iterator[str]:
    """Name variables whose list is written in brackets, as in JSON.

    The brackets and quotes would become parts of the items: of keys, for example.
    """
    for variable, name in variables.items():
        value = environ.get(variable, "")
        is_list = name in rows and rows[name].kind is LIST
        if is_list and re.fullmatch(
            r"""\s*\[\s*["'].*["']\s*\]\s*""", value, re.DOTALL
        ):
            yield (
                f"{variable} is a list in brackets; write its items with commas between"
                " them, without brackets and quotes"
            )


def _in_files(environ: Mapping[str, str], variables: Iterable[str]) -> Iterator[str]:
    """Name variables that say in which file a value is, as other programs take them.

    A variable that has its value beside it is that of a script that read the file.
    """
    for variable in variables:
        if f"{variable}_FILE" in environ and variable not in environ:
            yield (
                f"{variable}_FILE is not an option: files are not read; read the file"
                f" into {variable}, or into the option in your code, without the line"
                " break at its end"
            )


def _misspelt(environ: Mapping[str, str], variables: Iterable[str]) -> Iterator[str]:
    """Name variables that look like an option's and are not."""
    known = [*variables]
    for variable in sorted(environ):
        if variable.startswith(_PREFIX) and variable not in known:
            near = difflib.get_close_matches(variable, known, n=1, cutoff=0.9)
            if near:
                yield f"{variable} is not an option; {near[0]} is"
