"""The one table of events: what each is called, says, and counts.

A row is all that an event needs to be known by: its sentence and level in the log, its
reasons, its counters. `EventName` in models.py names them for type checkers; a name
without a row, or a row without a name, stops the import.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

if TYPE_CHECKING:
    from .auth import User


class Count(NamedTuple):
    """What an event adds one to, and with which attribute."""

    counter: str
    attribute: str = ""
    #: "" for the event's reason.
    value: str = ""


_NO_SCOPES: frozenset[str] = frozenset()

#: Every event that there is; what each says and counts is in the table of events.py.
EventName = Literal[
    "login",
    "login_rejected",
    "refresh",
    "refresh_failed",
    "scopes_changed",
    "logout",
    "session_ended",
    "disconnect",
    "withdrawal",
    "webhook",
    "webhook_rejected",
    "store_error",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a user's login, told to ``on_event``; no secret in it.

    `name` is one of ``login``, ``login_rejected``, ``refresh``, ``refresh_failed``,
    ``scopes_changed``, ``logout``, ``session_ended``, ``disconnect``, ``withdrawal``,
    ``webhook``, ``webhook_rejected``, ``store_error``.
    """

    name: EventName
    #: Why, where there is a why: a stable code, never foreign text.
    reason: str = ""
    open_id: str | None = None
    #: Granted scopes after the event.
    scopes: frozenset[str] = _NO_SCOPES
    #: The reference that the user's page and the log carry too.
    reference: str = ""
    #: TikTok's own ``error``; "" where it named none. Like the next two it is TikTok's
    #: text, cut at 200 characters, on one line, and masked where it repeats a secret.
    error: str = ""
    #: TikTok's free text; never match on it.
    error_description: str = ""
    #: What TikTok's support asks for.
    log_id: str = ""
    #: The HTTP status that TikTok answered with; 0 where there was no answer.
    status: int = 0
    #: At a login: the user's profile as it is kept now, by granted scope.
    user: User | None = None
    #: At a login: whether nothing was kept of this user before. What was kept may have
    #: ended since the last visit: it goes with the last session, unless `keep_grants`.
    is_new: bool | None = None
    #: Further plain facts, such as a webhook's own event name and content, or what a
    #: callback without ``error`` held (``errCode``, ``error_code``, ``error_msg``,
    #: ``error_type``, ``log_id``, ``logid``).
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventKind:
    """All there is to know about the events of one name."""

    #: The log's, with the fields of `outcomes` in it.
    sentence: str
    counts: tuple[Count, ...]
    #: Every reason that the event may have; none of them is input.
    reasons: frozenset[str] = frozenset()
    #: The least level in the log; the cause of a failure may raise it.
    level: int = logging.INFO
    #: The same for single reasons.
    levels: Mapping[str, int] = field(default_factory=dict)
    #: Whether the cause of a failure decides the level (see causes.py).
    by_cause: bool = False


#: Counters by name, with what they count.
COUNTERS: Mapping[str, str] = {
    "tiktok_oauth.logins": "Logins that came back from TikTok",
    "tiktok_oauth.refreshes": "Access tokens that were due",
    "tiktok_oauth.scopes.changed": "Refreshes after which other scopes are granted",
    "tiktok_oauth.logouts": "Logouts of a session",
    "tiktok_oauth.disconnects": "Users who disconnected the app",
    "tiktok_oauth.webhooks": "Webhook deliveries",
    "tiktok_oauth.sessions.ended": "Sessions ended by something that happened",
    "tiktok_oauth.store.errors": "Requests answered 503 because the store failed",
    "tiktok_oauth.tiktok.errors": "Logins, refreshes and disconnects that TikTok"
    " answered with an error, or did not answer",
}
_LOGINS, _REFRESHES = "tiktok_oauth.logins", "tiktok_oauth.refreshes"
_WEBHOOKS, _ENDED = "tiktok_oauth.webhooks", "tiktok_oauth.sessions.ended"
#: What TikTok's errors about the app itself are called as reasons, too.
APP_FAULTS = frozenset(("invalid_client", "unauthorized_client"))

EVENTS: Mapping[EventName, EventKind] = {
    "login": EventKind(
        sentence="login ok: user %(user)s, session %(session)s, granted %(scopes)s",
        counts=(Count(_LOGINS, "outcome", "ok"),),
    ),
    "login_rejected": EventKind(
        sentence="login refused [%(reference)s]: %(reason)s%(detail)s%(look_at)s",
        counts=(Count(_LOGINS, "outcome"),),
        reasons=APP_FAULTS
        | {
            "login_denied",
            "login_expired",
            "login_failed",
            "login_replayed",
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
        reasons=APP_FAULTS | {"tiktok_error", "tiktok_unavailable"},
        level=logging.WARNING,
        by_cause=True,
    ),
    "scopes_changed": EventKind(
        sentence="scopes changed: user %(user)s, granted now %(scopes)s",
        counts=(Count("tiktok_oauth.scopes.changed"),),
    ),
    "logout": EventKind(
        sentence="logout: user %(user)s, session %(session)s",
        counts=(Count("tiktok_oauth.logouts"), Count(_ENDED, "reason", "logout")),
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
    "withdrawal": EventKind(
        sentence="withdrawal: user %(user)s",
        counts=(
            Count(_WEBHOOKS, "outcome", "withdrawal"),
            Count(_ENDED, "reason", "withdrawal"),
        ),
        reasons=frozenset(("authorization.removed",)),
    ),
    "webhook": EventKind(
        # Its reason is TikTok's own event, of which there are ever more.
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


def check_table() -> None:
    """Hold the table against the names that there are.

    Raises:
        LookupError: a name without a row, a row without a name, or an unknown counter.
    """
    names = set(get_args(EventName))
    odd = names ^ set(EVENTS)
    counters = {count.counter for kind in EVENTS.values() for count in kind.counts}
    odd |= counters - set(COUNTERS)
    if odd:
        message = (
            f"the table of events does not fit its names: {', '.join(sorted(odd))}"
        )
        raise LookupError(message)


check_table()
