"""TikTok's wire format: its addresses, parameters, answers and webhook signature.

Pure: text and bytes in, values or one of our errors out; no I/O, and no clock but the
time given. What TikTok does its own way is here and nowhere else: ``client_key``,
scopes with commas, a PKCE challenge in hex, errors in a body with status 200, two
shapes of error. (https://developers.tiktok.com/doc/oauth-user-access-token-management)

Everything that TikTok sends is foreign: a field that is not what it must be refuses
the whole answer, since half an answer would be half an identity.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NoReturn
from urllib.parse import quote_plus, urlencode

from .errors import (
    GrantRevoked,
    TikTokError,
    TikTokUnavailable,
    WebhookRejected,
)
from .http import BadQuery, read_query
from .models import Secret, TokenAnswer, join_scopes, pack_profile, split_scopes
from .text import mask, one_line

AUTHORIZE = "https://www.tiktok.com/v2/auth/authorize/"
#: The slash at the end is part of it: without, TikTok answers 404.
TOKEN = "https://open.tiktokapis.com/v2/oauth/token/"  # noqa: S105 - an address
REVOKE = "https://open.tiktokapis.com/v2/oauth/revoke/"
USER_INFO = "https://open.tiktokapis.com/v2/user/info/"

#: The bare media type: TikTok may refuse a ``charset`` behind it.
FORM = "application/x-www-form-urlencoded"

#: Which profile fields each scope opens
#: (https://developers.tiktok.com/doc/tiktok-api-v2-get-user-info).
FIELDS: Mapping[str, tuple[str, ...]] = {
    "user.info.basic": (
        "open_id",
        "union_id",
        "avatar_url",
        "avatar_url_100",
        "avatar_large_url",
        "display_name",
    ),
    "user.info.profile": (
        "bio_description",
        "profile_deep_link",
        "profile_web_link",
        "is_verified",
        "username",
    ),
    "user.info.stats": (
        "follower_count",
        "following_count",
        "likes_count",
        "video_count",
    ),
}
_COUNTS = frozenset(FIELDS["user.info.stats"])

LONGEST_CODE = 2048
LONGEST_STATE = 512
LONGEST_TOKEN = 4096
LONGEST_OPEN_ID = 256
_LONGEST_SCOPES = 4096
_LONGEST_PROFILE_FIELD = 4096
_LONGEST_LIFE = 400 * 86400.0
#: What an answer without ``expires_in`` is taken to mean, in seconds.
_USUAL_LIFE = 3600.0
_LONGEST_WAIT = 300.0
_LONGEST_DATE = 40
#: How much of an answer that is no JSON is shown, in bytes.
_LONGEST_EXCERPT = 80
_LONGEST_COUNT = 2**63 - 1  # TikTok's documents: int64

_VISIBLE = re.compile(r"[\x21-\x7e]+")
_SCOPE = re.compile(r"[A-Za-z0-9._\-]+")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
#: Errors that pass by themselves, whatever status they come with.
TRANSIENT = frozenset(
    {
        "server_error",
        "temporarily_unavailable",
        "internal_error",
        "rate_limit_exceeded",
    }
)
_TOO_MANY = 429
_SERVER_ERROR = 500


def is_visible(text: str, longest: int) -> bool:
    """Whether `text` is 1 to `longest` visible ASCII characters: VSCHAR of RFC 6749."""
    return len(text) <= longest and _VISIBLE.fullmatch(text) is not None


def is_scope(text: str) -> bool:
    """Whether `text` can name one scope of TikTok's."""
    return _SCOPE.fullmatch(text) is not None


# --- to TikTok ---------------------------------------------------------------------


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


def fields_for(scopes: Iterable[str]) -> tuple[str, ...]:
    """Return the profile fields that these granted scopes open.

    One field of a scope that was not granted fails TikTok's whole answer, so nothing
    is asked for without ``user.info.basic``.
    """
    granted = set(scopes)
    if "user.info.basic" not in granted:
        return ()
    return tuple(
        f for scope, names in FIELDS.items() if scope in granted for f in names
    )


_SCOPES = {field: scope for scope, names in FIELDS.items() for field in names}
_LINKS = ("avatar_url", "avatar_url_100", "avatar_large_url")
#: When a signed link ends, as TikTok's CDN writes it: seconds, or milliseconds.
_LINK_END = re.compile(r"[?&]x-expires=([0-9]{1,14})(?![0-9])")
_MILLISECONDS = 10**11


