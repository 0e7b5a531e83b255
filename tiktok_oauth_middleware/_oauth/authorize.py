"""The authorization request, and the callback that answers it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import quote_plus, urlencode

from tiktok_oauth_middleware._core.http import BadQuery, read_query
from tiktok_oauth_middleware._core.redact import mask, one_line
from tiktok_oauth_middleware._core.secret import Secret

from .protocol import LONGEST_CODE, LONGEST_STATE, is_visible


def challenge(verifier: str) -> str:
    """Return the PKCE challenge: lowercase hex, though the method is called S256.

    RFC 7636 wants base64url; TikTok's consent page takes that and its token endpoint
    then refuses it (https://developers.tiktok.com/doc/login-kit-desktop).
    """
    return hashlib.sha256(verifier.encode()).hexdigest()


def authorize_url(  # noqa: PLR0913 - the parameters of the request
    endpoint: str,
    *,
    client_key: str,
    redirect_uri: str,
    scopes: Iterable[str],
    state: str,
    verifier: str | None,
    ask_again: bool,
) -> str:
    """Return the address that begins a login at TikTok.

    Args:
        endpoint: TikTok's authorize address, or a stand-in's.
        client_key: the app's, from TikTok's portal.
        redirect_uri: the registered one, byte for byte.
        scopes: in the order in which TikTok shall list them.
        state: what the callback must bring back.
        verifier: sends its challenge; None sends no PKCE.
        ask_again: show the consent page even to who consented before; otherwise TikTok
            silently reconnects the last account.
    """
    app = _app_query(client_key, ",".join(scopes), redirect_uri)
    url = f"{endpoint}?{app}&state={quote_plus(state)}"
    if verifier is not None:
        url += f"&code_challenge={challenge(verifier)}&code_challenge_method=S256"
    if ask_again:
        url += "&disable_auto_auth=1"
    return url


@lru_cache(maxsize=64)
def _app_query(client_key: str, scope: str, redirect_uri: str) -> str:
    """Return what all logins of an app send alike, so that it is written once."""
    return urlencode(
        {
            "client_key": client_key,
            "response_type": "code",
            "scope": scope,
            "redirect_uri": redirect_uri,
        }
    )


@dataclass(frozen=True, slots=True)
class Callback:
    """What came back from TikTok through the browser; a field is "" if not sent."""

    state: Secret
    code: Secret
    error: str
    description: str
    #: What else a callback without a code held about its error, by name.
    details: Mapping[str, str] = field(default_factory=dict)


#: What TikTok's SDKs and pages read beside ``error``. Their meanings differ between
#: them, so they are kept for the log and the event and decide nothing.
_DETAILS = (
    "errCode",
    "errMsg",
    "err_code",
    "err_msg",
    "error_code",
    "error_message",
    "error_msg",
    "error_type",
    "log_id",
    "logid",
)


def read_callback(query: bytes, secrets: Iterable[str] = ()) -> Callback:
    """Read the query of a callback. ``scopes`` there is not believed: not read.

    Args:
        query: as it was sent.
        secrets: texts to mask, should TikTok's error repeat one.

    Raises:
        BadQuery: a parameter of ours appears twice, is too long, or is no text.
    """
    values = read_query(query, ("state", "code", "error", "error_description"))
    state, code = values.get("state", ""), values.get("code", "")
    if (state and not is_visible(state, LONGEST_STATE)) or (
        code and not is_visible(code, LONGEST_CODE)
    ):
        raise BadQuery
    masked = [*secrets, *filter(None, (state, code))]
    return Callback(
        state=Secret(state),
        code=Secret(code),
        error=one_line(mask(values.get("error", ""), masked)),
        description=one_line(mask(values.get("error_description", ""), masked)),
        details={} if code and "error" not in values else _details(query, masked),
    )


def _details(query: bytes, secrets: Iterable[str]) -> Mapping[str, str]:
    """Return what else a callback says of its error; what is unreadable is left out."""
    found: dict[str, str] = {}
    for name in _DETAILS:
        try:
            value = read_query(query, (name,)).get(name)
        except BadQuery:  # twice, or no UTF-8
            continue
        if value:
            found[name] = one_line(mask(value, secrets))
    return found
