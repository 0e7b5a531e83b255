"""TikTok's webhook deliveries: the signature and what is delivered."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tiktok_oauth_middleware._core.redact import one_line
from tiktok_oauth_middleware.errors import (
    WebhookRejected,
)

from .answer import read_object
from .protocol import _MILLISECONDS, is_open_id

#: TikTok delivers again for three days until it is answered with 200. Forgetting a
#: user twice is forgetting them once, so a withdrawal counts for as long.
RETRIED_SECONDS = 72 * 3600


#: The event by which TikTok says that a user's access was removed.
REMOVED = "authorization.removed"


_LONGEST_SIGNATURE = 1024


_MOST_PARTS = 16


_TIME = re.compile(r"[0-9]{1,16}")


_HEX_MAC = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One webhook delivery that TikTok signed."""

    event: str
    #: Whole seconds since 1970; 0 where the delivery has no usable time.
    create_time: int
    #: None where the event is about no user.
    open_id: str | None
    #: The ``content``, whether it came as an object or packed as JSON in a string; {}
    #: where it is unreadable.
    content: Mapping[str, Any]

    @property
    def reason(self) -> int | None:
        """Why access was removed, as TikTok numbers it; None where it does not say."""
        reason = self.content.get("reason")
        if isinstance(reason, str) and re.fullmatch(r"[0-9]{1,3}", reason):
            return int(reason)
        return reason if type(reason) is int else None


def sign_webhook(body: bytes, secret: str, at: int) -> str:
    """Return the TikTok-Signature header of `body`, signed at `at`.

    https://developers.tiktok.com/doc/webhooks-verification
    """
    return f"t={at},s={_webhook_mac(str(at).encode(), body, secret)}"


def read_webhook(  # noqa: PLR0913 - what a delivery is judged by
    header: bytes,
    body: bytes,
    *,
    client_key: str,
    client_secret: str,
    now: float,
    tolerance: float = 300,
    previous_secret: str | None = None,
) -> Delivery:
    """Check and read a webhook delivery.

    Args:
        header: the TikTok-Signature header.
        body: the raw bytes that were signed.
        client_key: ours; a delivery for another app is refused.
        client_secret: what TikTok signs with.
        now: seconds since 1970.
        tolerance: how far from now TikTok may have signed, either way, in seconds. A
            delivery that a user's access was removed may be `RETRIED_SECONDS` older.
        previous_secret: what TikTok signed with before the secret was rotated.

    Raises:
        WebhookRejected: not signed by TikTok, too old, or not for this app.
    """
    signed_at, signature = _signature_parts(header)
    secrets = [client_secret, *([previous_secret] if previous_secret else [])]
    macs = [_webhook_mac(signed_at.encode(), body, secret) for secret in secrets]
    # Each is compared, so that the time says nothing about which of them fits.
    if not sum(hmac.compare_digest(mac, signature) for mac in macs):
        message = "the signature does not fit the body"
        raise WebhookRejected(message)
    delivery = _delivery(body, client_key)
    late = now - _epoch_seconds(int(signed_at))
    latest = tolerance + (RETRIED_SECONDS if delivery.event == REMOVED else 0)
    if not -tolerance <= late <= latest:
        message = "signed too long ago, or in the future"
        raise WebhookRejected(message)
    return delivery


def _signature_parts(header: bytes) -> tuple[str, str]:
    """Return the time and the signature of a TikTok-Signature header, as text.

    Parts end at commas, each is a name and a value around its first "=", and names that
    TikTok may add are passed over. Exactly one ``t`` and one ``s`` must be there: which
    of two counts, readers differ over.

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
            len(parts) <= _MOST_PARTS
            and len(times) == len(macs) == 1
            and _TIME.fullmatch(times[0])
            and _HEX_MAC.fullmatch(macs[0])
        ):
            return times[0], macs[0].lower()
    message = "no TikTok-Signature of the form t=…,s=…"
    raise WebhookRejected(message)


def _webhook_mac(signed_at: bytes, body: bytes, secret: str) -> str:
    message = signed_at + b"." + body
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def _epoch_seconds(at: float) -> float:
    """Return a time of TikTok's in seconds; it sends milliseconds here and there."""
    return at / 1000 if at >= _MILLISECONDS else at


def _delivery(body: bytes, client_key: str) -> Delivery:
    delivery = read_object(body)
    if delivery is None:
        message = "the body is no JSON object"
        raise WebhookRejected(message)
    event, open_id = delivery.get("event"), delivery.get("user_openid") or None
    if type(open_id) is int:  # as the portal's button for a test sends it
        open_id = str(open_id)
    if delivery.get("client_key") != client_key:
        message = "a delivery for another client_key"
        raise WebhookRejected(message)
    if not isinstance(event, str) or not (
        open_id is None or (isinstance(open_id, str) and is_open_id(open_id))
    ):
        message = "a delivery without a usable event"
        raise WebhookRejected(message)
    return Delivery(
        event=one_line(event),
        create_time=_create_time(delivery.get("create_time")),
        open_id=open_id,
        content=_content(delivery.get("content")),
    )


def _create_time(value: object) -> int:
    """Return a ``create_time`` in whole seconds; 0 where it is no usable time."""
    if isinstance(value, str) and _TIME.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    # TikTok's times have at most 13 digits; infinity is greater, and NaN is not less.
    return int(_epoch_seconds(value)) if 0 < value < _MILLISECONDS * 1000 else 0


def _content(content: object) -> Mapping[str, Any]:
    read = read_object(content) if isinstance(content, str) else content
    return read if isinstance(read, dict) else {}
