"""Built-in languages: their choice, and files that cannot be read."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import tiktok_oauth_middleware
from tiktok_oauth_middleware._web.messages import ENGLISH_TEXTS, LANGUAGES
from tiktok_oauth_middleware._web.messages.translations import (
    built_in_language,
    translated,
)

PACKAGE = Path(tiktok_oauth_middleware.__file__).parent
#: Prints a text in German, and then whether gettext was needed for a text in English.
PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from tiktok_oauth_middleware._web.messages import Messages
import tiktok_oauth_middleware
assert tiktok_oauth_middleware.__file__.startswith(sys.argv[1])
assert Messages().texts("en", "back") == ("Back to the site",)
assert "gettext" not in sys.modules, "loaded for English"
print(*Messages().texts("de", "back"), flush=True)
"""


def texts_in(folder):
    """Return what the program prints with the package in a folder or zip file."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip(), done.stderr


@pytest.mark.parametrize(
    ("asked", "language"),
    [
        ("en", "en"),
        ("en-GB", "en"),
        ("de", "de"),
        ("DE-at", "de"),
        ("ar-EG", "ar"),
        ("fr-CA-x-any", "fr"),
        ("pt", "pt-BR"),
        ("pt-PT", "pt-BR"),
        ("PT-br", "pt-BR"),
        ("es-419", "es"),
        ("in-ID", "id"),
        ("zh", "zh-Hans"),
        ("zh-CN", "zh-Hans"),
        ("zh-SG", "zh-Hans"),
        ("zh-Hans", "zh-Hans"),
        ("zh-Hans-HK", "zh-Hans"),
        ("zh-TW", "zh-Hant"),
        ("zh-hk", "zh-Hant"),
        ("zh-MO", "zh-Hant"),
        ("zh-Hant", "zh-Hant"),
        ("ZH-HANT-MY", "zh-Hant"),
        ("zh-TW-x-any", "zh-Hant"),
        ("yue-HK", "zh-Hant"),
        ("yue-Hans-CN", "zh-Hans"),
        ("nl", None),
        ("ptx", None),
        ("z", None),
        ("d", None),
        ("", None),
    ],
)
def test_built_in_language(asked, language):
    """A range in any case selects its language or a wider one."""
    assert built_in_language(asked) == language


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text(language):
    """Each built-in language has every text, with as many paragraphs as in English."""
    texts = translated(language)
    assert {name: len(text) for name, text in texts.items()} == {
        name: len(text) for name, text in ENGLISH_TEXTS.items()
    }


def test_read_once():
    """A catalog is read once, at its first use; English needs none."""
    assert translated("de") is translated("de")
    assert translated("en") is ENGLISH_TEXTS


def test_from_a_zip_file(tmp_path):
    """The catalogs are also read from a package in a zip file."""
    packed = tmp_path / "app.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in PACKAGE.rglob("*"):
            if path.suffix in (".py", ".mo"):
                archive.write(path, path.relative_to(PACKAGE.parent))
    assert texts_in(packed) == ("Zurück zur Website", "")


@pytest.mark.parametrize(
    "damage",
    [None, b"", b"no catalog", b"\xde\x12\x04\x95" * 9],
    ids=["missing", "empty", "another file", "cut off"],
)
def test_without_a_catalog(tmp_path, damage):
    """If a catalog is missing or damaged, texts are English, and the log says so once."""
    copy = tmp_path / "tiktok_oauth_middleware"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    catalog = copy / "_web" / "messages" / "catalogs" / "de.mo"
    if damage is None:
        catalog.unlink()
    else:
        catalog.write_bytes(damage)
    text, log = texts_in(tmp_path)
    assert text == "Back to the site"
    assert log.count("pages in de are shown in English, since their catalog") == 1


def test_texts_differ():
    """Long texts differ between all languages, so none has another's by mistake."""
    texts = [translated(language)["state_mismatch"][1] for language in LANGUAGES]
    assert len({*texts}) == len(LANGUAGES)