def join_profiles(new: str, known: str, scopes: str) -> str:
    """Return a packed profile, with what only an older one knows.

    Args:
        new: what TikTok answered; "" for nothing.
        known: the older one; "" for none.
        scopes: granted now; of the older one what these do not open is left out.
    """
    granted = split_scopes(scopes)
    older = json.loads(known or "{}")
    kept = {f: value for f, value in older.items() if _SCOPES.get(f) in granted}
    return pack_profile({**kept, **json.loads(new or "{}")})


def links_end(profile: str) -> float:
    """Return when the first avatar link of a packed profile ends; or infinity.

    >>> links_end('{"avatar_url": "https://cdn.example/a?x-expires=1767312000&s=b"}')
    1767312000.0
    """
    fields = json.loads(profile or "{}")
    found = (_LINK_END.search(str(fields.get(name, ""))) for name in _LINKS)
    ends = [float(link[1]) for link in found if link and int(link[1])]
    return min((e / 1000 if e >= _MILLISECONDS else e for e in ends), default=math.inf)


# --- the callback ------------------------------------------------------------------


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


# --- answers -----------------------------------------------------------------------


def read_token(
    status: int,
    body: bytes,
    *,
    secrets: Iterable[str] = (),
    retry_after: str = "",
    now: float | None = None,
) -> TokenAnswer:
    """Read an answer of the token endpoint; TikTok reports failures with status 200.

    Args:
        status: of the response.
        body: of the response, whole.
        secrets: texts to mask, should TikTok's error repeat one.
        retry_after: the header of that name, or "".
        now: seconds since 1970, to judge a date in `retry_after` by; None leaves dates
            unread.

    Raises:
        GrantRevoked: ``invalid_grant``, to the letter.
        TikTokUnavailable: a 5xx or 429, a passing error, or a body that is no answer.
        TikTokError: anything else that is not the success it must be.
    """
    answer = _answer(status, body, secrets, _wait(retry_after, now))

    def refuse(field: str) -> NoReturn:
        raise TikTokError("", f"unusable {field} in a token answer", "", status)

    if "access_token" not in answer and isinstance(answer.get("data"), dict):
        refuse('access_token (what is under "data" is of TikTok\'s first API)')
    access, refresh = answer.get("access_token"), answer.get("refresh_token")
    if not (isinstance(access, str) and is_visible(access, LONGEST_TOKEN)):
        refuse("access_token")
    if refresh is not None and not (
        isinstance(refresh, str) and is_visible(refresh, LONGEST_TOKEN)
    ):
        refuse("refresh_token")
    open_id = answer.get("open_id")
    if not (isinstance(open_id, str) and _is_open_id(open_id)):
        refuse("open_id")
    # Some answers have none; a kind that is not known could not be used as a bearer.
    kind = answer.get("token_type", "bearer")
    if not (isinstance(kind, str) and kind.lower() == "bearer"):
        refuse("token_type")
    scope = answer.get("scope")
    if scope is not None and not (isinstance(scope, str) and _is_scope_list(scope)):
        refuse("scope")
    try:
        expires_in = _seconds(answer.get("expires_in"))
        refresh_expires_in = _seconds(answer.get("refresh_expires_in"))
    except ValueError:
        refuse("lifetime")
    return TokenAnswer(
        open_id=open_id,
        access_token=Secret(access),
        refresh_token=None if refresh is None else Secret(refresh),
        scopes=None if scope is None else _tidy_scopes(scope),
        expires_in=_USUAL_LIFE if expires_in is None else expires_in,
        refresh_expires_in=refresh_expires_in,
    )


def read_revoke(
    status: int,
    body: bytes,
    *,
    secrets: Iterable[str] = (),
    retry_after: str = "",
    now: float | None = None,
) -> None:
    """Read an answer of the revoke endpoint; empty and ``{}`` both mean done.

    Raises:
        GrantRevoked, TikTokUnavailable, TikTokError: as `read_token` does.
    """
    if _is_success(status) and not body.strip():
        return
    _answer(status, body, secrets, _wait(retry_after, now))


