"""Faults of the project's settings, found by ``manage.py check``."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core import checks
from django.urls import Resolver404, ResolverMatch, resolve
from django.utils.module_loading import import_string

from tiktok_oauth_middleware.errors import ConfigurationError
from tiktok_oauth_middleware.settings.own_paths import own_paths

from .local_accounts import backend_path

if TYPE_CHECKING:
    from tiktok_oauth_middleware._core.findings import Finding
    from tiktok_oauth_middleware.settings.options import TikTokSettings

TAG = "tiktok"
_MESSAGE_KINDS = {"good": checks.Info, "note": checks.Warning, "wrong": checks.Error}


def register_checks() -> None:
    """Register the checks; ``--deploy`` adds those about the machine."""
    checks.register(check_settings, TAG)
    checks.register(check_deployment, TAG, deploy=True)


def check_settings(**_: Any) -> list[checks.CheckMessage]:
    """Return every fault of the settings, and of the middleware's position."""
    if not (
        _uses("TikTokMiddleware")
        or hasattr(settings, "TIKTOK_OAUTH")
        or backend_path() is not None
    ):
        return []  # the app is installed only for the store's table
    found: list[checks.CheckMessage] = []
    try:
        given = _read()
    except ConfigurationError as error:
        from tiktok_oauth_middleware._check.findings import of_faults

        found += [_message(finding) for finding in of_faults(error)]
    else:
        found += _store_messages(given)
        found += _path_messages(given)
        found += _cookie_messages(given)
    found += _middleware_messages()
    found += _account_messages()
    return found


def check_deployment(**_: Any) -> list[checks.CheckMessage]:
    """Return the findings of the package's own ``check``, without the good ones."""
    try:
        given = _read()
    except ConfigurationError:
        return []  # reported by `check_settings`
    from tiktok_oauth_middleware._check import diagnose

    return [_message(each) for each in diagnose(given) if each.level != "good"]


def _read() -> TikTokSettings:
    from .project import read_options, read_settings

    read_options()
    return read_settings()


def _message(finding: Finding) -> checks.CheckMessage:
    kind = _MESSAGE_KINDS[finding.level]
    hint = finding.fix or None
    return kind(finding.message, hint=hint, id=f"tiktok_oauth.{finding.code}")


# --- the store ---------------------------------------------------------------------


def _store_messages(given: TikTokSettings) -> Iterator[checks.CheckMessage]:
    from tiktok_oauth_middleware._core.secret import reveal

    scheme, _, alias = reveal(given.store).partition("://")
    if scheme != "django":
        return
    if alias not in settings.DATABASES:
        known = ", ".join(settings.DATABASES)
        yield checks.Error(
            f"store is django://{alias}, and DATABASES has only {known}",
            hint="name one of them, or leave store out for django://default",
            id="tiktok_oauth.store_alias",
        )
    yield from _app_messages("store is django://")


def _app_messages(why: str) -> Iterator[checks.CheckMessage]:
    """Yield a fault if the project lacks the app that it needs.

    Args:
        why: the setting that needs the app.
    """
    if "tiktok_oauth_middleware.django" not in settings.INSTALLED_APPS:
        yield checks.Error(
            f"{why}, and INSTALLED_APPS lacks the app whose migrations make its table",
            hint='add "tiktok_oauth_middleware.django" to INSTALLED_APPS',
            id="tiktok_oauth.app_missing",
        )


# --- the middleware ----------------------------------------------------------------


def _middlewares() -> list[Any]:
    """Return the classes of MIDDLEWARE, None for one that cannot be imported."""
    found: list[Any] = []
    for path in settings.MIDDLEWARE:
        try:
            found.append(import_string(path))
        except ImportError:
            found.append(None)
    return found


def _position(name: str, module: str) -> int:
    """Return the position of a middleware or a subclass of it; -1 if there is none."""
    try:
        wanted = import_string(f"{module}.{name}")
    except ImportError:
        return -1
    for place, each in enumerate(_middlewares()):
        if each is wanted or (isinstance(each, type) and issubclass(each, wanted)):
            return place
    return -1


def _uses(name: str) -> bool:
    return _position(name, "tiktok_oauth_middleware.django") >= 0


