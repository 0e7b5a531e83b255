"""The project's TikTok login: its settings, store and cores, made once a process.

Settings come from ``TIKTOK_OAUTH``, a dict of options or a `TikTokSettings`, or from
the ``TIKTOK_`` variables if the project has no such setting. Arguments that are not
options of `TikTokSettings`, such as callables, are in ``TIKTOK_OAUTH_OPTIONS``.

The names of both settings contain AUTH, so Django's error page masks their values.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.conf import settings as django_settings
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from tiktok_oauth_middleware._core.backends.event_loop import AsyncBackend
from tiktok_oauth_middleware._core.backends.one_step import run
from tiktok_oauth_middleware._core.backends.threads import ThreadBackend
from tiktok_oauth_middleware._core.fork import register_after_fork
from tiktok_oauth_middleware._core.secret import reveal
from tiktok_oauth_middleware._core.tracebacks import without_frames
from tiktok_oauth_middleware._session.record import record_id
from tiktok_oauth_middleware._session.service import SessionService
from tiktok_oauth_middleware._session.stored_users import StoredUser, stored_user
from tiktok_oauth_middleware._web.app import Core
from tiktok_oauth_middleware._web.login_decision import on_login_fault
from tiktok_oauth_middleware._web.pages import Pages
from tiktok_oauth_middleware.errors import ConfigurationError
from tiktok_oauth_middleware.settings.arguments import is_async as is_coroutine_function
from tiktok_oauth_middleware.settings.options import TikTokSettings
from tiktok_oauth_middleware.settings.rows import meant_option, required_options
from tiktok_oauth_middleware.stores.registry import open_store
from tiktok_oauth_middleware.tokens import TikTokTokens

from .events import DjangoEvents

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.backends.base import Backend
    from tiktok_oauth_middleware._web.app_users import AppUsers
    from tiktok_oauth_middleware.auth import OnLogin

SETTING = "TIKTOK_OAUTH"
OPTIONS = "TIKTOK_OAUTH_OPTIONS"
_DEFAULT_STORE = "django://default"
#: The value of ``store`` in a `TikTokSettings` that sets none.
_UNSET_STORE = TikTokSettings.__dataclass_fields__["store"].default


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The entries of ``TIKTOK_OAUTH_OPTIONS``; a callable may be a dotted path."""

    #: Decides about each login that TikTok has confirmed, before anything is stored;
    #: see `TikTokOAuthMiddleware`. Plain, or ``async def`` under ASGI.
    on_login: OnLogin | None = None
    #: Called with each `Event`, after the app's own signals were sent.
    on_event: Callable[[Any], object] | None = None
    #: Writes the pages that people see; see `TikTokOAuthMiddleware`.
    page: Callable[[Any], Any] | None = None
    #: Texts of the pages by language tag and name.
    texts: Mapping[str, Any] | None = None
    #: Decides who may sign up: called with the request and a `Login`, returns a bool.
    may_sign_up: Callable[[Any, Any], bool] | None = None
    #: Makes the Django user of a `Login`, instead of `accounts.make_user`.
    make_user: Callable[[Any, Any], Any] | None = None
    #: For ``connect_path``: called with the request, returns the id of the user who is
    #: signed in, or None; by default the key of ``request.user``, as a str.
    current_user: Callable[[Any], str | None] | None = None
    #: A transport of httpx2 that is used instead of the network, for tests.
    transport: Any = None
    #: Returns the seconds since 1970, for tests.
    clock: Callable[[], float] = time.time


_CALLABLES = (
    "on_login",
    "on_event",
    "page",
    "may_sign_up",
    "make_user",
    "current_user",
    "clock",
)


def read_settings() -> TikTokSettings:
    """Return the project's `TikTokSettings`.

    Raises:
        ConfigurationError: an option is wrong; its ``faults`` name every one.
    """
    found = _settings_or_error(sys.exception())
    if isinstance(found, ConfigurationError):
        raise found
    return found


def _settings_or_error(
    handled: BaseException | None,
) -> TikTokSettings | ConfigurationError:
    """Return the project's settings, or what is wrong with them.

    The error is not raised where the options are, because reporters of exceptions
    record the locals of every frame.
    """
    try:
        return _settings()
    except ConfigurationError as error:
        return without_frames(error, handled)


def _settings() -> TikTokSettings:
    given = getattr(django_settings, SETTING, None)
    if isinstance(given, TikTokSettings):
        if given.store != _UNSET_STORE:
            return given
        return dataclasses.replace(given, store=_DEFAULT_STORE)
    if given is None:
        return TikTokSettings.from_env({"TIKTOK_STORE": _DEFAULT_STORE, **os.environ})
    if not isinstance(given, Mapping):
        message = (
            f"{SETTING} must be a dict of options, or a TikTokSettings; got a"
            f" {type(given).__name__}"
        )
        raise ConfigurationError(message)
    known = {option.name for option in dataclasses.fields(TikTokSettings)}
    odd = sorted(str(name) for name in given if name not in known)
    missing = [name for name in required_options(TikTokSettings) if name not in given]
    if odd or missing:
        faults = [
            f"{SETTING} has {name!r}, which is not an option"
            + (f"; did you mean {meant!r}?" if meant else "")
            for name in odd
            for meant in (meant_option(name, TikTokSettings),)
        ]
        faults += [f"{name} must be set in {SETTING}" for name in missing]
        raise ConfigurationError(faults)
    return TikTokSettings(**{"store": _DEFAULT_STORE, **given})