def read_user(
    status: int,
    body: bytes,
    *,
    open_id: str,
    secrets: Iterable[str] = (),
    retry_after: str = "",
    now: float | None = None,
) -> str:
    """Read an answer of the user-info endpoint; return the packed profile.

    A field of a wrong type is left out. `open_id` is whom the token belongs to.

    Raises:
        TikTokUnavailable, TikTokError: as `read_token` does; the latter too if the
            profile is of somebody else.
    """
    answer = _answer(status, body, secrets, _wait(retry_after, now))
    data = answer.get("data")
    user = data.get("user") if isinstance(data, dict) else None
    if not isinstance(user, dict):
        raise TikTokError("", "no user in a profile answer", "", status)
    if user.get("open_id") != open_id:
        raise TikTokError("", "a profile of somebody else", "", status)
    known = (f for names in FIELDS.values() for f in names)
    read = {f: _count(user.get(f)) if f in _COUNTS else user.get(f) for f in known}
    return pack_profile({f: value for f, value in read.items() if _is_field(f, value)})


def _answer(
    status: int, body: bytes, secrets: Iterable[str], wait: float | None
) -> dict[str, Any]:
    """Return the JSON object of a success, or raise what the answer means."""
    answer = _object(body)
    if answer is None:
        words = "an answer that is no JSON object"
        begins = body[:_LONGEST_EXCERPT].decode("utf-8", "replace").strip()
        if begins:
            words += f", and begins: {one_line(mask(begins, secrets))}"
        raise _unavailable("", one_line(words), "", status, wait)
    parts = _error_parts(answer)
    if not parts[0] and _is_success(status):
        return answer
    code, description, log_id = (one_line(mask(part, secrets)) for part in parts)
    if status >= _SERVER_ERROR or status == _TOO_MANY or code in TRANSIENT:
        raise _unavailable(code, description, log_id, status, wait)
    if code == "invalid_grant":
        raise GrantRevoked(code, description, log_id, status)
    raise TikTokError(code, description, log_id, status)


#: What TikTok calls the code of an error, and its text, in the order of trust.
_CODES = ("error", "code", "error_code", "err_code", "errCode")
_TEXTS = (
    "error_description",
    "message",
    "description",
    "error_msg",
    "err_msg",
    "errMsg",
    "msg",
)
_LOG_IDS = ("log_id", "logid", "logId", "request_id")


def _error_parts(answer: dict[str, Any]) -> tuple[str, str, str]:
    """Return code, text and log_id of any shape of error; code "" is no error.

    ``/v2/oauth/*`` writes a flat ``error``; resource endpoints an object, there on
    success too with the code ``ok``, or the same keys without the object; the first API
    puts numbers under ``data``, and ``message: "error"`` beside it.
    """
    error, data = answer.get("error"), answer.get("data")
    if isinstance(error, dict):
        code = _code(error)
        where = [error, answer]
    elif _one_code(error):
        code, where = _one_code(error), [answer]
    else:
        code, where = _code(answer), [answer]
        if not code and isinstance(data, dict) and "access_token" not in data:
            code, where = _code(data), [data, answer]
    return code, _first(where, _TEXTS), _first(where, _LOG_IDS)


def _code(fields: dict[str, Any]) -> str:
    found = (_one_code(fields[name]) for name in _CODES if name in fields)
    return next(filter(None, found), "")


def _one_code(value: object) -> str:
    """Return the code of an error as text; "" for what means that there is none."""
    if value is None or value is False or value in ("", "ok", 0, "0"):
        return ""
    if isinstance(value, str):
        return value
    return str(value) if type(value) is int else "unreadable"


def _first(where: list[dict[str, Any]], names: tuple[str, ...]) -> str:
    """Return the first text under one of `names`, in the order of `where`."""
    texts = (_text(fields.get(name)) for fields in where for name in names)
    return next(filter(None, texts), "")


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _unavailable(
    error: str, description: str, log_id: str, status: int, wait: float | None
) -> TikTokUnavailable:
    unavailable = TikTokUnavailable(error, description, log_id, status)
    unavailable.retry_after = wait
    return unavailable


