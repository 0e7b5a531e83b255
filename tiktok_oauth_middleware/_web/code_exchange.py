"""Code exchange: from TikTok's code to tokens, a profile, and a new session.

The tokens of the newest login replace the user's earlier ones. The sessions of other
browsers stay in the record, and so does an earlier refresh token if TikTok gave no new
one and it still works.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from tiktok_oauth_middleware._core.log import logger
from tiktok_oauth_middleware._core.secret import Secret
from tiktok_oauth_middleware._oauth.scopes import join_scopes, split_scopes
from tiktok_oauth_middleware._oauth.user import read_profile
from tiktok_oauth_middleware._session.profiles import has_profile
from tiktok_oauth_middleware._session.record import (
    MAX_SESSIONS,
    Session,
    UserRecord,
    record_id,
)
from tiktok_oauth_middleware._session.rows import swap_attempts
from tiktok_oauth_middleware.auth import Login
from tiktok_oauth_middleware.errors import (
    GrantRevoked,
    LoginExpired,
    LoginRefused,
    StoreError,
    TikTokError,
)

if TYPE_CHECKING:
    from tiktok_oauth_middleware._oauth.client import TikTokClient
    from tiktok_oauth_middleware._oauth.token_response import TokenResponse
    from tiktok_oauth_middleware._session.cookie import SessionCookies, Ticket
    from tiktok_oauth_middleware._session.endings import Endings
    from tiktok_oauth_middleware._session.profiles import Profile, Profiles
    from tiktok_oauth_middleware._session.records import Records
    from tiktok_oauth_middleware._session.revocation import Revocation
    from tiktok_oauth_middleware.settings.options import TikTokSettings

    from .login_decision import LoginDecision
    from .mount import MountPoint
    from .transaction import LoginTransaction


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSession:
    """A session that was written."""

    #: The session cookie's value.
    cookie: str = field(repr=False)
    #: The hash of the secret in the cookie.
    digest: str
    #: The user's record as it was written.
    record: UserRecord
    #: Whether the user had no record before.
    is_new_user: bool
    #: The path that the app's ``on_login`` returned, or "".
    lands_on: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class CodeExchange:
    """Asks TikTok for a login's tokens, and writes the user's record."""

    settings: TikTokSettings
    records: Records
    cookies: SessionCookies
    profiles: Profiles
    client: Callable[[], Awaitable[TikTokClient]]
    clock: Callable[[], float]
    #: Asks the app's ``on_login``; None if it has none.
    decision: LoginDecision | None
    endings: Endings
    #: Returns what ends a user's access at TikTok, after a login that was refused.
    revocation: Callable[[], Revocation]

    async def run(
        self,
        transaction: LoginTransaction,
        code: Secret,
        previous: Ticket | None,
        mount_point: MountPoint,
    ) -> NewSession:
        """Return the session that a code gives.

        Args:
            transaction: of the login.
            code: the code from TikTok.
            previous: the browser's present session, which ends.
            mount_point: of the callback.

        Raises:
            LoginExpired: the code is no longer valid.
            LoginRefused, LoginUndecided: the app's ``on_login`` did not accept the
                login; nothing was written.
            StoreError: the store failed.
            TikTokError: TikTok refused, or gave no usable answer.
        """
        began_at = self.clock()
        tokens, profile = await self.ask(transaction, code)
        lands_on = ""
        if self.decision is not None:
            ask = partial(self.decision.ask, mount_point=mount_point)
            lands_on = await self._decide(ask, transaction, tokens, profile)
        session = await self._save(transaction, tokens, profile, previous)
        await self.check_alive(session.record, began_at)
        return replace(session, lands_on=lands_on)

    async def ask(
        self, transaction: LoginTransaction, code: Secret
    ) -> tuple[TokenResponse, Profile | None]:
        """Exchange a code; return the tokens, and the profile if TikTok gives it.

        Raises:
            LoginExpired: the code is no longer valid.
            TikTokError: TikTok refused, or gave no usable answer.
        """
        async with (await self.client()).for_one_login() as client:
            try:
                tokens = await client.exchange(
                    code.reveal(), transaction.verifier.reveal() or None
                )
            except GrantRevoked as error:
                raise LoginExpired from error
            if tokens.expires_in < 1 and tokens.refresh_token is None:
                # It would end at its first use, and a guarded page would redirect for
                # ever.
                raise TikTokError("", "a token that has expired already")
            return tokens, await self._profile(client, tokens)

    async def check_alive(self, record: UserRecord, began_at: float) -> None:
        """Delete a record that was just written if its tokens became invalid meanwhile.

        Args:
            record: as it was written.
            began_at: before the code was sent to TikTok, in seconds since 1970.

        Raises:
            LoginExpired: the user's access at TikTok ended since.
            StoreError: the store failed.
        """
        named = record_id(self.settings.client_key, record.open_id)

        def are_over() -> Awaitable[bool]:
            return self.revocation().are_over(named)

        if not await self.endings.has_ended(
            named, record, began_at, self.client, are_over
        ):
            return
        for _ in swap_attempts():
            stored = await self.records.load(named)
            if stored is None or stored.record.access_token != record.access_token:
                break  # another login's record, which that login checks
            if await self.records.delete(stored):
                break
        why = GrantRevoked("invalid_grant", "the access ended during the login")
        raise LoginExpired from why

    async def _decide(
        self,
        ask: Callable[[Login], Awaitable[str]],
        transaction: LoginTransaction,
        tokens: TokenResponse,
        profile: Profile | None,
    ) -> str:
        """Call the app's ``on_login``; return the path that it returned, or "".

        The tokens of a refused login are dropped. An earlier record of this user does
        not change.

        Raises:
            LoginRefused, LoginUndecided: the app did not accept the login.
            StoreError: the store failed, so an earlier record is unknown.
        """
        user_record_id = record_id(self.settings.client_key, tokens.open_id)
        stored = await self.records.load(user_record_id)
        record = self.record(transaction, tokens, profile, stored and stored.record)
        login = Login(
            open_id=record.open_id,
            scopes=split_scopes(record.scopes),
            user=read_profile(record.open_id, record.profile),
            next=transaction.return_to,
            carried=transaction.carried,
            is_new=stored is None,
        )
        try:
            return await ask(login)
        except LoginRefused as refused:
            if refused.revoke:
                await self.revocation().revoke_refused(user_record_id, record)
            raise

    async def _profile(
        self, client: TikTokClient, tokens: TokenResponse
    ) -> Profile | None:
        """Return the user's profile, or None if TikTok does not give it.

        The login goes on without it: the token response identifies the user.
        """
        scopes = tokens.scopes or ""
        if not self.settings.fetch_user or not has_profile(scopes):
            return None
        try:
            return await self.profiles.ask(
                tokens.access_token, tokens.open_id, scopes, client=client
            )
        except TikTokError as error:
            logger.warning("TikTok sent no profile at a login: %s", error)
            return None

    async def _save(
        self,
        transaction: LoginTransaction,
        tokens: TokenResponse,
        profile: Profile | None,
        previous: Ticket | None,
    ) -> NewSession:
        """Write the record with a new session; end the browser's previous one."""
        user_record_id = record_id(self.settings.client_key, tokens.open_id)
        cookie, ticket = self.cookies.issue(user_record_id)
        record, is_new_user = await self._write(
            transaction, tokens, profile, ticket, previous
        )
        if previous is not None and previous.record_id != user_record_id:
            await self.records.end_session(previous.record_id, previous.digest)
        return NewSession(
            cookie=cookie,
            digest=ticket.digest,
            record=record,
            is_new_user=is_new_user,
        )

    async def _write(
        self,
        transaction: LoginTransaction,
        tokens: TokenResponse,
        profile: Profile | None,
        ticket: Ticket,
        previous: Ticket | None,
    ) -> tuple[UserRecord, bool]:
        """Write a session into the user's record; return it and whether it is new."""
        now = int(self.clock())
        previous_digest = previous.digest if previous is not None else ""
        for _ in swap_attempts():
            stored = await self.records.load(ticket.record_id)
            record = self.record(transaction, tokens, profile, stored and stored.record)
            if previous is None:
                # Requested with the login itself: a guarded page may ask once more.
                record = record._replace(denied="")
            others = [
                other
                for other in self.records.lifetimes.active_sessions(record)
                if other.digest != previous_digest
            ]
            session = Session(
                ticket.digest,
                now,
                now,
                self._earlier_login_at(transaction, record, ticket, previous),
            )
            sessions = (*others, session)[-MAX_SESSIONS:]
            record = record._replace(sessions=sessions)
            try:
                if stored is None:
                    written = await self.records.create(ticket.record_id, record)
                else:
                    written = await self.records.replace(stored, record)
            except StoreError:
                # If only the store's answer was lost, the previous session has ended
                # and the new one is stored: its browser must get it.
                if not await self.records.load_if_active(ticket):
                    raise
                return record, stored is None
            if written is not None:
                return record, stored is None
        raise AssertionError  # swap_attempts has raised

    def _earlier_login_at(
        self,
        transaction: LoginTransaction,
        record: UserRecord,
        ticket: Ticket,
        previous: Ticket | None,
    ) -> int | None:
        """Return when the user last logged in, if this login does not count as one.

        TikTok reconnects a person without its page unless the login asks for the page,
        and any site can begin such a login. It proves no more than the browser's
        previous session. If a login that finished at the same moment has replaced that
        session, the replacement is among the other sessions.
        """
        if transaction.prompt or previous is None:
            return None
        if previous.record_id != ticket.record_id:  # another user's
            return None
        before = self.records.lifetimes.find_session(record, previous.digest)
        if before is not None:
            return before.logged_in_at
        active = self.records.lifetimes.active_sessions(record)
        return min((session.logged_in_at for session in active), default=None)

    def record(
        self,
        transaction: LoginTransaction,
        tokens: TokenResponse,
        profile: Profile | None,
        present: UserRecord | None,
    ) -> UserRecord:
        """Return the user's record with new tokens; its other fields stay."""
        now = int(self.clock())
        granted = split_scopes(tokens.scopes or "")
        # Only further scopes, requested for a page: `denied` is read by its guard.
        requested = split_scopes(transaction.requested)
        denied = split_scopes(present.denied) if present and requested else frozenset()
        return UserRecord(
            open_id=tokens.open_id,
            **tokens.fields_for_record(now, *_usable_refresh_token(present, now)),
            scopes=join_scopes(granted),
            denied=join_scopes((denied | requested) - granted),
            **self.profiles.after_login(join_scopes(granted), profile, present),
            sessions=present.sessions if present else (),
            user_id=present.user_id if present else "",
            connected_at=present.connected_at if present else 0,
        )


def _usable_refresh_token(
    present: UserRecord | None, now: int
) -> tuple[Secret, int | None]:
    """Return the stored refresh token and when it expires, if it can still be used."""
    if present is None or not present.refresh_token:
        return Secret(""), None
    expires_at = present.refresh_expires_at
    if expires_at is not None and expires_at <= now:
        return Secret(""), None
    return present.refresh_token, expires_at