def read_options() -> Options:
    """Return the project's further options, their dotted paths imported.

    Raises:
        ConfigurationError: an option does not exist, or a path names no callable.
    """
    given = getattr(django_settings, OPTIONS, None) or {}
    if not isinstance(given, Mapping):
        message = f"{OPTIONS} must be a dict; got a {type(given).__name__}"
        raise ConfigurationError(message)
    known = {option.name for option in dataclasses.fields(Options)}
    faults = [
        f"{OPTIONS} has {name!r}, which is not an option; there are"
        f" {', '.join(sorted(known))}"
        for name in sorted(map(str, given))
        if name not in known
    ]
    found = {name: value for name, value in given.items() if name in known}
    for name in _CALLABLES:
        if isinstance(found.get(name), str):
            try:
                found[name] = import_string(found[name])
            except ImportError:
                faults.append(f"{OPTIONS}[{name!r}] names nothing that can be imported")
                continue
        given_one = found.get(name)
        if given_one is None:
            continue
        if name == "on_login":
            fault = on_login_fault(given_one, is_blocking=False)
            faults += [f"{OPTIONS}: {fault}"] if fault else []
        elif not callable(given_one) or is_coroutine_function(given_one):
            faults.append(
                f"{OPTIONS}[{name!r}] must be a plain function, or the path of one"
            )
    if faults:
        raise ConfigurationError(faults)
    return Options(**found)


class _ProjectTokens(TikTokTokens):
    """Tokens over the middleware's services, so that a session ends in both at once."""

    def __init__(self, installed: Installation, **options: Any) -> None:
        super().__init__(installed.settings, installed.store, **options)
        self._installed = installed

    def _sync_service(self) -> SessionService:
        return self._installed.core(is_async=False).service

    def _async_service(self) -> SessionService:
        return self._installed.core(is_async=True).service


class Installation:
    """The objects that middleware, admin, commands and receivers share."""

    def __init__(self, settings: TikTokSettings, options: Options) -> None:
        self.settings = settings
        self.options = options
        self.store: Any = open_store(reveal(settings.store), clock=options.clock)
        self.events = DjangoEvents(options.on_event)
        #: Tokens for jobs, views, the admin and commands, over the same store.
        self.tokens: TikTokTokens = _ProjectTokens(
            self,
            on_event=self.events,
            transport=options.transport,
            clock=options.clock,
        )
        self._cores: dict[bool, Core] = {}
        self.after_fork()
        register_after_fork(self)

    def after_fork(self) -> None:
        """Replace the lock, which another thread may have held during the fork."""
        # A signal's handler may need a core while its own thread makes one.
        self._making = threading.RLock()

    def stored_user(self, open_id: str) -> StoredUser | None:
        """Return the stored user without tokens, or None.

        Raises:
            StoreError: the store failed.
        """
        core = self.core(is_async=False)
        named = record_id(self.settings.client_key, open_id)
        stored = run(core.service.records.load(named))
        return (
            None if stored is None else stored_user(core.service.records, stored.record)
        )

    def core(self, *, is_async: bool) -> Core:
        """Return the core of one kind of request, made when first needed."""
        with self._making:
            if is_async not in self._cores:
                self._cores.setdefault(is_async, self._make(is_async=is_async))
            return self._cores[is_async]

    def _make(self, *, is_async: bool) -> Core:
        backend: Backend = AsyncBackend() if is_async else ThreadBackend()
        return Core(
            SessionService(
                self.settings,
                backend,
                store=self.store,
                on_event=self.events,
                transport=self.options.transport,
                clock=self.options.clock,
            ),
            Pages(self.options.page, self.options.texts),
            lambda: self.tokens,
            app_users=self._app_users(is_async=is_async),
            on_login=self._on_login(is_async=is_async),
            reads_carried=True,
        )

    def _app_users(self, *, is_async: bool) -> AppUsers | None:
        """Return the project's users, if accounts can be connected to them."""
        from .connecting import app_users, login_users

        if self.settings.connect_path is None:
            return login_users(is_async=is_async)
        return app_users(self.options.current_user, is_async=is_async)

    def _on_login(self, *, is_async: bool) -> OnLogin | None:
        """Return the project's ``on_login`` as a core of one kind calls it."""
        on_login = self.options.on_login
        if on_login is None or is_coroutine_function(on_login) == is_async:
            return on_login
        if is_async:  # in the thread of Django's database
            return sync_to_async(on_login, thread_sensitive=True)
        # An async one is refused by the middleware; jobs and commands need a core too.
        return None

    def close(self) -> None:
        """Close the blocking connections; others end with their event loop."""
        core = self._cores.get(False)
        if core is not None:
            run(core.service.aclose())


class _Installed:
    """The project's one installation, when it has been made."""

    def __init__(self) -> None:
        self.found: list[Installation] = []
        self.after_fork()
        register_after_fork(self)

    def after_fork(self) -> None:
        """Replace the lock, which another thread may have held during the fork."""
        # A signal's handler may need the installation while its own thread makes it.
        self._lock = threading.RLock()

    def get(self) -> Installation:
        """Return the installation, made at the first call."""
        if not self.found:
            with self._lock:
                if not self.found:
                    made = Installation(read_settings(), read_options())
                    self.found[:] = self.found or [made]
        return self.found[0]

    def discard(self) -> None:
        """Close the installation; the next call makes another."""
        with self._lock:
            before = self.found[:]
            self.found.clear()
        for each in before:
            each.close()


_installed = _Installed()


def installation() -> Installation:
    """Return the project's TikTok login, made when first needed.

    Raises:
        ConfigurationError: the settings are wrong.
    """
    return _installed.get()


def _discard_installation(*, setting: str, **_: object) -> None:
    """Discard the installation when tests change the settings."""
    if setting in (SETTING, OPTIONS, "AUTHENTICATION_BACKENDS"):
        _installed.discard()


setting_changed.connect(_discard_installation)
