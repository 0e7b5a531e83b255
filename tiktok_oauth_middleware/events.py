"""The events, and the one table of what each of them says and counts.

A row of `EVENTS` has all facts about an event: its sentence and level in the log, its
reasons, its counters. With `EventName` and `EventRows` type checkers find a name
without a row; the import fails if the names and the table differ.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypedDict, cast, get_args

if TYPE_CHECKING:
    from ._oauth.user import User

__all__ = [
    "APP_ERRORS",
    "COUNTERS",
    "EVENTS",
    "Count",
    "Event",
    "EventKind",
    "EventName",
    "EventRows",
]

#: The names of all events; `EVENTS` has a row for each.
EventName = Literal[
    "login",
    "login_rejected",
    "refresh",
    "refresh_failed",
    "scopes_changed",
    "logout",
    "session_ended",
    "disconnect",
    "connect",
    "connect_rejected",
    "withdrawal",
    "webhook",
    "webhook_rejected",
    "store_error",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event of a user's login, which ``on_event`` gets; without secrets.

    `name` is one of `EventName`.
    """

    name: EventName
    #: Why it happened, if there are several reasons: a stable code, never foreign text.
    reason: str = ""
    open_id: str | None = None
    #: The app's user to whom the account is, was or should be connected; None if there
    #: is no connection.
    user_id: str | None = None
    #: Granted scopes after the event.
    scopes: frozenset[str] = frozenset()
    #: The reference that is on the user's page and in the log, too.
    reference: str = ""
    #: TikTok's own ``error``, or "". This and the next two fields are TikTok's texts:
    #: cut at 200 characters, on one line, and masked if they repeat a secret.
    error: str = ""
    #: TikTok's free text; never match on it.
    error_description: str = ""
    #: The id that TikTok's support asks for.
    log_id: str = ""
    #: The HTTP status of TikTok's answer; 0 if there was no answer.
    status: int = 0
    #: The profile, as far as the granted scopes allow it: at a login, at a login that
    #: `on_login` refused or could not decide on, and at a connection.
    user: User | None = None
    #: At a login: whether there was no record of this user before. A record ends with
    #: the last session, unless `keep_grants` is on, so a user who returns may be new.
    #: At a connection: whether the account was not connected to this user before.
    is_new: bool | None = None
    #: Further facts: the event name and content of a webhook, or the parameters of a
    #: callback that failed without ``error`` (``errCode``, ``error_code``,
    #: ``error_msg``, ``error_type``, ``log_id``, ``logid``).
    details: Mapping[str, Any] = field(default_factory=dict)


class Count(NamedTuple):
    """A counter to which an event adds one, and the attribute that goes with it."""

    counter: str
    attribute: str = ""
    #: Of the attribute; "" for the event's reason.
    value: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventKind:
    """All that is known about the events of one name."""

    #: Of the log, with ``%(user)s`` and other fields of the log record.
    sentence: str
    counts: tuple[Count, ...]
    #: Every reason that the event may have, except texts of TikTok.
    reasons: frozenset[str] = frozenset()
    #: The level in the log.
    level: int = logging.INFO
    #: Other levels, by reason.
    levels: Mapping[str, int] = field(default_factory=dict)
    #: Whether the cause of a failure may raise the level (see _observe/causes.py).
    by_cause: bool = False


class EventRows(TypedDict):
    """The table's type: a row for each name."""

    login: EventKind
    login_rejected: EventKind
    refresh: EventKind
    refresh_failed: EventKind
    scopes_changed: EventKind
    logout: EventKind
    session_ended: EventKind
    disconnect: EventKind
    connect: EventKind
    connect_rejected: EventKind
    withdrawal: EventKind
    webhook: EventKind
    webhook_rejected: EventKind
    store_error: EventKind


#: The counters by name, with their descriptions.
COUNTERS: Mapping[str, str] = {
    "tiktok_oauth.logins": "Logins that came back from TikTok",
    "tiktok_oauth.refreshes": "Access tokens that were due",
    "tiktok_oauth.scopes.changed": "Refreshes after which other scopes are granted",
    "tiktok_oauth.logouts": "Logouts of a session",
    "tiktok_oauth.disconnects": "Users who disconnected the app",
    "tiktok_oauth.connects": "Attempts to connect an account to a user of the app",
    "tiktok_oauth.webhooks": "Webhook deliveries",
    "tiktok_oauth.sessions.ended": "Sessions that an event ended",
    "tiktok_oauth.store.errors": "Requests answered 503 because the store failed",
    "tiktok_oauth.tiktok.errors": "Logins, refreshes and disconnects that TikTok"
    " answered with an error, or did not answer",
}
_LOGINS, _REFRESHES = "tiktok_oauth.logins", "tiktok_oauth.refreshes"
_WEBHOOKS, _ENDED = "tiktok_oauth.webhooks", "tiktok_oauth.sessions.ended"
#: Errors of TikTok's about the app itself: reasons under TikTok's own name.
APP_ERRORS = frozenset(("invalid_client", "unauthorized_client"))

