"""Checks of the arguments of middlewares and jobs: settings, store, functions."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from tiktok_oauth_middleware.errors import ConfigurationError

from .options import TikTokSettings


def is_async(call: Any) -> bool:
    """Whether `call`, or an object's `__call__`, is a coroutine function.

    A partial or a static method is async if the function in it is.
    """
    while isinstance(call, partial | staticmethod):
        call = call.func if isinstance(call, partial) else call.__func__
    kind = type(call)
    return inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(
        kind.__call__
    )


def check_options(settings: object, store: object, options: Mapping[str, Any]) -> None:
    """Refuse settings and stores of a wrong type, and options that are not functions.

    Raises:
        ConfigurationError: the message says what to pass instead.
    """
    faults = [*_settings_faults(settings), *_store_faults(store)]
    faults += [
        f"{name} is a {type(value).__name__}; it must be a function"
        for name, value in options.items()
        if value is not None and not callable(value)
    ]
    if faults:
        raise ConfigurationError(faults)


def _settings_faults(settings: object) -> Iterator[str]:
    if isinstance(settings, TikTokSettings):
        return
    make = "make them with TikTokSettings(...) or TikTokSettings.from_env()"
    if inspect.isclass(settings):
        yield f"settings is the class {settings.__name__}; {make}"
    elif isinstance(settings, Mapping):
        yield f"settings is a {type(settings).__name__}; {make}"
    elif settings is None:
        yield f"settings is None; {make}"
    elif callable(settings):
        yield (
            f"settings is a {type(settings).__name__}, which looks like an app: the app"
            f" comes first; {make}"
        )
    else:
        yield f"settings is a {type(settings).__name__}; {make}"


_STORE_METHODS = ("get", "compare_and_set", "lock", "close")


def _store_faults(store: object) -> Iterator[str]:
    if store is None:
        return
    if isinstance(store, str):  # it may hold a password, so it is not shown
        yield (
            "store is a string; put the URL into the settings, as store= or"
            ' TIKTOK_STORE, or hand over an object, such as RedisStore("redis://...")'
        )
        return
    if inspect.isclass(store):
        yield f"store is the class {store.__name__}; hand over an object made of it"
        return
    missing = [n for n in _STORE_METHODS if not callable(getattr(store, n, None))]
    if missing:
        yield (
            f"store is a {type(store).__name__}, which is not a store: it has no"
            f" {', '.join(missing)}"
        )
