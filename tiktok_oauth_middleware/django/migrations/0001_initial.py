"""The store's rows, and who has which TikTok account."""

from __future__ import annotations

from typing import ClassVar

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

from tiktok_oauth_middleware.django.fields import ByteTextField


class Migration(migrations.Migration):
    """Makes both tables."""

    initial = True

    dependencies: ClassVar = [migrations.swappable_dependency(settings.AUTH_USER_MODEL)]

    operations: ClassVar = [
        migrations.CreateModel(
            name="StoredRow",
            fields=[
                (
                    "key",
                    ByteTextField(max_length=255, primary_key=True, serialize=False),
                ),
                ("value", models.BinaryField()),
                ("expires", models.BigIntegerField(db_index=True)),
                ("mark", models.BinaryField(max_length=8)),
            ],
            options={"db_table": "tiktok_oauth_store", "default_permissions": ()},
        ),
        migrations.CreateModel(
            name="TikTokAccount",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                (
                    "open_id",
                    ByteTextField(max_length=255, unique=True, verbose_name="open_id"),
                ),
                (
                    "display_name",
                    models.CharField(
                        blank=True, max_length=255, verbose_name="display name"
                    ),
                ),
                ("scopes", models.TextField(blank=True, verbose_name="scopes")),
                (
                    "connected_at",
                    models.DateTimeField(
                        default=django.utils.timezone.now, verbose_name="connected at"
                    ),
                ),
                (
                    "last_login_at",
                    models.DateTimeField(
                        blank=True, null=True, verbose_name="last login at"
                    ),
                ),
                (
                    "disconnected_at",
                    models.DateTimeField(
                        blank=True, null=True, verbose_name="disconnected at"
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="tiktok_accounts",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="user",
                    ),
                ),
            ],
            options={
                "verbose_name": "TikTok account",
                "verbose_name_plural": "TikTok accounts",
                "ordering": ["pk"],
            },
        ),
    ]
