"""The admin's pages about TikTok accounts: scopes and expiries, without tokens."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.utils import display_for_value
from django.utils.html import format_html
from django.utils.translation import pgettext, pgettext_lazy

from tiktok_oauth_middleware.errors import StoreError, TikTokOAuthError

from .models import TikTokAccount
from .project import installation

_SHOWN = (
    "user",
    "display_name",
    "account_id",
    "granted_scopes",
    "token_ends",
    "grant_ends",
    "sessions",
)
_DATES = ("connected_at", "last_login_at", "disconnected_at")


@admin.register(TikTokAccount)
class TikTokAccountAdmin(admin.ModelAdmin):
    """Shows the account of each user; only the actions change anything.

    Each row reads the store once, so a page has 50 rows.
    """

    list_display = _SHOWN
    list_select_related = ("user",)
    list_per_page = 50
    search_fields = ("open_id", "display_name")
    readonly_fields = (*_SHOWN, *_DATES)
    fields = (*_SHOWN, *_DATES)
    actions: ClassVar[list[Any]] = ["refresh_tokens", "disconnect"]

    def has_add_permission(self, request: Any, *_: Any) -> bool:
        """Return False: an account is made by a login."""
        del request
        return False

    def change_view(self, *args: Any, **options: Any) -> Any:
        """Show an account without the buttons that save, since no field is editable.

        Django hides them itself only from users without the permission to change, which
        the actions need.
        """
        hidden = {"show_save": False, "show_save_and_continue": False}
        context = hidden | (options.pop("extra_context", None) or {})
        return super().change_view(*args, extra_context=context, **options)

    # --- what is shown ---------------------------------------------------------------

    @admin.display(description="open_id", ordering="open_id")
    def account_id(self, account: TikTokAccount) -> str:
        """Return TikTok's id of the person, from left to right in any language."""
        return str(format_html('<bdi dir="ltr">{}</bdi>', account.open_id))

    @admin.display(description=pgettext_lazy("TikTok", "scopes"))
    def granted_scopes(self, account: TikTokAccount) -> str:
        """Return the granted scopes, as stored."""
        stored = _stored(account)
        return ", ".join(sorted(stored.scopes)) if stored else str(account.scopes)

    # Translators: above a date, after which an access token is no longer good
    @admin.display(description=pgettext_lazy("TikTok", "token ends"))
    def token_ends(self, account: TikTokAccount) -> str:
        """Return when the access token expires, if there is one."""
        stored = _stored(account)
        return self._date(stored.token_expires_at if stored else None)

    # Translators: above a date, after which the person has to log in again
    @admin.display(description=pgettext_lazy("TikTok", "grant ends"))
    def grant_ends(self, account: TikTokAccount) -> str:
        """Return when the grant ends and a new login is needed, if that is known."""
        stored = _stored(account)
        return self._date(stored.ends_at if stored else None)

    def _date(self, seconds: float | None) -> str:
        """Return a date in the active language and the site's time zone."""
        moment = _moment(seconds)  # in UTC, as the page would otherwise show it
        return str(display_for_value(moment, self.get_empty_value_display()))

    # Translators: above the number of browsers that are logged in
    @admin.display(description=pgettext_lazy("TikTok", "sessions"))
    def sessions(self, account: TikTokAccount) -> int:
        """Return the number of browsers that are signed in."""
        stored = _stored(account)
        return stored.sessions if stored else 0

    # --- actions ---------------------------------------------------------------------

    @admin.action(
        # Translators: an action on chosen accounts
        description=pgettext_lazy("TikTok", "Refresh the tokens now"),
        permissions=["change"],
    )
    def refresh_tokens(self, request: Any, accounts: Any) -> None:
        """Ask TikTok for new tokens of each account."""
        # Translators: after the action; {} is the number of accounts
        done = pgettext("TikTok", "Refreshed: {}")
        self._for_each(request, accounts, installation().tokens.renew, done)

    @admin.action(
        # Translators: an action on chosen accounts
        description=pgettext_lazy("TikTok", "Disconnect at TikTok"),
        permissions=["delete"],
    )
    def disconnect(self, request: Any, accounts: Any) -> None:
        """End each account's sessions, forget its tokens and revoke them."""
        # Translators: after the action; {} is the number of accounts
        done = pgettext("TikTok", "Disconnected: {}")
        self._for_each(request, accounts, installation().tokens.disconnect, done)

    def _for_each(self, request: Any, accounts: Any, call: Any, done: str) -> None:
        count, failed = 0, []
        for account in accounts:
            try:
                result = call(account.open_id)
            except TikTokOAuthError as error:
                failed.append(f"{account}: {error.code}")
                continue
            if result == "failed":
                # Translators: the account and a colon are before it
                why = pgettext("TikTok", "forgotten here, but TikTok did not confirm")
                failed.append(f"{account}: {why}")
            else:
                count += 1
            del result  # it holds a token
        if count:
            self.message_user(request, done.format(count), messages.SUCCESS)
        for words in failed:
            self.message_user(request, words, messages.ERROR)


def _stored(account: Any) -> Any:
    """Return the stored user of an account, read once for each page."""
    if not hasattr(account, "_tiktok_stored"):
        try:
            account._tiktok_stored = installation().stored_user(account.open_id)
        except StoreError:
            account._tiktok_stored = None
    return account._tiktok_stored


def _moment(seconds: float | None) -> datetime | None:
    if seconds is None or seconds > time.time() + 100 * 366 * 86400:
        return None
    return datetime.fromtimestamp(seconds, UTC)
