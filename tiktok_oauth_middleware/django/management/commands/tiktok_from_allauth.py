"""``manage.py tiktok_from_allauth``: takes over django-allauth's TikTok accounts.

django-allauth identifies an account by its ``uid``, which for TikTok is the open_id.
Two accounts belong to the same person only if these are equal, byte for byte.

It does not store the granted scopes, so a token that is taken over counts as granted
for ``user.info.basic`` until it is renewed: TikTok's answer then names all scopes.
"""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError

from tiktok_oauth_middleware._core.backends.one_step import run
from tiktok_oauth_middleware._core.redact import one_line
from tiktok_oauth_middleware._core.secret import Secret
from tiktok_oauth_middleware._oauth.scopes import BASIC_SCOPE
from tiktok_oauth_middleware._session.record import UserRecord, record_id
from tiktok_oauth_middleware.django import installation
from tiktok_oauth_middleware.django.models import TikTokAccount, current_accounts
from tiktok_oauth_middleware.django.project import Installation
from tiktok_oauth_middleware.errors import TikTokOAuthError

_LONGEST_COLUMN = 255


class Command(BaseCommand):
    """Takes over accounts, and with ``keep_grants`` tokens."""

    help = "Take over the TikTok accounts and tokens of django-allauth."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--provider",
            default="tiktok",
            help="allauth's id of the provider (tiktok); another where an app has one",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="report what would be done"
        )
        parser.add_argument(
            "--delete-tokens",
            action="store_true",
            help="delete allauth's own copy of each token that is taken over",
        )

    def handle(self, *_: Any, **given: Any) -> None:
        """Take over each account, and report how many.

        Raises:
            CommandError: allauth is not in the project, or the settings are wrong.
        """
        if not apps.is_installed("allauth.socialaccount"):
            message = "INSTALLED_APPS lacks allauth.socialaccount: nothing to take over"
            raise CommandError(message)
        try:
            counts = self._take_over(given)
        except TikTokOAuthError as error:
            raise CommandError(str(error)) from error
        for words, count in sorted(counts.items()):
            self.stdout.write(f"{count} {words}")
        if given["dry_run"]:
            self.stdout.write("Nothing was changed.")

    def _take_over(self, given: dict[str, Any]) -> Counter[str]:
        installed = installation()
        counts: Counter[str] = Counter()
        accounts = apps.get_model("socialaccount", "SocialAccount")
        found = accounts.objects.filter(provider=given["provider"])
        for account in found.select_related("user").iterator():
            if not self._is_whole(account):
                counts["accounts left alone"] += 1
                continue
            known = current_accounts().filter(open_id=account.uid).first()
            if known is not None and known.user_id != account.user_id:
                self.stderr.write(
                    f"{one_line(account.uid)}: belongs to another user here already"
                )
                counts["accounts left alone"] += 1
                continue
            if known is None:
                counts["accounts taken over"] += 1
                if not given["dry_run"]:
                    _make_account(account)
            else:
                counts["accounts taken over before"] += 1
            counts[self._token(installed, account, given)] += 1
        return counts

    def _is_whole(self, account: Any) -> bool:
        """Whether an account has exactly one open_id."""
        uid = account.uid
        named = (account.extra_data or {}).get("open_id", uid)
        if uid and uid == named and len(uid.encode()) <= _LONGEST_COLUMN:
            return True
        self.stderr.write(f"account {account.pk}: its uid is not its open_id")
        return False

    def _token(
        self, installed: Installation, account: Any, given: dict[str, Any]
    ) -> str:
        """Take over the newest token of an account; return the result to count."""
        if not installed.settings.keep_grants:
            return "tokens left: with keep_grants=False a token comes with a login"
        tokens = apps.get_model("socialaccount", "SocialToken")
        found = tokens.objects.filter(account=account).select_related("app")
        client_key = installed.settings.client_key
        token = next(
            (
                each
                for each in found.order_by("-expires_at", "-pk")
                if each.app is None or each.app.client_id == client_key
            ),
            None,
        )
        if token is None:
            return "accounts without a token of this client_key"
        core = installed.core(is_async=False)
        record = _record(account, token, int(core.clock()))
        if record is None:
            return "tokens left: expired, and nothing to renew them with"
        name = record_id(client_key, account.uid)
        if run(core.service.records.load(name)) is not None:
            return "tokens left: there is a newer one here"
        if given["dry_run"]:
            return "tokens taken over"
        if run(core.service.records.create(name, record)) is None:
            return "tokens left: there is a newer one here"
        if given["delete_tokens"]:
            token.delete()
        return "tokens taken over"


def _make_account(account: Any) -> None:
    data = account.extra_data or {}
    name = data.get("display_name")
    TikTokAccount.objects.create(
        user=account.user,
        open_id=account.uid,
        display_name=name[:_LONGEST_COLUMN] if isinstance(name, str) else "",
        scopes=BASIC_SCOPE,
        last_login_at=account.last_login,
    )


def _record(account: Any, token: Any, now: int) -> UserRecord | None:
    """Return a record of a token; None if the token cannot be used or renewed."""
    ends = int(token.expires_at.timestamp()) if token.expires_at else now
    if not token.token or (ends <= now and not token.token_secret):
        return None
    return UserRecord(
        open_id=account.uid,
        access_token=Secret(token.token),
        # The time of issue is unknown; with this one the token is due for a refresh
        # soon.
        issued_at=min(now, ends) - 1,
        expires_at=max(ends, now),
        refresh_token=Secret(token.token_secret or ""),
        refresh_expires_at=None,
        scopes=BASIC_SCOPE,
    )
