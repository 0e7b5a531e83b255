"""The finding about client_key and client_secret, which only TikTok can check.

The token endpoint gets a code that it cannot have issued. A provider authenticates the
app, and then looks at the code (RFC 6749 section 4.1.3): ``invalid_client`` means that
the key or the secret is wrong, and ``invalid_grant`` that both are right. No other
answer shows which is the case; it is reported unchanged. TikTok documents these two
errors (https://developers.tiktok.com/doc/oauth-error-handling), but not the order of
its checks. No user is affected, because the code belongs to no user's consent.

The request uses the same client, TLS settings, proxy and deadline as a login. It is
sent once for each secret in the settings.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from tiktok_oauth_middleware._core.backends.one_step import run
from tiktok_oauth_middleware._core.backends.threads import ThreadBackend
from tiktok_oauth_middleware._core.findings import Finding, good, note, wrong
from tiktok_oauth_middleware._core.redact import one_line
from tiktok_oauth_middleware._core.secret import reveal
from tiktok_oauth_middleware._observe.causes import cause_of
from tiktok_oauth_middleware.errors import GrantRevoked, TikTokError, TikTokUnavailable

if TYPE_CHECKING:
    from tiktok_oauth_middleware.settings.options import TikTokSettings

#: A code that is recognizable as a check in TikTok's logs, and unlike a real one.
CODE = "check-live-sends-a-code-that-cannot-be-right"


def findings(settings: TikTokSettings) -> Iterator[Finding]:
    """Ask TikTok, and return findings about the key and the secrets."""
    previous = settings.previous_client_secret
    current = replace(settings, previous_client_secret=None)
    error = _refused_exchange(current)
    asks_again = previous is not None and not isinstance(error, TikTokUnavailable)
    times = "once with each secret" if asks_again else "once"
    yield good(
        "live_request",
        "",
        f"{one_line(settings.endpoints.token)} was asked {times}, as client_key"
        f" {one_line(settings.client_key)}, for the tokens of a code that cannot be"
        " valid; no user is affected",
    )
    yield _of_current(error)
    if previous is not None and asks_again:
        yield _of_previous(
            _refused_exchange(replace(current, client_secret=reveal(previous)))
        )


def _refused_exchange(settings: TikTokSettings) -> TikTokError | None:
    """Return how TikTok refuses the code; None if it does not."""
    from tiktok_oauth_middleware._oauth.client import TikTokClient

    client = TikTokClient(settings, ThreadBackend())
    verifier = secrets.token_urlsafe(48) if settings.pkce else None
    try:
        run(client.exchange(CODE, verifier))
    except TikTokError as error:
        return error
    finally:
        run(client.aclose())
    return None


def _of_current(error: TikTokError | None) -> Finding:
    if error is None:
        return wrong(
            "live_accepted",
            "endpoints",
            "the token endpoint issued tokens for a code that cannot be valid: it is"
            " not TikTok's",
            "leave TIKTOK_ENDPOINTS_TOKEN unset, and check proxies on the way",
        )
    if isinstance(error, GrantRevoked):
        return good(
            "live_credentials",
            "client_secret",
            "TikTok accepts client_key and client_secret: it refused only the code"
            f" ({error.error})",
        )
    answer, look_at = _words_of(error), _look_at(error)
    if isinstance(error, TikTokUnavailable) and error.failure:
        return wrong(
            "live_unreachable",
            "endpoints",
            f"the token endpoint cannot be reached: {error.description}",
            look_at,
        )
    if error.error == "invalid_client":
        return wrong(
            "live_refused",
            "client_secret",
            f"TikTok does not accept client_key with client_secret: {answer}",
            look_at,
        )
    if error.error == "unauthorized_client":
        return wrong(
            "live_app_refused",
            "client_key",
            f"TikTok does not let this app log users in: {answer}",
            look_at,
        )
    return note(
        "live_unknown",
        "",
        "TikTok's answer does not show whether client_key and client_secret are"
        f" right: {answer}",
        look_at,
    )


def _of_previous(error: TikTokError | None) -> Finding:
    option = "previous_client_secret"
    if isinstance(error, GrantRevoked):
        return good(
            "live_previous_accepted", option, "TikTok still accepts the previous secret"
        )
    if error is not None and error.error == "invalid_client":
        return note(
            "live_previous_refused",
            option,
            "TikTok no longer accepts previous_client_secret for tokens",
            "leave it out three days after the rotation: until then it may still sign"
            " webhooks",
        )
    answer = "tokens, for a code that cannot be valid"
    return note(
        "live_previous_unknown",
        option,
        "TikTok's answer does not show whether previous_client_secret is right:"
        f" {answer if error is None else _words_of(error)}",
        "see the finding about client_secret",
    )


def _words_of(error: TikTokError) -> str:
    """Return TikTok's words; each is cut, on one line and without our secrets."""
    return str(error).removeprefix("TikTok: ")


def _look_at(error: TikTokError) -> str:
    return f"check {cause_of(error).look_at or 'the answer, and its log_id'}"
