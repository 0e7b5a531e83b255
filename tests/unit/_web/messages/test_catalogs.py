"""The translators' files: complete, current, and consistent with the English texts."""

from __future__ import annotations

import re
import unicodedata

import pytest

pytest.importorskip("babel", reason="babel is not installed")

from tiktok_oauth_middleware._web.messages import LANGUAGES
from tiktok_oauth_middleware._web.messages.messages import is_right_to_left
from translations import __main__ as tool

TRANSLATED = sorted(set(LANGUAGES) - {"en"})
RIGHT_TO_LEFT = ["ar"]


@pytest.fixture(params=TRANSLATED)
def language(request):
    return request.param


@pytest.fixture
def catalog(language):
    return tool.read(tool.SOURCES / f"{language}.po")


@pytest.fixture
def pairs(catalog):
    """Return each English text with its translation."""
    found = [(message.id, message.string) for message in catalog if message.id]
    assert len(found) > 90
    return found


def test_files():
    """Exactly the built-in languages have a translator's file and a catalog."""
    assert sorted(path.stem for path in tool.SOURCES.glob("*.po")) == TRANSLATED
    assert sorted(path.name for path in tool.CATALOGS.iterdir()) == [
        f"{language}.mo" for language in TRANSLATED
    ]
    locales = {language.replace("-", "_") for language in TRANSLATED}
    locales = locales - {"pt_BR"} | {"pt"}
    assert {path.name for path in (tool.DJANGO / "locale").iterdir()} == locales


def test_no_text_is_missing_or_stale(catalog):
    """The file has exactly the current texts, which `make languages` writes."""
    ours = [(m.context, m.id) for m in tool.template() if m.id]
    assert [(m.context, m.id) for m in catalog if m.id] == ours
    assert not catalog.obsolete


def test_every_text_is_translated(catalog):
    """No text is left without a translation, or marked fuzzy."""
    assert [m.id for m in catalog if m.id and (m.fuzzy or not m.string)] == []
    assert not catalog.fuzzy


def test_current(language, catalog):
    """The file and the package's catalogs equal the output of `make languages`."""
    path = tool.SOURCES / f"{language}.po"
    assert path.read_bytes() == tool.po(tool.updated(catalog))
    for each, content in tool.catalogs(language, catalog).items():
        assert each.read_bytes() == content, each


def test_labels_of_the_admin_are_found():
    """The texts of Django's admin are collected from each module."""
    labels = [text for text, _ in tool.admin_labels()]
    assert {"TikTok login", "TikTok account", "token ends", "Refreshed: {}"} <= {
        *labels
    }
    used = "".join(
        path.read_text(encoding="utf-8") for path in tool.DJANGO.rglob("*.py")
    )
    assert len(labels) == len(re.findall(r"\bpgettext(?:_lazy)?\(", used))


def test_values_stay(pairs):
    """A translation has the placeholder {} exactly as often as the English text."""
    for english, translation in pairs:
        assert translation.count("{}") == english.count("{}"), translation
        assert not re.search(r"[{}]", translation.replace("{}", "")), translation


def test_name_stays(pairs):
    """The name TikTok stays in translations, and is not transliterated."""
    for english, translation in pairs:
        if "TikTok" in english:
            assert "TikTok" in translation, english
        found = re.findall("tiktok|tik tok|tik-tok", translation, re.IGNORECASE)
        assert {*found} <= {"TikTok"}, translation


def test_plain(pairs):
    """Translations have no markup, line breaks, control characters or outer spaces."""
    for _, translation in pairs:
        assert not re.search(r"[<>&]", translation), translation
        kinds = {unicodedata.category(letter) for letter in translation}
        assert not kinds & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}, translation
        assert translation == translation.strip()
        assert "  " not in translation


def test_no_numbers(pairs):
    """No text contains a number, so none needs a plural form."""
    for english, translation in pairs:
        assert not re.search(r"\d", english + translation), translation


def test_ends(pairs):
    """A translation ends like the English text: with a full stop, a question mark, or
    neither.
    """
    question, stop = "?؟？", ".。"
    for english, translation in pairs:
        last = translation[-1]
        assert (last in question) == (english[-1] == "?"), translation
        if english[-1] != ".":
            assert last not in stop, translation


def test_direction(language, pairs):
    """A right-to-left text does not begin with a left-to-right letter.

    Buttons on the app's pages read in the direction of their first letter.
    """
    for _, translation in pairs:
        kinds = [unicodedata.bidirectional(letter) for letter in translation]
        assert is_right_to_left(translation) is (language in RIGHT_TO_LEFT)
        first = next(kind for kind in kinds if kind in ("L", "R", "AL"))
        assert (first == "AL") is (language in RIGHT_TO_LEFT), translation


def test_titles_and_buttons_differ(catalog):
    """Different titles have different translations, and so have different buttons."""
    for context in (tool.TITLE, tool.BUTTON):
        texts = [m.string for m in catalog if m.context == context]
        assert len({*texts}) == len(texts)


def test_changes_are_found(tmp_path):
    """A changed text is marked, a new one is empty, a removed one is deleted."""
    catalog = tool.read(tool.SOURCES / "de.po")
    before = tool.template()
    for message in [*catalog]:
        if message.id == "Back to the site":
            catalog.delete(message.id, message.context)
            catalog.add("Back to the old site", "Zurück", context=message.context)
        if message.id == "It does not answer this kind of request.":
            catalog.delete(message.id)
    catalog.add("A text that is gone.", "Ein Text, den es nicht mehr gibt.")
    updated = tool.updated(catalog)
    assert len(updated) == len(before)
    assert updated.get("Back to the site", tool.BUTTON).fuzzy
    assert updated.get("A text that is gone.") is None
    path = tmp_path / "de.po"
    path.write_bytes(tool.po(updated))
    again = tool.read(path)
    assert [m.id for m in again if m.id and not m.string] == [
        "It does not answer this kind of request."
    ]
    assert again.get("Back to the site", tool.BUTTON).fuzzy
    assert "Zurück" not in tool.mo(again).decode("utf-8", "replace").split("\0")
