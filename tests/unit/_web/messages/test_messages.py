"""Choice of texts: the app's own above the built-in ones, by language and name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiktok_oauth_middleware import ConfigurationError, TikTokOAuthWSGIMiddleware
from tiktok_oauth_middleware._web.messages import (
    ACTIONS,
    LANGUAGES,
    NOTES,
    PROBLEM_TEXTS,
    LanguageRanges,
    Messages,
)
from tiktok_oauth_middleware._web.messages.accept_language import (
    parse_accept_language,
)
from tiktok_oauth_middleware._web.messages.translations import translated

from ....conftest import make_settings

GERMAN = {
    "login_denied": ["Sie sind nicht angemeldet", "Es wurde nichts geteilt."],
    "try_again": "Noch einmal",
    "reference": "Kennung {}",
}
TITLES = {code: [row.title] for code, row in PROBLEM_TEXTS.items()}
ARABIC = {"login_denied": ("لم تسجّل الدخول", "لم تتم مشاركة أي شيء.")}


def chosen(texts, header, name="login_denied"):
    ranges = parse_accept_language([header.encode("latin-1")])
    return Messages(texts).language(name, ranges)


@given(st.text(st.characters(codec="latin-1")))
def test_any_header(header):
    """For any header, an available language is chosen."""
    texts = {"DE": GERMAN, "ar": ARABIC, "nl": {"back": "Terug"}}
    assert chosen(texts, header) in {"DE", "ar", "nl", *LANGUAGES} - {"de"}


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("*", "en"),
        ("nl", "en"),
        ("nl, *;q=0.1", "en"),
        ("de", "de"),
        ("DE-at;q=0.5", "de"),
        ("nl, fr;q=0.8, de;q=0.9", "de"),
        ("de;q=0, de-AT, fr;q=0.1", "fr"),
        ("de;q=0, *", "en"),
        ("en;q=0, nl, *;q=0.5", LANGUAGES[1]),
        ("en-US, en;q=0.9, de;q=0.8", "en"),
        ("*;q=0", "en"),
        ("nl, *;q=0", "en"),
        ("fr, *;q=0", "fr"),
        ("en;q=0, *;q=0", "en"),
        ("pt-PT, es", "pt-BR"),
        ("zh-TW, zh;q=0.9, en-US;q=0.8", "zh-Hant"),
        ("zh-HK", "zh-Hant"),
        ("zh-CN, zh;q=0.9", "zh-Hans"),
        ("zh-Hant;q=0, zh", "zh-Hans"),
        ("zh;q=0, ja;q=0.1", "ja"),
        ("<de>, de;q=7", "en"),
    ],
)
def test_built_in(header, language):
    """Without texts of the app, the best matching built-in language is used."""
    assert chosen(None, header) == language


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("de", "de-AT"),
        ("de-AT", "de-AT"),
        ("de-CH", "de"),
        ("nl, ar", "ar"),
        ("en-GB", "en"),
        ("fr", "fr"),
        ("nl", "de-AT"),
        ("", "de-AT"),
        ("*", "de-AT"),
        ("de-AT;q=0", "en"),
        ("oc-FR", "oc"),
        ("oc;q=0.1, nl;q=0.2", "oc"),
    ],
)
def test_choice(header, language):
    """A matching language of the app is used, else ours, else the app's first."""
    texts = {"de-AT": GERMAN, "ar": ARABIC, "oc": {"login_denied": ["Non"]}}
    assert chosen(texts, header) == language


@pytest.mark.parametrize("header", ["iw", "iw-IL, en;q=0.5", "he-IL", "ji, he;q=0.9"])
def test_old_tag(header):
    """A reader whose client sends an old tag gets the app's text under the new one."""
    assert chosen({"he": {"login_denied": ["x", "y"]}}, header) == "he"


