"""TikTok's side of a login: a strict state machine, without HTTP.

It refuses every request that TikTok refuses, with TikTok's own texts and shapes, and is
never more lenient: a mistake that a stand-in accepts would reach users in production. A
code works once, and a failed attempt uses it up; refresh tokens rotate, and the old one
is invalid at once. A grant ends a fixed time after the consent, however often its
tokens were refreshed. An account that consented before is reconnected without a page,
with the scopes of that consent.
(https://developers.tiktok.com/doc/oauth-user-access-token-management)
"""

from __future__ import annotations

import hmac
import itertools
import math
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

from tiktok_oauth_middleware._core.fork import register_after_fork

from ..errors import ConfigurationError
from . import videos
from .authorize import (
    ConsentRequest,
    Pairs,
    Registration,
    read_authorize,
    redirect_uri_faults,
)
from .people import Person, picture_name, profile_fields
from .videos import ApiRefused
from .wire import CREATOR_INFO, PROFILE_FIELDS, VIDEO_LIST, SignedLinks, proves

#: The scopes that a stand-in has by default, with what each lets an app do.
SCOPE_TEXTS: Mapping[str, str] = {
    "user.info.basic": "See your display name and avatar",
    "user.info.profile": "See your bio, profile link and whether you are verified",
    "user.info.stats": "See your follower, like and video counts",
    "video.list": "See your public videos",
    "video.upload": "Upload drafts to your account",
    "video.publish": "Post videos to your profile",
}

#: TikTok's text about an account that may not log in to other apps at all.
NOT_ELIGIBLE = "This account is not eligible to log in to third-party apps"

#: Life of an access token, in seconds: TikTok's pages of 2026-11-02.
ACCESS_LIFETIME = 7200
#: Life of a grant, counted from the consent, in seconds: the same pages.
REFRESH_LIFETIME = 15552000

_CODE_SECONDS = 300.0
#: Real codes and tokens end with the name of the data centre that made them.
_DATA_CENTRES = ("va", "u1", "e1")


class OAuthRefused(Exception):
    """An error body of ``/v2/oauth/*``, which TikTok sends with status 200."""

    def __init__(self, error: str, text: str) -> None:
        super().__init__(error, text)
        self.error = error
        self.text = text


@dataclass(slots=True, kw_only=True)
class _Code:
    request: ConsentRequest
    person: Person
    scopes: tuple[str, ...]
    created_at: float
    #: When the person consented; None if this code's own page was the consent.
    consented_at: float | None
    data_centre: str
    is_used: bool = False


@dataclass(slots=True, kw_only=True)
class _Consent:
    """The scopes that an account agreed to, and when it last saw the page."""

    scopes: frozenset[str]
    at: float


@dataclass(slots=True, kw_only=True)
class _Tokens:
    """One generation of a user's tokens."""

    person: Person
    scopes: tuple[str, ...]
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    issued_at: float
    access_until: float
    refresh_until: float
    consented_at: float
    data_centre: str
    #: When a refresh replaced this generation.
    rotated_at: float | None = None
    is_revoked: bool = False


