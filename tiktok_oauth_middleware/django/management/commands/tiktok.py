"""``manage.py tiktok check | tokens | sweep | store``."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from tiktok_oauth_middleware._command_output import (
    INTERRUPTED,
    Report,
    after_broken_pipe,
    escape_other_letters,
)
from tiktok_oauth_middleware._store_command import add_arguments as add_store_arguments
from tiktok_oauth_middleware._store_command import hide_urls, run_action
from tiktok_oauth_middleware._users_command import (
    Sweep,
    add_list_arguments,
    add_sweep_arguments,
    list_users,
)
from tiktok_oauth_middleware.errors import ConfigurationError, TikTokOAuthError


class Command(BaseCommand):
    """Checks the TikTok login, lists users, renews what expires soon, copies stores."""

    help = (
        "Check the TikTok login, list its users, renew tokens that expire soon, or copy"
        " all users to another store."
    )
    #: Its own checks report more than the system's.
    requires_system_checks: Any = ()

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the four commands."""
        commands: Any = parser.add_subparsers(dest="command", required=True)
        check = commands.add_parser("check", help="report what is wrong, and the fix")
        check.add_argument("--online", action="store_true", help="reach TikTok as well")
        check.add_argument(
            "--live", action="store_true", help="ask TikTok about key and secret"
        )
        check.add_argument("--json", action="store_true", help="print JSON")
        check.add_argument(
            "--strict", action="store_true", help="a note counts as wrong"
        )
        tokens = commands.add_parser("tokens", help="list the stored users")
        add_list_arguments(tokens)
        sweep = commands.add_parser(
            "sweep",
            help="renew tokens that expire soon",
            description="For cron. Exit code: 0, or 1 if a token could not be renewed.",
        )
        add_sweep_arguments(sweep)
        add_store_arguments(commands.add_parser("store", help="copy a store"))
        hide_urls(parser)

    def handle(self, *_: Any, **given: Any) -> None:
        """Run one of them.

        Raises:
            CommandError: the settings are wrong, or the store failed.
        """
        escape_other_letters()
        try:
            code = getattr(self, f"_{given['command']}")(given)
            sys.stdout.flush()
        except BrokenPipeError:
            code = after_broken_pipe()
        except KeyboardInterrupt:
            self.stderr.write("stopped")
            code = INTERRUPTED
        except TikTokOAuthError as error:
            raise CommandError(str(error)) from error
        if code:
            sys.exit(code)

    def _check(self, given: dict[str, Any]) -> int:
        from tiktok_oauth_middleware._check import diagnose, of_faults, portal, report
        from tiktok_oauth_middleware.django.project import read_options, read_settings

        register = None
        try:
            read_options()
            settings = read_settings()
        except ConfigurationError as error:
            findings = [*of_faults(error)]
        else:
            found = diagnose(settings, online=given["online"], live=given["live"])
            findings = [*found]
            register = portal.registration(settings, "")
        code = report.exit_code(findings, strict=given["strict"])
        if given["json"]:
            self.stdout.write(report.as_json(findings, register, code))
        else:
            self.stdout.write(report.as_text(findings, register, colour=False))
        return code

    def _tokens(self, given: dict[str, Any]) -> int:
        from tiktok_oauth_middleware.django import installation

        return list_users(
            installation().tokens,
            self._report(given),
            ending=given["ending"],
            after=given["after"],
        )

    def _sweep(self, given: dict[str, Any]) -> int:
        from tiktok_oauth_middleware.django import installation

        sweep = Sweep(self._report(given), counts=False)
        return sweep.run(installation().tokens, given["within"])

    def _store(self, given: dict[str, Any]) -> int:
        from tiktok_oauth_middleware.django.project import read_settings

        return run_action(
            given["action"], given["urls"], read_settings, self.stdout, sys.stderr
        )

    def _report(self, given: dict[str, Any]) -> Report:
        return Report(
            self.stdout,
            sys.stderr,
            "secret_keys",
            progress=given["progress"],
            is_brief=True,
        )
