"""The secrets of a run, its output, and requests that fail in every way."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
from itertools import cycle
from urllib.parse import parse_qsl, quote, quote_plus, urlsplit

from tiktok_oauth_middleware._core.secret import reveal

from ..conftest import API, CALLBACK, LOGIN, LOGOUT, MeddledTikTok
from .deliveries import HOOK
from .every_event import DISCONNECT, LIFE


class Listening(MeddledTikTok):
    """A stand-in that records every secret that it received or issued."""

    def __init__(self, **options):
        super().__init__(**options)
        self.secrets = {options["client_secret"]}
        self.echoes = cycle(ECHOES)

    def handle(self, method, url, headers, body):
        form = dict(parse_qsl(body.decode()))
        for name in ("code", "code_verifier", "refresh_token", "token"):
            if name in form:
                self.secrets.add(form[name])
        sent = [
            *form.values(),
            headers.get("authorization", "").removeprefix("Bearer "),
        ]
        reply = super().handle(method, url, headers, body)
        try:
            answer = json.loads(reply.body)
        except ValueError:
            return reply
        for name in ("access_token", "refresh_token"):
            if name in answer:
                self.secrets.add(answer[name])
        echo = next(self.echoes)
        text = f"bad {' '.join(echo(value) for value in sent)}"
        error = answer.get("error")
        if isinstance(error, str) and error:
            # The error's text repeats everything that was sent.
            answer["error_description"] = text
        elif isinstance(error, dict) and error.get("code") != "ok":
            error["message"] = text
        return dataclasses.replace(reply, body=json.dumps(answer).encode())


ECHOES = (
    str,
    lambda value: quote(value, safe=""),
    lambda value: re.sub("%..", lambda found: found[0].lower(), quote_plus(value)),
    lambda value: value.encode().hex(),
    lambda value: value.encode().hex().upper(),
    lambda value: base64.b64encode(value.encode()).decode(),
    lambda value: base64.urlsafe_b64encode(value.encode()).decode().rstrip("="),
)


def faults(world, browser):
    """Make each flow fail in every way, which `everything` does not do."""
    tiktok, other = world.tiktok, world.browser()
    # Callbacks: too late, without a code, with an error, of an unknown login, by
    # another method.
    callback = browser.consent(browser.begin())
    world.clock.advance(601)
    assert browser.get(callback).status_code == 400
    state = dict(parse_qsl(urlsplit(browser.begin()).query))["state"]
    assert browser.get(f"{CALLBACK}?state={state}").status_code == 400
    state = dict(parse_qsl(urlsplit(browser.begin()).query))["state"]
    query = f"?error=server_error&error_description={state}&state={state}"
    assert browser.get(CALLBACK + query).status_code == 503
    callback = browser.consent(browser.begin())
    assert browser.post(callback).status_code == 405
    assert other.get(callback).status_code == 400
    assert browser.get(f"{callback}&code=again").status_code == 400
    # The exchange and the profile, with every kind of error.
    for fault in (
        {"error": "invalid_grant"},
        {"error": "invalid_client"},
        {"error": "server_error"},
        {"status": 500},
        {"disconnect": True},
        {"body": b"<html>"},
    ):
        tiktok.fail("token", **fault)
        assert browser.log_in().status_code in (400, 502, 503)
    for error in ("access_token_invalid", "internal_error", "scope_not_authorized"):
        tiktok.fail("user_info", error=error)
        assert browser.log_in().status_code == 303
    # Refreshes that fail temporarily.
    for fault in (
        {"error": "invalid_client"},
        {"error": "unauthorized_client"},
        {"error": "invalid_request"},
        {"status": 429, "headers": {"retry-after": "1"}},
        {"disconnect": True},
    ):
        tiktok.fail("token", **fault)
        world.clock.advance(LIFE)
        assert browser.signed_in
    world.clock.advance(LIFE)
    # A store that fails in each flow.
    callback = other.consent(other.begin())
    headers, body = tiktok.webhook("authorization.removed", tiktok.people[0].open_id)
    world.store.is_broken = True
    for answer in (
        other.get(callback),
        browser.get("/who", headers=API),
        browser.get("/private"),
        browser.log_out(),
        browser.post(DISCONNECT),
        browser.client.post(HOOK, content=body, headers=headers),
    ):
        assert answer.status_code == 503
    world.store.is_broken = False
    # Requests that are refused, and pages that ask.
    for answer, status in (
        (browser.get(LOGOUT), 200),
        (browser.get(DISCONNECT), 200),
        (browser.post(LOGOUT, headers={}), 403),
        (browser.get(f"{LOGIN}?scopes=artist.read"), 400),
        (browser.get(f"{LOGIN}?next=//{'x' * 300}"), 303),
        (browser.get(LOGIN, headers={"sec-fetch-dest": "image"}), 403),
        (other.get("/private"), 303),
        (other.get("/private", headers=API), 401),
        (browser.get(HOOK), 405),
    ):
        assert answer.status_code == status
    # A revoke with every kind of error.
    for fault in (
        {"error": "invalid_grant"},
        {"error": "access_token_invalid"},
        {"error": "invalid_request"},
        {"disconnect": True},
    ):
        assert browser.log_in().status_code == 303
        tiktok.fail("revoke", **fault)
        assert browser.post(DISCONNECT).status_code in (303, 502)
    browser.log_in()
    return browser


class Watch:
    """Collects a world's output, and the secrets that it received."""

    def __init__(self, world, tiktok):
        self.secrets = tiktok.secrets
        self.secrets |= {reveal(key) for key in world.settings.secret_keys}
        self.responses = []
        original = world.browser

        def browser(**cookies):
            made = original(**cookies)
            made.client.event_hooks = {"request": [self.sent], "response": [self.got]}
            return made

        world.browser = browser

    def sent(self, request):
        query = dict(parse_qsl(request.url.query.decode()))
        found = [query[n] for n in ("code", "state") if len(query.get(n, "")) > 8]
        self.secrets.update(found)

    def got(self, response):
        response.read()
        shown = []
        for name, value in response.headers.multi_items():
            if name == "set-cookie":
                # The cookie is expected in its own header, and nowhere else.
                cookie, _, attributes = value.partition(";")
                report = cookie.partition("=")[2]
                # The cookie that a logout sets has no secret.
                if report not in ("", "1"):
                    parts = {report.partition(".")[0], report.rpartition(".")[2]}
                    self.secrets |= {report, *parts}
                shown.append(cookie.partition("=")[0] + attributes)
            elif name == "location" and "/v2/auth/authorize/" in value:
                query = dict(parse_qsl(urlsplit(value).query))
                self.secrets.add(query.pop("state"))
                shown.append(repr(query))
            else:
                shown.append(f"{name}: {value}")
        if (
            response.url.path in (LOGIN, CALLBACK, LOGOUT, DISCONNECT, HOOK)
            or response.status_code >= 300
        ):
            self.responses += [*shown, response.text]
