"""The authorization request, and the callback that answers it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import quote_plus, urlencode

from tiktok_oauth_middleware._core.http import BadQuery, read_query
from tiktok_oauth_middleware._core.redact import mask, one_line
from tiktok_oauth_middleware._core.secret import Secret

from .protocol import LONGEST_CODE, LONGEST_STATE, is_visible


def challenge_of(verifier: str) -> str:
    """Return the PKCE challenge: lowercase hex, though the method is called S256.

    RFC 7636 demands base64url. TikTok's consent page accepts that, and then its token
    endpoint refuses the code (https://developers.tiktok.com/doc/login-kit-desktop).
    """
    return hashlib.sha256(verifier.encode()).hexdigest()


@dataclass(slots=True)
class AuthorizationRequest:
    """The parameters for TikTok's authorization page (RFC 6749 section 4.1.1).

    It is not frozen, like the other objects that each login makes: freezing takes 0.2
    us for each field. Nor does it need keywords, which take as long as all else in
    making it.
    """

    client_key: str
    #: As registered, byte for byte.
    redirect_uri: str
    #: In the order in which TikTok lists them to the user.
    scopes: Sequence[str]
    #: The value that the callback must repeat.
    state: str = field(repr=False)
    #: The PKCE verifier, whose challenge is sent; None for a login without PKCE.
    verifier: str | None = field(repr=False)
    #: Shows the consent page also to a user who consented before; otherwise TikTok
    #: silently reconnects the last account.
    ask_again: bool

    def url(self, endpoint: str) -> str:
        """Return the address that begins the login.

        Args:
            endpoint: the authorize address of TikTok or of a stand-in.
        """
        app = _app_query(self.client_key, ",".join(self.scopes), self.redirect_uri)
        state = self.state
        if not _UNRESERVED.fullmatch(state):  # a fifth of the time of `quote_plus`
            state = quote_plus(state)
        url = f"{endpoint}?{app}&state={state}"
        if self.verifier is not None:
            challenge = challenge_of(self.verifier)
            url += f"&code_challenge={challenge}&code_challenge_method=S256"
        if self.ask_again:
            url += "&disable_auto_auth=1"
        return url


#: Text that is the same when it is percent-encoded (RFC 3986 section 2.3).
_UNRESERVED = re.compile(r"[A-Za-z0-9_.~-]*")


@lru_cache(maxsize=64)
def _app_query(client_key: str, scope: str, redirect_uri: str) -> str:
    """Return the parameters that all logins of an app share; cached."""
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
    """The parameters of a callback; a field that was not sent is ""."""

    state: Secret
    code: Secret
    error: str
    description: str
    #: Further parameters about the error of a callback without a code, by name.
    details: Mapping[str, str] = field(default_factory=dict)


#: TikTok's SDKs and pages read these parameters besides ``error``, but disagree on
#: their meaning. So they are only logged and put into the event.
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
    """Read the query of a callback; its ``scopes`` is not trusted, and not read.

    Args:
        query: as it was sent.
        secrets: texts to mask if TikTok's error repeats one.

    Raises:
        BadQuery: a parameter of ours appears twice, is too long, or is not text.
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
    """Return further parameters about a callback's error, if they are readable."""
    found: dict[str, str] = {}
    for name in _DETAILS:
        try:
            value = read_query(query, (name,)).get(name)
        except BadQuery:  # twice, or not UTF-8
            continue
        if value:
            found[name] = one_line(mask(value, secrets))
    return found
