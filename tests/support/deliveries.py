"""Webhooks: their bodies, signatures and delivery."""

from __future__ import annotations

import json

from tiktok_oauth_middleware.testing.wire import signature as sign_webhook

#: The path of webhooks in these apps.
HOOK = "/hook"


def signed(world, body, at=None, secret=None):
    """Return the headers of a body that TikTok signed now, or at the time `at`."""
    secret = secret or world.settings.client_secret
    at = int(world.clock()) if at is None else at
    return {"tiktok-signature": sign_webhook(body, secret, at)}


def withdrawal(world, open_id, **changes):
    """Return the body of a withdrawal that the stand-in does not know of."""
    delivery = {
        "client_key": world.settings.client_key,
        "event": "authorization.removed",
        "create_time": int(world.clock()),
        "user_openid": open_id,
        "content": json.dumps({"reason": changes.pop("reason", 1)}),
        **changes,
    }
    return json.dumps({k: v for k, v in delivery.items() if v is not None}).encode()


def deliver_body(world, body, headers=None):
    """Deliver a webhook; return the status of the answer."""
    headers = signed(world, body) if headers is None else headers
    client = world.browser().client
    return client.post(HOOK, content=body, headers=headers).status_code


def deliver(world, event, open_id, content=None, **headers):
    """Deliver an event as the stand-in signs it; return the answer."""
    signed, body = world.tiktok.webhook(event, open_id, content)
    client = world.browser().client
    return client.post(HOOK, content=body, headers={**signed, **headers})
