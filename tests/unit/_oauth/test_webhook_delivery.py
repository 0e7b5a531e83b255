"""Webhooks: signature, age, and the event in the body."""

from __future__ import annotations

import hashlib
import hmac
import json

import pytest

from tiktok_oauth_middleware._core.secret import Secret
from tiktok_oauth_middleware._oauth.webhook_delivery import read_webhook
from tiktok_oauth_middleware.errors import (
    WebhookRejected,
)
from tiktok_oauth_middleware.testing.wire import signature as sign_webhook

from ...support.tiktok_answers import MISSING, OPEN_ID

# --- webhooks ----------------------------------------------------------------------

CLIENT_KEY = "awexampleclientkey"
CLIENT_SECRET = "example_client_secret"
SIGNED_AT = 1767225605

BODY = (
    b'{"client_key":"awexampleclientkey","event":"authorization.removed",'
    b'"create_time":1767225600,"user_openid":"11111111-2222-4333-8444-555555555555",'
    b'"content":"{\\"reason\\": 1 }"}'
)

MAC = "ea91a09fc8107f33887230e2286243a871f3ad4dfe0f4ba0b2fa675ab72b66d7"
HEADER = f"t={SIGNED_AT},s={MAC}"


def deliver(header=HEADER, body=BODY, **changes):
    given = {
        "client_key": CLIENT_KEY,
        "secrets": [CLIENT_SECRET],
        "now": SIGNED_AT,
    }
    if isinstance(header, str):
        header = header.encode()
    return read_webhook(header, body, **(given | changes))


def deliver_signed(delivery, **changes):
    body = delivery if isinstance(delivery, bytes) else json.dumps(delivery).encode()
    return deliver(sign_webhook(body, CLIENT_SECRET, SIGNED_AT), body, **changes)


DELIVERY = json.loads(BODY)
#: An event that changes no user's access, so a lost delivery does no harm.
PUBLISHED = DELIVERY | {"event": "video.publish.completed"}


def test_webhook_vector_of_the_contract_verifies():
    """The computed example of a delivery is accepted, and names the user who
    withdrew.
    """
    delivery = deliver()
    assert delivery.event == "authorization.removed"
    assert delivery.open_id == OPEN_ID
    assert delivery.create_time == 1767225600
    assert delivery.content == {"reason": 1}


def test_webhook_is_signed_as_the_contract_says():
    """Signing the example's body gives the example's header."""
    assert sign_webhook(BODY, CLIENT_SECRET, SIGNED_AT) == HEADER


def test_webhook_parts_may_come_in_either_order():
    """The header's two parts are recognized by name."""
    assert deliver(f"s={MAC},t={SIGNED_AT}") == deliver()


@pytest.mark.parametrize(
    "header",
    [
        f"t={SIGNED_AT},s={MAC.upper()}",
        f"t={SIGNED_AT},s={MAC.title()}",
        f"t={SIGNED_AT}, s={MAC}",
        f" t={SIGNED_AT},s={MAC}",
        f"t={SIGNED_AT},\ts={MAC} ",
        f"t={SIGNED_AT} , s = {MAC}",
        f"t={SIGNED_AT},s={MAC},",
        f",t={SIGNED_AT},,s={MAC}",
        f"t={SIGNED_AT},s={MAC},v=1",
        f"v0=abc,t={SIGNED_AT},s={MAC},ts=1,sig=2",
        f"t={SIGNED_AT},T=1,s={MAC},S=2",
        f"t={SIGNED_AT},s={MAC},v=a=b=c",
        f"t={SIGNED_AT},s={MAC},novalue",
        f"t={SIGNED_AT},s={MAC}" + ",v=1" * 14,
    ],
)
def test_webhook_header_is_split_as_tiktok_says(header):
    """The header is split at commas, then at the first "="; spaces, unknown names and
    the case of hex digits do not matter.
    """
    assert deliver(header) == deliver()