def test_app_wins():
    """A wider language of the app takes precedence over a narrower built-in one."""
    texts = {"zh": {"login_denied": ["x", "y"]}}
    assert chosen(texts, "zh-TW") == "zh"
    assert Messages(texts).texts("zh", "login_denied") == ("x", "y")


def test_scripts_do_not_mix():
    """A page in Traditional Chinese has no Simplified text of the app, nor the
    reverse.
    """
    texts = Messages({"zh": {"back": "x"}, "zh-Hant": {"stay": "y"}})
    assert chosen({"zh": {"back": "x"}}, "zh-TW") == "zh-Hant"
    assert texts.texts("zh-Hant", "back") == translated("zh-Hant")["back"]
    assert texts.texts("zh-TW", "stay") == ("y",)
    assert texts.texts("zh-CN", "back") == ("x",)
    assert texts.texts("zh-CN", "stay") == translated("zh-Hans")["stay"]


def test_untranslated_problem():
    """A problem without a text in the app's language has the built-in text, or
    English.
    """
    texts = {"de": GERMAN, "nl": {"back": "Terug"}}
    assert chosen(texts, "de-AT", "login_expired") == "de"
    assert (
        Messages(texts).texts("de", "login_expired")
        == (translated("de")["login_expired"])
    )
    assert chosen(texts, "nl", "login_expired") == "de"
    assert chosen({"nl": {"back": "Terug"}}, "nl", "login_expired") == "en"


def test_fallback():
    """A missing text comes from the wider language, then the built-in one."""
    texts = Messages({"de": GERMAN, "de-CH": {"try_again": "Nomal"}})
    assert texts.texts("de-CH", "try_again") == ("Nomal",)
    assert texts.texts("de-CH", "login_denied")[0] == GERMAN["login_denied"][0]
    assert texts.texts("de-CH", "back") == ("Zurück zur Website",)


def test_fallback_to_english():
    """In a language that is not built in, missing texts are the app's English ones."""
    texts = Messages({"nl": {"stay": "Blijven"}, "en": {"back": "Home"}})
    assert texts.texts("nl", "back") == ("Home",)
    assert texts.texts("nl", "try_again") == (ACTIONS["try_again"],)


def test_english_changed():
    """An app may change the English texts too."""
    texts = Messages({"en": {"back": "Home"}})
    assert texts.texts("en", "back") == ("Home",)
    assert texts.texts("en", "try_again") == (ACTIONS["try_again"],)


def test_value():
    """A value is inserted unchanged, without interpreting any part of it."""
    value = "{0} %s {} \\1 {name}"
    sentence = Messages().sentence("en", "missing", value)
    assert sentence == f"What is missing is: {value}."


def test_value_from_right_to_left():
    """A value in a right-to-left text is isolated."""
    sentence = Messages().sentence("ar", "leads_to", "/videos")
    assert sentence.endswith(" \u2068/videos\u2069")
    texts = Messages({"ar": {"leads_to": "to {}"}})
    assert texts.sentence("ar", "leads_to", "/videos") == "to /videos"


@pytest.mark.parametrize("names", [TITLES, ACTIONS, NOTES])
def test_ours_may_be_given(names):
    """An app may replace every built-in text."""
    Messages({"xx": names})


@pytest.mark.parametrize(
    ("texts", "fault"),
    [
        (["de"], "a mapping by language"),
        ({"d": {}}, "'d'; a language is a tag"),
        ({"de_DE": {}}, "a language is a tag"),
        ({7: {}}, "a language is a tag"),
        ({"de": "Zurück"}, "a mapping from names"),
        ({"de": {"zurueck": "x"}}, "is not a text of the pages"),
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


def test_long_tag():
    """A very long language tag, which an app may pass on from a client, is ignored."""
    given = "-".join(["de", *["a1"] * 100])
    assert Messages().language("back", LanguageRanges((given,))) == "en"
    assert Messages().language("back", LanguageRanges((given[:200],))) == "de"
