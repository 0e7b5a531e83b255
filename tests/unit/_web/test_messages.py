"""The words of the pages: whole in English, an app's own over them, by language."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiktok_oauth_middleware import ConfigurationError, TikTokOAuthWSGIMiddleware
from tiktok_oauth_middleware._core.http import Request
from tiktok_oauth_middleware._web.messages import (
    ACTIONS,
    NOTES,
    PROBLEM_TEXTS,
    Messages,
)
from tiktok_oauth_middleware._web.navigation import languages

from ...conftest import make_settings

GERMAN = {
    "login_denied": ["Sie sind nicht angemeldet", "Es wurde nichts geteilt."],
    "try_again": "Noch einmal",
    "reference": "Kennung {}",
}
TITLES = {code: [row.title] for code, row in PROBLEM_TEXTS.items()}
ARABIC = {"login_denied": ("لم تسجّل الدخول", "لم تتم مشاركة أي شيء.")}


def asked(header):
    given = [(b"accept-language", header.encode("latin-1"))]
    return languages(
        Request(method="GET", path="/", mount="", query=b"", headers=given, read=None)
    )


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("", []),
        ("de", ["de"]),
        ("de-CH, de;q=0.9, en;q=0.8, *;q=0.5", ["de-CH", "de", "en"]),
        ("en;q=0.1,de;q=0.2", ["de", "en"]),
        ("en;q=0, de", ["de"]),
        ("en ; q=0.5 , ar", ["ar", "en"]),
        ("de;q=2, ar;q=-1, en;q=x, fr;q=0.1234", []),
        ("<script>, zh-Hant-TW", ["zh-Hant-TW"]),
        ("*", []),
    ],
)
def test_languages(header, wanted):
    """Languages are taken in the order of their weight; what is none is left out."""
    assert asked(header) == wanted


def test_many_languages():
    """No more than 32 languages are read."""
    assert asked(",".join(["xx"] * 100_000)) == ["xx"] * 32


@given(st.text(st.characters(codec="latin-1")))
def test_any_header(header):
    """Whatever is sent, a language is one that there is."""
    texts = Messages({"de": GERMAN, "ar": ARABIC})
    assert texts.language("login_denied", asked(header)) in ("de", "ar", "en")


@pytest.mark.parametrize(
    ("wanted", "language"),
    [
        (["de"], "de"),
        (["DE-at"], "de"),
        (["fr", "ar"], "ar"),
        (["en-GB"], "en"),
        (["fr"], "de"),
        ([], "de"),
        (["pt"], "pt-BR"),
        (["pt-PT", "ar"], "ar"),
    ],
)
def test_choice(wanted, language):
    """The first language that fits is taken; where none does, the app's first."""
    texts = Messages({"de": GERMAN, "ar": ARABIC, "pt-BR": {"login_denied": ["Não"]}})
    assert texts.language("login_denied", wanted) == language


def test_untranslated_problem():
    """A problem without a text in a language is shown in English."""
    assert Messages({"de": GERMAN}).language("login_expired", ["de"]) == "en"


def test_fallback():
    """A missing text comes from the wider language, and then from English."""
    texts = Messages({"de": GERMAN, "de-CH": {"try_again": "Nomal"}})
    assert texts.texts("de-CH", "try_again") == ("Nomal",)
    assert texts.texts("de-CH", "login_denied")[0] == GERMAN["login_denied"][0]
    assert texts.texts("de-CH", "back") == (ACTIONS["back"],)


def test_english_changed():
    """An app may change the English texts too."""
    texts = Messages({"en": {"back": "Home"}})
    assert texts.texts("en", "back") == ("Home",)
    assert texts.texts("en", "try_again") == (ACTIONS["try_again"],)


def test_value():
    """A value goes into its place as it is: nothing in it means anything."""
    value = "{0} %s {} \\1 {name}"
    said = Messages().sentence("en", "missing", value)
    assert said == f"What is missing is: {value}."


@pytest.mark.parametrize("names", [TITLES, ACTIONS, NOTES])
def test_ours_may_be_given(names):
    """Every text of ours is one that an app may give."""
    Messages({"xx": names})


@pytest.mark.parametrize(
    ("texts", "fault"),
    [
        (["de"], "a mapping by language"),
        ({"d": {}}, "'d'; a language is a tag"),
        ({"de_DE": {}}, "a language is a tag"),
        ({7: {}}, "a language is a tag"),
        ({"de": "Zurück"}, "a mapping from names"),
        ({"de": {"zurueck": "x"}}, "is no text of the pages"),
        ({"de": {"back": 1}}, "must be a string"),
        ({"de": {"back": [1]}}, "must be a string"),
        ({"de": {"back": ""}}, "is empty"),
        ({"de": {"login_denied": []}}, "is empty"),
        ({"de": {"login_denied": ["x", " "]}}, "is empty"),
        ({"de": {"back": ["a", "b"]}}, "must be one string"),
        ({"de": {"missing": "Es fehlt"}}, "where its value goes"),
        ({"de": {"missing": "{} {}"}}, "where its value goes"),
    ],
)
def test_faults(texts, fault):
    """Wrong texts are refused when the middleware is built, and named."""
    with pytest.raises(ConfigurationError, match=fault):
        TikTokOAuthWSGIMiddleware(lambda *_: [], make_settings(), texts=texts)


def test_all_faults_at_once():
    """All faults of the texts are reported at once."""
    with pytest.raises(ConfigurationError) as caught:
        Messages({"de": {"x": "y", "back": ""}, "!": {}})
    assert len(caught.value.faults) == 3