#: What each event says and counts.
EVENTS: EventRows = {
    "login": EventKind(
        sentence="login ok: user %(user)s, session %(session)s, granted %(scopes)s",
        counts=(Count(_LOGINS, "outcome", "ok"),),
    ),
    "login_rejected": EventKind(
        sentence="login refused [%(reference)s]: %(reason)s%(detail)s%(look_at)s",
        counts=(Count(_LOGINS, "outcome"),),
        reasons=APP_ERRORS
        | {
            "login_denied",
            "login_expired",
            "login_failed",
            "login_refused",
            "login_replayed",
            "login_undecided",
            "state_mismatch",
            "tiktok_error",
            "tiktok_unavailable",
        },
        by_cause=True,
    ),
    "refresh": EventKind(
        sentence="refresh ok: user %(user)s, granted %(scopes)s",
        counts=(Count(_REFRESHES, "outcome", "ok"),),
    ),
    "refresh_failed": EventKind(
        sentence="refresh failed, sessions kept: user %(user)s%(detail)s%(look_at)s",
        counts=(Count(_REFRESHES, "outcome"),),
        reasons=APP_ERRORS | {"tiktok_error", "tiktok_unavailable"},
        level=logging.WARNING,
        by_cause=True,
    ),
    "scopes_changed": EventKind(
        sentence="scopes changed: user %(user)s, granted now %(scopes)s",
        counts=(Count("tiktok_oauth.scopes.changed"),),
    ),
    "logout": EventKind(
        # The reason is "" for the logout path.
        sentence="logout: user %(user)s, session %(session)s%(detail)s",
        counts=(Count("tiktok_oauth.logouts"), Count(_ENDED, "reason", "logout")),
        reasons=frozenset(("ended_by_app",)),
    ),
    "session_ended": EventKind(
        sentence="sessions ended: user %(user)s, %(reason)s%(detail)s",
        counts=(Count(_REFRESHES, "outcome"), Count(_ENDED, "reason")),
        reasons=frozenset(("invalid_grant", "other_user", "refresh_token_expired")),
        levels={"other_user": logging.ERROR},
    ),
    "disconnect": EventKind(
        sentence="disconnect: user %(user)s, %(reason)s%(detail)s%(look_at)s",
        counts=(
            Count("tiktok_oauth.disconnects", "outcome"),
            Count(_ENDED, "reason", "disconnect"),
        ),
        reasons=frozenset(("revoked", "gone", "failed")),
        levels={"failed": logging.WARNING},
    ),
    "connect": EventKind(
        sentence="connect ok: user %(user)s, granted %(scopes)s",
        counts=(Count("tiktok_oauth.connects", "outcome", "ok"),),
    ),
    "connect_rejected": EventKind(
        sentence="connect refused [%(reference)s]: %(reason)s%(detail)s%(look_at)s",
        counts=(Count("tiktok_oauth.connects", "outcome"),),
        reasons=APP_ERRORS
        | {
            "account_taken",
            "connect_full",
            "connect_other_user",
            "connect_signed_out",
            "connect_undecided",
            "login_denied",
            "login_expired",
            "login_failed",
            "login_replayed",
            "tiktok_error",
            "tiktok_unavailable",
        },
        levels={"connect_undecided": logging.ERROR},
        by_cause=True,
    ),
    "withdrawal": EventKind(
        sentence="withdrawal: user %(user)s",
        counts=(
            Count(_WEBHOOKS, "outcome", "withdrawal"),
            Count(_ENDED, "reason", "withdrawal"),
        ),
        reasons=frozenset(("authorization.removed",)),
    ),
    "webhook": EventKind(
        # The reason is the name of TikTok's event, an open list.
        sentence="webhook: user %(user)s, %(reason)s",
        counts=(Count(_WEBHOOKS, "outcome", "taken"),),
    ),
    "webhook_rejected": EventKind(
        sentence="webhook refused%(detail)s%(look_at)s",
        counts=(Count(_WEBHOOKS, "outcome", "rejected"),),
        reasons=frozenset(("webhook_rejected",)),
        level=logging.WARNING,
        by_cause=True,
    ),
    "store_error": EventKind(
        sentence="store failed [%(reference)s]%(detail)s%(look_at)s",
        counts=(Count("tiktok_oauth.store.errors"),),
        reasons=frozenset(("store_error",)),
        level=logging.ERROR,
    ),
}


def _check_table() -> None:
    """Compare the table with the names and the counters.

    Raises:
        LookupError: a name without a row, a row without a name, or an unknown counter.
    """
    names = set(get_args(EventName))
    odd = names ^ set(EVENTS)
    rows = cast("Mapping[str, EventKind]", EVENTS)
    counters = {count.counter for kind in rows.values() for count in kind.counts}
    odd |= counters - set(COUNTERS)
    if odd:
        message = f"names and rows of events do not match: {', '.join(sorted(odd))}"
        raise LookupError(message)


_check_table()
