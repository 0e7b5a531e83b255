"""Many users at once, in tasks and in threads: no user gets another's token."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from tiktok_oauth_middleware import (
    MemoryStore,
    SQLiteStore,
    TikTokOAuthMiddleware,
    TikTokOAuthWSGIMiddleware,
)
from tiktok_oauth_middleware.testing import FakeTikTok
from tiktok_oauth_middleware.testing.people import Person

from ..conftest import (
    API,
    LOGIN,
    ORIGIN,
    PAGE,
    flask_app,
    make_settings,
    starlette_app,
)
from ..support.patience import HANGS

USERS = 50
REQUESTS = 20
LIFE = 7200
#: Seconds by which the clock moves before each wave of requests, when none is running.
#: First no token is due, then all are due but valid, then all have expired.
STEPS = (0, LIFE - 60, LIFE - 60, LIFE + 1)


class Owners(FakeTikTok):
    """A stand-in that records each token's user."""

    def __init__(self, **options):
        people = [
            Person(open_id=f"user-{i:03}", display_name=f"User {i}", username=f"u{i}")
            for i in range(USERS)
        ]
        super().__init__(**options, people=people)
        self.access_lifetime = LIFE
        self.owners = {}

    def handle(self, method, url, headers, body):
        reply = super().handle(method, url, headers, body)
        if urlsplit(url).path.endswith("/token/"):
            answer = json.loads(reply.body)
            if "access_token" in answer:
                self.owners[answer["access_token"]] = answer["open_id"]
        return reply


@pytest.fixture
def settings():
    """Return settings with a minute for TikTok, since fifty threads share a machine."""
    return make_settings(timeout=60)


@pytest.fixture
def tiktok(settings, clock):
    return Owners.for_settings(settings, clock=clock)


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path, clock):
    if request.param == "memory":
        yield MemoryStore(clock=clock)
        return
    # In memory if possible: the speed of a disk does not matter here.
    quick = "/dev/shm" if os.access("/dev/shm", os.W_OK) else tmp_path
    with tempfile.TemporaryDirectory(dir=quick) as home:
        made = SQLiteStore(Path(home) / "tokens.sqlite3", clock=clock, timeout=60)
        yield made
        made.close()


@pytest.fixture
def switching():
    """Let threads take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


def wrong(tiktok, person, response):
    """Return what is wrong with the app's view of a user, if anything."""
    if response.status_code != 200:
        return response.text
    me = response.json()
    seen = (me["open_id"], me["name"], tiktok.owners.get(me["token"]))
    return None if seen == (person.open_id, person.display_name, person.open_id) else me


def test_threads(settings, store, tiktok, clock, switching):
    """50 users x 20 requests in threads of one WSGI app, with refreshes in between."""
    app = TikTokOAuthWSGIMiddleware(
        flask_app().wsgi_app,
        settings,
        store=store,
        transport=tiktok.transport,
        clock=clock,
    )
    steps = iter(STEPS)
    together = threading.Barrier(USERS, lambda: clock.advance(next(steps)))

    def live(person):
        transport = httpx2.WSGITransport(app)
        with httpx2.Client(transport=transport, base_url=ORIGIN) as client:
            url = client.get(LOGIN, headers=PAGE).headers["location"]
            client.get(tiktok.consent(url, person=person), headers=PAGE)
            found = []
            for _ in STEPS:
                together.wait(HANGS)
                for _ in range(REQUESTS // len(STEPS)):
                    response = client.get("/who", headers=API)
                    found.append(wrong(tiktok, person, response))
            return found

    with ThreadPoolExecutor(USERS) as pool:
        found = [one for some in pool.map(live, tiktok.people) for one in some]
    app.close()
    assert_right(tiktok, found)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_tasks(settings, store, tiktok, clock, anyio_backend):
    """50 users x 20 requests in tasks of one ASGI app, with refreshes in between."""
    app = TikTokOAuthMiddleware(
        starlette_app(),
        settings,
        store=store,
        transport=tiktok.transport,
        clock=clock,
    )
    turns = random.Random(7)

    async def enter(person):
        transport = httpx2.ASGITransport(app)
        client = httpx2.AsyncClient(transport=transport, base_url=ORIGIN)
        response = await client.get(LOGIN, headers=PAGE)
        callback = tiktok.consent(response.headers["location"], person=person)
        await client.get(callback, headers=PAGE)
        return person, client

    async def ask(person, client):
        for _ in range(turns.randrange(4)):
            await asyncio.sleep(0)
        return wrong(tiktok, person, await client.get("/who", headers=API))

    browsers = await asyncio.gather(*map(enter, tiktok.people))
    found = []
    for step in STEPS:
        clock.advance(step)
        # A user's own requests meet each other as well as those of the others.
        wave = browsers * (REQUESTS // len(STEPS))
        turns.shuffle(wave)
        found += await asyncio.gather(*(ask(*one) for one in wave))
    for _, client in browsers:
        await client.aclose()
    await app.aclose()
    assert_right(tiktok, found)


def assert_right(tiktok, found):
    assert len(found) == USERS * REQUESTS
    assert [one for one in found if one is not None] == []
    assert tiktok.count("token", grant_type="authorization_code") == USERS
    renewed = tiktok.count("token", grant_type="refresh_token")
    assert renewed == USERS * (len(STEPS) - 1)