def _wait(retry_after: str, now: float | None) -> float | None:
    """Return for how long a Retry-After asks to wait; None where it asks nothing.

    It holds seconds or a date (RFC 9110 section 10.2.3); a date that is over is 0.
    """
    if re.fullmatch(r"[0-9]{1,9}", retry_after):
        return min(float(retry_after), _LONGEST_WAIT)
    if now is None or not retry_after.isascii() or len(retry_after) > _LONGEST_DATE:
        return None
    from datetime import UTC, datetime  # noqa: PLC0415 - seldom used, and not light
    from email.utils import parsedate_tz  # noqa: PLC0415

    read = parsedate_tz(retry_after)  # all three forms of RFC 9110 section 5.6.7
    if read is None or read[9]:  # which are all in GMT
        return None
    try:
        at = datetime(*read[:6], tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):  # the 25th hour, the year 0
        return None
    return min(max(at - now, 0.0), _LONGEST_WAIT)


def _object(body: bytes | str) -> dict[str, Any] | None:
    """Return a JSON object in UTF-8; None for all else, and for what says it twice.

    Which of two values under one name counts, readers differ over (RFC 8259 section
    4): an answer that holds both is not to be relied on.
    """
    try:
        text = body if isinstance(body, str) else body.decode()
        read = json.loads(
            text, parse_constant=_no_constant, object_pairs_hook=_each_once
        )
    except (ValueError, RecursionError):
        return None
    return read if isinstance(read, dict) else None


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(pairs)
    if len(read) < len(pairs):
        message = "a name twice"
        raise ValueError(message)
    return read


def _is_success(status: int) -> bool:
    return 200 <= status < 300  # noqa: PLR2004 - the definition of 2xx


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and Infinity are not JSON


def _is_open_id(text: str) -> bool:
    if not 0 < len(text) <= LONGEST_OPEN_ID or _CONTROL.search(text):
        return False
    return _encodes(text)


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True


#: TikTok separates scopes by commas; blanks were seen, too.
_BETWEEN_SCOPES = re.compile(r"[ \t,]+")


def _is_scope_list(text: str) -> bool:
    return len(text) <= _LONGEST_SCOPES and all(
        is_scope(scope) for scope in _BETWEEN_SCOPES.split(text) if scope
    )


def _tidy_scopes(text: str) -> str:
    return join_scopes({s for s in _BETWEEN_SCOPES.split(text) if s})


def _seconds(value: object) -> float | None:
    """Return a lifetime between 0 and 400 days; None for none; else ValueError."""
    if value is None:
        return None
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,15}", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError  # noqa: TRY004 - TikTok's mistake, not a caller's
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError
    return float(min(max(value, 0), _LONGEST_LIFE))


def _count(value: object) -> object:
    """Return a count that was written as text as the number it is."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,19}", value):
        return int(value)
    return value


def _is_field(name: str, value: object) -> bool:
    if name == "is_verified":
        return isinstance(value, bool)
    if name in _COUNTS:
        return type(value) is int and 0 <= value <= _LONGEST_COUNT
    return (
        isinstance(value, str)
        and len(value) <= _LONGEST_PROFILE_FIELD
        and _encodes(value)
    )


# --- webhooks ----------------------------------------------------------------------

#: TikTok delivers again for three days until it is answered with 200. Forgetting a
#: user twice is forgetting them once, so a withdrawal counts for as long.
RETRIED_SECONDS = 72 * 3600
#: The event by which TikTok says that a user's access was removed.
REMOVED = "authorization.removed"
_LONGEST_SIGNATURE = 1024
_MOST_PARTS = 16
#: Times from here on are in milliseconds: as seconds they would be after the year 5138,
#: and as milliseconds all before are in or before March 1973.
_MILLISECONDS = 10**11
_TIME = re.compile(r"[0-9]{1,16}")
_HEX_MAC = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One webhook delivery that TikTok signed."""

    event: str
    #: Whole seconds since 1970; 0 where the delivery has no usable time.
    create_time: int
    #: None where the event is about no user.
    open_id: str | None
    #: The ``content``, whether it came as an object or packed as JSON in a string; {}
    #: where it is unreadable.
    content: Mapping[str, Any]

    @property
    def reason(self) -> int | None:
        """Why access was removed, as TikTok numbers it; None where it does not say."""
        reason = self.content.get("reason")
        if isinstance(reason, str) and re.fullmatch(r"[0-9]{1,3}", reason):
            return int(reason)
        return reason if type(reason) is int else None


def sign_webhook(body: bytes, secret: str, at: int) -> str:
    """Return the TikTok-Signature header of `body`, signed at `at`.

    https://developers.tiktok.com/doc/webhooks-verification
    """
    return f"t={at},s={_webhook_mac(str(at).encode(), body, secret)}"


