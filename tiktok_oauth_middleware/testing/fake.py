"""FakeTikTok: the stand-in for TikTok, for tests and local development.

One plain function, `FakeTikTok.handle`, takes a request and returns the answer (see
`api`). Used as a transport, it serves an HTTP client in the same process; used as a
server (see `server`), it serves every program on this machine.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from tiktok_oauth_middleware._core.secret import reveal

from ..errors import TikTokOAuthError
from .api import Api, ConnectionLost, Fault, Record, Reply, TimedOut
from .authorize import ConsentRequest, Refused, Registration
from .people import PEOPLE, Person
from .provider import (
    ACCESS_LIFETIME,
    NOT_ELIGIBLE,
    REFRESH_LIFETIME,
    SCOPE_TEXTS,
    Provider,
)
from .transport import transport_to
from .wire import AUTHORIZE, BROWSER_ORIGIN, STATUS_OF, is_elsewhere, signature

if TYPE_CHECKING:
    from tiktok_oauth_middleware.settings.options import TikTokSettings

__all__ = [
    "ConnectionLost",
    "ConsentRefused",
    "Delivery",
    "FakeTikTok",
    "LoginFlowError",
    "Record",
    "Reply",
    "TimedOut",
]

#: Parameters that TikTok compares with the registered ones.
_REGISTERED = ("client_key", "redirect_uri", "scope")
_PING = "tiktok.ping"
#: The user of the portal's test delivery: a number, as captured.
_PINGED = "7528370655977505848"
Delivery = tuple[dict[str, str], bytes]
#: The event of an app's removal, and its reason code if the app revoked the access.
_REMOVED = "authorization.removed"
_BY_APP = 5
_MILLISECONDS = 10**11


class LoginFlowError(TikTokOAuthError):
    """A step of a login in a test failed, so the next step cannot follow."""

    code = "login_flow"


class ConsentRefused(LoginFlowError):
    """TikTok would show an error page; see `error`, `err_code` and `kind`."""

    code = "consent_refused"

    def __init__(self, refused: Refused) -> None:
        hint = ""
        if refused.kind in _REGISTERED:
            hint = "; FakeTikTok.for_settings(settings) registers their app"
        super().__init__(f"{refused}{hint}")
        self.error: str = refused.error
        self.err_code: int = refused.code
        self.kind: str = refused.kind


class FakeTikTok:
    """A strict stand-in for TikTok, with one app registered.

    Lifetimes and grace can be set at any time: `access_lifetime`, `refresh_lifetime`,
    `grace`, in seconds. These methods make it fail: `deny_next_login`,
    `expire_next_login`, `fail`, `slow_down`, `lose_answer`, `rotate_away`,
    `disconnect`. `clear_faults` removes the faults. `advance` moves the time of
    `clock`.
    """

    def __init__(  # noqa: PLR0913 - public: an app, its users, two lifetimes
        self,
        *,
        client_key: str = "awstandinclientkey",
        client_secret: str = "stand-in-client-secret",  # noqa: S107 - not a real one
        redirect_uris: Iterable[str] | None = None,
        scopes: Iterable[str] = tuple(SCOPE_TEXTS),
        people: Sequence[Person] = PEOPLE,
        clock: Callable[[], float] = time.time,
        access_lifetime: int = ACCESS_LIFETIME,
        refresh_lifetime: int = REFRESH_LIFETIME,
    ) -> None:
        """Register an app.

        Args:
            client_key: the app's.
            client_secret: the app's.
            redirect_uris: the registered ones, byte for byte; None accepts any that
                TikTok's portal would accept.
            scopes: the scopes that the app is approved for.
            people: the people who can log in.
            clock: returns the seconds since 1970.
            access_lifetime: of an access token, in seconds.
            refresh_lifetime: of a refresh token, in seconds from the consent.
        """
        client_secret = reveal(client_secret)  # settings hide its text
        self._clock = clock
        self._advanced = 0.0
        #: Whether the app that logged in last uses `clock`; None if that is unknown.
        self._is_followed: bool | None = None
        self.provider: Provider = Provider(
            Registration(
                client_key=client_key,
                redirect_uris=None if redirect_uris is None else tuple(redirect_uris),
                scopes=frozenset(scopes),
            ),
            client_secret,
            people=people,
            clock=self.clock,
            access_lifetime=access_lifetime,
            refresh_lifetime=refresh_lifetime,
        )
        self.client_secret = client_secret
        self._api = Api(self.provider, self._note_revoke)
        #: Every request to TikTok's API, in order.
        self.requests: list[Record] = self._api.requests
        #: Deliveries that TikTok would send by itself, oldest first: after a revoke,
        #: ``authorization.removed`` with reason 5.
        self.webhooks: list[Delivery] = []

    @classmethod
    def for_settings(
        cls,
        settings: TikTokSettings,
        *,
        clock: Callable[[], float] = time.time,
        access_lifetime: int = ACCESS_LIFETIME,
        refresh_lifetime: int = REFRESH_LIFETIME,
    ) -> FakeTikTok:
        """Return a stand-in where the app of these settings is registered.

        The app is approved for every scope in the settings, and for the default scopes
        of a stand-in.
        """
        return cls(
            client_key=settings.client_key,
            client_secret=reveal(settings.client_secret),
            redirect_uris=[settings.redirect_uri],
            scopes=[*SCOPE_TEXTS, *settings.scopes, *settings.optional_scopes],
            clock=clock,
            access_lifetime=access_lifetime,
            refresh_lifetime=refresh_lifetime,
        )

    @property
    def avatars(self) -> str:
        """The address of avatars; a server sets it to its own."""
        return self._api.avatars

    @avatars.setter
    def avatars(self, address: str) -> None:
        self._api.avatars = address

    @property
    def people(self) -> tuple[Person, ...]:
        """The people who can log in."""
        return self.provider.people

    @property
    def access_lifetime(self) -> int:
        """Lifetime of the access tokens issued from now on, in seconds."""
        return self.provider.access_lifetime

    @access_lifetime.setter
    def access_lifetime(self, seconds: int) -> None:
        self.provider.access_lifetime = seconds

    @property
    def refresh_lifetime(self) -> int:
        """Lifetime of the refresh tokens issued from now on, in seconds.

        It counts from the consent; a refresh does not extend it.
        """
        return self.provider.refresh_lifetime

    @refresh_lifetime.setter
    def refresh_lifetime(self, seconds: int) -> None:
        self.provider.refresh_lifetime = seconds

    @property
    def grace(self) -> float:
        """Seconds for which a rotated refresh token still works; 0 as at TikTok."""
        return self.provider.grace

    @grace.setter
    def grace(self, seconds: float) -> None:
        self.provider.grace = seconds

    # --- time ----------------------------------------------------------------------

    def clock(self) -> float:
        """Return the stand-in's time, in seconds since 1970.

        Give it to the middleware and to a `MemoryStore` as their ``clock``.
        """
        return self._clock() + self._advanced

    def advance(self, seconds: float) -> None:
        """Move the stand-in's clock forward, without waiting.

        Raises:
            LoginFlowError: the app that `login_as` logged in to uses another clock,
                which this method cannot move.
        """
        if self._is_followed is False:
            message = (
                "advance() moves the clock of the stand-in, and the app's middleware"
                " uses another: make it with clock=fake.clock, and its store too"
            )
            raise LoginFlowError(message)
        self._advanced += seconds

    def note_clock(self, clock: Callable[[], float]) -> None:
        """Record the clock of an app; `login_as` calls this if it finds the clock."""
        is_own = clock == self.clock
        # A test may give both the same clock of its own, and call `advance`.
        is_shared = clock is self._clock and clock is not time.time
        self._is_followed = is_own or is_shared

    def _one(self, person: Person | None) -> Person:
        """Return the person that a test names, or the first of `people`.

        Raises:
            LoginFlowError: it is not a `Person`, but for instance a name.
        """
        if person is None:
            return self.people[0]
        if not isinstance(person, Person):
            message = (
                f"person is a {type(person).__name__}; give one of fake.people, such as"
                " fake.people[1]"
            )
            raise LoginFlowError(message)
        return person

    # --- what tests do -------------------------------------------------------------

    def consent(
        self,
        authorize_url: str,
        *,
        person: Person | None = None,
        scopes: Iterable[str] | None = None,
        deny: bool = False,
    ) -> str:
        """Decide on TikTok's consent page; return the callback's address.

        TikTok shows no page to a person who consented before, unless the app sends
        ``disable_auto_auth=1``: it redirects the person back with the scopes of that
        consent.

        Args:
            authorize_url: where the app sent the browser.
            person: the person who decides; by default the first of `people`.
            scopes: the scopes that the person leaves ticked; by default all requested.
            deny: whether the person cancels.

        Raises:
            ConsentRefused: TikTok would have shown an error instead of its page.
            LoginFlowError: TikTok shows no page on which `scopes` could be chosen, or
                they hold a scope that the app did not request.
        """
        parts = urlsplit(authorize_url)
        if parts.path not in (AUTHORIZE, AUTHORIZE.rstrip("/")) or is_elsewhere(
            parts, BROWSER_ORIGIN
        ):
            text = "this is not the address of TikTok's authorize page"
            raise ConsentRefused(Refused("not_found", 0, "", text))
        try:
            request = self.ask(parts.query)
        except Refused as refused:
            raise ConsentRefused(refused) from None
        ticked = _ticked(scopes, request)
        if deny:
            return self.provider.deny(request)
        person = self._one(person)
        granted = self.provider.reconnects_with(request, person)
        if not granted:
            return self.provider.agree(request, person, ticked)
        if scopes is not None and set(granted) != set(ticked):
            raise LoginFlowError(_no_page(person, granted))
        return self.provider.reconnect(request, person)

    def fail(  # noqa: PLR0913 - public: the ways to fail
        self,
        endpoint: str,
        *,
        times: int = 1,
        status: int | None = None,
        error: str | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        delay: float = 0.0,
        disconnect: bool = False,
    ) -> None:
        """Make the next requests to an endpoint fail, without any effect.

        Args:
            endpoint: ``token``, ``revoke``, ``user_info``, ``video_list``,
                ``video_query`` or ``creator_info``.
            times: how many requests.
            status: the answer's status. The default is 500 without `error` and `body`,
                and otherwise 200; for an error of a resource endpoint it is
                the status in TikTok's documentation, or 401 if none is documented.
            error: TikTok's error code, in the endpoint's own shape.
            body: the whole body, instead of `error`.
            headers: further headers.
            delay: seconds before the answer; without other arguments the usual answer
                arrives late.
            disconnect: drop the connection instead of answering.

        Raises:
            ValueError: there is no endpoint of that name.
        """
        fault = Fault(times, status, error, body, headers or {}, delay, disconnect)
        self._api.add_fault(endpoint, fault)

    def lose_answer(self, endpoint: str, *, times: int = 1) -> None:
        """Process the next requests, and drop the connection instead of answering."""
        self._api.add_fault(endpoint, Fault(times, disconnect=True, after=True))

    def slow_down(
        self, endpoint: str, *, seconds: float | None = None, times: int = 1
    ) -> None:
        """Process the next requests to an endpoint, but answer late.

        Args:
            endpoint: as for `fail`.
            seconds: how long to wait before the answer. None stands for longer than
                any client's timeout; the client then gets its timeout at once, so that
                a test does not have to wait.
            times: how many requests.
        """
        late = seconds is None
        fault = Fault(times, delay=seconds or 0.0, after=late, timed_out=late)
        self._api.add_fault(endpoint, fault)

    def deny_next_login(self, *, times: int = 1) -> None:
        """Let the next person cancel on TikTok's page."""
        self.provider.denials = times

    def refuse_next_login(
        self,
        error: str | None = "access_denied",
        description: str | None = NOT_ELIGIBLE,
        *,
        further: Mapping[str, str] | None = None,
        times: int = 1,
    ) -> None:
        """Let TikTok send the next person back without a code.

        By default the account is not eligible: too young, banned, from another region,
        or not a target user of the sandbox.

        Args:
            error: the callback's ``error``, such as ``server_error`` or
                ``temporarily_unavailable``; None leaves it out.
            description: its ``error_description``; None leaves it out.
            further: parameters of other observed callback formats, such as
                ``errCode``, ``error_code``, ``error_msg`` and ``error_type``.
            times: how many logins.
        """
        given = {"error": error, "error_description": description, **(further or {})}
        parameters = {name: value for name, value in given.items() if value is not None}
        self.provider.refusals = [parameters] * times

    def refuse_field(self, name: str, *, error: str = "invalid_params") -> None:
        """Refuse every request for a profile with this field, until `clear_faults`.

        Args:
            name: such as ``profile_web_link``.
            error: TikTok's code: ``invalid_params``, ``scope_not_authorized`` or
                ``scope_permission_missed``.

        Raises:
            ValueError: `error` is not an error code of a resource endpoint.
        """
        if error not in STATUS_OF:
            message = f"{error!r} is none of {', '.join(STATUS_OF)}"
            raise ValueError(message)
        self.provider.refused_fields[name] = error

    def expire_next_login(self, *, times: int = 1) -> None:
        """Make the code of the next login expire before the app redeems it."""
        self.provider.stale_codes = times

    def rotate_away(self, person: Person | None = None) -> None:
        """Use up a refresh token elsewhere, as a second copy of the app would.

        The access token still works; the app's next refresh is refused.

        Args:
            person: the token's owner; by default every person's token is used up.
        """
        for each in self.people if person is None else (self._one(person),):
            self.provider.rotate_away(each.open_id)

    def disconnect(self, person: Person | None = None, *, reason: int = 1) -> Delivery:
        """Remove the app, as a person can in TikTok's own settings.

        Args:
            person: the person who removes it; by default the first of `people`.
            reason: TikTok's code: 0 unknown, 1 removed by the person, 2 the account was
                deleted, 3 the account's age changed, 4 the account was banned, 5
                revoked by the app.

        Returns:
            Headers and body of the webhook to the app, which is also added to
            `webhooks`.
        """
        person = self._one(person)
        self.provider.remove(person.open_id)
        delivery = self.webhook(
            "authorization.removed", person.open_id, {"reason": reason}
        )
        self.webhooks.append(delivery)
        return delivery

    def clear_faults(self) -> None:
        """Remove all faults that were set."""
        self._api.clear_faults()
        self.provider.denials = self.provider.stale_codes = 0
        self.provider.refusals = []
        self.provider.refused_fields = {}

    def count(self, endpoint: str, *, grant_type: str | None = None) -> int:
        """Return how often an endpoint was called.

        Raises:
            ValueError: there is no endpoint of that name.
        """
        return self._api.count(endpoint, grant_type)

    def webhook(
        self,
        event: str,
        open_id: str | None,
        content: Mapping[str, Any] | None = None,
        *,
        create_time: int | None = None,
        signed_at: float | None = None,
    ) -> Delivery:
        """Return headers and body of a delivery that TikTok signed.

        Before TikTok sends ``authorization.removed``, it invalidates all tokens that
        the user has at that time, and so does this method. Reason 5 is an exception: it
        reports that the app itself revoked them, and may arrive after the next login.

        Args:
            event: such as ``authorization.removed``; `ping` makes ``tiktok.ping``.
            open_id: the user whom the event concerns; None leaves it out.
            content: the event's content, which is sent as a string of JSON.
            create_time: the value in the body; now, in seconds, if not given.
            signed_at: seconds since 1970; now if not given.
        """
        if content is None:
            content = {"reason": 1} if event == _REMOVED else {}
        now = int(self.provider.clock())
        if event == _REMOVED and open_id and content.get("reason") != _BY_APP:
            at = now if create_time is None else create_time
            # A time of thirteen digits is in milliseconds.
            self.provider.end_tokens(open_id, at / 1000 if at >= _MILLISECONDS else at)
        delivery: dict[str, object] = {
            "client_key": self.provider.client_key,
            "event": event,
            "create_time": now if create_time is None else create_time,
        }
        if open_id is not None:
            delivery["user_openid"] = open_id
        delivery["content"] = json.dumps(content)
        body = json.dumps(delivery).encode()
        return self._sign(body, now if signed_at is None else int(signed_at))

    def ping(self) -> Delivery:
        """Return the delivery that the "Test URL" button of TikTok's portal sends.

        It follows a captured one: ``create_time`` is in milliseconds, and the user is a
        number.
        """
        now = int(self.provider.clock() * 1000)
        content = {"reason": "testing Webhook"}
        return self.webhook(_PING, _PINGED, content, create_time=now)

    def retry(self, delivery: Delivery, *, renew: bool = False) -> Delivery:
        """Return a delivery as TikTok sends it again, for up to 72 hours.

        Args:
            delivery: a result of `webhook`, `ping` or `disconnect`, or an item of
                `webhooks`.
            renew: sign it again with the present time. It is unknown whether TikTok
                does so, and an app must also accept the old signature.
        """
        headers, body = delivery
        if renew:
            return self._sign(body, int(self.provider.clock()))
        return dict(headers), body

    def _sign(self, body: bytes, at: int) -> Delivery:
        headers = {
            "content-type": "application/json",
            "tiktok-signature": signature(body, self.client_secret, at),
        }
        return headers, body

    @property
    def transport(self) -> Any:
        """A transport for sync and async clients of httpx2.

        If httpx2 is not installed, it is a transport for httpx, as in Authlib.
        """
        return transport_to(self)

    # --- answers -----------------------------------------------------------------

    def handle(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> Reply:
        """Answer a request to one of the endpoints of TikTok's API.

        Raises:
            ConnectionLost: there is no answer.
        """
        return self._api.handle(method, url, headers, body)

    def _note_revoke(self, open_id: str) -> None:
        self.webhooks.append(self.webhook(_REMOVED, open_id, {"reason": _BY_APP}))

    def ask(self, query: str) -> ConsentRequest:
        """Check an authorization request; raise `Refused` if TikTok would refuse it."""
        return self.provider.ask(parse_qsl(query, keep_blank_values=True))


def _ticked(scopes: Iterable[str] | None, request: ConsentRequest) -> tuple[str, ...]:
    """Return the scopes that a person leaves ticked on TikTok's page.

    Raises:
        LoginFlowError: the page does not list one of them.
    """
    if isinstance(scopes, str):
        message = f"scopes={scopes!r}: pass a list of scopes, not one string"
        raise LoginFlowError(message)
    ticked = request.scopes if scopes is None else tuple(scopes)
    if more := [scope for scope in ticked if scope not in request.scopes]:
        message = (
            f"scopes= leaves {', '.join(map(repr, more))} ticked, which the app did not"
            f" request: it requested {', '.join(request.scopes)}. Name it in the"
            " settings' scopes, or request it as a guard does, with"
            f" login_path='/auth/tiktok/login?scopes={','.join(more)}'"
        )
        raise LoginFlowError(message)
    return ticked


def _no_page(person: Person, granted: Iterable[str]) -> str:
    return (
        f"scopes= needs a page that TikTok does not show: {person.display_name}"
        f" consented before and is reconnected with {','.join(granted)}. TikTok shows"
        " the page again with disable_auto_auth=1 (always_ask_consent=True, or a"
        " step-up by login_url(scopes=...)), to another person, or after disconnect()"
    )
