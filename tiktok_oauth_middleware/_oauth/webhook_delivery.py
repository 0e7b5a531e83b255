"""TikTok's webhook deliveries: the signature and what is delivered."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tiktok_oauth_middleware._core.redact import one_line
from tiktok_oauth_middleware.errors import DeliveryFault, WebhookRejected

from .answer import read_json_object
from .protocol import is_open_id, is_usable_time, to_seconds

#: TikTok repeats a delivery for three days until it is answered with 200. Deleting a
#: user twice does no harm, so a withdrawal is accepted for as long.
RETRIED_SECONDS = 72 * 3600
#: The name of the event about the removal of a user's access.
REMOVED = "authorization.removed"

_LONGEST_SIGNATURE = 1024
#: Parts of a signature's header, such as ``t=...``; TikTok sends two.
_MOST_SIGNATURE_PARTS = 16
_TIME = re.compile(r"[0-9]{1,16}")
_HEX_MAC = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookDelivery:
    """One webhook delivery that TikTok signed."""

    event: str
    #: Whole seconds since 1970; 0 if the delivery has no usable time.
    create_time: int
    #: None if the event is about no user.
    open_id: str | None
    #: The ``content``, which may come as an object or as JSON in a string; {} if it is
    #: unreadable.
    content: Mapping[str, Any]

    @property
    def reason(self) -> int | None:
        """Why access was removed, as TikTok's number; None if there is none."""
        reason = self.content.get("reason")
        if isinstance(reason, str) and re.fullmatch(r"[0-9]{1,3}", reason):
            return int(reason)
        return reason if type(reason) is int else None


def read_webhook(
    header: bytes,
    body: bytes,
    *,
    client_key: str,
    secrets: Sequence[str],
    now: float,
    tolerance: float = 300,
) -> WebhookDelivery:
    """Check and read a webhook delivery.

    Args:
        header: the TikTok-Signature header.
        body: the raw bytes that were signed.
        client_key: ours; a delivery for another app is refused.
        secrets: the client secrets that TikTok may sign with.
        now: seconds since 1970.
        tolerance: how far the time of the signature may be from `now`, in seconds. A
            delivery that a user's access was removed may be `RETRIED_SECONDS` older.

    Raises:
        WebhookRejected: not signed by TikTok, too old, or not for this app.
    """
    signed_at, signature = _signature_parts(header)
    macs = [_webhook_mac(signed_at.encode(), body, secret) for secret in secrets]
    # Each one is compared, so that the time taken does not show which of them matches.
    if not sum(hmac.compare_digest(mac, signature) for mac in macs):
        raise _rejected("signature", "the signature does not match the body")
    delivery = _delivery(body, client_key)
    age = now - to_seconds(int(signed_at))
    oldest = tolerance + (RETRIED_SECONDS if delivery.event == REMOVED else 0)
    if not -tolerance <= age <= oldest:
        raise _rejected("age", "signed too long ago, or in the future")
    return delivery


def _rejected(failure: DeliveryFault, message: str) -> WebhookRejected:
    error = WebhookRejected(message)
    error.failure = failure
    return error


def _signature_parts(header: bytes) -> tuple[str, str]:
    """Return the time and the signature of a TikTok-Signature header, as text.

    Commas separate its parts, and the first "=" of a part separates name and value.
    Names that TikTok may add are ignored. There must be exactly one ``t`` and one
    ``s``, because parsers differ over which of two counts.

    Raises:
        WebhookRejected: the header does not hold them.
    """
    if len(header) <= _LONGEST_SIGNATURE and header.isascii():
        found: dict[str, list[str]] = {}
        parts = header.decode().split(",")
        for part in parts:
            name, _, value = part.partition("=")
            found.setdefault(name.strip(" \t"), []).append(value.strip(" \t"))
        times, macs = found.get("t", []), found.get("s", [])
        if (
            len(parts) <= _MOST_SIGNATURE_PARTS
            and len(times) == len(macs) == 1
            and _TIME.fullmatch(times[0])
            and _HEX_MAC.fullmatch(macs[0])
        ):
            return times[0], macs[0].lower()
    raise _rejected("delivery", "no TikTok-Signature of the form t=…,s=…")


def _webhook_mac(signed_at: bytes, body: bytes, secret: str) -> str:
    """Return the signature (https://developers.tiktok.com/doc/webhooks-verification)."""
    message = signed_at + b"." + body
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def _delivery(body: bytes, client_key: str) -> WebhookDelivery:
    delivery = read_json_object(body)
    if delivery is None:
        raise _rejected("delivery", "the body is not a JSON object")
    event, open_id = delivery.get("event"), delivery.get("user_openid") or None
    if type(open_id) is int:  # the portal's button for a test sends a number
        open_id = str(open_id)
    if delivery.get("client_key") != client_key:
        raise _rejected("client_key", "a delivery for another client_key")
    if not isinstance(event, str) or not (
        open_id is None or (isinstance(open_id, str) and is_open_id(open_id))
    ):
        raise _rejected("delivery", "a delivery without a usable event")
    return WebhookDelivery(
        event=one_line(event),
        create_time=_create_time(delivery.get("create_time")),
        open_id=open_id,
        content=_content(delivery.get("content")),
    )


def _create_time(value: object) -> int:
    """Return a ``create_time`` in whole seconds; 0 if it is not a usable time."""
    if isinstance(value, str) and _TIME.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return int(to_seconds(value)) if is_usable_time(value) else 0


def _content(content: object) -> Mapping[str, Any]:
    read = read_json_object(content) if isinstance(content, str) else content
    return read if isinstance(read, dict) else {}
