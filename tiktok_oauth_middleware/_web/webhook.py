"""TikTok says that a user withdrew: forget them.

The signature is checked over the raw bytes before anything is read of them
(https://developers.tiktok.com/doc/webhooks-verification). TikTok delivers at least
once, and again for three days if the answer is not 200: forgetting twice is forgetting
once, and a store that failed is answered 503.

A withdrawal is about the tokens that there were when it happened. It may arrive when
the user has logged in again, and TikTok reports our own disconnects too, often after
the next login. So the record is judged by when its tokens were issued; where the two
times are too close for two clocks to decide, TikTok is asked whether the token still
works; and the record that was judged is the one that is deleted, or none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from tiktok_oauth_middleware._core.http import Request, Response
from tiktok_oauth_middleware._core.log import logger
from tiktok_oauth_middleware._oauth import webhook_delivery
from tiktok_oauth_middleware._session.cookie import record_id
from tiktok_oauth_middleware.errors import (
    StoreError,
    TikTokError,
    TikTokUnavailable,
    WebhookRejected,
)
from tiktok_oauth_middleware.events import Event

from .pages import json_response

if TYPE_CHECKING:
    from tiktok_oauth_middleware._oauth.client import TikTokClient
    from tiktok_oauth_middleware._observe.emit import Emitter
    from tiktok_oauth_middleware._session.records import Records, VersionedRecord
    from tiktok_oauth_middleware._session.refresh import Refresh
    from tiktok_oauth_middleware.events import EventName
    from tiktok_oauth_middleware.settings.options import TikTokSettings

#: TikTok delivers again for three days: a delivery is taken once in that time.
_REMEMBERED_SECONDS = 4 * 86400
#: How far TikTok's clock and ours may differ.
_CLOCK_SKEW = 60
#: TikTok reports a disconnect of ours within seconds; this leaves room for a queue.
_ECHO_SECONDS = 300
#: The reason of a withdrawal that the app's own revoke caused.
_REVOKED_BY_US = 5
_SWAPS = 20
_RETRY_SECONDS = "60"
#: Errors of user info that TikTok gives for a token that works.
_TOKEN_WORKS = frozenset(("scope_not_authorized", "scope_permission_missed"))
#: Longest delivery that is read, in bytes.
BODY_LIMIT = 64 * 1024


class Webhook:
    """The webhook path of one TikTok app."""

    def __init__(
        self,
        settings: TikTokSettings,
        records: Records,
        refresh: Refresh,
        client: Callable[[], Awaitable[TikTokClient]],
        emit: Emitter,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._records = records
        self._refresh = refresh
        self._client = client
        self._emit = emit
        self._clock = clock

    async def answer(self, request: Request) -> Response:
        """Answer a delivery.

        Raises:
            StoreError: the store failed, so TikTok shall deliver again.
        """
        if request.method != "POST":
            return json_response(
                405, {"error": "method_not_allowed"}, [("allow", "POST")]
            )
        body = await request.read(BODY_LIMIT)
        if body is None:
            return json_response(413, {"error": "too_long"})
        try:
            delivery = webhook_delivery.read_webhook(
                request.one(b"tiktok-signature") or b"",
                body,
                client_key=self._settings.client_key,
                client_secret=self._settings.client_secret,
                previous_secret=self._settings.previous_client_secret,
                now=self._clock(),
            )
        except WebhookRejected as error:
            event = Event(name="webhook_rejected", reason=error.code)
            await self._emit(event, why=error)
            return json_response(error.status, {"error": error.code})
        # Marked after it was taken: a store that fails in between gets it again.
        name = "hook-" + hashlib.sha256(body).hexdigest()[:32]
        if not await self._records.was_used(name):
            try:
                await self._take(delivery)
            except TikTokError as error:
                # Nothing was decided, so nothing is marked: TikTok delivers again.
                logger.warning("a withdrawal waits until TikTok answers: %s", error)
                retry = [("retry-after", _RETRY_SECONDS)]
                unavailable = TikTokUnavailable.code
                return json_response(503, {"error": unavailable}, retry)
            await self._records.use_once(name, _REMEMBERED_SECONDS)
        return json_response(200, {})

    async def _take(self, delivery: webhook_delivery.Delivery) -> None:
        name: EventName = "webhook"
        if delivery.event == webhook_delivery.REMOVED and delivery.open_id:
            name = "withdrawal"
            if not await self._forget(delivery.open_id, delivery):
                return
        details = {"event": delivery.event, "content": delivery.content}
        event = Event(
            name=name, open_id=delivery.open_id, reason=delivery.event, details=details
        )
        await self._emit(event)

    async def _forget(self, open_id: str, delivery: webhook_delivery.Delivery) -> bool:
        """Forget a user who withdrew; False if there was nothing to forget.

        Raises:
            TikTokError: TikTok was asked whether the token still works, and gave no
                answer to that.
        """
        named = record_id(self._settings.client_key, open_id)
        for _ in range(_SWAPS):
            stored = await self._records.load(named)
            if stored is None:
                return False
            verdict = await self._verdict(stored, delivery)
            if verdict is None:
                if stored.record.expires_at <= self._clock():
                    stored = await self._refresh.fresh(stored)
                if stored is None:  # TikTok's answer to the refresh ended it
                    return True
                verdict = not await self._works(stored)
            if not verdict:
                return False
            await self._records.forget_denied(named)
            # Whatever was written since was not judged: a login, above all.
            if await self._records.delete(stored):
                return True
        message = "the user's record changed at every try to delete it"
        raise StoreError(message)

    async def _verdict(
        self, stored: VersionedRecord, delivery: webhook_delivery.Delivery
    ) -> bool | None:
        """Return whether a withdrawal is about these tokens; None to ask TikTok.

        Tokens that TikTok issued after it, at a login or a refresh, are not what was
        withdrawn.
        """
        issued_at, withdrawn_at = stored.record.issued_at, delivery.create_time
        if withdrawn_at > self._clock() + _ECHO_SECONDS:
            withdrawn_at = 0  # in the future, and so no time to judge by
        if withdrawn_at and issued_at > withdrawn_at + _CLOCK_SKEW:
            return False
        if delivery.reason == _REVOKED_BY_US:
            revoked_at = await self._records.revoked_at(stored.record_id)
            if (
                revoked_at is not None
                and withdrawn_at <= revoked_at + _ECHO_SECONDS
                and issued_at > revoked_at
            ):
                return False
        if withdrawn_at and issued_at < withdrawn_at - _CLOCK_SKEW:
            return True
        return None

    async def _works(self, stored: VersionedRecord) -> bool:
        """Ask TikTok whether a user's access token still works.

        Raises:
            TikTokError: no answer to that.
        """
        record = stored.record
        if record.expires_at <= self._clock():
            raise TikTokUnavailable("", "the token expired and could not be renewed")
        client = await self._client()
        try:
            await client.profile(
                record.access_token.reveal(), record.open_id, ("open_id",)
            )
        except TikTokError as error:
            if error.error in _TOKEN_WORKS:
                return True
            if error.error == "access_token_invalid":
                return False
            raise
        return True