def read_webhook(  # noqa: PLR0913 - what a delivery is judged by
    header: bytes,
    body: bytes,
    *,
    client_key: str,
    client_secret: str,
    now: float,
    tolerance: float = 300,
    previous_secret: str | None = None,
) -> Delivery:
    """Check and read a webhook delivery.

    Args:
        header: the TikTok-Signature header.
        body: the raw bytes that were signed.
        client_key: ours; a delivery for another app is refused.
        client_secret: what TikTok signs with.
        now: seconds since 1970.
        tolerance: how far from now TikTok may have signed, either way, in seconds. A
            delivery that a user's access was removed may be `RETRIED_SECONDS` older.
        previous_secret: what TikTok signed with before the secret was rotated.

    Raises:
        WebhookRejected: not signed by TikTok, too old, or not for this app.
    """
    signed_at, signature = _signature_parts(header)
    secrets = [client_secret, *([previous_secret] if previous_secret else [])]
    macs = [_webhook_mac(signed_at.encode(), body, secret) for secret in secrets]
    # Each is compared, so that the time says nothing about which of them fits.
    if not sum(hmac.compare_digest(mac, signature) for mac in macs):
        message = "the signature does not fit the body"
        raise WebhookRejected(message)
    delivery = _delivery(body, client_key)
    late = now - _epoch_seconds(int(signed_at))
    latest = tolerance + (RETRIED_SECONDS if delivery.event == REMOVED else 0)
    if not -tolerance <= late <= latest:
        message = "signed too long ago, or in the future"
        raise WebhookRejected(message)
    return delivery


def _signature_parts(header: bytes) -> tuple[str, str]:
    """Return the time and the signature of a TikTok-Signature header, as text.

    Parts end at commas, each is a name and a value around its first "=", and names that
    TikTok may add are passed over. Exactly one ``t`` and one ``s`` must be there: which
    of two counts, readers differ over.

    Raises:
        WebhookRejected: the header does not hold them.
    """
    if len(header) <= _LONGEST_SIGNATURE and header.isascii():
        found: dict[str, list[str]] = {}
        parts = header.decode().split(",")
        for part in parts:
            name, _, value = part.partition("=")
            found.setdefault(name.strip(" \t"), []).append(value.strip(" \t"))
        times, macs = found.get("t", []), found.get("s", [])
        if (
            len(parts) <= _MOST_PARTS
            and len(times) == len(macs) == 1
            and _TIME.fullmatch(times[0])
            and _HEX_MAC.fullmatch(macs[0])
        ):
            return times[0], macs[0].lower()
    message = "no TikTok-Signature of the form t=…,s=…"
    raise WebhookRejected(message)


def _webhook_mac(signed_at: bytes, body: bytes, secret: str) -> str:
    message = signed_at + b"." + body
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def _epoch_seconds(at: float) -> float:
    """Return a time of TikTok's in seconds; it sends milliseconds here and there."""
    return at / 1000 if at >= _MILLISECONDS else at


def _delivery(body: bytes, client_key: str) -> Delivery:
    delivery = _object(body)
    if delivery is None:
        message = "the body is no JSON object"
        raise WebhookRejected(message)
    event, open_id = delivery.get("event"), delivery.get("user_openid") or None
    if type(open_id) is int:  # as the portal's button for a test sends it
        open_id = str(open_id)
    if delivery.get("client_key") != client_key:
        message = "a delivery for another client_key"
        raise WebhookRejected(message)
    if not isinstance(event, str) or not (
        open_id is None or (isinstance(open_id, str) and _is_open_id(open_id))
    ):
        message = "a delivery without a usable event"
        raise WebhookRejected(message)
    return Delivery(
        event=one_line(event),
        create_time=_create_time(delivery.get("create_time")),
        open_id=open_id,
        content=_content(delivery.get("content")),
    )


def _create_time(value: object) -> int:
    """Return a ``create_time`` in whole seconds; 0 where it is no usable time."""
    if isinstance(value, str) and _TIME.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    # TikTok's times have at most 13 digits; infinity is greater, and NaN is not less.
    return int(_epoch_seconds(value)) if 0 < value < _MILLISECONDS * 1000 else 0


def _content(content: object) -> Mapping[str, Any]:
    read = _object(content) if isinstance(content, str) else content
    return read if isinstance(read, dict) else {}
