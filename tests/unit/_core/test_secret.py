# ruff: noqa: PLW0108, FLY002, UP031, UP032, SIM300, FURB171 - each way of writing it is the test
"""A secret is not shown by code that handles it like any other string."""

from __future__ import annotations

import configparser
import copy
import csv
import dataclasses
import hmac
import html
import io
import json
import logging
import pprint
import re
import reprlib
import shlex
import string
import textwrap
from urllib.parse import urlencode
from xml.sax import saxutils

import jinja2
import markupsafe
import pytest

from tiktok_oauth_middleware._core.secret import Secret, reveal
from tiktok_oauth_middleware.settings.options import TikTokSettings

from ...conftest import make_settings

PLAIN = "act.PLAINSECRET!5259.va"


@dataclasses.dataclass
class Answer:
    token: str


#: Usual operations on strings whose results may end in a log.
HANDLED = {
    "slice": lambda s: s[:12],
    "slice of one": lambda s: s[4],
    "slice in steps": lambda s: s[::2] + s[1::2],
    "plus": lambda s: s + "x",
    "plus, right": lambda s: "Bearer " + s,
    "plus, a secret": lambda s: s + s,
    "iterated": list,
    "joined": lambda s: "".join(s),
    "joined with others": lambda s: ",".join(["a", s, "b"]),
    "joined by it": lambda s: s.join(["a", "b"]),
    "upper": lambda s: s.upper().lower(),
    "strip": lambda s: s.strip(),
    "split": lambda s: s.split("!"),
    "partition": lambda s: s.partition("!"),
    "replace": lambda s: s.replace("!", "-"),
    "translate": lambda s: s.translate({33: 45}),
    "zfill": lambda s: s.zfill(40),
    "center": lambda s: s.center(40),
    "times": lambda s: s * 2,
    "percent": lambda s: "%s and %r" % (s, s),
    "percent, padded": lambda s: "%-40s" % s,
    "format": lambda s: f"{s} {s!s} {s!r} {s!a} {s:>40} {s:.10}",
    "str.format": lambda s: "{0} {0!r} {0[0]}".format(s),
    "format_map": lambda s: "{s}".format_map({"s": s}),
    "template": lambda s: string.Template("$s").substitute(s=s),
    "json": lambda s: json.dumps({"secret": s, "list": [s]}),
    "json, indented": lambda s: json.dumps({"secret": s}, indent=1),
    "json, not ASCII": lambda s: json.dumps([s], ensure_ascii=False),
    "json, a key": lambda s: json.dumps({s: 1}),
    "csv": lambda s: csv_of([s, "b"]),
    "csv, quoted": lambda s: csv_of([s, "b"], quoting=csv.QUOTE_ALL),
    "html.escape": html.escape,
    "markupsafe": lambda s: str(markupsafe.escape(s)),
    "markup": lambda s: str(markupsafe.Markup("<b>%s</b>") % s),
    "jinja": lambda s: jinja2.Template("{{ s }} {{ s[:9] }} {{ s|upper }}").render(s=s),
    "jinja, escaped": lambda s: jinja2.Template("{{ s }}", autoescape=True).render(s=s),
    "pprint": lambda s: pprint.pformat({"s": [s] * 9}, width=20),
    "reprlib": lambda s: reprlib.repr({"s": s}),
    "textwrap": lambda s: textwrap.shorten(s, 10) + textwrap.fill(s, 5),
    "shlex": shlex.quote,
    "regular expression": lambda s: re.findall(".+", s),
    "regular expression, group": lambda s: re.sub("(.*)", r"<\1>", s),
    "StringIO": lambda s: written(io.StringIO(), s),
    "print": lambda s: printed(s),
    "str.join of a generator": lambda s: "".join(c for c in s),
    "reversed": lambda s: "".join(reversed(s)),
    "asdict": lambda s: dataclasses.asdict(Answer(s)),
    "copied": lambda s: (copy.copy(s), copy.deepcopy([s])),
    "ascii": ascii,
    "exception": lambda s: repr(ValueError(s)) + str(ValueError(s)) + str(KeyError(s)),
    "logging": lambda s: logging.LogRecord(
        "x", 10, "", 1, "%s %r", (s, s), None
    ).getMessage(),
    "configparser": lambda s: written_ini(s),
    "xml": lambda s: saxutils.escape(s) + saxutils.quoteattr(s),
    "urlencode": lambda s: urlencode({"secret": s}),
}


def csv_of(row, **options):
    out = io.StringIO()
    csv.writer(out, **options).writerow(row)
    return out.getvalue()


def written(out, text):
    out.write(text)
    return out.getvalue()


