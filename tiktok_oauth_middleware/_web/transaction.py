"""Login transactions: state, PKCE and return address, kept in the browser's cookies.

A login is kept in sealed, short-lived cookies of the browser that began it. The
callback must bring them, so a callback that was made for another browser, or by an
attacker, finds no transaction here (RFC 9700 section 4.7).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, get_args

from tiktok_oauth_middleware._core.base64url import to_text
from tiktok_oauth_middleware._core.clocks import SERVER_CLOCK_SKEW
from tiktok_oauth_middleware._core.http import (
    Cookie,
    Headers,
    Request,
    Response,
)
from tiktok_oauth_middleware._core.return_to import safe_return_to
from tiktok_oauth_middleware._core.secret import Secret
from tiktok_oauth_middleware._oauth.authorize import AuthorizationRequest
from tiktok_oauth_middleware._oauth.scopes import join_scopes, split_scopes

from .carried import pack_carried, unpack_carried
from .login_cookies import purpose_hash
from .responses import redirect_with_cookies

if TYPE_CHECKING:
    from tiktok_oauth_middleware.settings.options import TikTokSettings

    from .login_cookies import LoginCookies
    from .mount import MountPoint

#: The longest time between two clicks that count as one, in seconds.
_DOUBLE_CLICK_SECONDS = 3

#: Why TikTok is to show its page, although it would reconnect the last account without
#: it: "consent", since further scopes are requested, or the settings always ask;
#: "choose", so that the person can choose an account; "again", since TikTok granted
#: fewer scopes than requested without showing its page. "" where it need not.
Prompt = Literal["", "consent", "choose", "again"]
_PROMPTS: tuple[Prompt, ...] = get_args(Prompt)
_TRANSACTION_VERSION = "5"
#: Random bytes for a state and a verifier, and the characters of each: 258 bits.
_RANDOM_BYTES, _LENGTH = 66, 43


@dataclass(slots=True)
class LoginTransaction:
    """One pending login, as its cookies carry it."""

    state: Secret = field(repr=False)
    #: The PKCE code verifier; "" without PKCE.
    verifier: Secret = field(repr=False)
    #: Where the browser goes after the login; checked when the login began.
    return_to: str
    #: In seconds since 1970.
    created_at: int
    #: Further scopes, requested besides those of every login; joined by commas.
    requested: str
    prompt: Prompt = ""
    #: The data that the login's link carried.
    carried: Mapping[str, str] = field(default_factory=dict, repr=False)
    #: The path that the app's ``on_login`` returned after the first of two
    #: trips to TikTok, or "".
    lands_on: str = ""
    #: A hash of the id of the app's user to whom the account is to be connected; "" for
    #: a login.
    user_hash: str = ""
    #: The same hash for a login that may connect its account to that user; "" for any
    #: other. See `connecting_login`.
    connects_to: str = ""

    def pack(self) -> bytes:
        """Return the bytes to seal, which are bound to the state and the time."""
        verifier = self.verifier.reveal()
        # JSON without spaces has no line break in it.
        return "\n".join(
            (
                _TRANSACTION_VERSION,
                verifier,
                self.return_to,
                self.requested,
                self.prompt,
                self.lands_on,
                self.user_hash,
                self.connects_to,
                pack_carried(self.carried) if self.carried else "",
            )
        ).encode()

    @property
    def purpose(self) -> str:
        """Equal for two logins that lead to the same place with the same scopes.

        Connecting an account never has the purpose of a login.
        """
        purpose = _purpose(self.return_to, self.requested)
        return f"connect\n{purpose}" if self.user_hash else purpose

    @classmethod
    def unpack(
        cls, packed: bytes, *, state: Secret, created_at: int
    ) -> LoginTransaction | None:
        """Return the transaction that `pack` wrote; None if another version did."""
        try:
            version, verifier, return_to, requested, prompt, *more = (
                packed.decode().split("\n")
            )
            lands_on, user_hash, connects_to, carried = more
        except ValueError:
            return None
        if version != _TRANSACTION_VERSION or prompt not in _PROMPTS:
            return None
        return cls(
            state=state,
            verifier=Secret(verifier),
            return_to=return_to,
            created_at=created_at,
            requested=requested,
            prompt=prompt,
            lands_on=lands_on,
            user_hash=user_hash,
            connects_to=connects_to,
            carried=unpack_carried(carried) if carried else {},
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class LoginTransactions:
    """Begins login transactions, finds them again, and ends them."""

    settings: TikTokSettings
    cookies: LoginCookies
    clock: Callable[[], float]
    #: Called when a browser is redirected to TikTok; returns at once.
    connect_ahead: Callable[[], None]

    def default_return_to(self, mount_point: MountPoint) -> str:
        """Return where a login leads if its link names no address."""
        return mount_point.prefix + self.settings.after_login

    def create(
        self,
        return_to: str,
        requested: Iterable[str],
        prompt: Prompt,
        carried: Mapping[str, str],
    ) -> LoginTransaction:
        """Return a new transaction with a new state and verifier."""
        drawn = to_text(secrets.token_bytes(_RANDOM_BYTES))
        return LoginTransaction(
            Secret.of(drawn[:_LENGTH]),
            Secret.of(drawn[_LENGTH : 2 * _LENGTH] if self.settings.pkce else ""),
            return_to,
            int(self.clock()),
            join_scopes(requested),
            prompt,
            carried,
        )

    def all_scopes(self, transaction: LoginTransaction) -> frozenset[str]:
        """Return every scope that a transaction requests."""
        requested = split_scopes(transaction.requested)
        return requested | frozenset(self.settings.scopes)

    def redirect_to_tiktok(
        self,
        request: Request,
        transaction: LoginTransaction,
        others: Sequence[Cookie] = (),
    ) -> Response | None:
        """Return the redirect to TikTok with the transaction's cookies.

        Args:
            request: the request to answer.
            transaction: the transaction that begins.
            others: further cookies; those named as the transaction's are left out.

        Returns:
            None if the transaction is too long for cookies.
        """
        cookies = self.cookies.begin(
            request.cookie_headers(),
            transaction.state,
            transaction.created_at,
            transaction.pack(),
            transaction.purpose,
        )
        if cookies is None:
            return None
        self.connect_ahead()
        if others:
            new = {cookie.name for cookie in cookies}
            cookies += [cookie for cookie in others if cookie.name not in new]
        return redirect_with_cookies(self._authorize_url(transaction), cookies)

    def _authorize_url(self, transaction: LoginTransaction) -> str:
        scopes = self.settings.scopes
        if transaction.requested:
            further = split_scopes(transaction.requested).difference(scopes)
            scopes = (*scopes, *sorted(further))
        request = AuthorizationRequest(
            self.settings.client_key,
            self.settings.redirect_uri,
            scopes,
            transaction.state.reveal(),
            transaction.verifier.reveal() or None,
            # TikTok skips its page for a person who consented before, and grants no
            # further scopes then.
            bool(transaction.prompt),
        )
        return request.url(self.settings.endpoints.authorize)

    def find(self, headers: Headers, state: Secret) -> LoginTransaction | None:
        """Return the transaction of a state whose cookies are in a request."""
        found = self.cookies.open(headers, state)
        if found is None:
            return None
        created_at, packed = found
        return LoginTransaction.unpack(packed, state=state, created_at=created_at)

    def is_current(self, transaction: LoginTransaction) -> bool:
        """Whether a transaction began within `login_lifetime`."""
        age = self.clock() - transaction.created_at
        return -SERVER_CLOCK_SKEW <= age <= self.settings.login_lifetime

    def renewed(self, transaction: LoginTransaction, lands_on: str) -> LoginTransaction:
        """Return a new transaction like one that ended, to show TikTok's page again.

        Args:
            transaction: the one that ended.
            lands_on: the path that the app's ``on_login`` returned, or "".
        """
        new = self.create(transaction.return_to, (), "again", transaction.carried)
        return replace(new, requested=transaction.requested, lands_on=lands_on)

    def under_way(self, headers: Headers) -> list[tuple[int, bytes]]:
        """Return the time and purpose of each login in a request's cookies."""
        return self.cookies.under_way(headers)

    def is_unfinished(
        self,
        request: Request,
        mount_point: MountPoint,
        return_to: str | None,
        scopes: Iterable[str],
    ) -> bool:
        """Whether this browser has begun the same login without a callback so far.

        TikTok shows its own errors, such as a scope that the app may not request, and
        does not send the person back. Another automatic redirect would repeat that for
        ever. Two quick clicks on a link of this site count as one.

        Args:
            request: the request that would be redirected to log in.
            mount_point: of the request.
            return_to: where that login would lead; None where that is too long.
            scopes: the further scopes that it would request.
        """
        checked = return_to and safe_return_to(return_to, mount_point.own_paths)
        purpose = _purpose(
            checked or self.default_return_to(mount_point), join_scopes(scopes)
        )
        now, hashed = self.clock(), purpose_hash(purpose)
        begun = [at for at, of in request.begun_logins if of == hashed]
        is_click = (
            request.one(b"sec-fetch-user") == b"?1"
            and request.one(b"sec-fetch-site") == b"same-origin"
        )
        youngest = _DOUBLE_CLICK_SECONDS if is_click else -SERVER_CLOCK_SKEW
        oldest = self.settings.login_lifetime
        return any(youngest <= now - at <= oldest for at in begun)


def _purpose(return_to: str, requested: str) -> str:
    return f"{return_to}\n{requested}"
