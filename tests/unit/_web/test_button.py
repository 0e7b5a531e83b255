"""The login button: its HTML, and hostile values in it."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from django.template import Context, Engine
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Environment
from markupsafe import Markup

from tiktok_oauth_middleware import ConfigurationError
from tiktok_oauth_middleware._web.button import STYLE, button_html
from tiktok_oauth_middleware._web.messages import Messages

from ...support.sample_records import a_cached_session, a_mount_point, an_auth

LOGIN = "/auth/tiktok/login"
GERMAN = {"de": {"log_in_with_tiktok": "Mit TikTok anmelden"}}
HOSTILE = [
    '"><script>alert(1)</script>',
    "' onmouseover='alert(1)",
    "</a></button></form><img src=x onerror=alert(1)>",
    "</style><script>alert(1)</script>",
    "javascript:alert(1)",
    "x\r\nset-cookie: a=b",
    "\x00\x1b[31m\u2028\u202e",
    "&quot;&#34;&lt;",
    "{{7*7}}{% debug %}${7*7}%(x)s",
    "\ud800",
]


class Elements(HTMLParser):
    """The elements of some HTML, with their attributes, and all text in them."""

    def __init__(self, html):
        super().__init__()
        self.found, self.text = [], []
        self.feed(str(html))
        self.close()

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), "an attribute twice"
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


def elements(html):
    return Elements(html).found


def button(mount_point=None, **options):
    return an_auth(None, mount_point or a_mount_point()).login_button(**options)


class TestHtml:
    def test_link(self):
        """If a login begins by GET, the button is a link to the login path."""
        style, link = elements(button(next="/x?a=1&b=2"))
        assert style == ("style", {})
        assert link == (
            "a",
            {
                "class": "tiktok-login tiktok-login-black",
                "dir": "auto",
                "lang": "en",
                "rel": "nofollow",
                "href": f"{LOGIN}?next=/x%3Fa%3D1%26b%3D2",
            },
        )

    def test_form(self):
        """If a login begins by POST only, the button is a form that posts."""
        mount_point = a_mount_point(is_login_posted=True)
        _, form, pressed = elements(button(mount_point, next="/x", look="white"))
        assert form == (
            "form",
            {
                "class": "tiktok-login-form",
                "method": "post",
                "action": f"{LOGIN}?next=/x",
            },
        )
        assert pressed[0] == "button"
        assert pressed[1]["type"] == "submit"
        assert pressed[1]["class"] == "tiktok-login tiktok-login-white"

    def test_same_address_as_login_url(self):
        """The button's address equals login_url's with the same arguments."""
        auth = an_auth(None, a_mount_point(mount="/shop"))
        options = {"next": "/x", "scopes": ["video.upload"], "choose_account": True}
        (_, link) = elements(auth.login_button(**options))
        assert link[1]["href"] == auth.login_url(**options)

    def test_no_mark_of_the_session(self):
        """The button does not depend on the session, so a page with it may be
        cached.
        """
        auth = an_auth(a_cached_session(), a_mount_point())
        assert str(auth.login_button()) == str(button())
        assert auth._accessed is False

    def test_no_style_attribute_and_no_script(self):
        """The button needs no more of a content policy than a nonce for its style
        element.
        """
        for look in ("black", "white", "outline"):
            for _, attributes in elements(button(look=look)):
                assert not {name for name in attributes if name.startswith("on")}
                assert "style" not in attributes
            assert "<script" not in button(look=look)
            assert "url(" not in button(look=look)
            assert "@import" not in button(look=look)


class TestStyle:
    def test_nonce(self):
        """A nonce is on the style element, and nowhere else."""
        html = button(nonce="cmFuZG9t_-+/12==")
        assert html.count("cmFuZG9t") == 1
        assert elements(html)[0] == ("style", {"nonce": "cmFuZG9t_-+/12=="})

    def test_lazy_nonce(self):
        """A lazy nonce, which a framework makes when it is first read, is accepted."""

        class Lazy:
            def __str__(self):
                return "abc123"

        assert elements(button(nonce=Lazy()))[0] == ("style", {"nonce": "abc123"})

    def test_none(self):
        """Without the style sheet the classes stay, for the site's own style sheet."""
        (link,) = elements(button(nonce=None))
        assert link[1]["class"] == "tiktok-login tiktok-login-black"

    @pytest.mark.parametrize("nonce", [" ", "a b", 'x"><script>', "'self'", "a=b", "="])
    def test_bad_nonce(self, nonce):
        """An invalid nonce is refused, and not repeated in the error."""
        with pytest.raises(ConfigurationError, match="nonce is not one") as caught:
            button(nonce=nonce)
        assert nonce.strip() not in str(caught.value) or not nonce.strip()

    def test_sheet_cannot_end_early(self):
        """Nothing in the style sheet could end its element or open a comment."""
        assert "<" not in STYLE
        assert "&" not in STYLE


