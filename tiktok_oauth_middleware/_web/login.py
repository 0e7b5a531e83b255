"""To TikTok and back: state, PKCE, code for token.

A login lives in the browser that began it: in sealed, short-lived cookies. The callback
must present them, so an answer that was made for another browser, or by an attacker,
finds nothing here (RFC 9700 section 4.7). The store is touched once before TikTok is:
to mark the state as used, so that equal callbacks at the same moment make one exchange.
Then the row says what came of it, and for a minute every request that shows the login's
cookie gets that: a callback that was cut off, sent again or sent twice ends as the
first one did.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
import secrets
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args
from urllib.parse import quote

from tiktok_oauth_middleware._core.http import (
    QUERY_LIMIT,
    BadQuery,
    BegunLogin,
    Cookie,
    Headers,
    Request,
    Response,
    read_query,
)
from tiktok_oauth_middleware._core.log import logger
from tiktok_oauth_middleware._core.return_to import safe_target, target_of
from tiktok_oauth_middleware._core.secret import Secret
from tiktok_oauth_middleware._oauth import answer as answer_module
from tiktok_oauth_middleware._oauth import authorize
from tiktok_oauth_middleware._oauth.scopes import (
    join_scopes,
    parse_scopes,
    split_scopes,
)
from tiktok_oauth_middleware._observe.causes import CONFIGURATION, reason_of
from tiktok_oauth_middleware._session.cookie import record_id, to_text
from tiktok_oauth_middleware._session.profiles import has_profile
from tiktok_oauth_middleware._session.record import Session, UserRecord
from tiktok_oauth_middleware.auth import read_profile
from tiktok_oauth_middleware.errors import (
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
from tiktok_oauth_middleware.events import Event

from .cookie_header import find
from .login_cookies import LoginCookies, purpose_hash
from .login_results import SHOWN_SECONDS, LoginResult, LoginResults
from .messages import ProblemCode
from .mount import MountPoint
from .navigation import is_document, is_other_host, is_prefetch, is_same_origin
from .pages import (
    HEAD_LIMIT,
    Answer,
    ErrorPage,
    Note,
    button,
    head_size,
    link,
    page_code,
    redirect,
)
from .recent_logins import RecentLogins

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.backends.base import Backend
    from tiktok_oauth_middleware._core.encryption import Box
    from tiktok_oauth_middleware._oauth.client import TikTokClient
    from tiktok_oauth_middleware._oauth.token_response import TokenResponse
    from tiktok_oauth_middleware._observe.emit import Emitter
    from tiktok_oauth_middleware._session.cookie import SessionCookies, Ticket
    from tiktok_oauth_middleware._session.profiles import Profile, Profiles
    from tiktok_oauth_middleware._session.records import Records
    from tiktok_oauth_middleware.settings.options import TikTokSettings

_SESSIONS = 50
_SWAPS = 20
#: The cookie outlives the login, so that a late answer can be told from a foreign one.
_AFTERLIFE = 1200
_DELETED_AT_ONCE = 20
#: In the query of a login that was sent on to the site's own address: once is enough.
_MOVED = "moved"
#: How long a store is given to write what came of a login, in seconds.
_WRITE_SECONDS = 5
_CLOCK_SKEW = 60
#: Longest list of scopes that a login is begun with, in characters: all that TikTok
#: has take 700.
_LONGEST_SCOPES = 4096
#: Two clicks on one link are no more than this apart, in seconds.
_DOUBLE_CLICK_SECONDS = 3
#: In the query of a login, "1" or "0".
_CHOOSE = "choose_account"
_ERROR_CODE = re.compile(r"[a-z_]{1,40}")


#: A scope asked for by itself, or every login; the account is to be chosen; TikTok gave
#: fewer scopes than asked for without showing its page.
Prompt = Literal["", "consent", "choose", "again"]
_PROMPTS: tuple[Prompt, ...] = get_args(Prompt)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginTransaction:
    """A login under way, as its cookie carries it."""

    state: Secret = field(repr=False)
    #: "" without PKCE.
    verifier: Secret = field(repr=False)
    #: Where to go afterwards; checked when the login began.
    target: str
    born: int
    #: Scopes asked for one by one, beside the usual ones.
    asked: str
    #: Why TikTok was told to show its page; "" where it may reconnect the last account
    #: without: with what that consented to the first time, whatever is asked now.
    prompt: Prompt = ""

    def pack(self) -> bytes:
        """Return what the cookie holds, which is bound to the state and the time."""
        verifier = self.verifier.reveal()
        parts = ("3", verifier, self.target, self.asked, self.prompt)
        return "\n".join(parts).encode()

    @property
    def purpose(self) -> str:
        """What a second login like it would be for."""
        return f"{self.target}\n{self.asked}"

    @classmethod
    def unpack(
        cls, packed: bytes, *, state: Secret, born: int
    ) -> LoginTransaction | None:
        try:
            version, verifier, target, asked, prompt = packed.decode().split("\n")
        except ValueError:
            return None
        if version != "3" or prompt not in _PROMPTS:
            return None
        return cls(
            state=state,
            verifier=Secret(verifier),
            target=target,
            born=born,
            asked=asked,
            prompt=prompt,
        )


class _Again(NamedTuple):
    """What a link that tries a login once more repeats."""

    target: str
    asked: str
    chooses_account: bool = False


class _Saved(NamedTuple):
    """A login that was written."""

    #: The session cookie's value, and the hash of the secret in it.
    session: str
    digest: str
    #: The record as it was written, and whether there was none before.
    record: UserRecord
    is_new: bool


class LoginFlow:
    """The login and callback paths of one TikTok app."""

    def __init__(  # noqa: PLR0913 - its collaborators
        self,
        settings: TikTokSettings,
        runtime: Backend,
        records: Records,
        jar: SessionCookies,
        boxes: tuple[Box, Box],
        client: Callable[[], Awaitable[TikTokClient]],
        emit: Emitter,
        clock: Callable[[], float],
        profiles: Profiles,
    ) -> None:
        """Take the collaborators; of the two boxes one seals logins, one results."""
        self._settings = settings
        self._origin = settings.origin
        self._runtime = runtime
        self._records = records
        self._jar = jar
        lifetime = settings.login_lifetime
        self._cookies = LoginCookies(jar, boxes[0], int(lifetime) + _AFTERLIFE)
        self._recent = RecentLogins(lifetime + _AFTERLIFE, clock)
        self._results = LoginResults(
            records,
            runtime,
            boxes[1],
            clock,
            kept=lifetime + _CLOCK_SKEW,
            # The exchange, the profile, perhaps without a refused field, the record.
            longest=3 * settings.timeout + _WRITE_SECONDS,
        )
        self._client = client
        self._emit = emit
        self._clock = clock
        self._profiles = profiles

    # --- to TikTok -----------------------------------------------------------------

    def begin(self, request: Request, site: MountPoint) -> Answer:
        """Answer the login path: remember the login in a cookie, go to TikTok."""
        if request.method not in self._settings.login_methods:
            return self._wrong_method(request, site)
        if len(request.query) > QUERY_LIMIT:
            return ErrorPage(code="query_too_long")
        if is_prefetch(request) or not is_document(request):
            # An image or a frame that points here is no person logging in.
            actions = [link("log_in", site.login_url())]
            return ErrorPage(code="not_a_page_visit", actions=actions)
        moved = self._moved(request, site)
        if moved is not None:
            return moved
        origin = self._origin
        if request.method == "POST" and not is_same_origin(request, origin):
            actions = [link("log_in", site.login_url()), link("back", site.home)]
            return ErrorPage(
                code="cross_site", actions=actions, notes=[Note("address", origin)]
            )
        try:
            asked = self._asked(request, site)
            prompt = self._prompt(request, asked)
        except BadQuery:
            actions = [link("log_in_without", site.login_url())]
            return ErrorPage(code="scope_not_offered", actions=actions)
        usual = site.prefix + self._settings.after_login
        login = LoginTransaction(
            state=Secret(secrets.token_urlsafe(32)),
            verifier=Secret(secrets.token_urlsafe(32) if self._settings.pkce else ""),
            target=target_of(request.query, usual, site.own_paths, site.origin),
            born=int(self._clock()),
            asked=join_scopes(asked),
            prompt=prompt,
        )
        answer = self._to_tiktok(request, login)
        if answer is None or head_size(answer) > HEAD_LIMIT:
            # A long address beside much else.
            login = replace(login, target=usual)
            answer = self._to_tiktok(request, login)
        if answer is None:
            return ErrorPage(code="query_too_long")
        known = "" if login.target == usual else login.target
        self._recent.remember(login.state, known, login.asked)
        return answer

    def _moved(self, request: Request, site: MountPoint) -> Response | None:
        """Return the way to the login at the site's own address, if this is another.

        TikTok sends the person back to the redirect URI, where the cookies of another
        host are not: better to move before the trip than to fail after it. Host decides
        nothing but that; the address is the configured one. Where a proxy changes Host
        the browser is there already: it is sent once, and then the login goes on.
        """
        origin = self._origin
        if not is_other_host(request, origin):
            return None
        try:
            has_moved = _MOVED in read_query(request.query, [_MOVED])
        except BadQuery:
            has_moved = True
        if has_moved:
            return None
        here = self._here(request, site)
        moved = redirect(f"{origin}{here}{'&' if '?' in here else '?'}{_MOVED}=1")
        if head_size(moved) > HEAD_LIMIT:
            moved = redirect(f"{origin}{site.login_url()}?{_MOVED}=1")
        return moved

    @staticmethod
    def _here(request: Request, site: MountPoint) -> str:
        """Return the login path with the query that was sent."""
        query = quote(request.query, safe="%/?:@!$&'()*+,;=~")
        return site.login_url() + (f"?{query}" if query else "")

    def _wrong_method(self, request: Request, site: MountPoint) -> Answer:
        """Return 405; where logins are posted, with the form that does it."""
        allow = [("allow", ", ".join(self._settings.login_methods))]
        if request.method != "GET":
            return ErrorPage(code="method_not_allowed", headers=allow)
        here = self._here(request, site)
        return self._moved(request, site) or ErrorPage(
            code="login_by_form",
            actions=[button("log_in", here), link("back", site.home)],
            headers=allow,
            form_redirects_to=self._settings.endpoints.authorize,
        )

    def _asked(self, request: Request, site: MountPoint) -> frozenset[str]:
        """Return the scopes asked for in the query; BadQuery if one is not ours."""
        text = read_query(request.query, ["scopes"]).get("scopes", "")
        if len(text) > _LONGEST_SCOPES:
            raise BadQuery
        asked = parse_scopes(text)
        if not asked <= site.allowed_scopes:
            raise BadQuery
        return asked

    def _prompt(self, request: Request, asked: frozenset[str]) -> Prompt:
        """Return why TikTok is to show its page; BadQuery if the query is no sense."""
        chooses = read_query(request.query, [_CHOOSE]).get(_CHOOSE, "0")
        if chooses not in ("0", "1"):
            raise BadQuery
        # The login after a logout: TikTok would take the same account without asking.
        if chooses == "1" or self._has_logged_out(request):
            return "choose"
        return "consent" if asked or self._settings.always_ask_consent else ""

    def _has_logged_out(self, request: Request) -> bool:
        return find(request.headers, self._jar.choose_name.encode()) is not None

    def under_way(self, headers: Headers) -> list[BegunLogin]:
        """Return what a request's cookies say of logins that have not come back."""
        return self._cookies.under_way(headers)

    def is_unfinished(
        self,
        request: Request,
        site: MountPoint,
        back: str | None,
        scopes: Iterable[str],
    ) -> bool:
        """Whether this browser has begun the same login and not come back from it.

        TikTok shows its own errors, such as a scope that the app may not ask for, and
        sends nobody back then. To begin the same trip again by itself would lead there
        for ever. A person who clicks a link of this site twice means one click.

        Args:
            request: which would be sent to log in.
            site: where we are mounted.
            back: where that login would lead; None where that is too long.
            scopes: that it would ask for one by one.
        """
        usual = site.prefix + self._settings.after_login
        target = (back and safe_target(back, site.own_paths)) or usual
        purpose = f"{target}\n{join_scopes(scopes)}"
        now = self._clock()
        hashed = purpose_hash(purpose)
        begun = [login.at for login in request.begun_logins if login.purpose == hashed]
        ages = [now - at for at in begun]
        is_click = (
            request.one(b"sec-fetch-user") == b"?1"
            and request.one(b"sec-fetch-site") == b"same-origin"
        )
        least = _DOUBLE_CLICK_SECONDS if is_click else -_CLOCK_SKEW
        return any(least <= age <= self._settings.login_lifetime for age in ages)

    def _authorize_url(self, login: LoginTransaction) -> str:
        usual = self._settings.scopes
        further = sorted(split_scopes(login.asked) - set(usual))
        return authorize.authorize_url(
            self._settings.endpoints.authorize,
            client_key=self._settings.client_key,
            redirect_uri=self._settings.redirect_uri,
            scopes=[*usual, *further],
            state=login.state.reveal(),
            verifier=login.verifier.reveal() or None,
            # TikTok skips its page for who consented before: no further scopes then.
            ask_again=bool(login.prompt),
        )

    def _to_tiktok(
        self, request: Request, login: LoginTransaction, others: Sequence[Cookie] = ()
    ) -> Response | None:
        """Return the way to TikTok with the login's cookies; None if it is too long.

        Args:
            request: which is answered.
            login: that begins.
            others: further cookies; one of a login's own names gives way.
        """
        cookies = self._cookies.begin(
            request.headers, login.state, login.born, login.pack(), login.purpose
        )
        if cookies is None:
            return None
        new = {cookie.name for cookie in cookies}
        kept = [cookie for cookie in others if cookie.name not in new]
        return _redirect(self._authorize_url(login), [*cookies, *kept])

    # --- and back ------------------------------------------------------------------

    async def finish(
        self, request: Request, site: MountPoint, ticket: Ticket | None
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
            return ErrorPage(code="method_not_allowed", headers=[("allow", "GET")])
        if len(request.query) > QUERY_LIMIT:
            return ErrorPage(code="query_too_long")
        try:
            callback = authorize.read_callback(
                request.query, [self._settings.client_secret]
            )
        except BadQuery:
            return await self._refuse(LoginError(), site, ticket)
        return await self._finish(request, site, ticket, callback)

    async def _finish(
        self,
        request: Request,
        site: MountPoint,
        ticket: Ticket | None,
        callback: authorize.Callback,
    ) -> Answer:
        found = self._cookies.open(request.headers, callback.state)
        login = found and LoginTransaction.unpack(
            found[1], state=callback.state, born=found[0]
        )
        found = None  # it holds the verifier as it was packed
        if login is None:
            return await self._unmatched(callback, site, ticket)
        # From here on the login's cookies are spent, whatever comes of it.
        spent = self._cookies.ended(request.headers, login.state)
        again = _Again(login.target, login.asked, login.prompt == "choose")
        try:
            result, is_own = await self._result_of(login, callback, ticket)
        except StoreError:
            raise
        except TikTokOAuthError as error:
            is_no = _is_refusal(callback)
            if is_no and await self._goes_on_without(login, error, ticket):
                rejected = _rejected(self._refused(error), error)
                await self._emit(rejected, why=_cause(error))
                return _redirect(login.target, spent)
            return await self._refuse(error, site, ticket, again, spent)
        if result.code:
            return self._refusal(result, site, ticket, again, spent)
        keeps = not is_own and await self._is_other(ticket, result)
        if self._has_logged_out(request):
            spent.append(self._jar.choose(0))
        second = None
        if result.asks_again and not keeps:
            second = self._once_more(request, login, result, spent)
        return second or self._signed_in(result, spent, keeps_session=keeps)

    def _once_more(
        self,
        request: Request,
        login: LoginTransaction,
        result: LoginResult,
        spent: Sequence[Cookie],
    ) -> Response | None:
        """Sign in, and send the person to TikTok's page for what was not granted.

        It comes after an answer of TikTok's, and its own answer makes none: a login
        goes to TikTok twice at most. Whoever closes the page is signed in all the same.
        None if that is too long for one answer.
        """
        second = replace(
            login,
            state=Secret(secrets.token_urlsafe(32)),
            verifier=Secret(secrets.token_urlsafe(32) if self._settings.pkce else ""),
            born=int(self._clock()),
            prompt="again",
        )
        cookies = [*spent, self._session_cookie(result)]
        answer = self._to_tiktok(request, second, cookies)
        if answer is None or head_size(answer) > HEAD_LIMIT:
            return None
        self._recent.remember(second.state, second.target, second.asked)
        return answer

    async def _goes_on_without(
        self, login: LoginTransaction, error: TikTokOAuthError, ticket: Ticket | None
    ) -> bool:
        """Whether a second trip came back with a no from a person who is signed in.

        They are not asked again by themselves, and go where the login led.

        Raises:
            StoreError: the store failed.
        """
        if login.prompt != "again" or ticket is None:
            return False
        stored = await self._records.load(ticket.record_id)
        if stored is None or not self._records.find(stored.record, ticket.digest):
            return False
        if isinstance(error, LoginDenied):
            missing = self._requested(login) - split_scopes(stored.record.scopes)
            await self._records.note_denied(stored.record_id, missing)
        return True

    def _requested(self, login: LoginTransaction) -> frozenset[str]:
        """Return all scopes that a login asks for."""
        return split_scopes(login.asked) | frozenset(self._settings.scopes)

    async def _unmatched(
        self, callback: authorize.Callback, site: MountPoint, ticket: Ticket | None
    ) -> Answer:
        """Answer a callback without its login's cookies: nobody is signed in by it.

        The browser that finished the login is led on to where it led. That, and who is
        signed in, are asked of the store for a genuine session cookie only.
        """
        if _is_refusal(callback):
            # An error without a login of ours is shown, and touches none under way.
            error = _refusal(callback)
            if isinstance(error, TikTokUnavailable):
                # Anybody can send one, and no server of ours or TikTok's failed.
                error = LoginError(error.error, error.description, callback.details)
            return await self._refuse(
                error, site, ticket, level=_unmatched_level(error)
            )
        is_signed_in = False
        if ticket is not None and callback.state:
            is_signed_in = await self._is_alive(ticket)
            result = await self._results.find(_login_id(callback.state))
            own = result and self._ticket_of(result)
            if is_signed_in and result is not None and own == ticket:
                return redirect(result.return_to)
        begun = self._recent.find(callback.state)
        return await self._refuse(
            StateMismatch(),
            site,
            ticket,
            begun and _Again(*begun),
            code="already_signed_in" if is_signed_in else None,
        )

    async def _result_of(
        self,
        login: LoginTransaction,
        callback: authorize.Callback,
        ticket: Ticket | None,
    ) -> tuple[LoginResult, bool]:
        """Return what came of a login, and whether this request brought it about.

        Raises:
            LoginError: nothing that could be shown.
            StoreError: the store failed.
        """
        login_id = _login_id(login.state)
        taken = self._clock() - login.born
        led: list[str] = []
        if not -_CLOCK_SKEW <= taken <= self._settings.login_lifetime:
            # It may have been finished in time, and be asked for once more.
            sealed = (
                None if _is_refusal(callback) else await self._results.wait(login_id)
            )
            if sealed is None:
                raise LoginExpired
        elif _is_refusal(callback) or not callback.code:
            # Nothing is spent, so nothing is written.
            raise _refusal(callback)
        else:
            # Whoever waits in this process gets what the first one gets; it goes on to
            # its end even if the browser that sent it is gone.
            sealed = await self._runtime.together(
                ("login", login_id),
                lambda: self._conclude(login, callback, ticket, led),
                wait=True,
            )
        result = sealed and self._results.opened(login_id, sealed)
        if not result:
            raise LoginReplayed
        if not led and not await self._may_be_shown(result):
            raise LoginReplayed
        return result, bool(led)

    async def _may_be_shown(self, result: LoginResult) -> bool:
        """Whether a result is recent, and its session has not been ended since."""
        if not -_CLOCK_SKEW <= self._clock() - result.at <= SHOWN_SECONDS:
            return False
        own = self._ticket_of(result)
        return bool(result.code) or (own is not None and await self._is_alive(own))

    def _ticket_of(self, result: LoginResult) -> Ticket | None:
        return self._jar.read(result.session.encode())

    async def _is_alive(self, ticket: Ticket) -> bool:
        """Whether a session has not ended, as the store says now."""
        stored = await self._records.load(ticket.record_id)
        return stored is not None and bool(
            self._records.find(stored.record, ticket.digest)
        )

    async def _is_other(self, ticket: Ticket | None, result: LoginResult) -> bool:
        """Whether a browser is signed in by another login than this one by now."""
        if ticket is None or ticket == self._ticket_of(result):
            return False
        return await self._is_alive(ticket)

    def _signed_in(
        self, result: LoginResult, spent: Sequence[Cookie], *, keeps_session: bool
    ) -> Response:
        # The session's cookie comes last: some adapters keep one Set-Cookie only.
        session = [] if keeps_session else [self._session_cookie(result)]
        return _redirect(result.return_to, [*spent, *session])

    def _session_cookie(self, result: LoginResult) -> Cookie:
        age = int(self._settings.session_lifetime)
        return self._jar.session(result.session, age)

    async def _conclude(
        self,
        login: LoginTransaction,
        callback: authorize.Callback,
        ticket: Ticket | None,
        led: list[str],
    ) -> bytes | None:
        """Finish a login, or wait for whoever is at it; return the sealed result.

        Args:
            login: whose cookies were shown.
            callback: with TikTok's code.
            ticket: what the browser's present session cookie says.
            led: is given the login's id if it was finished here.
        """
        login_id = _login_id(login.state)
        begun = await self._results.begin(login_id)
        if begun is None:
            return await self._results.wait(login_id)
        led.append(login_id)
        try:
            # No secret stands in a frame of ours while the app's on_event runs.
            sealed, event, session, why = await self._attempt(login, callback, ticket)
        except StoreError:
            # The code is spent. Whoever comes again need not wait to learn that.
            lost = self._results.seal(login_id, self._refused(LoginReplayed()))
            with contextlib.suppress(StoreError):
                await self._results.finish(login_id, begun, lost)
            raise
        try:
            await self._results.finish(login_id, begun, sealed)
        except StoreError as error:
            logger.warning("what came of a login could not be kept: %s", error)
        await self._emit(event, session=session, why=why)
        return sealed

    async def _attempt(
        self,
        login: LoginTransaction,
        callback: authorize.Callback,
        ticket: Ticket | None,
    ) -> tuple[bytes, Event, str, object]:
        """Return the sealed result of the exchange, and what is to be told of it."""
        session, why = "", None
        try:
            saved = await self._exchanged(login, callback, ticket)
            asks_again = await self._asks_again(login, saved.record)
            record, session = saved.record, saved.digest
            result = LoginResult(
                at=int(self._clock()),
                session=saved.session,
                return_to=login.target,
                asks_again=asks_again,
            )
            event = Event(
                name="login",
                open_id=record.open_id,
                scopes=split_scopes(record.scopes),
                user=read_profile(record.open_id, record.profile),
                is_new=saved.is_new,
            )
        except StoreError:
            raise
        except TikTokOAuthError as error:
            result = self._refused(error)
            event, why = _rejected(result, error), error
        sealed = self._results.seal(_login_id(login.state), result)
        return sealed, event, session, _cause(why) if why else ""

    async def _exchanged(
        self,
        login: LoginTransaction,
        callback: authorize.Callback,
        ticket: Ticket | None,
    ) -> _Saved:
        """Ask TikTok for the tokens and write them."""
        client = await self._client()
        try:
            answer = await client.exchange(
                callback.code.reveal(), login.verifier.reveal() or None
            )
        except GrantRevoked as error:
            raise LoginExpired from error
        if answer.expires_in < 1 and answer.refresh_token is None:
            # It would end at its first use: a guarded page would log in for ever.
            raise TikTokError("", "a token that has ended already")
        profile = await self._profile(answer)
        return await self._save(login, answer, profile, ticket)

    async def _asks_again(self, login: LoginTransaction, record: UserRecord) -> bool:
        """Whether a person is to see TikTok's page for scopes that they were not asked.

        TikTok reconnects who consented before without a page, and with the scopes of
        that consent: a scope that the site asks for since then never comes by itself.
        What a person declined on the page is theirs to ask for.
        """
        named = record_id(self._settings.client_key, record.open_id)
        missing = self._requested(login) - split_scopes(record.scopes)
        try:
            if login.prompt:
                await self._records.note_denied(named, missing, self._requested(login))
                return False
            return bool(missing and missing - await self._records.denied(named))
        except StoreError as error:
            # The login itself is written.
            logger.warning("what a user declined could not be kept or read: %s", error)
            return False

    async def _profile(self, answer: TokenResponse) -> Profile | None:
        """Return the user's profile, or None where TikTok does not give it.

        Somebody is signed in all the same: who they are is the token answer's word.
        """
        scopes = answer.scopes or ""
        if not self._settings.fetch_user or not has_profile(scopes):
            return None
        try:
            return await self._profiles.ask(answer.access_token, answer.open_id, scopes)
        except TikTokError as error:
            logger.warning("no profile at login: %s", error)
            return None

    async def _save(
        self,
        login: LoginTransaction,
        answer: TokenResponse,
        profile: Profile | None,
        old: Ticket | None,
    ) -> _Saved:
        """Write the grant with a new session in it; end the browser's previous one."""
        named = record_id(self._settings.client_key, answer.open_id)
        value, ticket = self._jar.issue(named)
        now = int(self._clock())
        session = Session(ticket.digest, now, now)
        previous = old.digest if old is not None else ""
        for _ in range(_SWAPS):
            stored = await self._records.load(named)
            record = self._grant(login, answer, profile, stored and stored.record)
            if old is None:  # asked with the login itself: the page may ask once more
                record = replace(record, denied="")
            others = [s for s in self._records.living(record) if s.digest != previous]
            record = replace(record, sessions=(*others, session)[-_SESSIONS:])
            try:
                if stored is None:
                    written = await self._records.create(named, record)
                else:
                    written = await self._records.replace(stored, record)
            except StoreError:
                # Where only the store's answer was lost, the previous session is over
                # and the new one is there: its browser must get it.
                if await self._is_alive(ticket):
                    break
                raise
            if written is not None:
                break
        else:
            message = "the user's record changed at every try to write it"
            raise StoreError(message)
        if old is not None and old.record_id != named:
            await self._records.end_session(old.record_id, old.digest)
        return _Saved(value, ticket.digest, record, stored is None)

    def _grant(
        self,
        login: LoginTransaction,
        answer: TokenResponse,
        profile: Profile | None,
        known: UserRecord | None,
    ) -> UserRecord:
        """Return the grant that this answer makes: the newest login's tokens count."""
        now = int(self._clock())
        granted = split_scopes(answer.scopes or "")
        # What guards go by: scopes that were asked for by themselves, for a page.
        asked = split_scopes(login.asked)
        before = split_scopes(known.denied) if known and asked else frozenset()
        refresh_token, end = self._refresh_token(answer, known)
        return UserRecord(
            open_id=answer.open_id,
            access_token=answer.access_token,
            issued_at=now,
            expires_at=now + int(answer.expires_in),
            refresh_token=refresh_token,
            refresh_expires_at=end,
            scopes=join_scopes(granted),
            denied=join_scopes((before | asked) - granted),
            **self._profiles.after_login(join_scopes(granted), profile, known),
            sessions=known.sessions if known else (),
        )

    def _refresh_token(
        self, answer: TokenResponse, known: UserRecord | None
    ) -> tuple[Secret, int | None]:
        """Return the refresh token after a login, and when it ends.

        An answer without one leaves the user's own, as at a refresh, if it still works.
        """
        now = int(self._clock())
        life = answer.refresh_expires_in
        end = None if life is None else now + int(life)
        if answer.refresh_token is not None:
            return answer.refresh_token, end
        if known is None or not known.refresh_token:
            return Secret(""), end
        before = known.refresh_expires_at
        if before is not None and before <= now:
            return Secret(""), end
        return known.refresh_token, before if end is None else end

    def _refused(
        self, error: TikTokOAuthError, level: int | None = None
    ) -> LoginResult:
        """Return what is shown of an error."""
        notes: list[Note] = []
        if isinstance(error, LoginDenied):
            pass  # the page says what it means
        elif isinstance(error, LoginError) and error.error:
            notes = [Note("tiktok_sent", error.error)]
        elif isinstance(error, TikTokError) and error.log_id:
            notes = [Note("tiktok_reference", error.log_id)]
        is_passing = isinstance(error, TikTokUnavailable)
        return LoginResult(
            at=int(self._clock()),
            code=page_code(error),
            notes=notes,
            reference=self._emit.reference_for("login_rejected", _cause(error), level),
            headers=[("retry-after", "5")] if is_passing else [],
        )

    async def _refuse(  # noqa: PLR0913 - all that the page shows
        self,
        error: TikTokOAuthError,
        site: MountPoint,
        ticket: Ticket | None,
        again: _Again | None = None,
        spent: Sequence[Cookie] = (),
        code: ProblemCode | None = None,
        level: int | None = None,
    ) -> ErrorPage:
        """Tell that nobody was signed in, and return the page that says why.

        Args:
            error: what went wrong.
            site: where we are mounted.
            ticket: what the browser's present session cookie says.
            again: what a link that tries once more repeats, if that is known.
            spent: deletions of cookies.
            code: of the page, instead of the error's.
            level: in the log, instead of the one that the error has.
        """
        result = self._refused(error, level)
        await self._emit(_rejected(result, error), why=_cause(error), level=level)
        if isinstance(error, StateMismatch):
            usual = site.prefix + self._settings.after_login
            leads = Note("begins_at", usual)
            if again is not None:
                leads = Note("leads_to", again.target or usual)
            result = replace(result, notes=[Note("address", self._origin), leads])
        if code:
            result = replace(result, code=code, notes=())
        return self._refusal(result, site, ticket, again, spent)

    def _refusal(
        self,
        result: LoginResult,
        site: MountPoint,
        ticket: Ticket | None,
        again: _Again | None,
        spent: Sequence[Cookie],
    ) -> ErrorPage:
        """Return the page that says why nobody was signed in, with a way on.

        Never an automatic new trip to TikTok: that could go round for ever.
        """
        actions = [link("try_again", self._again(again, site)), link("back", site.home)]
        if ticket is not None:
            actions.reverse()
        return ErrorPage(
            code=result.code or "login_failed",
            actions=actions,
            notes=result.notes,
            reference=result.reference,
            cookies=spent[:_DELETED_AT_ONCE],
            headers=result.headers,
        )

    def _again(self, again: _Again | None, site: MountPoint) -> str:
        """Return the link that tries a login once more: it asks and ends the same."""
        if again is None:
            return site.login_url()
        usual = site.prefix + self._settings.after_login
        return site.login_url(
            None if again.target in ("", usual) else again.target,
            split_scopes(again.asked),
            choose_account=again.chooses_account,
        )


def _rejected(result: LoginResult, error: TikTokOAuthError) -> Event:
    reason = reason_of(error)
    return Event(name="login_rejected", reason=reason, reference=result.reference)


def _cause(error: TikTokOAuthError) -> BaseException:
    """Return what the log says of an error: TikTok's, where it refused the code."""
    return (isinstance(error, LoginExpired) and error.__cause__) or error


def _redirect(location: str, cookies: Sequence[Cookie]) -> Response:
    """Return a redirect with cookies; of deletions, as many as are sure to pass."""
    kept = [cookie for cookie in cookies if cookie.value]
    room = HEAD_LIMIT - head_size(redirect(location, cookies=kept))
    gone = []
    for cookie in [c for c in cookies if not c.value][:_DELETED_AT_ONCE]:
        room -= sum(map(len, cookie.header())) + 4
        if room >= 0:
            gone.append(cookie)
    return redirect(location, cookies=[*gone, *kept])


def _login_id(state: str) -> str:
    """Return the name of a login: from its state, and telling nothing about it."""
    return to_text(hashlib.sha256(state.encode()).digest()[:9])


def _is_refusal(callback: authorize.Callback) -> bool:
    """Whether TikTok's answer is an error; some have no ``error``, and then no code."""
    return bool(callback.error or (callback.details and not callback.code))


def _refusal(callback: authorize.Callback) -> LoginError | TikTokUnavailable:
    """Return what an error in TikTok's callback means for the login.

    ``access_denied`` is a person who cancels, and an account that TikTok does not let
    log in here; its description says which, if anything does.
    """
    error, description = callback.error, callback.description
    if error == "access_denied":
        return LoginDenied(error, description, callback.details)
    if error in answer_module.TRANSIENT:
        return TikTokUnavailable(error, description)
    known = error if not error or _ERROR_CODE.fullmatch(error) else "unknown_error"
    return LoginError(known, description, callback.details)


def _unmatched_level(error: Exception) -> int:
    """Return how loudly to report an error that belongs to no login of this browser.

    Anybody can send one, so it is a warning only where it names a mistake of the app's,
    which TikTok may report without a state.
    """
    is_mistake = isinstance(error, LoginError) and error.error in CONFIGURATION
    return logging.WARNING if is_mistake else logging.INFO
