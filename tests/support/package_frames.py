"""Frames of the package, and the texts that a reporter would print of them."""

from __future__ import annotations

import dataclasses
import logging
import sys
import types
from collections import deque

from tiktok_oauth_middleware._core.http import Request
from tiktok_oauth_middleware._core.secret import Secret
from tiktok_oauth_middleware.auth import TikTokAuth

PACKAGE = "/tiktok_oauth_middleware/"
#: Objects that an app gets on purpose, or that exist as long as the app.
SKIPPED_TYPES = (TikTokAuth, logging.Logger, logging.Handler, types.ModuleType, type)
#: The server's objects, and their stand-ins.
SKIPPED_NAMES = {"scope", "environ", "inner", "self", "cls", "app", "settings"}
#: Shorter parts of a secret occur in other texts by chance.
SHORTEST = 12
#: Objects that are walked from one value.
MOST = 4000


def frames_of_ours():
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if PACKAGE in name and "/testing/" not in name:
            yield frame
        frame = frame.f_back


def parts_of(value):
    """Return the parts of a value: items, fields, slots, closures, bound objects."""
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    if isinstance(value, list | tuple | set | frozenset | deque):
        return [*value]
    if isinstance(value, types.FunctionType):
        cells = [c.cell_contents for c in value.__closure__ or () if _is_full(c)]
        return [*cells, *(value.__defaults__ or ())]
    if isinstance(value, types.MethodType):
        return []  # bound to an object of the app's lifetime, or of the request
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, f.name, None) for f in dataclasses.fields(value)]
    if PACKAGE in str(getattr(sys.modules.get(type(value).__module__), "__file__", "")):
        names = [n for k in type(value).__mro__ for n in getattr(k, "__slots__", ())]
        return [getattr(value, n, None) for n in names if not n.startswith("__")]
    return []


def _is_full(cell):
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


def texts_in(value, seen, *, secrets):
    """Return the texts that can be reached from a value, as reporters and attackers do."""
    waiting, count = [value], 0
    while waiting and count < MOST:
        current = waiting.pop()
        count += 1
        if isinstance(current, SKIPPED_TYPES) or id(current) in seen:
            continue
        if isinstance(current, Secret):
            if secrets:
                yield current.reveal()
        elif isinstance(current, str):
            if len(current) >= SHORTEST:
                yield current
        elif isinstance(current, bytes | bytearray | memoryview):
            if len(current) >= SHORTEST:
                yield bytes(current).decode("latin-1")
        else:
            seen.add(id(current))
            waiting += parts_of(current)


class Looker:
    """Records, inside the app's code, the texts in the frames of the package."""

    def __init__(self):
        self.notes = []
        self.places = set()

    def look(self, where):
        # A line may be logged in the middle of a flow, which needs its secrets: they
        # are Secret objects there, which reporters do not print.
        strict = where != "log"
        for frame in frames_of_ours():
            self.places.add(where)
            place = f"{where}: {frame.f_code.co_name} of {frame.f_globals['__name__']}"
            for name, value in [*frame.f_locals.items()]:
                if name in SKIPPED_NAMES:
                    continue
                if where == "log" and isinstance(value, Request):
                    continue  # it prints nothing
                for text in texts_in(value, set(), secrets=strict):
                    self.notes.append((place, name, text))

    def found(self, secrets):
        long = [secret for secret in secrets if len(secret) >= SHORTEST]
        return sorted(
            {
                (place, name)
                for place, name, text in self.notes
                for secret in long
                if secret in text
            }
        )
