"""``python -m tiktok_oauth_middleware``: ``check``, ``tokens``, ``store``, ``sandbox``.

All commands read the settings from the environment, as the app does (``check`` can also
read them from the app itself), and no command prints a token or a key.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing
from typing import TYPE_CHECKING, Any, cast

from . import __version__
from ._command_output import (
    INTERRUPTED,
    Report,
    after_broken_pipe,
    escape_other_letters,
    moment,
)
from ._core.origins import LAST_PORT
from ._core.redact import one_line
from ._core.secret import reveal
from ._store_command import add_arguments, hide_urls, run_action
from ._users_command import (
    Sweep,
    TokensInLoop,
    add_list_arguments,
    add_sweep_arguments,
    list_users,
)
from .errors import ConfigurationError, NotSignedIn, TikTokOAuthError
from .settings.options import TikTokSettings

if TYPE_CHECKING:
    from .events import Event
    from .tokens import TikTokTokens


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code."""
    given = _parser().parse_args(_with_open_id_marked(arguments))
    escape_other_letters()
    try:
        code: int = given.run(given)
        sys.stdout.flush()
    except BrokenPipeError:
        return after_broken_pipe()
    except TikTokOAuthError as error:
        for line in str(error).splitlines():
            print(f"wrong: {line}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return INTERRUPTED
    return code


def _with_open_id_marked(arguments: Sequence[str] | None) -> list[str]:
    """Return the arguments with ``--`` before an open_id that begins with a dash.

    TikTok's open_ids begin with ``-000``, which argparse would take for an option.
    Arguments after ``--`` are never options.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] != ["tokens"] or "--" in given:
        return given
    for place, argument in enumerate(given):
        if _OPEN_ID.fullmatch(argument):
            return [*given[:place], *given[place + 1 :], "--", argument]
    return given


#: An argument that begins with one dash and is not ``-h``, the only short option.
_OPEN_ID = re.compile(r"-[^-].+", re.DOTALL)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tiktok_oauth_middleware")
    version = f"tiktok-oauth-middleware {__version__}"
    hide_urls(parser)
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_check(commands)
    _add_tokens(commands)
    store = commands.add_parser("store", help="make the store's table, or copy a store")
    add_arguments(store)
    store.set_defaults(run=_store)
    _add_sandbox(commands)
    return parser


def _add_check(commands: Any) -> None:
    check = commands.add_parser(
        "check",
        help="check the settings, and the machine that uses them",
        description="Exit code: 0 nothing is wrong, 1 something is wrong, 2 the command"
        " line is wrong.",
    )
    check.add_argument(
        "--settings",
        metavar="MODULE:OBJECT",
        help="a TikTokSettings, or a function that returns one, used instead of the"
        " environment",
    )
    check.add_argument(
        "--mount",
        metavar="PREFIX",
        type=_mount,
        default="",
        help="the prefix that the server takes off the path (root_path, SCRIPT_NAME)",
    )
    check.add_argument(
        "--online",
        action="store_true",
        help="check that TikTok can be reached, and compare the clocks",
    )
    check.add_argument(
        "--live",
        action="store_true",
        help="ask TikTok whether it accepts client_key and client_secret, with a code"
        " that cannot be valid; no user is affected",
    )
    check.add_argument("--json", action="store_true", help="print JSON")
    check.add_argument("--strict", action="store_true", help="a note counts as wrong")
    check.set_defaults(run=_check)


def _add_tokens(commands: Any) -> None:
    tokens = commands.add_parser(
        "tokens", help="list, refresh or delete the stored users"
    )
    actions = tokens.add_subparsers(required=True, metavar="ACTION")
    listed = actions.add_parser("list", help="every stored user")
    add_list_arguments(listed)
    listed.set_defaults(run=_list)
    sweep = actions.add_parser(
        "sweep",
        help="renew tokens that expire soon, and report grants that have ended",
        description="For cron. Exit code: 0, or 1 if a token could not be renewed.",
    )
    add_sweep_arguments(sweep)
    sweep.set_defaults(run=_sweep)
    sessions = actions.add_parser(
        "sessions", help="a user's browser sessions, by the ids that apps show"
    )
    sessions.add_argument("open_id")
    sessions.set_defaults(run=_sessions)
    for name, words, run in (
        ("refresh", "renew a user's token now", _refresh),
        ("forget", "end a user's sessions and forget their tokens", _forget),
        (
            "disconnect",
            "forget a user, and end the app's access at TikTok",
            _disconnect,
        ),
    ):
        action = actions.add_parser(name, help=words)
        action.add_argument("open_id")
        action.set_defaults(run=run)


def _add_sandbox(commands: Any) -> None:
    sandbox = commands.add_parser("sandbox", help="serve the stand-in for TikTok")
    sandbox.add_argument(
        "--host",
        default="127.0.0.1",
        choices=["127.0.0.1", "::1"],
        help="where the stand-in listens; 127.0.0.1 if not given",
    )
    sandbox.add_argument(
        "--port",
        type=_port,
        default=8001,
        help="the port of the stand-in, not of your app; 8001 if not given",
    )
    sandbox.add_argument(
        "--scopes",
        metavar="SCOPE",
        nargs="+",
        action="extend",
        type=_scope_names,
        default=[],
        help="the scopes that the app is approved for, separated by blanks or commas;"
        " if not given, those of profiles and videos",
    )
    sandbox.set_defaults(run=_sandbox)


# --- check -------------------------------------------------------------------------


def _check(given: argparse.Namespace) -> int:
    """Print every finding and the values to register; return the exit code."""
    from ._check import diagnose, of_faults, portal, report
    from ._check.app_settings import Misused, settings_to_check

    register = None
    try:
        settings = settings_to_check(given.settings)
    except Misused as error:
        print(error, file=sys.stderr)
        return 2
    except ConfigurationError as error:
        findings = [*of_faults(error)]
    else:
        found = diagnose(
            settings, mount=given.mount, online=given.online, live=given.live
        )
        findings = [*found]
        register = portal.registration(settings, given.mount)
    code = report.exit_code(findings, strict=given.strict)
    if given.json:
        print(report.as_json(findings, register, code))
    else:
        print(report.as_text(findings, register, colour=_is_in_colour()))
    return code


def _mount(text: str) -> str:
    """Return a mount point as paths begin with it, "" for none."""
    return "/" + text.strip("/") if text.strip("/") else ""


def _is_in_colour() -> bool:
    """Whether to use colours: on a terminal that has them, unless NO_COLOR is set."""
    silent = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return sys.stdout.isatty() and not silent


# --- tokens ------------------------------------------------------------------------


def _list(given: argparse.Namespace) -> int:
    """Print a line for every stored user, or for those whose grant ends soon."""
    with _tokens() as tokens:
        return list_users(
            tokens, _report(given), ending=given.ending, after=given.after
        )


def _sweep(given: argparse.Namespace) -> int:
    """Refresh tokens that expire soon; print the users whose grant has ended."""
    sweep = Sweep(_report(given))
    with _tokens(sweep.on_event) as tokens:
        return sweep.run(tokens, given.within)


def _report(given: argparse.Namespace) -> Report:
    return Report(sys.stdout, sys.stderr, "TIKTOK_SECRET_KEYS", progress=given.progress)


def _refresh(given: argparse.Namespace) -> int:
    """Refresh one user's token, due or not."""
    with _tokens() as tokens:
        token = tokens.renew(given.open_id)
    print(f"refreshed: the token expires {moment(token.expires_at)}")
    return 0


def _sessions(given: argparse.Namespace) -> int:
    """Print a line for each of a user's sessions, the last used first."""
    with _tokens() as tokens:
        sessions = tokens.sessions(given.open_id)
    form = "{:<32}  {:<20}  {}"
    print(form.format("session_id", "created", "last seen"))
    for session in sessions:
        created, seen = moment(session.created_at), moment(session.last_seen_at)
        print(form.format(session.session_id, created, seen))
    print(f"{len(sessions)} active")
    return 0


def _forget(given: argparse.Namespace) -> int:
    with _tokens() as tokens:
        was_stored = tokens.forget(given.open_id)
    if not was_stored:
        message = "this user is not stored"
        raise NotSignedIn(message)
    print("forgotten, here; the app stays connected at TikTok")
    return 0


def _disconnect(given: argparse.Namespace) -> int:
    with _tokens() as tokens:
        result = tokens.disconnect(given.open_id)
    print(
        {
            "revoked": "forgotten here, and disconnected at TikTok",
            "gone": "there was nothing to disconnect, here or at TikTok",
            "failed": "forgotten here, but TikTok did not confirm",
        }[result]
    )
    return int(result == "failed")


def _tokens(
    on_event: Callable[[Event], None] | None = None,
) -> AbstractContextManager[TikTokTokens]:
    from ._core.backends.command import needs_event_loop
    from .stores.registry import open_store
    from .tokens import TikTokTokens

    settings = TikTokSettings.from_env()
    tokens = TikTokTokens(settings, on_event=on_event)
    in_loop = needs_event_loop(
        open_store(reveal(settings.store))
    )  # connects to nothing
    return closing(cast("TikTokTokens", TokensInLoop(tokens)) if in_loop else tokens)


# --- store -------------------------------------------------------------------------


def _store(given: argparse.Namespace) -> int:
    """Make the store's table, or copy all users from one store to another."""
    settings = TikTokSettings.from_env
    return run_action(given.action, given.urls, settings, sys.stdout, sys.stderr)


# --- sandbox -----------------------------------------------------------------------


def _sandbox(given: argparse.Namespace) -> int:
    from .testing.fake import FakeTikTok
    from .testing.server import serve

    scopes = list(dict.fromkeys(scope for some in given.scopes for scope in some))
    fake = FakeTikTok(scopes=scopes) if scopes else FakeTikTok()
    serve(fake, given.host, given.port, scopes=",".join(scopes))
    return 0


def _port(text: str) -> int:
    """Return a port from the command line, 0 for any free one.

    Raises:
        ArgumentTypeError: it is not a port.
    """
    if not re.fullmatch("[0-9]{1,5}", text) or int(text) > LAST_PORT:
        message = f"{one_line(text)!r} is not a port; it must be 0 to {LAST_PORT}"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def _scope_names(text: str) -> list[str]:
    """Return the scopes of an argument, which may hold several.

    Raises:
        ArgumentTypeError: one cannot be the name of a scope.
    """
    from ._oauth.scopes import is_scope

    scopes = [scope for scope in text.replace(",", " ").split() if scope]
    wrong = [scope for scope in scopes if not is_scope(scope)]
    if wrong or not scopes:
        message = f"{one_line(text)!r} is not a list of scopes"
        raise argparse.ArgumentTypeError(message)
    return scopes


if __name__ == "__main__":
    sys.exit(main())
