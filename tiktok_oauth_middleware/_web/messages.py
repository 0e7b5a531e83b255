"""The words of the pages: ours, in English, and those that an app adds.

Every text has a name: that of the problem, of a way on, or of a sentence with one value
in it. An app gives texts by language and name; what it leaves out stays English. Values
are put in the place of ``{}`` and never formatted: nothing in them means anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from tiktok_oauth_middleware.errors import ConfigurationError

#: An app's texts: language tag to name to text; a problem's are its title and
#: paragraphs.
Texts = Mapping[str, Mapping[str, str | Sequence[str]]]

#: What happened, in plain words, and what to do: a title, then paragraphs; by code.
PROBLEMS: Mapping[str, tuple[str, ...]] = {
    "login_denied": (
        "You did not log in",
        "TikTok sent you back without a login. Either you chose not to continue there,"
        " or TikTok does not let this account log in here: because of its age or its"
        " region, or while this site is being tested with chosen accounts only. Nothing"
        " was shared with this site.",
        "If that was not what you wanted, try again, or with another TikTok account.",
    ),
    "login_expired": (
        "That took too long",
        "For your safety a login has to be finished within a few minutes, and this one"
        " is too old. Nobody was signed in.",
        "Try again; it only takes a moment.",
    ),
    "login_replayed": (
        "This login was used already",
        "Every login works once, and this one was used before. That happens when a page"
        " is loaded again or opened from the history.",
    ),
    "state_mismatch": (
        "This login belongs somewhere else",
        "A login has to end in the browser or app where it began. This one began in"
        " another, was finished already, is too old, or made way for newer ones in many"
        " tabs. Nobody was signed in here.",
        "If the TikTok app brought you here from another browser, log in again here, or"
        " open this site in the browser you want to use and log in from there.",
    ),
    "already_signed_in": (
        "You are signed in already",
        "The address that you opened belongs to a login that is over, or that began in"
        " another browser. It changed nothing here.",
    ),
    "login_failed": (
        "The login did not work",
        "What came back from TikTok was not a login that can be finished. Nobody was"
        " signed in.",
    ),
    "tiktok_error": (
        "TikTok did not complete the login",
        "TikTok refused what this site asked of it. Nobody was signed in.",
        "Try again; if it stays that way, tell the people who run this site, with the"
        " reference below.",
    ),
    "tiktok_unavailable": (
        "TikTok is not answering",
        "Nobody was signed in. Wait a moment, then try again.",
    ),
    "store_error": (
        "This site can not check your login right now",
        "Its memory of logins is out of reach. You are not signed out: wait a moment,"
        " then load the page again.",
    ),
    "scope_required": (
        "This page needs more from TikTok",
        "You are signed in, but did not allow everything this page needs.",
    ),
    "login_required": (
        "Please log in",
        "What you sent was not taken, because nobody is logged in here. A login can end"
        " while a page stays open.",
        "Log in, go back to the page that you sent it from, and send it once more.",
    ),
    "login_unfinished": (
        "The login was not finished",
        "You were sent to TikTok to log in for this page, and did not come back from"
        " there: perhaps TikTok showed an error, or you left before the end.",
        "Try again; if TikTok shows an error, tell the people who run this site what it"
        " says.",
    ),
    "scope_not_offered": (
        "This site does not ask for that",
        "The link asked TikTok for something that this site never asks for.",
    ),
    "not_a_page_visit": (
        "Log in with TikTok",
        "A login begins when you open it yourself, not from inside a page.",
    ),
    "cross_site": (
        "This did not come from this site",
        "For your safety, this works from a page of this site only.",
    ),
    "method_not_allowed": (
        "This address works differently",
        "It does not answer this kind of request.",
    ),
    "login_by_form": (
        "Log in with TikTok",
        "You will be asked at TikTok what this site may see, and come back.",
    ),
    "query_too_long": ("That address is too long", "Nothing was done."),
    "confirm_logout": (
        "Log out?",
        "You will be signed out of this site.",
        "Your TikTok account stays as it is.",
    ),
    "confirm_disconnect": (
        "Disconnect from TikTok?",
        "This site loses its access to your TikTok account, and you are signed out in"
        " every browser.",
    ),
    "disconnect_failed": (
        "You are signed out, but TikTok did not confirm",
        "This site has forgotten you. To be sure that its access ended, look at the"
        " apps in your TikTok settings under security.",
    ),
}
#: What links and buttons say.
WAYS: Mapping[str, str] = {
    "try_again": "Try again",
    "back": "Back to the site",
    "log_in": "Log in",
    "log_in_without": "Log in without it",
    "ask_again": "Ask TikTok again",
    "log_out": "Log out",
    "disconnect": "Disconnect",
    "stay": "Stay",
}
#: Sentences with one value, in the place of ``{}``.
NOTES: Mapping[str, str] = {
    "reference": "Reference {}",
    "missing": "What is missing is: {}.",
    "address": "The address of this site is {}.",
    "leads_to": "Trying again takes you on to {}.",
    "begins_at": "Where you were going is not known here: after logging in you begin at"
    " {}.",
    "tiktok_sent": "TikTok sent back: {}.",
    "tiktok_reference": "TikTok's own reference is {}.",
}
ENGLISH = "en"
_OURS: Mapping[str, tuple[str, ...]] = {
    **PROBLEMS,
    **{name: (text,) for name, text in (*WAYS.items(), *NOTES.items())},
}
#: A language tag (RFC 5646), as far as it is looked at.
_TAG = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")


class Messages:
    """The texts of the pages, in every language there is."""

    def __init__(self, texts: Texts | None = None) -> None:
        """Take an app's texts over ours.

        Raises:
            ConfigurationError: a name is none of ours, a text is empty or of a wrong
                type, or a sentence has no place for its value.
        """
        given = {} if texts is None else texts
        faults = [*_faults(given)]
        if faults:
            raise ConfigurationError(faults)
        self._said: dict[str, dict[str, tuple[str, ...]]] = {}
        for tag, names in given.items():
            said = {name: _parts(value) for name, value in names.items()}
            self._said[tag.lower()] = said
        #: Tags as the app writes them, by how they are compared.
        self._tags = {tag.lower(): tag for tag in given}
        #: What is shown to who asks for no language there is: the app's first.
        self._usual = next(iter(self._said), ENGLISH)
        self._said[ENGLISH] = {**_OURS, **self._said.get(ENGLISH, {})}
        self._tags.setdefault(ENGLISH, ENGLISH)

    def language(self, code: str, wanted: Iterable[str]) -> str:
        """Return the language to tell a problem in.

        Args:
            code: the problem's.
            wanted: language ranges, the most wanted first.
        """
        there = [tag for tag, names in self._said.items() if code in names]
        found = next((t for r in wanted for t in _matches(r.lower(), there)), None)
        usual = self._usual if self._usual in there else ENGLISH
        return self._tags[found or usual]

    def say(self, language: str, name: str) -> tuple[str, ...]:
        """Return the text of a name: in this language, a wider one, or English."""
        for tag in (*_wider(language.lower()), ENGLISH):
            if name in self._said.get(tag, {}):
                return self._said[tag][name]
        raise KeyError(name)

    def note(self, language: str, name: str, value: str) -> str:
        """Return a sentence with its value in it."""
        return self.say(language, name)[0].replace("{}", value)


def _matches(wanted: str, there: Iterable[str]) -> Iterator[str]:
    """Return the languages that fit a range (RFC 4647 section 3.4), the best first.

    Where none fits, one that says more is better than another language.
    """
    yield from (tag for tag in _wider(wanted) if tag in there)
    yield from (tag for tag in there if tag.startswith(wanted + "-"))


def _wider(tag: str) -> Iterator[str]:
    """Return a language tag, and each wider one: zh-hant-tw, zh-hant, zh."""
    while tag:
        yield tag
        tag = tag.rpartition("-")[0]


def _parts(value: object) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)  # type: ignore[arg-type]


def _faults(texts: object) -> Iterator[str]:
    if not isinstance(texts, Mapping):
        yield 'texts is a mapping by language, such as {"de": {"back": "Zurück"}}'
        return
    for tag, names in texts.items():
        if not isinstance(tag, str) or not _TAG.fullmatch(tag):
            yield f"texts holds {tag!r}; a language is a tag such as de or pt-BR"
        elif not isinstance(names, Mapping):
            yield f"texts[{tag!r}] is a mapping from names to texts"
        else:
            for name, value in names.items():
                fault = _fault(name, value)
                if fault:
                    yield f"texts[{tag!r}][{name!r}] {fault}"


def _fault(name: object, value: object) -> str | None:
    """Return what is wrong with one text."""
    if name not in _OURS:
        return "is no text of the pages"
    is_list = isinstance(value, list | tuple) and all(isinstance(t, str) for t in value)
    if not (isinstance(value, str) or is_list):
        return "is a string, or a list of a title and paragraphs"
    parts = _parts(value)
    if not parts or not all(part.strip() for part in parts):
        return "is empty"
    if name not in PROBLEMS and len(parts) != 1:
        return "is one string"
    if name in NOTES and parts[0].count("{}") != 1:
        return "says once, as {}, where its value goes"
    return None