@pytest.mark.parametrize(
    "header",
    [
        "",
        "t=,s=",
        f"t={SIGNED_AT}",
        f"s={MAC}",
        f"t={SIGNED_AT},s=",
        f"t={SIGNED_AT},s={MAC[:-1]}",
        f"t={SIGNED_AT},s={MAC}0",
        f"t={SIGNED_AT},s={MAC}\n",
        f"\u00a0t={SIGNED_AT},s={MAC}".encode(),
        f"t={SIGNED_AT},s={MAC}\x0b",
        f"t={SIGNED_AT},t={SIGNED_AT},s={MAC}",
        f"t={SIGNED_AT},s={MAC},s={MAC}",
        f"t={SIGNED_AT}, t ={SIGNED_AT},s={MAC}",
        f"t={SIGNED_AT},s={MAC},s=",
        f"t={SIGNED_AT},s={MAC}" + ",v=1" * 15,
        f"t={SIGNED_AT},s={MAC},v={'1' * 1024}",
        f"t={SIGNED_AT},s={MAC}=",
        f"t=={SIGNED_AT},s={MAC}",
        f"t={SIGNED_AT},s={'0' * 64},s={MAC}",
        f"t=+{SIGNED_AT},s={MAC}",
        f"t=-{SIGNED_AT},s={MAC}",
        f"t={SIGNED_AT}.0,s={MAC}",
        f"t=0x1,s={MAC}",
        f"t={'9' * 5000},s={MAC}",
        f"T={SIGNED_AT},S={MAC}",
        f"t={SIGNED_AT};s={MAC}",
        f"t:{SIGNED_AT},s:{MAC}",
        f"t=\u0661\u0667\u0666\u0667\u0662\u0662\u0665\u0666\u0660\u0665,s={MAC}",
        f"t={SIGNED_AT},s=sha256={MAC}",
        MAC,
        b"\xff\xfe",
        b"\x00",
        "," * 10_000,
        "=" * 10_000,
    ],
    ids=lambda header: repr(header)[:40],
)
def test_odd_webhook_header_is_refused(header):
    """A header of any other form is refused, even with the right signature."""
    with pytest.raises(WebhookRejected, match="TikTok-Signature"):
        deliver(header)


@pytest.mark.parametrize("place", range(64))
def test_webhook_signature_counts_to_the_last_digit(place):
    """A signature with any one digit changed is refused."""
    digit = "0" if MAC[place] != "0" else "1"
    with pytest.raises(WebhookRejected, match="does not match"):
        deliver(f"t={SIGNED_AT},s={MAC[:place]}{digit}{MAC[place + 1 :]}")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        BODY + b" ",
        BODY[:-1],
        BODY.replace(b": 1 ", b": 2 "),
        BODY.replace(b"}", b" }"),
    ],
    ids=["empty", "longer", "shorter", "changed", "respaced"],
)
def test_webhook_body_is_signed_byte_for_byte(body):
    """A body that differs in one byte from what was signed is refused."""
    with pytest.raises(WebhookRejected, match="does not match"):
        deliver(body=body)


def test_webhook_time_is_signed():
    """A fresh time with an old signature is refused."""
    with pytest.raises(WebhookRejected, match="does not match"):
        deliver(f"t={SIGNED_AT + 1000},s={MAC}", now=SIGNED_AT + 1000)


@pytest.mark.parametrize(
    "secret", ["", "example_client_secre", "EXAMPLE_CLIENT_SECRET"]
)
def test_webhook_of_another_secret_is_refused(secret):
    """A webhook that is signed with another secret is refused."""
    with pytest.raises(WebhookRejected, match="does not match"):
        deliver(secrets=[secret])


def test_webhook_signature_of_the_body_alone_is_refused():
    """A signature over the body alone, without the time, is refused."""
    mac = hmac.new(CLIENT_SECRET.encode(), BODY, hashlib.sha256).hexdigest()
    with pytest.raises(WebhookRejected, match="does not match"):
        deliver(f"t={SIGNED_AT},s={mac}")


def test_webhook_secret_may_be_wrapped():
    """A Secret of the settings signs like its text."""
    assert deliver(secrets=[Secret(CLIENT_SECRET)]) == deliver()


@pytest.mark.parametrize("late", [-300, -299, 0, 299, 300, 300.0])
def test_webhook_is_fresh_for_five_minutes(late):
    """A delivery is accepted up to 300 s after or before the time of its signature."""
    assert deliver_signed(PUBLISHED, now=SIGNED_AT + late)


@pytest.mark.parametrize("late", [-301, -300.1, 300.1, 301, 86400, -SIGNED_AT])
def test_webhook_is_stale_after_five_minutes(late):
    """A delivery signed too long ago, or in the future, is refused."""
    with pytest.raises(WebhookRejected, match="too long ago"):
        deliver_signed(PUBLISHED, now=SIGNED_AT + late)