def printed(text):
    out = io.StringIO()
    print(text, [text], file=out)
    return out.getvalue()


def written_ini(text):
    out = io.StringIO()
    parser = configparser.RawConfigParser()
    parser["a"] = {"b": str(text)}
    parser.write(out)
    return out.getvalue()


@pytest.mark.parametrize("handle", HANDLED.values(), ids=HANDLED.keys())
def test_handled_secret_is_not_shown(handle):
    """The usual operations on a secret do not show a part of it."""
    shown = repr(handle(Secret(PLAIN)))
    pieces = {PLAIN[at : at + 3] for at in range(len(PLAIN) - 2)}
    assert not [piece for piece in pieces if piece in shown]


def test_parts_of_a_secret_are_secrets():
    """A slice of a secret, and a secret with more text, are secrets, too."""
    secret = Secret("abcdef")
    for part, plain in [
        (secret[:3], "abc"),
        (secret[0], "a"),
        (secret[::-1], "fedcba"),
        (secret + "x", "abcdefx"),
        ("x" + secret, "xabcdef"),
        (secret + secret, "abcdefabcdef"),
        (Secret("abc") + "", "abc"),
    ]:
        assert type(part) is Secret
        assert part == plain
        assert part.reveal() == plain
        assert part.encode() == plain.encode()
    assert len(secret) == 6
    with pytest.raises(IndexError):
        secret[6]


def test_secret_equals_from_either_side():
    """A secret equals its text on either side of ==, and not the mask."""
    assert "abc" == Secret("abc")
    assert Secret("abc") != "***"
    assert "***" != Secret("abc")
    assert Secret("abc") in {"abc"}
    assert {"abc": 1}[Secret("abc")] == 1
    assert Secret("abc") in ["abc"]
    assert hash(Secret("abc")) == hash("abc")
    assert Secret("abc") != b"abc"


def test_secret_is_read_by_encoders():
    """Code that hashes, seals or sends bytes gets the text."""
    assert Secret("ä").encode() == "ä".encode()
    assert Secret("ä").encode("latin-1") == b"\xe4"
    assert Secret("ä").encode("ascii", "replace") == b"?"
    assert hmac.compare_digest(Secret("abc").encode(), b"abc")


def test_reveal():
    """A secret is revealed, and any other value stays as it is."""
    assert reveal(Secret("abc")) == reveal("abc") == "abc"
    assert type(reveal(Secret("abc"))) is str


def test_settings_of_settings():
    """Settings made from other settings keep their secrets, and are checked."""
    first = make_settings(store="redis://:p4ssword@127.0.0.1/0")
    second = dataclasses.replace(first, scopes=["user.info.basic"])
    assert second.client_secret == first.client_secret
    assert second.secret_keys == first.secret_keys
    assert reveal(second.store) == reveal(first.store)
    again = TikTokSettings(
        client_key=first.client_key,
        client_secret=first.client_secret,
        redirect_uri=first.redirect_uri,
        secret_keys=first.secret_keys,
        store=first.store,
    )
    assert again.secret_keys == first.secret_keys
    assert "p4ssword" not in repr((first, first.store[:12], list(first.store)))


def test_secret_compares_as_its_text():
    """A secret has the same hash as its text."""
    assert Secret("abc") == "abc"
    assert {Secret("abc"): 1}["abc"] == 1
    assert Secret("abc") != Secret("abd")


def test_secret_reveals_its_text():
    """reveal() returns the text as a plain string."""
    revealed = Secret("abc").reveal()
    assert revealed == "abc"
    assert type(revealed) is str
    assert str(revealed) == "abc"


def test_secret_encodes_as_its_text():
    """Encoding a secret gives the bytes of its text, not of the mask."""
    assert Secret("abc").encode() == b"abc"


def test_secret_of_a_secret_keeps_the_text():
    """Wrapping a secret twice keeps its text."""
    assert Secret(Secret("abc")).reveal() == "abc"


@pytest.mark.parametrize("text", ["act.abc", ""])
def test_secret_of_plain_text_is_the_same_secret(text):
    """`Secret.of` and `Secret` make the same secret from a plain string."""
    quick, usual = Secret.of(text), Secret(text)
    assert quick == usual
    assert quick.reveal() == text
    assert str.__str__(quick) == str.__str__(usual)
    assert type(quick) is Secret


def test_secret_is_true_iff_it_has_text():
    """An empty secret is false."""
    assert not Secret("")
    assert Secret("a")


def test_secret_can_be_deep_copied():
    """A deep copy, such as asdict makes, keeps the secret a Secret."""
    copied = copy.deepcopy({"a": Secret("abc")})["a"]
    assert type(copied) is Secret
    assert copied.reveal() == "abc"