class TestLabel:
    def test_own(self):
        """A label passed to the call has no lang attribute."""
        html = button(label="Weiter mit TikTok")
        assert elements(html)[1][1].get("lang") is None
        assert ">Weiter mit TikTok</a>" in html

    @pytest.mark.parametrize(
        ("language", "tag", "label"),
        [
            ("de-AT", "de", "Mit TikTok anmelden"),
            (None, "de", "Mit TikTok anmelden"),
            ("en", "en", "Log in with TikTok"),
            ("fr", "fr", "Se connecter avec TikTok"),
            ("nl", "de", "Mit TikTok anmelden"),
        ],
    )
    def test_texts(self, language, tag, label):
        """The label comes from texts=, with its language as lang."""
        mount_point = a_mount_point(messages=Messages(GERMAN))
        html = button(mount_point, language=language)
        assert elements(html)[1][1]["lang"] == tag
        assert f">{label}</a>" in html

    def test_other_texts(self):
        """If texts= has other texts only, the label is the built-in one."""
        mount_point = a_mount_point(messages=Messages({"nl": {"back": "Terug"}}))
        assert 'lang="en"' in button(mount_point, language="nl")
        assert 'lang="de"' in button(mount_point, language="de")

    @pytest.mark.parametrize("label", ["", "  ", "\n"])
    def test_empty(self, label):
        """A button with an empty label is refused."""
        with pytest.raises(ConfigurationError, match="label"):
            button(label=label)


def test_unknown_look():
    """An unknown look is refused; the error lists the known ones."""
    with pytest.raises(ConfigurationError, match="black, white, outline; got pink"):
        button(look="pink")


def test_unlisted_scope():
    """A scope that no login may request is refused, as by login_url."""
    with pytest.raises(ConfigurationError, match="video.publish"):
        button(scopes=["video.publish"])


# --- hostile values ----------------------------------------------------------------


@pytest.mark.parametrize("posted", [False, True])
@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_values(value, posted):
    """Markup in the address, the label or the look is escaped or refused."""
    mount_point = a_mount_point(is_login_posted=posted)
    plain = [tag for tag, _ in elements(button(mount_point))]
    html = button(mount_point, next=value, label=value)
    assert [tag for tag, _ in elements(html)] == plain
    shown = "".join(Elements(html).text[1:])
    assert shown == value.strip()
    with pytest.raises(ConfigurationError) as caught:
        button(mount_point, look=value)
    assert "\x1b" not in str(caught.value)
    assert "\n" not in str(caught.value)


@given(url=st.text(), label=st.text(), language=st.text(max_size=20))
def test_any_value(url, label, language):
    """With any values, the elements and their attributes stay the same."""
    if not label.strip():
        return
    [(tag, attributes)] = elements(
        button_html(
            url, label, "black", is_form=False, language=language, nonce=None
        ).replace("\x00", "")
    )
    assert tag == "a"
    assert set(attributes) - {"lang"} == {"class", "dir", "rel", "href"}
    assert attributes["href"] == url.replace("\x00", "")


def test_label_that_escapes_on_its_own_terms():
    """A str subclass that overrides its methods is still escaped."""
    html = button(label=Markup("<b>x</b>"))
    assert "&lt;b&gt;x&lt;/b&gt;" in html
    assert type(str(html)) is str


# --- templates ---------------------------------------------------------------------


def test_jinja():
    """An escaping template of Jinja2 does not escape the button."""
    template = Environment(autoescape=True).from_string("{{ b }}{{ '<' }}")
    assert template.render(b=button()) == f"{button()}&lt;"


def test_django():
    """A Django template does not escape the button."""
    template = Engine().from_string("{{ b }}{{ x }}")
    assert template.render(Context({"b": button(), "x": "<"})) == f"{button()}&lt;"


def test_added_text_is_escaped():
    """Text added to the button makes it unsafe, so that templates escape it all."""
    template = Environment(autoescape=True).from_string("{{ b }}")
    for added in (
        button() + "<i>",
        "<i>" + button(),
        f"{button()}<i>",
        button().replace("a", "<"),
    ):
        assert type(added) is str
        assert "<" not in template.render(b=added)
