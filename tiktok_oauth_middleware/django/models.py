"""The app's tables: the store's rows, and the TikTok accounts of users."""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.db import models, router
from django.utils import timezone
from django.utils.translation import pgettext_lazy

from .fields import ByteTextField


class StoredRow(models.Model):
    """A row of `DjangoStore`, which reads and writes it without this class."""

    key = ByteTextField(primary_key=True, max_length=255)
    value: Any = models.BinaryField()
    #: Milliseconds since 1970.
    expires = models.BigIntegerField(db_index=True)
    #: The random mark of the call that wrote it.
    mark = models.BinaryField(max_length=8)

    class Meta:
        """The table's name is `DjangoStore`'s default."""

        db_table = "tiktok_oauth_store"
        default_permissions = ()

    def __str__(self) -> str:
        """Return the key, which names a record and does not identify its user."""
        return str(self.key)


class TikTokAccount(models.Model):
    """A TikTok account with which a Django user logs in; it holds no token."""

    objects: ClassVar[Any]

    user: Any = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        # Translators: the account's user of this site
        verbose_name=pgettext_lazy("TikTok", "user"),
        on_delete=models.CASCADE,
        related_name="tiktok_accounts",
    )
    #: TikTok's stable id of the person in this app.
    open_id: Any = ByteTextField("open_id", max_length=255, unique=True)
    display_name: Any = models.CharField(
        # Translators: the name that the person shows on TikTok
        pgettext_lazy("TikTok", "display name"),
        max_length=255,
        blank=True,
    )
    #: Granted at the last login or refresh, separated by commas.
    scopes: Any = models.TextField(
        # Translators: what the person allows, such as video.list
        pgettext_lazy("TikTok", "scopes"),
        blank=True,
    )
    connected_at = models.DateTimeField(
        # Translators: above a date
        pgettext_lazy("TikTok", "connected at"),
        default=timezone.now,
    )
    last_login_at: Any = models.DateTimeField(
        # Translators: above a date
        pgettext_lazy("TikTok", "last login at"),
        null=True,
        blank=True,
    )
    #: When the person, or TikTok, ended the app's access; None while it has it.
    disconnected_at: Any = models.DateTimeField(
        # Translators: above a date
        pgettext_lazy("TikTok", "disconnected at"),
        null=True,
        blank=True,
    )

    class Meta:
        """The table's name in the admin."""

        verbose_name: Any = pgettext_lazy("TikTok", "TikTok account")
        verbose_name_plural: Any = pgettext_lazy("TikTok", "TikTok accounts")
        ordering: ClassVar[list[str]] = ["pk"]

    def __str__(self) -> str:
        """Return the name that the person shows on TikTok, or the open_id."""
        return str(self.display_name) or str(self.open_id)


def current_accounts() -> Any:
    """Return the accounts of the database that is written to.

    A login that read a replica would not find an account that it has just created.
    """
    return TikTokAccount.objects.using(router.db_for_write(TikTokAccount))
