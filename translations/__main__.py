"""Update the translators' files, and compile the package's catalogs from them.

    make languages                   after a text or a translation has changed
    make languages ARGS="--add nl"   an empty file for a new language

The texts of pages are in `tiktok_oauth_middleware/_web/messages/english.py`; labels of
Django's admin are in calls of `pgettext` and `pgettext_lazy`. Afterwards a new text has
no translation, a changed one is marked fuzzy with its old translation beside it, and a
removed one is deleted. A test fails until each is translated and no longer marked.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from functools import cache
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_file
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

import tiktok_oauth_middleware
from tiktok_oauth_middleware._web.messages import translations
from tiktok_oauth_middleware._web.messages.english import ACTIONS, NOTES, PROBLEM_TEXTS
from tiktok_oauth_middleware._web.messages.translations import BUTTON, TITLE

SOURCES = Path(__file__).parent
CATALOGS = Path(translations.__file__).parent / "catalogs"
DJANGO = Path(tiktok_oauth_middleware.__file__).parent / "django"
#: The context of labels in Django's admin, where a project's own texts are, too.
ADMIN = "TikTok"
#: The folder in which Django looks for every Portuguese; our pages use one catalog,
#: too.
FOLDERS = {"pt_BR": "pt"}
PROJECT = "tiktok-oauth-middleware"
#: The meaning of {} in each sentence.
VALUES = {
    "reference": "a short code; the sentence stands alone at the foot of a page",
    "missing": "names of permissions, with commas: video.list, user.info.stats",
    "address": "a URL, such as https://app.example.com",
    "leads_to": "a path of the site, such as /videos; 'Trying again' is the link above",
    "begins_at": "a path of the site, such as /",
    "tiktok_sent": "a code of TikTok's, such as access_denied",
    "tiktok_reference": "a long code of TikTok's",
}
HEADER = f"""\
# {{language}} texts of {PROJECT}.
# "TikTok" is a name, and stays as it is. Texts are plain: no HTML.
#"""


def template() -> Catalog:
    """Return the texts to translate, each with a comment about its place."""
    made = Catalog(project=PROJECT, charset="utf-8", fuzzy=False)

    def add(text: str, where: str, context: str | None = None) -> None:
        made.add(text, context=context, auto_comments=[where])

    for code, row in PROBLEM_TEXTS.items():
        add(row.title, f"Page {code} ({row.status}): title", TITLE)
        for number, paragraph in enumerate(row.paragraphs, 1):
            add(paragraph, f"Page {code} ({row.status}): paragraph {number}")
    for name, label in ACTIONS.items():
        add(label, f"Link or button {name}", BUTTON)
    for name, sentence in NOTES.items():
        if sentence != "{}":  # an app's text, which is not translated
            add(sentence, f"Sentence; {{}} is {VALUES[name]}")
    for text, comments in admin_labels():
        add(text, ": ".join(["Django's admin", *comments]), ADMIN)
    return made


@cache
def admin_labels() -> tuple[tuple[str, list[str]], ...]:
    """Return each label of Django's admin, with the comment above it."""
    return tuple(_admin_labels())


def _admin_labels() -> Iterator[tuple[str, list[str]]]:
    words = {"pgettext": ((1, "c"), 2), "pgettext_lazy": ((1, "c"), 2)}
    for path in sorted(DJANGO.rglob("*.py")):
        found = extract_from_file(
            "python", path, words, ["Translators:"], strip_comment_tags=True
        )
        for _, text, comments, context in found:
            if context == ADMIN:
                yield str(text), comments


def read(path: Path) -> Catalog:
    """Return a translator's file."""
    with path.open("rb") as file:
        return read_po(file, locale=path.stem.replace("-", "_"), abort_invalid=True)


def updated(catalog: Catalog) -> Catalog:
    """Return a translator's file with the current texts."""
    header = catalog.header_comment
    catalog.update(template())
    catalog.header_comment = header
    catalog.obsolete.clear()
    return catalog


def po(catalog: Catalog) -> bytes:
    """Return a translator's file as bytes, without a date."""
    file = BytesIO()
    write_po(file, catalog, include_previous=True, width=80)
    unwanted = (b'"POT-Creation-Date', b'"Generated-By', b'"Report-Msgid-Bugs-To')
    unwanted += (
        b'"Last-Translator: FULL NAME',
        b'"Language-Team: ',
        b'"Project-Id-Version',
        b'"PO-Revision',
    )
    lines = file.getvalue().splitlines(keepends=True)
    return b"".join(line for line in lines if not line.startswith(unwanted))


class Compiled(Catalog):
    """A catalog whose header does not differ between runs."""

    @property
    def mime_headers(self) -> list[tuple[str, str]]:
        return [("Content-Type", "text/plain; charset=utf-8")]


def mo(catalog: Catalog) -> bytes:
    """Return the pages' catalog: all translations that are not fuzzy."""
    return _compiled(message for message in catalog if message.context != ADMIN)


def django_mo(catalog: Catalog) -> bytes:
    """Return the catalog of Django's admin."""
    return _compiled(message for message in catalog if message.context == ADMIN)


def _compiled(messages: Iterable[Message]) -> bytes:
    compiled = Compiled(charset="utf-8", fuzzy=False)
    for message in messages:
        if message.id and message.string and not message.fuzzy:
            compiled.add(message.id, message.string, context=message.context)
    file = BytesIO()
    write_mo(file, compiled)
    return file.getvalue()


def catalogs(tag: str, catalog: Catalog) -> dict[Path, bytes]:
    """Return the installed files of a language with their contents."""
    locale = tag.replace("-", "_")
    folder = DJANGO / "locale" / FOLDERS.get(locale, locale) / "LC_MESSAGES"
    return {
        CATALOGS / f"{tag}.mo": mo(catalog),
        folder / "django.mo": django_mo(catalog),
    }


def main() -> None:
    """Write every file that is not current."""
    parser = argparse.ArgumentParser(prog="make languages", description=__doc__)
    parser.add_argument("--add", metavar="TAG", help="a new language, such as nl")
    new = parser.parse_args().add
    if new:
        path = SOURCES / f"{new}.po"
        catalog = Catalog(locale=new.replace("-", "_"), charset="utf-8", fuzzy=False)
        catalog.header_comment = HEADER.format(
            language=catalog.locale.get_display_name("en")
        )
        path.write_bytes(po(updated(catalog)))
    for path in sorted(SOURCES.glob("*.po")):
        catalog = updated(read(path))
        path.write_bytes(po(catalog))
        for installed, content in catalogs(path.stem, catalog).items():
            installed.parent.mkdir(parents=True, exist_ok=True)
            installed.write_bytes(content)
        left = [m for m in catalog if m.id and (m.fuzzy or not m.string)]
        print(f"{path.name}: {len(catalog) - len(left)} of {len(catalog)} translated")


if __name__ == "__main__":
    main()
