"""The database restarts while TikTok's answer to a refresh is on its way.

The old refresh token is invalid by then, and the new one cannot be written until the
database is back. The new token must not be lost: no user is signed out, and requests
that could not be served meanwhile get 503.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from tiktok_oauth_middleware.testing.fake import Reply

from .figure import SERVERS, Result, Run, served
from .world import LIFE, Clock, Plan, Watcher, Wsgi, log_in, person

_PATIENCE = 60.0


def run(args: Run) -> Iterator[Result]:
    """Yield the answers, and whether the tokens were kept, for each database."""
    for store in args.stores:
        if store in SERVERS:
            yield _restarts(args, store)


class _Restarting(Watcher):
    """A stand-in that kills the database between committing a refresh and answering."""

    server: Any = None
    starting: threading.Thread | None = None

    def handle(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> Reply:
        """Answer like TikTok, after killing the database."""
        reply = super().handle(method, url, headers, body)
        if self.server is not None and b"grant_type=refresh_token" in body:
            self.server.kill()
            self.starting = threading.Thread(target=self.server.start)
            self.starting.start()
        return reply


def _restarts(args: Run, store: str) -> Result:
    rounds = args.times(20, 2)
    clock, found = Clock(), Counter[str]()
    fake = _Restarting.for_settings(Plan(store="").settings(), clock=clock)
    assert isinstance(fake, _Restarting)
    fake.provider.access_lifetime = LIFE
    with served(store) as (url, server):
        plan = Plan(store=url, store_timeout=args.store_timeout)
        app = Wsgi(plan, clock, transport=fake.transport)
        cookie = log_in(app, fake, person(1))
        fake.server = server
        for _ in range(rounds):
            clock.value += LIFE + 10
            before = fake.refreshes
            _until_answered(app, cookie, found)
            if fake.starting is not None:
                fake.starting.join(_PATIENCE)
            found["refreshes"] += fake.refreshes - before
        app.close()
    figures = {
        "rounds": rounds,
        "refreshes": found["refreshes"],
        "200": found["200"],
        "503": found["503"],
        "other": found["other"],
        "lost": found["lost"],
    }
    passed = found["refreshes"] == rounds and not found["lost"] and not found["other"]
    return Result(name=f"restarts[{store}]", passed=passed, figures=figures)


def _until_answered(app: Wsgi, cookie: str, found: Counter[str]) -> None:
    """Send requests until there is a token, or the session is lost."""
    give_up = time.monotonic() + _PATIENCE
    while time.monotonic() < give_up:
        answer = app.ask(cookie)
        found[str(answer.status) if answer.status in (200, 503) else "other"] += 1
        if answer.status == 200:
            signed_in, _, token = answer.who
            if not signed_in:
                found["lost"] += 1
                return
            if token is not None:
                return
        time.sleep(0.1)
    found["lost"] += 1
