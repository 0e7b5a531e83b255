"""Greenlets of gevent that are ended while they write to the store; a program that
``gevent.monkey`` runs.

For each case it prints the exception that the greenlet got, how often TikTok refreshed
and revoked, and whether the user's tokens are in the store. The cases run at the same
time, each with an app, a user and a clock of its own.
"""

from __future__ import annotations

import json
import sys
import time
from itertools import product
from typing import Any

import gevent
import httpx2

from tiktok_oauth_middleware import (
    MemoryStore,
    NotSignedIn,
    TikTokOAuthWSGIMiddleware,
    TikTokTokens,
)
from tiktok_oauth_middleware.stores.registry import open_store
from tiktok_oauth_middleware.testing import FakeTikTok

from ..conftest import LOGIN, ORIGIN, Clock, make_settings

#: What the greenlet does: "log in", or a method of `TikTokTokens`.
WORKS = ("get", "disconnect", "log in")
#: Whether the write is slow before or after it is made.
SLOWNESS = ("before", "after")
#: What ends the greenlet.
ENDS = ("timeout", "kill")
LIFE = 7200
#: Seconds that a write to the store takes while it is slow, on any machine.
SLOW = 3.0


class SlowStore:
    """A store whose next write of a record is slow, before or after it is made."""

    def __init__(self, inner: Any, ends: str) -> None:
        self._inner = inner
        self._ends = ends
        #: How the next write is slow: "before", "after" or "".
        self.slow = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def compare_and_set(
        self, key: str, old: bytes | None, new: bytes | None, ttl: float
    ) -> bool:
        slow = self.slow if ":grant:" in key and not key.endswith(":lock") else ""
        if slow:
            self.slow = ""
        if slow == "before":
            self._wait()
        done: bool = self._inner.compare_and_set(key, old, new, ttl)
        if slow == "after":
            self._wait()
        return done

    def _wait(self) -> None:
        """Wait for the server, while a timeout or a kill ends this greenlet."""
        if self._ends == "timeout":
            gevent.Timeout(0.01).start()
        else:
            gevent.spawn(gevent.getcurrent().kill, block=False)
        time.sleep(SLOW)


def begin(client: httpx2.Client, fake: FakeTikTok) -> str:
    """Begin a login; return the address of its callback."""
    return fake.consent(client.get(LOGIN).headers["location"])


def result_of(url: str, number: int, case: tuple[str, str, str]) -> list[object]:
    """Return what is printed of a case.

    Args:
        url: of the store.
        number: another one for each case.
        case: one each of `WORKS`, `SLOWNESS` and `ENDS`.
    """
    work, slow, ends = case
    settings = make_settings(client_key=f"awexampleclientkey{number}")
    clock = Clock(time.time())
    fake = FakeTikTok.for_settings(settings, clock=clock)
    inner = MemoryStore() if url == "memory://" else open_store(url)
    store = SlowStore(inner, ends)
    options = {"store": store, "transport": fake.transport, "clock": clock}
    middleware = TikTokOAuthWSGIMiddleware(lambda *_: [], settings, **options)
    open_id, ended = fake.people[0].open_id, ""
    with (
        TikTokTokens(settings, **options) as tokens,
        httpx2.Client(
            transport=httpx2.WSGITransport(middleware), base_url=ORIGIN
        ) as client,
    ):
        callback = begin(client, fake)
        if work != "log in":
            assert client.get(callback).status_code == 303
        if work == "get":
            clock.advance(LIFE + 1)

        def greenlet() -> None:
            nonlocal ended
            try:
                if work == "log in":
                    client.get(callback)
                else:
                    getattr(tokens, work)(open_id)
            except BaseException as error:
                ended = type(error).__name__

        store.slow = slow
        gevent.spawn(greenlet).join()
        try:
            token = tokens.get(open_id).access_token
        except NotSignedIn:
            token = ""
    refreshes = fake.count("token", grant_type="refresh_token")
    return [ended, refreshes, fake.count("revoke"), bool(token)]


def main(url: str) -> dict[str, list[object]]:
    """Return the results of all cases, or an exception that ended one, by its words."""
    cases = [*product(WORKS, SLOWNESS, ENDS)]
    running = [
        gevent.spawn(result_of, url, number, case) for number, case in enumerate(cases)
    ]
    gevent.joinall(running)
    results = (greenlet.value or [repr(greenlet.exception)] for greenlet in running)
    return {
        ", ".join(case): result for case, result in zip(cases, results, strict=True)
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
