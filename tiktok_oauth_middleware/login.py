"""To TikTok and back: state, PKCE, code for token.

A login lives in the browser that began it: one sealed, short-lived cookie for each
login under way. The callback must present it, so an answer that was made for another
browser, or by an attacker, finds nothing here (RFC 9700 section 4.7). The store is
touched once before TikTok is: to mark the state as used, so that equal callbacks at
the same moment make one exchange.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import quote

from . import tiktok
from .cookies import find_all, from_text, grant_id, to_text
from .errors import (
    GrantRevoked,
    LoginDenied,
    LoginError,
    LoginExpired,
    LoginReplayed,
    StateMismatch,
    StoreError,
    TikTokError,
    TikTokOAuthError,
    TikTokUnavailable,
)
from .http import (
    COOKIE_LIMIT,
    QUERY_LIMIT,
    BadQuery,
    Cookie,
    Request,
    Response,
    is_document,
    is_prefetch,
    read_query,
)
from .log import logger
from .models import Event, Grant, Secret, Session, Site, join_scopes, split_scopes
from .pages import Answer, Link, Page, redirect
from .redirects import target_of

if TYPE_CHECKING:
    from .client import TikTokClient
    from .cookies import CookieJar, Ticket
    from .grants import Grants
    from .models import TokenAnswer
    from .outcomes import Tell
    from .sealing import Box
    from .settings import TikTokSettings

_UNDER_WAY = 7
_SESSIONS = 50
_SWAPS = 20
#: The cookie outlives the login, so that a late answer can be told from a foreign one.
_AFTERLIFE = 1200
_DELETED_AT_ONCE = 20
# No browser keeps more cookies for one host; who sends more is none.
_LOOKED_AT = 200
_CLOCK_SKEW = 60
_ERROR_CODE = re.compile(r"[a-z_]{1,40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Login:
    """A login under way, as its cookie carries it."""

    state: str = field(repr=False)
    #: "" without PKCE.
    verifier: str = field(repr=False)
    #: Where to go afterwards; checked when the login began.
    target: str
    born: int
    #: Scopes asked for one by one, beside the usual ones.
    asked: str

    def pack(self) -> bytes:
        parts = ("1", self.state, self.verifier, self.target, self.born, self.asked)
        return "\n".join(map(str, parts)).encode()

    @classmethod
    def unpack(cls, packed: bytes) -> _Login | None:
        try:
            version, state, verifier, target, born, asked = packed.decode().split("\n")
            return (
                None
                if version != "1"
                else cls(
                    state=state,
                    verifier=verifier,
                    target=target,
                    born=int(born),
                    asked=asked,
                )
            )
        except ValueError:
            return None


class Login:
    """The login and callback paths of one TikTok app."""

    def __init__(  # noqa: PLR0913 - its collaborators
        self,
        settings: TikTokSettings,
        grants: Grants,
        jar: CookieJar,
        box: Box,
        client: Callable[[], Awaitable[TikTokClient]],
        tell: Tell,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._grants = grants
        self._jar = jar
        self._box = box
        self._client = client
        self._tell = tell
        self._clock = clock

    # --- to TikTok -----------------------------------------------------------------

    def begin(self, request: Request, site: Site) -> Answer:
        """Answer the login path: remember the login in a cookie, go to TikTok."""
        if request.method not in self._settings.login_methods:
            return self._wrong_method(request, site)
        if len(request.query) > QUERY_LIMIT:
            return Page(code="query_too_long")
        if is_prefetch(request) or not is_document(request):
            # An image or a frame that points here is no person logging in.
            ways = [Link("log_in", site.login_url())]
            return Page(code="not_a_page_visit", ways=ways)
        try:
            asked = self._asked(request, site)
        except BadQuery:
            ways = [Link("log_in_without", site.login_url())]
            return Page(code="scope_not_offered", ways=ways)
        usual = site.prefix + self._settings.after_login
        login = _Login(
            state=secrets.token_urlsafe(32),
            verifier=secrets.token_urlsafe(32) if self._settings.pkce else "",
            target=target_of(request.query, usual, site.own_paths),
            born=int(self._clock()),
            asked=join_scopes(asked),
        )
        new = self._cookie(login)
        if _size(new) > self._room:  # a long address beside many scopes
            new = self._cookie(replace(login, target=usual))
        return redirect(
            self._authorize_url(login), cookies=self._under_way(request, new)
        )

    def _wrong_method(self, request: Request, site: Site) -> Page:
        """Return 405; where logins are posted, with the form that does it."""
        allow = [("allow", ", ".join(self._settings.login_methods))]
        if request.method != "GET":
            return Page(code="method_not_allowed", headers=allow)
        query = quote(request.query, safe="%/?:@!$&'()*+,;=~")
        here = site.login_url() + (f"?{query}" if query else "")
        return Page(
            code="login_by_form",
            ways=[Link("log_in", here, posts=True), Link("back", site.home)],
            headers=allow,
            onward=self._settings.endpoints.authorize,
        )

    def _asked(self, request: Request, site: Site) -> frozenset[str]:
        """Return the scopes asked for in the query; BadQuery if one is not ours."""
        asked = split_scopes(read_query(request.query, ["scopes"]).get("scopes", ""))
        if not asked <= site.askable:
            raise BadQuery
        return asked

    def _authorize_url(self, login: _Login) -> str:
        usual = self._settings.scopes
        further = sorted(split_scopes(login.asked) - set(usual))
        return tiktok.authorize_url(
            self._settings.endpoints.authorize,
            client_key=self._settings.client_key,
            redirect_uri=self._settings.redirect_uri,
            scopes=[*usual, *further],
            state=login.state,
            verifier=login.verifier or None,
            # TikTok skips its page for who consented before: no further scopes then.
            ask_again=bool(login.asked) or self._settings.always_ask_consent,
        )

    @property
    def _room(self) -> int:
        """What all login cookies may take together, beside the session's."""
        return COOKIE_LIMIT - len(self._jar.session_name) - 100

    def _under_way(self, request: Request, new: Cookie) -> list[Cookie]:
        """Return the new login's cookie, and deletions so that all of them fit."""
        sent = find_all(request.headers, self._jar.login_prefix.encode())
        return [new, *self._surplus(sent, 1, _size(new))] if sent else [new]

    def _surplus(
        self, sent: Mapping[str, bytes], kept: int = 0, taken: int = 0
    ) -> list[Cookie]:
        """Return deletions of what is more than may be under way: the oldest.

        At most seven at once, and all our cookies together no larger than one may
        be: servers refuse a request whose headers grow without end. Logins that
        begin at the same moment do not see each other, so the first to come back
        looks too.

        Args:
            sent: the cookies of logins under way, by their ids.
            kept: how many there are beside them.
            taken: how much of a request those take, in bytes.
        """
        room = self._room - taken
        deleted = []
        # The newest come last (RFC 6265 section 5.4).
        found = dict([*sent.items()][-_LOOKED_AT:])
        opened = {login_id: self._open(login_id, v) for login_id, v in found.items()}
        by_age = sorted(opened, key=lambda i: opened[i].born if opened[i] else 0)  # type: ignore[union-attr]
        for login_id in reversed(by_age):
            size = _size(self._jar.login(login_id, found[login_id].decode(), 1))
            room -= size
            if opened[login_id] is None or kept >= _UNDER_WAY or room < 0:
                deleted.append(self._jar.login(login_id, "", 0))
                room += size
            else:
                kept += 1
        return deleted[:_DELETED_AT_ONCE]

    def _cookie(self, login: _Login) -> Cookie:
        login_id = _login_id(login.state)
        sealed = self._box.seal(login.pack(), login_id)
        age = int(self._settings.login_lifetime) + _AFTERLIFE
        return self._jar.login(login_id, to_text(sealed), age)

    def _open(self, login_id: str, value: bytes) -> _Login | None:
        packed = self._box.open(from_text(value), login_id)
        return None if packed is None else _Login.unpack(packed)

    # --- and back ------------------------------------------------------------------

    async def finish(
        self, request: Request, site: Site, ticket: Ticket | None
    ) -> Answer:
        """Answer the callback path: the login's cookie and TikTok's code for a session.

        Args:
            request: with TikTok's answer in the query.
            site: where we are mounted.
            ticket: what the browser's present session cookie says, if it is genuine.

        Raises:
            StoreError: the store failed. If that was before TikTok was asked, the same
                callback finishes the login when the store is back; if after, the code
                is spent, and a new login is needed.
        """
        if request.method != "GET":
            return Page(code="method_not_allowed", headers=[("allow", "GET")])
        if len(request.query) > QUERY_LIMIT:
            return Page(code="query_too_long")
        spent: list[Cookie] = []
        login: _Login | None = None
        try:
            callback = tiktok.read_callback(request.query)
            login = self._login_of(callback, request, spent)
            return await self._sign_in(login, callback, ticket, spent)
        except BadQuery:
            return await self._refused(LoginError(), login, site, ticket, spent)
        except StoreError:
            raise
        except TikTokOAuthError as error:
            return await self._refused(error, login, site, ticket, spent)

    def _login_of(
        self, callback: tiktok.Callback, request: Request, spent: list[Cookie]
    ) -> _Login:
        """Return this browser's login that the callback answers; or a LoginError.

        From there on its cookie is among the `spent`, whatever comes of it.
        """
        login_id = _login_id(callback.state)
        cookies = find_all(request.headers, self._jar.login_prefix.encode())
        login = self._open(login_id, cookies.get(login_id, b""))
        if login is None or not hmac.compare_digest(login.state, callback.state):
            # An error without a login of ours is shown, and touches none under way.
            raise _refusal(callback.error) if callback.error else StateMismatch()
        del cookies[login_id]
        spent += [self._jar.login(login_id, "", 0), *self._surplus(cookies)]
        return login

    async def _sign_in(
        self,
        login: _Login,
        callback: tiktok.Callback,
        ticket: Ticket | None,
        spent: list[Cookie],
    ) -> Response:
        taken = self._clock() - login.born
        if not -_CLOCK_SKEW <= taken <= self._settings.login_lifetime:
            raise LoginExpired
        lifetime = self._settings.login_lifetime + _CLOCK_SKEW
        if not await self._grants.use_once(_login_id(login.state), lifetime):
            raise LoginReplayed
        if callback.error:
            raise _refusal(callback.error)
        if not callback.code:
            raise LoginError
        client = await self._client()
        try:
            answer = await client.exchange(
                callback.code.reveal(), login.verifier or None
            )
        except GrantRevoked as error:
            raise LoginExpired from error
        if answer.expires_in < 1 and answer.refresh_token is None:
            # It would end at its first use: a guarded page would log in for ever.
            raise TikTokError("", "a token that has ended already")
        profile = await self._profile(client, answer)
        value, session = await self._save(login, answer, profile, ticket)
        scopes = split_scopes(answer.scopes or "")
        event = Event(name="login", open_id=answer.open_id, scopes=scopes)
        await self._tell(event, session=session)
        age = int(self._settings.session_lifetime)
        return redirect(login.target, cookies=[self._jar.session(value, age), *spent])

    async def _profile(self, client: TikTokClient, answer: TokenAnswer) -> str:
        """Return the user's profile, or "" where TikTok does not give it.

        Somebody is signed in all the same: who they are is the token answer's word.
        """
        fields = tiktok.fields_for(split_scopes(answer.scopes or ""))
        if not fields or not self._settings.fetch_user:
            return ""
        try:
            return await client.profile(
                answer.access_token.reveal(), answer.open_id, fields
            )
        except TikTokError as error:
            logger.warning("no profile at login: %s", error)
            return ""

    async def _save(
        self, login: _Login, answer: TokenAnswer, profile: str, old: Ticket | None
    ) -> tuple[str, str]:
        """Write the grant with a new session in it; end the browser's previous one.

        Returns:
            The session cookie's value, and the hash of the secret in it.
        """
        named = grant_id(self._settings.client_key, answer.open_id)
        value, ticket = self._jar.issue(named)
        now = int(self._clock())
        session = Session(ticket.digest, now, now)
        previous = old.digest if old is not None else ""
        for _ in range(_SWAPS):
            held = await self._grants.load(named)
            grant = self._grant(login, answer, profile, held and held.grant)
            if old is None:  # asked with the login itself: the page may ask once more
                grant = replace(grant, declined="")
            others = [s for s in self._grants.living(grant) if s.digest != previous]
            grant = replace(grant, sessions=(*others, session)[-_SESSIONS:])
            if held is None:
                written = await self._grants.create(named, grant)
            else:
                written = await self._grants.replace(held, grant)
            if written is not None:
                break
        else:
            message = "the user's record changed at every try to write it"
            raise StoreError(message)
        if old is not None and old.grant_id != named:
            await self._grants.end_session(old.grant_id, old.digest)
        return value, ticket.digest

    def _grant(
        self, login: _Login, answer: TokenAnswer, profile: str, known: Grant | None
    ) -> Grant:
        """Return the grant that this answer makes: the newest login's tokens count."""
        now = int(self._clock())
        granted = split_scopes(answer.scopes or "")
        asked = split_scopes(login.asked)
        before = split_scopes(known.declined) if known and asked else frozenset()
        end = answer.refresh_expires_in
        return Grant(
            open_id=answer.open_id,
            access_token=answer.access_token,
            issued_at=now,
            expires_at=now + int(answer.expires_in),
            refresh_token=answer.refresh_token or Secret(""),
            refresh_expires_at=None if end is None else now + int(end),
            scopes=join_scopes(granted),
            declined=join_scopes((before | asked) - granted),
            profile=profile,
            sessions=known.sessions if known else (),
        )

    async def _refused(
        self,
        error: TikTokOAuthError,
        login: _Login | None,
        site: Site,
        ticket: Ticket | None,
        spent: Sequence[Cookie],
    ) -> Page:
        """Return the page that says why nobody was signed in, with a way on.

        Never an automatic new trip to TikTok: that could go round for ever.
        """
        reference = secrets.token_hex(4)
        event = Event(name="login_rejected", reason=error.code, reference=reference)
        refused_code = isinstance(error, LoginExpired) and error.__cause__
        await self._tell(event, why=refused_code or error)
        notes = []
        if isinstance(error, StateMismatch):
            notes = [("address", self._settings.origin)]
        elif isinstance(error, LoginError) and error.error:
            notes = [("tiktok_sent", error.error)]
        elif isinstance(error, TikTokError) and error.log_id:
            notes = [("tiktok_reference", error.log_id)]
        ways = [Link("try_again", self._again(login, site)), Link("back", site.home)]
        if ticket is not None:
            ways.reverse()
        return Page(
            code=error.code,
            ways=ways,
            notes=notes,
            reference=reference,
            cookies=spent,
            headers=[("retry-after", "5")]
            if isinstance(error, TikTokUnavailable)
            else [],
        )

    def _again(self, login: _Login | None, site: Site) -> str:
        """Return the link that tries a login once more: it asks and ends the same."""
        if login is None:
            return site.login_url()
        usual = site.prefix + self._settings.after_login
        target = None if login.target == usual else login.target
        return site.login_url(target, split_scopes(login.asked))


def _login_id(state: str) -> str:
    """Return the name of a login: from its state, and telling nothing about it."""
    return to_text(hashlib.sha256(state.encode()).digest()[:9])


def _size(cookie: Cookie) -> int:
    """Return what a cookie takes of a request: ``name=value; ``."""
    return len(cookie.name) + len(cookie.value) + 3


def _refusal(error: str) -> LoginError:
    """Return what an ``error`` of TikTok's callback means for the login."""
    if error == "access_denied":
        return LoginDenied()
    return LoginError(error if _ERROR_CODE.fullmatch(error) else "unknown_error")
