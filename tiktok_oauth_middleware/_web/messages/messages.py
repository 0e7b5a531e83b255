"""Choice of texts by language and name: an app's own, above the built-in ones.

An app gives texts by language and name. A text that it leaves out is the built-in one
of that language, or else English. A value replaces ``{}`` unchanged: it is never
formatted, so braces in it have no meaning.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence

from tiktok_oauth_middleware.errors import ConfigurationError

from .accept_language import LanguageRanges, wider
from .english import ENGLISH_TEXTS, NOTES, PROBLEM_TEXTS, NoteName
from .translations import ENGLISH, LANGUAGES, built_in_language, translated

#: An app's texts: language tag to name to text. The text of a problem is its title and
#: paragraphs, every other text is one string.
Texts = Mapping[str, Mapping[str, str | Sequence[str]]]

#: A language tag (RFC 5646); only its shape is checked.
_TAG = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")
#: First strong isolate, and the end of it (Unicode Standard Annex 9, section 2.4).
_ISOLATE, _END_ISOLATE = "\u2068", "\u2069"


class Messages:
    """The texts of the pages in every available language."""

    def __init__(self, texts: Texts | None = None) -> None:
        """Put an app's texts over the built-in ones.

        Raises:
            ConfigurationError: a name is unknown, a text is empty or of a wrong type,
                or a sentence has no place for its value.
        """
        given = {} if texts is None else texts
        faults = [*_faults(given)]
        if faults:
            raise ConfigurationError(faults)
        self._of_app: dict[str, dict[str, tuple[str, ...]]] = {}
        for tag, names in given.items():
            of_tag = {name: _as_tuple(value) for name, value in names.items()}
            self._of_app[tag.lower()] = of_tag
        #: Tags as the app spells them, by their lower-case form.
        self._tags = {tag.lower(): tag for tag in given}

    def language(self, name: str, ranges: LanguageRanges) -> str:
        """Return the language of a text: of the page about a problem, or of a label.

        If no available language matches the reader's, it is the app's first, or
        English.

        Args:
            name: of the text; the code of a problem.
            ranges: what the reader prefers.
        """
        in_app = [tag for tag, names in self._of_app.items() if name in names]
        for each in ranges.preferred:
            for tag in (*_fitting(each, in_app), *self._built_in(each)):
                if not ranges.excludes(tag):
                    return self._tags.get(tag, tag)
        first = next(iter(self._of_app), ENGLISH)
        defaults = [first] if name in self._of_app.get(first, {}) else []
        defaults += [*self._built_in(first), ENGLISH]
        is_unwanted = "*" in ranges.excluded
        wanted = (
            tag
            for tag in (*defaults, *LANGUAGES)
            if not (is_unwanted or ranges.excludes(tag))
        )
        tag = next(wanted, defaults[0])
        return self._tags.get(tag, tag)

    def _built_in(self, language_range: str) -> Iterator[str]:
        """Yield the built-in language for a range, if any, by the app's tag for it."""
        found = built_in_language(language_range)
        if found is not None:
            of_app = (
                tag
                for tag in wider(language_range.lower())
                if tag in self._of_app and built_in_language(tag) == found
            )
            yield next(of_app, found)

    def texts(self, language: str, name: str) -> tuple[str, ...]:
        """Return the text of a name: in this language, a wider one, or English."""
        built_in = built_in_language(language)
        for tag in wider(language.lower()):
            # Not a wider tag for which another language is built in: Chinese without a
            # script is Simplified, and a page in Traditional Chinese has none of it.
            if name in self._of_app.get(tag, ()) and built_in_language(tag) == built_in:
                return self._of_app[tag][name]
        if built_in is not None:
            return translated(built_in)[name]
        return self._of_app.get(ENGLISH, {}).get(name) or ENGLISH_TEXTS[name]

    def sentence(self, language: str, name: NoteName, value: str) -> str:
        """Return a sentence with its value in it."""
        text = self.texts(language, name)[0]
        if is_right_to_left(text):
            # Otherwise the slash of "/videos" would be shown at its end.
            value = f"{_ISOLATE}{value}{_END_ISOLATE}"
        return text.replace("{}", value)


def is_right_to_left(text: str) -> bool:
    """Whether a text has letters of a script that is written from right to left."""
    return not text.isascii() and any(
        unicodedata.bidirectional(letter) in ("R", "AL") for letter in text
    )


def _fitting(wanted: str, available: Iterable[str]) -> Iterator[str]:
    """Yield the languages that fit a range, the best first (RFC 4647 section 3.4).

    If none fits, a narrower language is better than another language.
    """
    yield from (tag for tag in wider(wanted) if tag in available)
    yield from (tag for tag in available if tag.startswith(wanted + "-"))


def _as_tuple(value: object) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)  # type: ignore[arg-type]


def _faults(texts: object) -> Iterator[str]:
    """Yield what is wrong with an app's texts, one sentence each."""
    if not isinstance(texts, Mapping):
        yield 'texts must be a mapping by language, such as {"de": {"back": "Zurück"}}'
        return
    for tag, names in texts.items():
        if not isinstance(tag, str) or not _TAG.fullmatch(tag):
            yield f"texts holds {tag!r}; a language is a tag such as de or pt-BR"
        elif not isinstance(names, Mapping):
            yield f"texts[{tag!r}] must be a mapping from names to texts"
        else:
            for name, value in names.items():
                fault = _fault_of(name, value)
                if fault:
                    yield f"texts[{tag!r}][{name!r}] {fault}"


def _fault_of(name: object, value: object) -> str | None:
    """Return what is wrong with one text, or None."""
    if name not in ENGLISH_TEXTS:
        return "is not a text of the pages"
    is_list = isinstance(value, list | tuple) and all(isinstance(t, str) for t in value)
    if not (isinstance(value, str) or is_list):
        return "must be a string, or a list of a title and paragraphs"
    texts = _as_tuple(value)
    if not texts or not all(text.strip() for text in texts):
        return "is empty"
    if name not in PROBLEM_TEXTS and len(texts) != 1:
        return "must be one string"
    if name in NOTES and texts[0].count("{}") != 1:
        return "must contain {} once, where its value goes"
    return None
