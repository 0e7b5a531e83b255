"""Causes of failures: their level in the log, and what an operator should check.

The codes are a closed list, never input: the log's rate limit distinguishes lines by
them, and they are attributes of a counter. A user who cancels or returns too late is
not a fault, and is logged at the level INFO.

https://developers.tiktok.com/doc/oauth-error-handling lists TikTok's errors. The
mistake behind each error is known from reports of developers who made it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple, get_args

from tiktok_oauth_middleware.errors import (
    DeliveryFault,
    GrantRevoked,
    LoginDenied,
    LoginError,
    LoginExpired,
    LoginRefused,
    LoginUndecided,
    StoreError,
    TikTokError,
    TikTokOAuthError,
    TikTokUnavailable,
    WebhookRejected,
)
from tiktok_oauth_middleware.events import APP_ERRORS

if TYPE_CHECKING:
    from tiktok_oauth_middleware.events import EventName

_INFO, _WARNING, _ERROR = logging.INFO, logging.WARNING, logging.ERROR


class Cause(NamedTuple):
    """Why something failed."""

    #: Stable, from a closed list.
    code: str
    level: int = _INFO
    #: What an operator should check, or "".
    look_at: str = ""


_ABOUT_REDIRECT_URI = (
    "redirect_uri, which must be registered in TikTok's portal byte for byte, the final"
    " slash included, for the app whose client_key this is (sandbox and production each"
    " have their own list)"
)
_PORTAL = "client_key, and the app's page in TikTok's portal"
_LATER = (
    "whether TikTok has an outage: such errors are on its side and pass; its support"
    " asks for the log_id"
)
#: By TikTok's own ``error``. Causes at level ERROR concern the app or its settings.
_BY_ERROR: Mapping[str, Cause] = {
    cause.code: cause
    for cause in (
        Cause(
            "invalid_client",
            _ERROR,
            "client_key and client_secret: both must belong to the same app, and both"
            " to its sandbox or both to production; they must not be swapped; and the"
            " portal must not have issued a newer secret",
        ),
        Cause(
            "unauthorized_client",
            _ERROR,
            f"{_PORTAL}: Login Kit added, the app reviewed, or in a sandbox the account"
            " listed as a target user; not a key of another of TikTok's portals",
        ),
        Cause(
            "invalid_scope",
            _ERROR,
            "scopes and optional_scopes: each must be added to the app in TikTok's"
            " portal and approved, and one that is not makes every login fail",
        ),
        Cause("invalid_request", _ERROR, f"{_ABOUT_REDIRECT_URI}; and pkce"),
        Cause("redirect_uri_mismatch", _ERROR, _ABOUT_REDIRECT_URI),
        Cause("param_error", _ERROR, f"{_PORTAL}; {_ABOUT_REDIRECT_URI}; and scopes"),
        Cause("unsupported_response_type", _ERROR, "endpoints.authorize"),
        Cause("unsupported_grant_type", _ERROR, "endpoints.token"),
        Cause(
            "invalid_grant",
            _WARNING,
            "redirect_uri, if this is frequent: TikTok accepts a code only once, within"
            " minutes, and for the redirect_uri and client_key that it was issued to",
        ),
        Cause("invalid_params", _ERROR, "scopes"),
        Cause("access_token_invalid", _WARNING),
        Cause("scope_not_authorized", _WARNING),
        Cause("scope_permission_missed", _WARNING),
        Cause("rate_limit_exceeded", _WARNING, "how often the app calls TikTok"),
        Cause("server_error", _WARNING, _LATER),
        Cause("temporarily_unavailable", _WARNING, _LATER),
        Cause("internal_error", _WARNING, _LATER),
    )
}
#: What to check instead if the request was about stored tokens, and so had no code,
#: redirect_uri or scopes.
_STORED_TOKENS: Mapping[str, str] = {
    "invalid_grant": (
        "whether another store holds these users' tokens too: that of another"
        " deployment, a copy or a backup. TikTok accepts the newest refresh token only"
    ),
    "invalid_request": "endpoints, and proxies that change what is sent",
    "param_error": f"{_PORTAL}; endpoints; and proxies that change what is sent",
}
#: Events about such requests.
_ABOUT_STORED_TOKENS = frozenset(("refresh_failed", "session_ended", "disconnect"))
#: By the code of a network failure, see `_oauth.network_failures`.
_BY_FAILURE: Mapping[str, Cause] = {
    cause.code: cause
    for cause in (
        Cause(
            "name_not_found",
            _WARNING,
            "name resolution (DNS) on this machine or in this container, and endpoints",
        ),
        Cause(
            "certificate",
            _WARNING,
            "the certificates of this machine (ca-certificates, SSL_CERT_FILE), its"
            " clock, and proxies that decrypt TLS",
        ),
        Cause("tls", _WARNING, "proxies and firewalls on the way, and endpoints"),
        Cause(
            "proxy", _WARNING, "HTTPS_PROXY, ALL_PROXY and NO_PROXY in the environment"
        ),
        Cause(
            "refused",
            _WARNING,
            "endpoints, the firewall, and whether egress to open.tiktokapis.com:443 is"
            " allowed",
        ),
        Cause(
            "timeout",
            _WARNING,
            "the firewall, a proxy, whether egress to open.tiktokapis.com:443 is"
            " allowed, and timeout",
        ),
        Cause("network", _WARNING, "the network between this machine and TikTok"),
    )
}
_HTTP = {
    403: Cause(
        "http_403",
        _WARNING,
        "whether TikTok's edge refuses this machine's address, or an egress proxy does",
    ),
    404: Cause(
        "http_404",
        _WARNING,
        "endpoints, which need their final slash, and whether a sandbox may use this"
        " endpoint",
    ),
    407: Cause("proxy", _WARNING, _BY_FAILURE["proxy"].look_at),
    429: Cause("rate_limit_exceeded", _WARNING, "how often the app calls TikTok"),
}
#: Causes of rejected webhook deliveries, by `failure`; anyone can send a delivery.
_DELIVERIES: Mapping[DeliveryFault, Cause] = {
    "signature": Cause(
        "signature",
        _WARNING,
        "client_secret, if TikTok sent this delivery: TikTok signs with the app's"
        " present secret; and proxies that change bodies",
    ),
    "age": Cause(
        "age", _WARNING, "the clock of this machine, if TikTok sent this delivery"
    ),
    "client_key": Cause(
        "client_key",
        _WARNING,
        "the webhook address that TikTok's portal has for the other app",
    ),
    "delivery": Cause("delivery", _WARNING),
}
if {*_DELIVERIES} != {*get_args(DeliveryFault)}:
    message = f"causes and faults of deliveries do not match: {[*_DELIVERIES]}"
    raise LookupError(message)
_STORE = Cause(
    "store_error",
    _ERROR,
    "the store: `python -m tiktok_oauth_middleware check`, or `manage.py tiktok check`"
    " in a Django project, tries to write to it; run it here with the app's settings"
    " and user",
)
_ON_LOGIN = Cause(
    "login_undecided",
    _ERROR,
    "on_login, which must return None or a path of this site, or raise LoginRefused",
)
#: Errors of a callback that mean a mistake in the app or in the portal.
CONFIGURATION = frozenset(
    code for code, cause in _BY_ERROR.items() if cause.level == _ERROR
)


def cause_of(error: object, event: EventName | None = None) -> Cause:
    """Return the cause of an error, as far as it is known.

    Args:
        error: one of this package's errors.
        event: the event that reports the error; None for a login.
    """
    cause = _cause_of(error)
    if event in _ABOUT_STORED_TOKENS and cause.code in _STORED_TOKENS:
        return cause._replace(look_at=_STORED_TOKENS[cause.code])
    return cause


def _cause_of(error: object) -> Cause:
    match error:
        case TikTokError():
            return _of_answer(error)
        case LoginDenied():
            return Cause("access_denied")
        case LoginRefused():
            return Cause("login_refused")
        case LoginUndecided():
            return _ON_LOGIN
        case LoginExpired() if isinstance(error.__cause__, TikTokError):
            return _of_answer(error.__cause__)
        case LoginError() if error.error or error.details:
            return _BY_ERROR.get(error.error, Cause("other", _WARNING, _PORTAL))
        case StoreError():
            return _STORE
        case WebhookRejected():
            return _DELIVERIES[error.failure]
        case _:
            return Cause("other")


def _of_answer(error: TikTokError) -> Cause:
    if isinstance(error, GrantRevoked) and not error.http_status:
        # The access ended during the login; TikTok did not refuse the code.
        return _BY_ERROR["invalid_grant"]._replace(look_at="")
    if error.error in _BY_ERROR:
        found = _BY_ERROR[error.error]
        return found._replace(look_at=_narrowed(found, error.description.lower()))
    if isinstance(error, TikTokUnavailable):
        if error.failure in _BY_FAILURE:
            return _BY_FAILURE[error.failure]
        if error.http_status in _HTTP:
            return _HTTP[error.http_status]
        if error.http_status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return Cause("http_5xx", _WARNING, _LATER)
        if error.http_status:
            return Cause(
                "no_json",
                _WARNING,
                "endpoints, and proxies that answer in TikTok's place",
            )
    return Cause("other", _WARNING, "TikTok's error text and log_id")


def _narrowed(found: Cause, description: str) -> str:
    """Return what to check, narrowed down by TikTok's free text.

    The result is only a hint, because TikTok may change its text at any time.
    """
    if found.code != "invalid_request":
        return found.look_at
    if "redirect" in description:
        return _ABOUT_REDIRECT_URI
    if "code_challenge" in description or "code verifier" in description:
        return (
            "pkce, and in which tab of TikTok's portal redirect_uri is registered: the"
            " Desktop tab demands PKCE"
        )
    if "content-type" in description:
        return "proxies that change what is sent"
    return found.look_at


def reason_of(error: TikTokOAuthError) -> str:
    """Return an event's reason for an error: TikTok's code if it concerns the app."""
    if isinstance(error, TikTokError) and error.error in APP_ERRORS:
        return error.error
    return error.code