class Provider:
    """TikTok's side of one app: its registration, people, codes and tokens."""

    def __init__(
        self,
        app: Registration,
        client_secret: str,
        *,
        people: Sequence[Person],
        clock: Callable[[], float],
        access_lifetime: int,
        refresh_lifetime: int,
    ) -> None:
        faults = redirect_uri_faults(app.redirect_uris or ())
        if faults:
            raise ConfigurationError([f"redirect_uris: {fault}" for fault in faults])
        self.client_key = app.client_key
        self._secret = client_secret
        self.redirect_uris: tuple[str, ...] | None = app.redirect_uris
        self.scopes: frozenset[str] = frozenset(app.scopes)
        self.people: tuple[Person, ...] = tuple(people)
        self.clock = clock
        #: Seconds; TikTok's older documents name 86400 and 31536000.
        self.access_lifetime = access_lifetime
        self.refresh_lifetime = refresh_lifetime
        #: Seconds for which a rotated refresh token still works; TikTok gives none.
        self.grace: float = 0.0
        #: Whether a request needs PKCE; None: on loopback, as TikTok's documents say.
        self.require_pkce: bool | None = None
        #: Whether a login ends the tokens of the person's earlier ones.
        self.one_chain = False
        #: Whether a login without a page restarts the grant's life. TikTok's behaviour
        #: is unknown: captured answers have the full lifetime, but do not show the kind
        #: of login.
        self.reconnection_renews = True
        #: How many of the next logins are cancelled, whatever the person decides.
        self.denials: int = 0
        #: The parameters of the next callbacks, instead of a code.
        self.refusals: list[Mapping[str, str]] = []
        #: How many of the next codes are issued already expired.
        self.stale_codes: int = 0
        #: The errors of fields of a profile that are refused, by the field's name.
        self.refused_fields: dict[str, str] = {}
        #: The status of OAuth errors; 400 and 401 have been observed, too.
        self.error_status = 200
        #: Seconds for which links to pictures work; 6 and 47 hours have been observed.
        self.link_lifetime = 21600
        self.links = SignedLinks()
        #: TikTok's SDKs disagree on whether an error comes back with ``state``.
        self.errors_carry_state = True
        self._codes: dict[str, _Code] = {}
        self._tokens: list[_Tokens] = []
        #: By open_id. TikTok does not show its page again, whatever is requested.
        self._consents: dict[str, _Consent] = {}
        self._serial = itertools.count(1)
        self.after_fork()
        register_after_fork(self)

    def after_fork(self) -> None:
        """Replace the lock, which another thread may have held during the fork."""
        self._lock = threading.RLock()

    # --- the consent page ----------------------------------------------------------

    def ask(self, query: Pairs) -> ConsentRequest:
        """Check an authorization request as TikTok's page does.

        Raises:
            Refused: with what TikTok's error page would say.
        """
        app = Registration(
            client_key=self.client_key,
            redirect_uris=self.redirect_uris,
            scopes=self.scopes,
            require_pkce=self.require_pkce,
        )
        return read_authorize(query, app)

    def skips_consent(self, request: ConsentRequest, person: Person) -> bool:
        """Whether TikTok would send this account back without showing its page."""
        return bool(self.reconnects_with(request, person))

    def reconnects_with(
        self, request: ConsentRequest, person: Person
    ) -> tuple[str, ...]:
        """Return the scopes that a login without a page would grant; empty with a page.

        A new scope in the request does not make TikTok show its page: it uses the
        earlier consent, and only ``disable_auto_auth=1`` shows the page.
        """
        consent = self._consents.get(person.open_id)
        if request.ask_again or consent is None:
            return ()
        if consent.at + self.refresh_lifetime <= self.clock():
            return ()
        return tuple(s for s in request.scopes if s in consent.scopes)

    def reconnect(self, request: ConsentRequest, person: Person) -> str:
        """Return the callback of an account that TikTok reconnects without a page."""
        granted = self.reconnects_with(request, person)
        at = self._consents[person.open_id].at
        return self._call_back(request, person, granted, at)

    def agree(
        self, request: ConsentRequest, person: Person, scopes: Iterable[str]
    ) -> str:
        """Return the callback of a person who agreed on the page to some scopes."""
        ticked = frozenset(scopes)
        granted = tuple(s for s in request.scopes if s in ticked)
        return self._call_back(request, person, granted, None)

    def _call_back(
        self,
        request: ConsentRequest,
        person: Person,
        granted: tuple[str, ...],
        consented_at: float | None,
    ) -> str:
        with self._lock:
            if self.denials > 0:
                self.denials -= 1
                return self.deny(request)
            if self.refusals:
                return self.refuse(request, self.refusals.pop(0))
            serial = next(self._serial)
            data_centre = _DATA_CENTRES[(serial - 1) % len(_DATA_CENTRES)]
            # Real codes contain * and !, and end with the name of a data centre.
            code = f"{secrets.token_urlsafe(24)}*1!{_digits()}.{data_centre}"
            now = self.clock()
            created_at = now
            if self.stale_codes > 0:
                self.stale_codes -= 1
                created_at -= 2 * _CODE_SECONDS
            self._codes[code] = _Code(
                request=request,
                person=person,
                scopes=granted,
                created_at=created_at,
                consented_at=consented_at,
                data_centre=data_centre,
            )
            if consented_at is None:
                self._consent(request, person, granted, now)
        answer = {"code": code, "scopes": ",".join(granted), "state": request.state}
        return _callback(request, answer)

    def _consent(
        self,
        request: ConsentRequest,
        person: Person,
        granted: tuple[str, ...],
        now: float,
    ) -> None:
        """Store a decision; scopes that the page did not list stay as they were."""
        before = self._consents.get(person.open_id)
        kept = before.scopes - set(request.scopes) if before else frozenset()
        scopes = kept | set(granted)
        self._consents[person.open_id] = _Consent(scopes=scopes, at=now)

    def deny(self, request: ConsentRequest) -> str:
        """Return the callback of a person who cancelled."""
        return self.refuse(
            request, {"error": "access_denied", "error_description": "User cancelled"}
        )

    def refuse(self, request: ConsentRequest, parameters: Mapping[str, str]) -> str:
        """Return a callback without a code, with these parameters."""
        answer = dict(parameters)
        if self.errors_carry_state:
            answer["state"] = request.state
        return _callback(request, answer)

    # --- tokens --------------------------------------------------------------------

    def token(self, form: Pairs) -> dict[str, object]:
        """Answer the token endpoint.

        Raises:
            OAuthRefused: with TikTok's error body.
        """
        given = self._checked(form)
        with self._lock:
            match given.get("grant_type"):
                case "authorization_code":
                    return self._exchange(given)
                case "refresh_token":
                    return self._refresh(given)
                case None:
                    raise _malformed()
                case _:
                    raise OAuthRefused("unsupported_grant_type", "Unknown grant type.")

    def _checked(self, form: Pairs) -> dict[str, str]:
        """Return a form's fields, if its client_key and client_secret are the app's."""
        given = dict(form)
        if len(given) < len(form) or "client_id" in given:
            raise _malformed()
        key, secret = given.get("client_key", ""), given.get("client_secret", "")
        if not key or not secret:
            raise _malformed()
        same = hmac.compare_digest(secret.encode(), self._secret.encode())
        if key != self.client_key or not same:
            raise OAuthRefused("invalid_client", "Client key or secret is incorrect.")
        return given

    def _exchange(self, given: Mapping[str, str]) -> dict[str, object]:
        if not given.get("code") or not given.get("redirect_uri"):
            raise _malformed()
        code = self._codes.get(given["code"])
        if code is None:
            raise OAuthRefused("invalid_grant", "Authorization code is invalid.")
        if code.is_used or self.clock() - code.created_at > _CODE_SECONDS:
            raise OAuthRefused("invalid_grant", "Authorization code is expired.")
        code.is_used = True  # also if this attempt fails
        if given.get("redirect_uri") != code.request.redirect_uri:
            text = "Redirect_uri is not matched with the uri when requesting code."
            raise OAuthRefused("invalid_request", text)
        if not proves(given.get("code_verifier"), code.request.challenge):
            text = "Code verifier or code challenge is invalid."
            raise OAuthRefused("invalid_request", text)
        if self.one_chain:
            self._end_tokens(code.person.open_id)
        at = code.consented_at
        if at is None or self.reconnection_renews:
            # As in captured answers, an exchange states the full lifetime.
            at = self.clock()
            if consent := self._consents.get(code.person.open_id):
                consent.at = at
        return self._issue(code.person, code.scopes, at, code.data_centre)

    def _refresh(self, given: Mapping[str, str]) -> dict[str, object]:
        token, now = given.get("refresh_token"), self.clock()
        if not token:
            raise _malformed()
        for known in self._tokens:
            if known.refresh_token == token and not known.is_revoked:
                break
        else:
            raise _dead()
        rotated = known.rotated_at
        if known.refresh_until <= now or (
            rotated is not None and (self.grace <= 0 or now - rotated > self.grace)
        ):
            raise _dead()
        known.rotated_at = now if rotated is None else rotated
        return self._issue(
            known.person, known.scopes, known.consented_at, known.data_centre
        )

    def _issue(
        self,
        person: Person,
        scopes: tuple[str, ...],
        consented_at: float,
        data_centre: str,
    ) -> dict[str, object]:
        now = self.clock()
        refresh_until = consented_at + self.refresh_lifetime
        made = _Tokens(
            person=person,
            scopes=scopes,
            access_token=_token("act", data_centre),
            refresh_token=_token("rft", data_centre),
            issued_at=now,
            access_until=now + self.access_lifetime,
            refresh_until=refresh_until,
            consented_at=consented_at,
            data_centre=data_centre,
        )
        self._tokens.append(made)
        return {
            "access_token": made.access_token,
            "expires_in": self.access_lifetime,
            "open_id": person.open_id,
            "refresh_expires_in": max(0, round(refresh_until - now)),
            "refresh_token": made.refresh_token,
            "scope": ",".join(scopes),
            "token_type": "Bearer",
        }

    def revoke(self, form: Pairs) -> str:
        """Answer the revoke endpoint, which ends every token of the user.

        Returns:
            The open_id of the user whose access was removed.

        Raises:
            OAuthRefused: with TikTok's error body.
        """
        given = self._checked(form)
        if not given.get("token"):
            raise _malformed()
        with self._lock:
            tokens = self._live(given["token"])
            if tokens is None:
                text = "Access token is invalid or expired."
                raise OAuthRefused("invalid_grant", text)
            self.remove(tokens.person.open_id)
            return tokens.person.open_id

    def remove(self, open_id: str) -> None:
        """End a user's grant, as when they disconnect the app in TikTok."""
        with self._lock:
            self._consents.pop(open_id, None)
            self._end_tokens(open_id)
            for code in self._codes.values():
                code.is_used |= code.person.open_id == open_id

    def rotate_away(self, open_id: str) -> None:
        """Rotate a user's refresh tokens as if it happened before any grace period."""
        with self._lock:
            for tokens in self._tokens:
                if tokens.person.open_id == open_id:
                    tokens.rotated_at = -math.inf

    def end_tokens(self, open_id: str, until: float = math.inf) -> None:
        """End the tokens that were issued to a user up to a time."""
        with self._lock:
            self._end_tokens(open_id, until)

    def _end_tokens(self, open_id: str, until: float = math.inf) -> None:
        for tokens in self._tokens:
            # The times of webhooks are whole seconds.
            if tokens.person.open_id == open_id and int(tokens.issued_at) <= until:
                tokens.is_revoked = True

    def _live(self, access_token: str) -> _Tokens | None:
        for tokens in reversed(self._tokens):
            if tokens.access_token == access_token:
                dead = tokens.is_revoked or tokens.access_until <= self.clock()
                return None if dead else tokens
        return None

    # --- the resource endpoints ----------------------------------------------------

    def user(self, bearer: str, fields: str | None, avatars: str) -> dict[str, object]:
        """Answer the user-info endpoint; `avatars` is the address of the pictures.

        Raises:
            ApiRefused: with TikTok's error.
        """
        tokens = self._bearer(bearer)
        if not fields:
            raise ApiRefused("invalid_params", "fields is required")
        known = {f: scope for scope, fs in PROFILE_FIELDS.items() for f in fs}
        profile = profile_fields(tokens.person, self._linker(avatars))
        request = fields.split(",")
        for name in request:
            if name not in known:
                raise ApiRefused("invalid_params", f"unknown field {name}")
            if refusal := self.refused_fields.get(name):
                raise ApiRefused(refusal, f"the field {name} is refused")
            _check_scope(tokens, known[name])
        return {name: profile[name] for name in request}

    def resource(
        self, path: str, bearer: str, fields: str | None, body: bytes, avatars: str
    ) -> dict[str, object]:
        """Return the ``data`` of an endpoint about videos.

        Raises:
            ApiRefused: with TikTok's error.
        """
        tokens = self._bearer(bearer)
        link = self._linker(avatars)
        if path == CREATOR_INFO:
            _check_scope(tokens, "video.publish")
            videos.read_json(body)
            avatar = link(picture_name(tokens.person, "1080x1080"))
            return videos.creator_info(tokens.person, avatar)
        _check_scope(tokens, "video.list")
        answer = videos.list_videos if path == VIDEO_LIST else videos.query_videos
        return answer(tokens.person, fields, body, link)

    def _bearer(self, token: str) -> _Tokens:
        tokens = self._live(token)
        if tokens is None:
            text = "The access token is invalid or not found in the request."
            raise ApiRefused("access_token_invalid", text)
        return tokens

    def _linker(self, base: str) -> Callable[[str], str]:
        """Return a function that makes links to pictures, as `link_lifetime` says."""
        until = int(self.clock() + self.link_lifetime)
        base = base or "https://p16-sign.tiktokcdn.example/"
        return lambda name: self.links.make(base + name, until)


def _check_scope(tokens: _Tokens, scope: str) -> None:
    if scope not in tokens.scopes:
        text = "The user did not authorize the scope required."
        raise ApiRefused("scope_not_authorized", text)


def _token(kind: str, data_centre: str) -> str:
    return f"{kind}.{secrets.token_urlsafe(30)}!{_digits()}.{data_centre}"


def _digits() -> int:
    return 1000 + secrets.randbelow(9000)


def _callback(request: ConsentRequest, answer: Mapping[str, str]) -> str:
    """Return the callback's address; a space is %20, as in TikTok's examples."""
    return f"{request.redirect_uri}?{urlencode(answer, quote_via=quote, safe='')}"


def _malformed() -> OAuthRefused:
    return OAuthRefused("invalid_request", "The request parameters are malformed.")


def _dead() -> OAuthRefused:
    return OAuthRefused("invalid_grant", "Refresh token is invalid or expired.")