def _middleware_messages() -> Iterator[checks.CheckMessage]:
    ours = _position("TikTokMiddleware", "tiktok_oauth_middleware.django")
    if ours < 0:
        yield checks.Warning(
            "the project has TIKTOK_OAUTH or TikTokBackend, and MIDDLEWARE lacks"
            " TikTokMiddleware",
            hint='add "tiktok_oauth_middleware.django.TikTokMiddleware" after'
            " AuthenticationMiddleware",
            id="tiktok_oauth.middleware_missing",
        )
        return
    before = [("UpdateCacheMiddleware", "django.middleware.cache")]
    if backend_path() is not None:
        before += [
            ("SessionMiddleware", "django.contrib.sessions.middleware"),
            ("AuthenticationMiddleware", "django.contrib.auth.middleware"),
        ]
    if settings.USE_I18N:
        before.append(("LocaleMiddleware", "django.middleware.locale"))
    for name, module in before:
        place = _position(name, module)
        is_needed = name in ("SessionMiddleware", "AuthenticationMiddleware")
        if place > ours or (place < 0 and is_needed):
            yield checks.Error(
                f"TikTokMiddleware needs {name} before it in MIDDLEWARE",
                hint=f'put "{module}.{name}" before it',
                id=f"tiktok_oauth.before_{name}",
            )
    fetching = _position("FetchFromCacheMiddleware", "django.middleware.cache")
    if 0 <= fetching < ours:
        yield checks.Error(
            "FetchFromCacheMiddleware is before TikTokMiddleware: a cached page"
            " would be served even if a rule protects its path",
            hint="put it last in MIDDLEWARE, as Django's documentation says",
            id="tiktok_oauth.behind_FetchFromCacheMiddleware",
        )


def _path_messages(given: TikTokSettings) -> Iterator[checks.CheckMessage]:
    """Report paths of ours at which a view of the project cannot be reached."""
    prefix = str(settings.FORCE_SCRIPT_NAME or "")
    callback = given.callback_path.removeprefix(prefix)
    paths = {**own_paths(given), "the path of redirect_uri": callback}
    for option, path in paths.items():
        if _is_view(path):
            yield checks.Warning(
                f"{option} is {path!r}, which a view of the project answers too; the"
                " middleware answers first",
                hint="give one of them another path",
                id="tiktok_oauth.path_taken",
            )


def _is_view(path: str) -> bool:
    match = _match(path)
    # A route that matches anything, such as that of the flat pages or of a page whose
    # script has routes of its own, does not count.
    if match is None or match.kwargs or match.args:
        return False
    other = _match(f"{path}-{secrets.token_hex(8)}")
    return other is None or other.route != match.route


def _match(path: str) -> ResolverMatch | None:
    try:
        return resolve(path)
    except Resolver404:
        return None


def _cookie_messages(given: TikTokSettings) -> Iterator[checks.CheckMessage]:
    """Report a session cookie that is missing when the browser is back from TikTok."""
    connects = given.connect_path is not None and not _names_users()
    needs_session = backend_path() is not None or connects
    if needs_session and str(settings.SESSION_COOKIE_SAMESITE).lower() == "strict":
        yield checks.Error(
            "SESSION_COOKIE_SAMESITE is 'Strict': a browser that comes back from TikTok"
            " does not send Django's session, so that nobody is signed in to Django",
            hint='set it to "Lax", which is Django\'s default',
            id="tiktok_oauth.session_samesite",
        )


def _names_users() -> bool:
    """Whether the project's own function says to whom accounts are connected."""
    from .project import read_options

    return read_options().current_user is not None


# --- accounts ----------------------------------------------------------------------


def _account_messages() -> Iterator[checks.CheckMessage]:
    if backend_path() is None:
        return
    from django.contrib.auth import get_user_model
    from django.db import models

    from .project import read_options

    yield from _app_messages("TikTokBackend is in AUTHENTICATION_BACKENDS")
    try:
        makes_users = read_options().make_user is not None
    except ConfigurationError:
        return
    model = get_user_model()
    field = model._meta.get_field(model.USERNAME_FIELD)
    if isinstance(field, models.EmailField) and not makes_users:
        yield checks.Error(
            f"{model.__name__} identifies users by an email address, which TikTok does"
            " not give",
            hint='name a callable in TIKTOK_OAUTH_OPTIONS["make_user"], which makes a'
            " user of a TikTok login",
            id="tiktok_oauth.make_user_missing",
        )
