"""TikTok says that a user withdrew: forget them.

The signature is checked over the raw bytes before anything is read of them
(https://developers.tiktok.com/doc/webhooks-verification). TikTok delivers at least
once, and again for three days if the answer is not 200: forgetting twice is forgetting
once, and a store that failed is answered 503.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from . import tiktok
from .cookies import grant_id
from .errors import WebhookRejected
from .http import Request, Response
from .models import Event
from .pages import json_answer

if TYPE_CHECKING:
    from .grants import Grants
    from .outcomes import Tell
    from .settings import TikTokSettings

#: TikTok delivers again for three days: a delivery is taken once in that time.
_REMEMBERED_SECONDS = 4 * 86400
_CLOCK_SKEW = 60
#: Longest delivery that is read, in bytes.
BODY_LIMIT = 64 * 1024


class Webhook:
    """The webhook path of one TikTok app."""

    def __init__(
        self,
        settings: TikTokSettings,
        grants: Grants,
        tell: Tell,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._grants = grants
        self._tell = tell
        self._clock = clock

    async def answer(self, request: Request) -> Response:
        """Answer a delivery.

        Raises:
            StoreError: the store failed, so TikTok shall deliver again.
        """
        if request.method != "POST":
            return json_answer(
                405, {"error": "method_not_allowed"}, [("allow", "POST")]
            )
        body = await request.read(BODY_LIMIT)
        if body is None:
            return json_answer(413, {"error": "too_long"})
        try:
            delivery = tiktok.read_webhook(
                request.one(b"tiktok-signature") or b"",
                body,
                client_key=self._settings.client_key,
                client_secret=self._settings.client_secret,
                now=self._clock(),
            )
        except WebhookRejected as error:
            event = Event(name="webhook_rejected", reason=error.code)
            await self._tell(event, why=error)
            return json_answer(error.status, {"error": error.code})
        # Marked after it was taken: a store that fails in between gets it again.
        name = "hook-" + hashlib.sha256(body).hexdigest()[:32]
        if not await self._grants.was_used(name):
            await self._take(delivery)
            await self._grants.use_once(name, _REMEMBERED_SECONDS)
        return json_answer(200, {})

    async def _take(self, delivery: tiktok.Delivery) -> None:
        name = "webhook"
        if delivery.event == "authorization.removed" and delivery.open_id:
            name = "withdrawal"
            if not await self._forget(delivery.open_id, delivery.create_time):
                return
        details = {"event": delivery.event, "content": delivery.content}
        event = Event(
            name=name, open_id=delivery.open_id, reason=delivery.event, details=details
        )
        await self._tell(event)

    async def _forget(self, open_id: str, withdrawn_at: int) -> bool:
        """Forget a user; False if there was nothing to forget.

        Tokens that TikTok issued after the withdrawal belong to a new login: a late
        delivery must not end that.
        """
        named = grant_id(self._settings.client_key, open_id)
        held = await self._grants.load(named)
        if held is None:
            return False
        if 0 < withdrawn_at < held.grant.issued_at - _CLOCK_SKEW:
            return False
        return await self._grants.forget(named) is not None
