"""Texts of the pages and of the button: built in, translated, and the app's own.

`english` has the built-in texts, `catalogs/` their translations, which `translations`
reads when a language is first needed. `accept_language` says which languages a reader
prefers, and `Messages` chooses among them, with the texts of an app above the built-in
ones.
"""

from __future__ import annotations

from .accept_language import NO_PREFERENCE, LanguageRanges
from .english import (
    ACTIONS,
    ENGLISH_TEXTS,
    NOTES,
    PROBLEM_TEXTS,
    ActionName,
    NoteName,
    ProblemCode,
)
from .messages import Messages, Texts
from .translations import ENGLISH, LANGUAGES

__all__ = [
    "ACTIONS",
    "ENGLISH",
    "ENGLISH_TEXTS",
    "LANGUAGES",
    "NOTES",
    "NO_PREFERENCE",
    "PROBLEM_TEXTS",
    "ActionName",
    "LanguageRanges",
    "Messages",
    "NoteName",
    "ProblemCode",
    "Texts",
]