@pytest.mark.parametrize("late", [-300, 301, 86400, 3 * 86400, 3 * 86400 + 300])
def test_webhook_of_a_withdrawal_counts_as_long_as_it_is_retried(late):
    """TikTok repeats a withdrawal for 72 hours, and it is accepted for as long."""
    assert deliver(now=SIGNED_AT + late)


@pytest.mark.parametrize("late", [-301, -86400, 3 * 86400 + 301, 30 * 86400])
def test_webhook_of_a_withdrawal_is_stale_after_three_days(late):
    """A withdrawal signed longer ago, or in the future, is refused."""
    with pytest.raises(WebhookRejected, match="too long ago"):
        deliver(now=SIGNED_AT + late)


def test_webhook_tolerance_may_be_set():
    """The caller can set the tolerance."""
    with pytest.raises(WebhookRejected, match="too long ago"):
        deliver_signed(PUBLISHED, now=SIGNED_AT + 11, tolerance=10)


def test_webhook_signature_is_checked_before_its_age():
    """A wrong signature is refused as such at any age, so that the answer does not
    reveal the server's clock.
    """
    with pytest.raises(WebhookRejected, match="does not match"):
        deliver(f"t=1,s={'0' * 64}")


@pytest.mark.parametrize("key", ["", "another", "AWEXAMPLECLIENTKEY", None, 1, MISSING])
def test_webhook_of_another_app_is_refused(key):
    """A delivery must name our client_key, byte for byte."""
    delivery = {
        k: v for k, v in (DELIVERY | {"client_key": key}).items() if v is not MISSING
    }
    with pytest.raises(WebhookRejected, match="another client_key"):
        deliver_signed(delivery)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"1",
        b"{",
        b"\xff",
        b"[" * 60_000,
        b'{"a": NaN}',
        b"x" * 60_000,
    ],
    ids=lambda body: repr(body)[:20],
)
def test_webhook_body_that_is_not_an_object_is_refused(body):
    """A signed body that is not a JSON object is refused with our error."""
    with pytest.raises(WebhookRejected, match="not a JSON object"):
        deliver_signed(body)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("event", None),
        ("event", 1),
        ("event", ["authorization.removed"]),
        ("user_openid", 1.5),
        ("user_openid", True),
        ("user_openid", 10**300),
        ("user_openid", ["x"]),
        ("user_openid", "a\nb"),
        ("user_openid", "x" * 257),
        ("user_openid", "\ud800"),
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_webhook_without_a_usable_event_is_refused(field, value):
    """A delivery whose event or user is not a usable text is refused."""
    with pytest.raises(WebhookRejected, match="usable event"):
        deliver_signed(DELIVERY | {field: value})


def test_webhook_reads_user_openid_only():
    """The user is read from user_openid; an open_id next to it is ignored."""
    delivery = deliver_signed(
        {k: v for k, v in DELIVERY.items() if k != "user_openid"}
        | {"open_id": "another"}
    )
    assert delivery.open_id is None


@pytest.mark.parametrize(
    "event", ["portability.download.ready", "video.x", "unheard.of"]
)
def test_webhook_about_no_user_is_taken(event):
    """Events without a user, and unknown events, are accepted."""
    delivery = deliver_signed({"client_key": CLIENT_KEY, "event": event})
    assert (delivery.event, delivery.open_id, delivery.content) == (event, None, {})


@pytest.mark.parametrize(
    "content",
    [
        MISSING,
        None,
        "",
        "reason",
        "[1]",
        "1",
        "null",
        '"x"',
        "{",
        '{"a": NaN}',
        "1" * 5000,
        "[" * 20_000,
        ["reason"],
        5,
        True,
    ],
    ids=lambda content: repr(content)[:20],
)
def test_webhook_content_that_is_unreadable_is_empty(content):
    """Content that is not a JSON object is read as empty; the event still counts."""
    delivery = {
        k: v for k, v in (DELIVERY | {"content": content}).items() if v is not MISSING
    }
    assert deliver_signed(delivery).content == {}
    assert deliver_signed(delivery).open_id == OPEN_ID


@pytest.mark.parametrize(
    "content", ['{"reason": 5}', {"reason": 5}, '{"reason": "5"}', {"reason": "5"}]
)
def test_webhook_content_is_an_object_or_json_in_a_string(content):
    """Content is read as an object and as JSON in a string."""
    delivery = deliver_signed(DELIVERY | {"content": content})
    assert delivery.content == (
        json.loads(content) if isinstance(content, str) else content
    )
    assert delivery.reason == 5


