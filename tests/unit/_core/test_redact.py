"""Foreign text becomes one harmless line: shortened, escaped, and masked."""

from __future__ import annotations

import logging
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiktok_oauth_middleware._core.redact import LIMIT, mask, one_line
from tiktok_oauth_middleware._core.secret import Secret

from ...support.growth import is_constant

BREAKERS = {
    "NUL": "\x00",
    "BEL": "\x07",
    "TAB": "\t",
    "LF": "\n",
    "CR": "\r",
    "VT": "\x0b",
    "FF": "\x0c",
    "ESC": "\x1b",
    "US": "\x1f",
    "DEL": "\x7f",
    "NEL": "\x85",
    "CSI": "\x9b",
    "LINE SEPARATOR": "\u2028",
    "PARAGRAPH SEPARATOR": "\u2029",
    "LRM": "\u200e",
    "RLM": "\u200f",
    "ALM": "\u061c",
    "LRE": "\u202a",
    "RLO": "\u202e",
    "LRI": "\u2066",
    "PDI": "\u2069",
    "ZERO WIDTH SPACE": "\u200b",
    "ZERO WIDTH JOINER": "\u200d",
    "WORD JOINER": "\u2060",
    "BOM": "\ufeff",
    "HIGH SURROGATE": "\ud800",
    "LOW SURROGATE": "\udfff",
}


@pytest.mark.parametrize("char", BREAKERS.values(), ids=BREAKERS.keys())
def test_control_is_spelled_out(char):
    """A character that breaks, reorders or cannot encode a line is shown as its number."""
    assert one_line(f"a{char}b") == f"a\\u{ord(char):04x}b"


@pytest.mark.parametrize("text", ["", "plain", "ü, 日本語, 🎵", "a b", "<b>&'\""])
def test_harmless_text_stays(text):
    """Printable text of any language stays unchanged; HTML is not escaped here."""
    assert one_line(text) == text


def test_text_of_the_limit_is_whole():
    """Text of exactly the limit is not shortened."""
    assert one_line("x" * LIMIT) == "x" * LIMIT


def test_longer_text_is_cut():
    """Longer text ends at the limit with an ellipsis."""
    assert one_line("x" * (LIMIT + 1)) == "x" * LIMIT + "…"


def test_limit_is_two_hundred():
    """The limit is that of the requirements."""
    assert LIMIT == 200


def test_spelling_out_counts_towards_the_limit():
    """Escaped control characters count with their escaped length."""
    assert len(one_line("\x00" * 10_000)) == LIMIT + 1


def test_own_limit_is_kept():
    """A shorter limit can be set."""
    assert one_line("abcdef", 3) == "abc…"


@given(st.text(st.characters(codec=None), max_size=400))
@settings(deadline=None, derandomize=True)
def test_any_text_becomes_one_encodable_line(text):
    """Any text becomes one short line that every log can encode."""
    shown = one_line(text)
    assert len(shown) <= LIMIT + 1
    assert len(shown.splitlines()) <= 1
    shown.encode()
    bad = {"Cc", "Cs", "Zl", "Zp"}
    assert not bad & {unicodedata.category(char) for char in shown}


def test_log_record_of_foreign_text_is_one_line():
    """A forged log line does not begin a new line."""
    formatter = logging.Formatter("%(message)s")
    forged = "x\r\nINFO somebody was signed in"
    record = logging.LogRecord(
        "n", 20, "p", 1, "refused: %s", (one_line(forged),), None
    )
    assert len(formatter.format(record).splitlines()) == 1


def test_long_text_costs_no_more():
    """Only the part that is shown is read."""
    text = "\x00" * 16_000_000
    assert is_constant(one_line, text)


def test_secret_is_masked_everywhere():
    """Every occurrence of a secret is masked."""
    assert mask("a act.1234 b act.1234", ["act.1234"]) == "a *** b ***"


def test_secret_type_is_masked_too():
    """A Secret object's text is masked."""
    assert mask("code=abcdef *** end", [Secret("abcdef")]) == "code=*** *** end"


def test_each_secret_is_masked():
    """Several secrets are masked in one text."""
    assert mask("k=first1 s=second", ["first1", "second"]) == "k=*** s=***"


@pytest.mark.parametrize("order", [1, -1], ids=["short first", "long first"])
def test_longer_of_two_secrets_is_masked_completely(order):
    """If one secret begins with another, the longer one is masked completely."""
    secrets = ["abcdef", "abcdefSECRETTAIL"][::order]
    assert mask("got abcdefSECRETTAIL", secrets) == "got ***"


@pytest.mark.parametrize("written", ["a%2Ab%2Fc%21%20d", "a%2Ab%2Fc%21+d", "a*b/c! d"])
def test_secret_is_masked_as_a_form_writes_it(written):
    """A percent-encoded secret, as in a form or a URL, is masked, too."""
    assert mask(f"code={written}&x", ["a*b/c! d"]) == "code=***&x"


def test_secret_that_cannot_be_percent_encoded_is_masked():
    """A secret that cannot be percent-encoded is masked, without an error."""
    assert mask("x abc\ud800 y", ["abc\ud800"]) == "x *** y"


@pytest.mark.parametrize("short", ["", "a", "ab", "abc"])
def test_shortest_secrets_mask_nothing(short):
    """An empty or very short secret is not masked, which would destroy the text."""
    assert mask("abc about abc", [short]) == "abc about abc"


def test_masking_comes_before_cutting():
    """If masking comes before shortening, a secret at the limit is masked
    completely.
    """
    secret = "act.SECRET-OF-FORTY-CHARACTERS-EXACTLY-X"
    text = "x" * (LIMIT - 10) + secret
    assert "SECRET" not in one_line(mask(text, [secret]))
