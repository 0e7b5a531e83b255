"""Built-in translations: gettext catalogs, each read when it is first needed.

The catalogs are made by ``make languages`` from the files of the translators, which are
in ``translations/`` of the source and not in the package.
"""

from __future__ import annotations

from collections.abc import Mapping

from tiktok_oauth_middleware._core.log import logger

from .accept_language import wider
from .english import ACTIONS, ENGLISH_TEXTS, NOTES, PROBLEM_TEXTS

ENGLISH = "en"
#: The tags of the built-in languages.
LANGUAGES = (
    ENGLISH,
    "es",
    "pt-BR",
    "fr",
    "de",
    "it",
    "id",
    "vi",
    "th",
    "tr",
    "ar",
    "ja",
    "ko",
    "ru",
    "pl",
    "zh-Hant",
    "zh-Hans",
)
_BY_LOWER_CASE = {tag.lower(): tag for tag in LANGUAGES}
#: Tags for which another built-in language is used: Portuguese of any country, Chinese
#: without a script or region, and Cantonese.
_STAND_INS = {
    "pt": "pt-BR",
    "zh": "zh-Hans",
    "yue": "zh-Hant",
    "yue-hans": "zh-Hans",
}
#: The contexts that distinguish a title and a button from a sentence with the same
#: English words.
TITLE, BUTTON = "title", "button"


def built_in_language(language_range: str) -> str | None:
    """Return the built-in language for a range; None if there is none.

    >>> built_in_language("EN-gb")
    'en'
    """
    if language_range in LANGUAGES:
        return language_range
    for each in wider(language_range.lower()):
        found = _BY_LOWER_CASE.get(each) or _STAND_INS.get(each)
        if found is not None:
            return found
    return None


_loaded: dict[str, Mapping[str, tuple[str, ...]]] = {ENGLISH: ENGLISH_TEXTS}


def translated(language: str) -> Mapping[str, tuple[str, ...]]:
    """Return the texts of one of `LANGUAGES`, by name.

    A file is read at the first call for a language; two threads may both read it.
    """
    texts = _loaded.get(language)
    if texts is None:
        texts = _loaded[language] = _load(language)
    return texts


def _load(language: str) -> Mapping[str, tuple[str, ...]]:
    """Read a catalog; English if it cannot be read.

    Tools that pack an app into one file leave out files that are not modules. The pages
    explain errors, and must not fail because a translation is missing.
    """
    from gettext import GNUTranslations
    from io import BytesIO
    from pkgutil import get_data
    from struct import error as unpack_error

    try:
        packed = get_data(__name__, f"catalogs/{language}.mo")
        catalog = GNUTranslations(BytesIO(packed or b""))
    except (OSError, ValueError, LookupError, unpack_error) as error:
        kind = type(error).__name__
        logger.error(
            "pages in %s are shown in English, since their catalog cannot be read: %s",
            language,
            kind,
        )
        return ENGLISH_TEXTS
    texts: dict[str, tuple[str, ...]] = {}
    for code, row in PROBLEM_TEXTS.items():
        title = catalog.pgettext(TITLE, row.title)
        texts[code] = (title, *map(catalog.gettext, row.paragraphs))
    for name, text in ACTIONS.items():
        texts[name] = (catalog.pgettext(BUTTON, text),)
    for note, text in NOTES.items():
        texts[note] = (catalog.gettext(text),)
    return texts
