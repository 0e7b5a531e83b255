"""TikTok's webhook: a user's record is deleted when the user withdraws consent.

The signature is checked over the raw bytes before they are parsed
(https://developers.tiktok.com/doc/webhooks-verification). TikTok delivers at least
once, and again for three days if the response is not 200: deleting twice is the same as
deleting once, and a failed store gives 503.

A withdrawal ends the tokens that existed when it happened. It may arrive after the user
has logged in again, and TikTok also reports disconnects by this app, often after the
next login. So it is compared with the time at which the record's tokens were issued; if
the two times are too close for two clocks, TikTok is asked whether the token still
works. Only the record that was examined is deleted, never one that was written since.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tiktok_oauth_middleware._core.http import Request, Response
from tiktok_oauth_middleware._core.log import logger
from tiktok_oauth_middleware._oauth import webhook_delivery
from tiktok_oauth_middleware._session.endings import token_works
from tiktok_oauth_middleware._session.notes import note_name
from tiktok_oauth_middleware._session.record import record_id
from tiktok_oauth_middleware._session.rows import swap_attempts
from tiktok_oauth_middleware.errors import (
    TikTokError,
    TikTokUnavailable,
    WebhookRejected,
)
from tiktok_oauth_middleware.events import Event

from .responses import json_response

if TYPE_CHECKING:
    from tiktok_oauth_middleware._session.service import SessionService
    from tiktok_oauth_middleware._session.versioned_record import VersionedRecord
    from tiktok_oauth_middleware.events import EventName

#: How far TikTok's clock and ours may differ, in seconds.
_TIKTOK_CLOCK_SKEW = 60
#: TikTok reports a disconnect by this app within seconds; the rest allows for a queue.
_ECHO_SECONDS = 300
#: The reason of a withdrawal that the app's own revoke caused.
_REVOKED_BY_US = 5
#: After how many seconds TikTok should send a delivery again.
_REDELIVERY_SECONDS = "60"
#: Longest delivery that is read, in bytes.
BODY_LIMIT = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Webhook:
    """The webhook path of one TikTok app."""

    service: SessionService

    async def answer(self, request: Request) -> Response:
        """Answer a delivery.

        Raises:
            StoreError: the store failed, so TikTok is to deliver again.
        """
        if request.method != "POST":
            return json_response(
                405, {"error": "method_not_allowed"}, [("allow", "POST")]
            )
        body = await request.read(BODY_LIMIT)
        if body is None:
            return json_response(413, {"error": "too_long"})
        secrets = (
            self.service.settings.client_secret,
            self.service.settings.previous_client_secret,
        )
        try:
            delivery = webhook_delivery.read_webhook(
                request.one(b"tiktok-signature") or b"",
                body,
                client_key=self.service.settings.client_key,
                secrets=[secret for secret in secrets if secret],
                now=self.service.clock(),
            )
        except WebhookRejected as error:
            event = Event(name="webhook_rejected", reason=error.code)
            await self.service.emit(event, why=error)
            return json_response(error.status, {"error": error.code})
        # Marked afterwards: if the store fails in between, TikTok repeats the delivery.
        name = note_name("webhook", hashlib.sha256(body).hexdigest()[:32])
        deliveries = self.service.records.deliveries
        if not await deliveries.is_handled(name):
            try:
                await self._handle(delivery, name)
            except TikTokError as error:
                # Nothing was decided, so the delivery is not marked, and TikTok repeats
                # it.
                logger.warning("a withdrawal waits until TikTok answers: %s", error)
                retry = [("retry-after", _REDELIVERY_SECONDS)]
                unavailable = TikTokUnavailable.code
                return json_response(503, {"error": unavailable}, retry)
            await deliveries.finish(name)
        return json_response(200, {})

    async def _handle(
        self, delivery: webhook_delivery.WebhookDelivery, note: str
    ) -> None:
        """Delete the record of a user who withdrew, and emit the event.

        Args:
            delivery: which webhook.
            note: the name of its note.
        """
        name: EventName = "webhook"
        user_id: str | None = None
        if delivery.event == webhook_delivery.REMOVED and delivery.open_id:
            name = "withdrawal"
            named = record_id(self.service.settings.client_key, delivery.open_id)
            user_id = await self._withdraw(named, delivery, note)
            if user_id is None:
                return
            if user_id:
                await self.service.connections.unlist(user_id, named)
        details = {"event": delivery.event, "content": delivery.content}
        event = Event(
            name=name,
            open_id=delivery.open_id,
            user_id=user_id or None,
            reason=delivery.event,
            details=details,
        )
        await self.service.emit(event)

    async def _withdraw(
        self, named: str, delivery: webhook_delivery.WebhookDelivery, note: str
    ) -> str | None:
        """Delete the record of a user who withdrew; None if it stays.

        If the process that handled the delivery died after it had deleted the record,
        the result is the same.

        Args:
            named: the record's id.
            delivery: the withdrawal.
            note: the name of its note.

        Returns:
            The user of the app to whom the account was connected, or "".

        Raises:
            TikTokError: it is unknown whether the token still works.
        """
        # A login may be about to write the record.
        await self.service.endings.note(named)
        for _ in swap_attempts():
            stored = await self.service.records.load(named)
            if stored is None:
                return await self.service.records.deliveries.begun(note)
            is_withdrawn = await self._is_withdrawn(stored, delivery)
            user_id = stored.record.user_id
            if is_withdrawn is None:
                if stored.record.expires_at <= self.service.clock():
                    stored = await self.service.refresh.fresh(stored)
                if stored is None:  # TikTok's answer to the refresh ended it
                    return user_id
                is_withdrawn = not await self._token_works(stored)
            if not is_withdrawn:
                return None
            await self.service.records.denied_scopes.forget(named)
            await self.service.records.deliveries.begin(note, user_id)
            # A record written since, usually by a login, was not examined.
            if await self.service.records.delete_or_find_gone(stored):
                return user_id
        return None

    async def _is_withdrawn(
        self, stored: VersionedRecord, delivery: webhook_delivery.WebhookDelivery
    ) -> bool | None:
        """Whether a withdrawal concerns these tokens; None if TikTok must be asked.

        It does not concern tokens that TikTok issued later, at a login or a refresh.
        """
        issued_at, withdrawn_at = stored.record.issued_at, delivery.create_time
        if withdrawn_at > self.service.clock() + _ECHO_SECONDS:
            withdrawn_at = 0  # a time in the future proves nothing
        if withdrawn_at and issued_at > withdrawn_at + _TIKTOK_CLOCK_SKEW:
            return False
        if delivery.reason == _REVOKED_BY_US:
            revoked_at = await self.service.endings.revoked_at(stored.record_id)
            if (
                revoked_at is not None
                and withdrawn_at <= revoked_at + _ECHO_SECONDS
                and issued_at > revoked_at
            ):
                return False
        if withdrawn_at and issued_at < withdrawn_at - _TIKTOK_CLOCK_SKEW:
            return True
        return None

    async def _token_works(self, stored: VersionedRecord) -> bool:
        """Ask TikTok whether a user's access token still works.

        Raises:
            TikTokError: TikTok's answer does not show it.
        """
        if stored.record.expires_at <= self.service.clock():
            raise TikTokUnavailable("", "the token expired and could not be renewed")
        return await token_works(await self.service.client(), stored.record)
