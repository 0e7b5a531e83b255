"""English texts of the pages, which the catalogs of other languages translate.

Every text has a name: the code of a problem, the name of an action, or the name of a
sentence with one value in it. `PROBLEM_TEXTS`, `ACTIONS` and `NOTES` are the only
tables of texts. A name without a text fails at import, and a text without a name fails
in the type checkers.

After a change here run ``make languages``, which puts the new text into every catalog.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

ProblemCode = Literal[
    "login_denied",
    "login_expired",
    "login_replayed",
    "state_mismatch",
    "already_signed_in",
    "login_failed",
    "tiktok_error",
    "tiktok_unavailable",
    "store_error",
    "login_refused",
    "login_undecided",
    "account_taken",
    "connect_signed_out",
    "connect_other_user",
    "connect_denied",
    "connect_failed",
    "connect_tiktok_failed",
    "connect_full",
    "connect_undecided",
    "scope_required",
    "scope_unlisted",
    "login_required",
    "reauthentication_required",
    "login_unfinished",
    "scope_not_offered",
    "stale_login_link",
    "not_a_page_visit",
    "cross_site",
    "method_not_allowed",
    "login_by_form",
    "query_too_long",
    "confirm_logout",
    "confirm_disconnect",
    "confirm_connect",
    "disconnect_failed",
]
ActionName = Literal[
    "try_again",
    "back",
    "log_in",
    "log_in_without",
    "ask_again",
    "other_account",
    "log_out",
    "disconnect",
    "connect",
    "stay",
    "log_in_with_tiktok",
]
NoteName = Literal[
    "reference",
    "missing",
    "address",
    "leads_to",
    "begins_at",
    "tiktok_sent",
    "tiktok_reference",
    "refused_because",
]


class ProblemText:
    """The status of a page, and its texts."""

    __slots__ = ("paragraphs", "status", "title")

    def __init__(self, status: int, title: str, *paragraphs: str) -> None:
        self.status = status
        self.title = title
        self.paragraphs = paragraphs


#: What happened, in plain words, and what to do about it.
PROBLEM_TEXTS: Mapping[ProblemCode, ProblemText] = {
    "login_denied": ProblemText(
        403,
        "You did not log in",
        "TikTok sent you back without a login. Either you chose not to continue there,"
        " or TikTok does not let this account log in here: because of its age or its"
        " region, or while this site is being tested with chosen accounts only. Nothing"
        " was shared with this site.",
        "If that was not what you wanted, try again, or with another TikTok account.",
    ),
    "login_expired": ProblemText(
        400,
        "That took too long",
        "For your safety a login has to be finished within a few minutes, and this one"
        " is too old. You were not logged in.",
        "Try again; it only takes a moment.",
    ),
    "login_replayed": ProblemText(
        400,
        "This login was used already",
        "Every login works once, and this one was used before. That happens when a page"
        " is loaded again or opened from the history.",
    ),
    "state_mismatch": ProblemText(
        400,
        "This login belongs somewhere else",
        "A login has to end in the browser or app where it began. This one began in"
        " another, was finished already, is too old, or was replaced by newer ones in"
        " many tabs. You were not logged in here.",
        "If the TikTok app brought you here from another browser, log in again here, or"
        " open this site in the browser you want to use and log in from there.",
    ),
    "already_signed_in": ProblemText(
        409,
        "You are signed in already",
        "The address that you opened belongs to a login that is over, or that began in"
        " another browser. It changed nothing here.",
    ),
    "login_failed": ProblemText(
        400,
        "The login did not work",
        "What came back from TikTok was not a login that can be finished. You were"
        " not logged in.",
    ),
    "tiktok_error": ProblemText(
        502,
        "TikTok did not complete the login",
        "TikTok refused what this site asked of it. You were not logged in.",
        "Try again; if it stays that way, tell the people who run this site, with the"
        " reference below.",
    ),
    "tiktok_unavailable": ProblemText(
        503,
        "TikTok is not answering",
        "You were not logged in. Wait a moment, then try again.",
    ),
    "store_error": ProblemText(
        503,
        "This site cannot check your login right now",
        "The stored logins cannot be reached. You are not signed out: wait a moment,"
        " then load the page again.",
    ),
    "login_refused": ProblemText(
        403,
        "You cannot log in here",
        "TikTok confirmed who you are, but this site does not let this account in."
        " You were not logged in.",
    ),
    "login_undecided": ProblemText(
        500,
        "Something went wrong here",
        "TikTok confirmed who you are, but this site could not finish the login. You"
        " were not logged in.",
        "Try again; if it stays that way, tell the people who run this site, with the"
        " reference below.",
    ),
    "account_taken": ProblemText(
        409,
        "This TikTok account belongs to another user",
        "It is already connected to another account of this site, and can be connected"
        " to only one. Nothing was changed.",
    ),
    "connect_signed_out": ProblemText(
        401,
        "Sign in to this site first",
        "To connect a TikTok account, you have to be signed in to this site. Nothing"
        " was connected.",
    ),
    "connect_other_user": ProblemText(
        403,
        "Nothing was connected",
        "You went to TikTok to connect an account. Since then you signed out of this"
        " site, or another user signed in to it in this browser.",
        "Sign in as the user that you want to connect the account to, and begin again.",
    ),
    "connect_denied": ProblemText(
        403,
        "Nothing was connected",
        "TikTok sent you back without a connection. Either you chose not to continue"
        " there, or TikTok does not let this account be connected here: because of its"
        " age or its region, or while this site is being tested with chosen accounts"
        " only.",
        "If that was not what you wanted, try again, or with another TikTok account.",
    ),
    "connect_failed": ProblemText(
        400,
        "Nothing was connected",
        "Connecting has to be finished within a few minutes, and works once. This"
        " attempt took too long, was used before, or came back from TikTok incomplete.",
        "Try again; it only takes a moment.",
    ),
    "connect_tiktok_failed": ProblemText(
        502,
        "TikTok did not complete the connection",
        "TikTok refused what this site asked of it, or did not answer. Nothing was"
        " connected.",
        "Try again; if it stays that way, tell the people who run this site, with the"
        " reference below.",
    ),
    "connect_full": ProblemText(
        409,
        "No further TikTok account can be connected",
        "So many TikTok accounts are connected to your account of this site that there"
        " is no room for another. Nothing was changed.",
        "Disconnect one that you no longer need, and begin again.",
    ),
    "connect_undecided": ProblemText(
        500,
        "Something went wrong here",
        "This site could not find out who is signed in to it. Nothing was connected.",
        "Try again; if it stays that way, tell the people who run this site, with the"
        " reference below.",
    ),
    "scope_required": ProblemText(
        403,
        "This page needs more from TikTok",
        "You are signed in, but did not allow everything this page needs.",
    ),
    "scope_unlisted": ProblemText(
        403,
        "This page cannot be shown",
        "It needs something from TikTok that this site never asks for. That is a fault"
        " of the site and not yours: tell the people who run it what is missing.",
    ),
    "login_required": ProblemText(
        401,
        "Please log in",
        "What you sent was not accepted, because you are not logged in here. A login"
        " can end while a page stays open.",
        "Log in, go back to the page that you sent it from, and send it once more.",
    ),
    "reauthentication_required": ProblemText(
        401,
        "Please log in once more",
        "What you sent was not accepted: it needs a login of the last few minutes, and"
        " yours is older. You are still signed in.",
        "Log in once more, go back to the page that you sent it from, and send it"
        " again.",
    ),
    "login_unfinished": ProblemText(
        401,
        "The login was not finished",
        "You were sent to TikTok to log in for this page, and did not come back from"
        " there: perhaps TikTok showed an error, or you left before the end.",
        "Try again; if TikTok shows an error, tell the people who run this site what it"
        " says.",
    ),
    "scope_not_offered": ProblemText(
        400,
        "This site does not ask for that",
        "The link asked TikTok for something that this site never asks for.",
    ),
    "stale_login_link": ProblemText(
        400,
        "Please open that link again",
        "For your safety this link works for an hour, in the browser that it was shown"
        " in, until somebody logs in or out there. You were not logged in.",
        "Go back to the page with the link, load it again, and follow it from there.",
    ),
    "not_a_page_visit": ProblemText(
        403,
        "Log in with TikTok",
        "A login begins when you open it yourself, not from inside a page.",
    ),
    "cross_site": ProblemText(
        403,
        "This did not come from this site",
        "For your safety, this works from a page of this site only.",
    ),
    "method_not_allowed": ProblemText(
        405,
        "This address works differently",
        "It does not answer this kind of request.",
    ),
    "login_by_form": ProblemText(
        405,
        "Log in with TikTok",
        "You will be asked at TikTok what this site may see, and come back.",
    ),
    "query_too_long": ProblemText(414, "That address is too long", "Nothing was done."),
    "confirm_logout": ProblemText(
        200,
        "Log out?",
        "You will be signed out of this site.",
        "Your TikTok account stays as it is.",
    ),
    "confirm_disconnect": ProblemText(
        200,
        "Disconnect from TikTok?",
        "This site loses its access to your TikTok account, and you are signed out in"
        " every browser.",
    ),
    "confirm_connect": ProblemText(
        200,
        "Connect a TikTok account?",
        "It will be connected to the account of this site that you are signed in to."
        " You choose it at TikTok, and are asked there what this site may see.",
        "If you did not mean to do that, go back.",
    ),
    "disconnect_failed": ProblemText(
        502,
        "You are signed out, but TikTok did not confirm",
        "This site has forgotten you. To be sure that its access ended, look at the"
        " apps in your TikTok settings under security.",
    ),
}
#: The labels of links and buttons.
ACTIONS: Mapping[ActionName, str] = {
    "try_again": "Try again",
    "back": "Back to the site",
    "log_in": "Log in",
    "log_in_without": "Log in without it",
    "ask_again": "Ask TikTok again",
    "other_account": "Use another TikTok account",
    "log_out": "Log out",
    "disconnect": "Disconnect",
    "connect": "Connect",
    "stay": "Stay",
    # The label of `TikTokAuth.login_button`, which is on the app's own pages.
    "log_in_with_tiktok": "Log in with TikTok",
}
#: Sentences with one value, which takes the place of ``{}``.
NOTES: Mapping[NoteName, str] = {
    "reference": "Reference {}",
    "missing": "What is missing is: {}.",
    "address": "The address of this site is {}.",
    "leads_to": "Trying again takes you on to {}.",
    "begins_at": "This site does not know which page you wanted to open. After logging"
    " in you begin at {}.",
    "tiktok_sent": "TikTok sent back: {}.",
    "tiktok_reference": "TikTok's own reference is {}.",
    "refused_because": "{}",
}
for _table, _names in (
    (PROBLEM_TEXTS, ProblemCode),
    (ACTIONS, ActionName),
    (NOTES, NoteName),
):
    if set(_table) != {*get_args(_names)}:
        _odd = sorted({*_table} ^ {*get_args(_names)})
        _message = f"names and texts of pages do not match: {', '.join(_odd)}"
        raise LookupError(_message)

#: Every text by its name; that of a problem is its title and paragraphs.
ENGLISH_TEXTS: Mapping[str, tuple[str, ...]] = {
    **{code: (row.title, *row.paragraphs) for code, row in PROBLEM_TEXTS.items()},
    **{name: (text,) for name, text in (*ACTIONS.items(), *NOTES.items())},
}