@pytest.mark.parametrize("reason", [None, True, 1.5, "", "five", "-5", "5" * 9, [5]])
def test_webhook_reason_that_is_not_a_number_is_none(reason):
    """A reason that is not a small whole number is None."""
    assert deliver_signed(DELIVERY | {"content": {"reason": reason}}).reason is None


@pytest.mark.parametrize(
    ("at", "seconds"),
    [
        (1767225600, 1767225600),
        (1767225600622, 1767225600),
        ("1767225600", 1767225600),
        ("1767225600622", 1767225600),
        (1767225600.5, 1767225600),
        (1767225600622.9, 1767225600),
        (99_999_999_999, 99_999_999_999),
        (100_000_000_000, 100_000_000),
    ],
)
def test_webhook_time_may_be_in_milliseconds(at, seconds):
    """A time is in seconds or in milliseconds, recognized by its size."""
    assert deliver_signed(DELIVERY | {"create_time": at}).create_time == seconds


@pytest.mark.parametrize(
    "at",
    [None, "", "now", "1e9", "+5", 0, -1, True, 10**14, 1.7e18, 10**400, [], MISSING],
    ids=lambda at: repr(at)[:20],
)
def test_impossible_webhook_time_is_zero(at):
    """An impossible time of the event is read as 0, which means unknown."""
    delivery = {
        k: v for k, v in (DELIVERY | {"create_time": at}).items() if v is not MISSING
    }
    assert deliver_signed(delivery).create_time == 0


@pytest.mark.parametrize("late", [-300, 0, 300])
def test_webhook_may_be_signed_in_milliseconds(late):
    """A signature's time may be in milliseconds; the MAC covers it as sent."""
    header = sign_webhook(BODY, CLIENT_SECRET, SIGNED_AT * 1000)
    assert deliver(header, now=SIGNED_AT + late) == deliver()


@pytest.mark.parametrize("late", [-301, 72 * 3600 + 301])
def test_webhook_in_milliseconds_is_as_fresh_as_one_in_seconds(late):
    """A time in milliseconds is compared like one in seconds."""
    header = sign_webhook(BODY, CLIENT_SECRET, SIGNED_AT * 1000)
    with pytest.raises(WebhookRejected, match="too long ago"):
        deliver(header, now=SIGNED_AT + late)


@pytest.mark.parametrize("openid", ["7528370655977505848", 7528370655977505848])
def test_webhook_of_the_portals_button_is_taken(openid):
    """The portal's test: milliseconds, a numeric user, and a reason in words."""
    delivery = deliver_signed(
        {
            "client_key": CLIENT_KEY,
            "event": "tiktok.ping",
            "create_time": 1752894700622,
            "user_openid": openid,
            "content": '{"reason": "testing Webhook"}',
        }
    )
    assert delivery.event == "tiktok.ping"
    assert delivery.create_time == 1752894700
    assert delivery.open_id == "7528370655977505848"
    assert delivery.content == {"reason": "testing Webhook"}
    assert delivery.reason is None


@pytest.mark.parametrize("secret", [CLIENT_SECRET, Secret(CLIENT_SECRET)])
def test_webhook_of_the_previous_secret_is_taken(secret):
    """While the secret is rotated, either of the two may have signed."""
    changes = {"secrets": ["the-new-one", secret]}
    assert deliver(**changes) == deliver()
    assert deliver(secrets=[CLIENT_SECRET, "the-old-one"]) == deliver()


@pytest.mark.parametrize("previous", [[], ["another"]], ids=["none", "another"])
def test_webhook_of_neither_secret_is_refused(previous):
    """A delivery signed with a third secret is refused."""
    with pytest.raises(WebhookRejected, match="does not match"):
        deliver(secrets=["the-new-one", *previous])


def test_webhook_event_is_one_short_line():
    """The event's name, which is logged, is shortened to one line."""
    event = deliver_signed(DELIVERY | {"event": "a\r\nb" + "x" * 500}).event
    assert event.startswith("a\\u000d\\u000ab")
    assert len(event) == 201


def test_webhook_error_shows_no_secret():
    """A refused delivery shows neither our secret nor the right signature."""
    with pytest.raises(WebhookRejected) as refused:
        deliver(f"t={SIGNED_AT},s={'0' * 64}")
    assert CLIENT_SECRET not in str(refused.value)
    assert MAC not in str(refused.value)
