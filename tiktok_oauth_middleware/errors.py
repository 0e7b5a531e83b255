"""The errors of this package, with the HTTP status that each one deserves.

::

    TikTokOAuthError
    ├─ ConfigurationError         the code or settings of the app are wrong
    ├─ NotSignedIn           401  no session, or its tokens are gone
    ├─ LoginError            400  a login that cannot be finished
    │  ├─ LoginDenied        403  the person cancelled at TikTok
    │  ├─ LoginExpired            begun too long ago
    │  ├─ LoginReplayed           finished before
    │  ├─ LoginRefused       403  the app's ``on_login`` raised it
    │  ├─ LoginUndecided     500  the app's ``on_login`` failed
    │  └─ StateMismatch           the callback belongs to no login of this browser
    ├─ TikTokError           502  TikTok answered with an error
    │  ├─ GrantRevoked       401  the refresh token is invalid: log in again
    │  └─ TikTokUnavailable  503  no answer, 5xx, 429 or nonsense: try later
    ├─ StoreError            503  the store failed
    └─ WebhookRejected       401  a delivery that TikTok did not sign, or too old

``code`` is stable; logs, events and pages name it. Messages are safe to show: no error
holds a token, a code, a state or a key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

#: What is wrong with a webhook delivery.
DeliveryFault = Literal["signature", "age", "client_key", "delivery"]


class TikTokOAuthError(Exception):
    """The root of every error that this package raises."""

    #: Stable name of the error, for logs and programs.
    code = "error"
    #: The HTTP status that a response about this error deserves.
    status = 500


class ConfigurationError(TikTokOAuthError):
    """The app is set up in a way that cannot work; it lists all faults at once."""

    code = "configuration"
    #: One sentence for each fault: the option, what is wrong, and what would be right.
    faults: tuple[str, ...]

    def __init__(self, faults: str | Sequence[str]) -> None:
        self.faults = (faults,) if isinstance(faults, str) else tuple(faults)
        super().__init__("\n".join(self.faults))


class NotSignedIn(TikTokOAuthError):
    """The request is anonymous, or the tokens behind its session are gone."""

    code = "not_signed_in"
    status = 401


class LoginError(TikTokOAuthError):
    """The callback did not finish the login; no session was made."""

    code = "login_failed"
    status = 400
    #: TikTok's own ``error`` in the callback, or "".
    error: str
    #: TikTok's free text about it, cut at 200 characters; never match on it.
    description: str
    #: Further parameters about it, such as ``errCode``; cut and escaped.
    details: Mapping[str, str]

    def __init__(
        self,
        error: str = "",
        description: str = "",
        details: Mapping[str, str] | None = None,
    ) -> None:
        self.error = error
        self.description = description
        self.details = dict(details or {})
        parts = [error, description, *(f"{k} {v}" for k, v in self.details.items())]
        text = ", ".join(filter(None, parts))
        super().__init__(*([f"TikTok sent back: {text}"] if text else []))

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.error, self.description, self.details), vars(self)


class LoginDenied(LoginError):
    """The person cancelled at TikTok, or TikTok does not let the account log in."""

    code = "login_denied"
    status = 403


class LoginExpired(LoginError):
    """The login was begun longer than ``login_lifetime`` ago."""

    code = "login_expired"


class LoginReplayed(LoginError):
    """The login was finished before; a code and a state work once."""

    code = "login_replayed"


class LoginRefused(LoginError):
    """Raised by an app's ``on_login``: this person may not log in.

    Nobody is signed in, and no record, session or token is stored. An earlier session
    of the same browser stays.

    >>> LoginRefused("Only people with an invitation can sign up.").text
    'Only people with an invitation can sign up.'
    """

    code = "login_refused"
    status = 403
    #: The text that the person reads, plain; "" for the page without such a text.
    text: str = ""
    #: Whether the app's access ends at TikTok too, as by a disconnect.
    revoke: bool = False

    def __init__(self, text: object = "", *, revoke: bool = False) -> None:
        """Take the text that the person is to read.

        Args:
            text: plain text, or a lazy translation, which becomes a str here; the page
                escapes it. It is not logged.
            revoke: end the app's access at TikTok too. TikTok ends it for the whole
                account, so the user's record, if there is one (see `Login.is_new`), is
                deleted with every session.
        """
        super().__init__()
        self.text = str(text)
        self.revoke = revoke

    def __str__(self) -> str:
        # The text is for one person, and may name them.
        return "on_login refused it"

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.text,), vars(self)


class LoginUndecided(LoginError):
    """The app's ``on_login`` failed: another error, a timeout, or an invalid result."""

    code = "login_undecided"
    status = 500


class StateMismatch(LoginError):
    """The callback belongs to no login of this browser; it may be forged."""

    code = "state_mismatch"


class TikTokError(TikTokOAuthError):
    """TikTok answered with an error (https://developers.tiktok.com/doc/oauth-error-handling).

    The texts are TikTok's, cut at 200 characters and masked where they repeat a
    secret. They are data: escape them before they go into a page.
    """

    code = "tiktok_error"
    status = 502
    #: TikTok's own ``error`` or ``error.code``, or "".
    error: str
    #: TikTok's free text; never match on it.
    description: str
    #: The id that TikTok's support asks for, or "".
    log_id: str
    #: The HTTP status of TikTok's answer; 0 if there was none.
    http_status: int

    def __init__(
        self, error: str, description: str = "", log_id: str = "", http_status: int = 0
    ) -> None:
        self.error = error
        self.description = description
        self.log_id = log_id
        self.http_status = http_status
        parts = [error] if error else []
        if not error and (http_status or not description):
            parts.append("no error code")
        if description:
            parts.append(description)
        if http_status:
            parts.append(f"status {http_status}")
        if log_id:
            parts.append(f"log_id {log_id}")
        super().__init__("TikTok: " + ", ".join(parts))

    def __reduce__(self) -> tuple[object, ...]:
        given = (self.error, self.description, self.log_id, self.http_status)
        return type(self), given, vars(self)


class GrantRevoked(TikTokError):
    """``invalid_grant``: the code or the refresh token is invalid for good."""

    code = "grant_revoked"
    status = 401


class TikTokUnavailable(TikTokError):
    """No usable answer now: a timeout, 5xx, 429, or a body that is not JSON."""

    code = "tiktok_unavailable"
    status = 503
    #: Seconds that TikTok asked to wait (``Retry-After``), or None.
    retry_after: float | None = None
    #: The cause, if there was no answer: ``name_not_found``, ``refused``,
    #: ``certificate``, ``tls``, ``proxy``, ``timeout``, ``network``; or "".
    failure: str = ""


class StoreError(TikTokOAuthError):
    """The store could not answer: down, slow, full, locked, read-only or corrupt.

    Raised ``from`` the store's own exception. A missing record is not an error.
    """

    code = "store_error"
    status = 503


class WebhookRejected(TikTokOAuthError):
    """A webhook delivery that TikTok did not sign, or signed too long ago."""

    code = "webhook_rejected"
    status = 401
    #: The fault: ``signature``, ``age``, ``client_key``, or ``delivery`` if the header
    #: or the body is malformed.
    failure: DeliveryFault = "delivery"
