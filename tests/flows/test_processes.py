"""Several worker processes on one SQLite file, and workers that are killed."""

from __future__ import annotations

import signal
import sqlite3
import time

import httpx2
import pytest

from tiktok_oauth_middleware.testing import FakeTikTok
from tiktok_oauth_middleware.testing.server import StandIn

from ..conftest import LOGIN, ORIGIN, Clock, make_settings
from ..support.app_process import log_in, options_for, wrap
from ..support.patience import HANGS
from ..support.processes import context

PROCESSES = 8
ROUNDS = 50
LIFE = 7200


def worker(options, path, now, cookie, barrier, answers):
    """Send a request in each round, together with the other processes; report the answers."""
    wrapped = wrap(options, path, lambda: now.value)
    client = httpx2.Client(
        transport=httpx2.WSGITransport(wrapped),
        base_url=ORIGIN,
        headers={"cookie": cookie},
    )
    for _ in range(ROUNDS):
        barrier.wait(HANGS)
        response = client.get("/")
        answers.put((response.status_code, *response.json()))
        barrier.wait(HANGS)
    client.close()
    wrapped.close()


@pytest.mark.parametrize("expired", [False, True], ids=["still valid", "expired"])
def test_eight_processes(tmp_path, expired):
    """8 processes x 50 rounds on one file, strict rotation: 50 refreshes, none lost."""
    path = str(tmp_path / "tokens.sqlite3")
    clock = Clock()
    now = context.Value("d", clock.now)
    fake = FakeTikTok.for_settings(make_settings(), clock=lambda: now.value)
    fake.access_lifetime = LIFE
    with StandIn(fake) as stand_in:
        options = options_for(stand_in)
        first = wrap(options, path, lambda: now.value)
        cookie = log_in(first, fake)
        barrier, answers = context.Barrier(PROCESSES + 1), context.Queue()
        workers = [
            context.Process(
                target=worker,
                args=(options, path, now, cookie, barrier, answers),
                daemon=True,
            )
            for _ in range(PROCESSES)
        ]
        for process in workers:
            process.start()
        seen = []
        for _ in range(ROUNDS):
            now.value += LIFE + 10 if expired else LIFE - 60
            barrier.wait(HANGS)
            seen += [answers.get(timeout=HANGS) for _ in workers]
            barrier.wait(HANGS)
        for process in workers:
            process.join(HANGS)
        first.close()
    assert [s for s in seen if s[:2] != (200, True)] == []
    assert [s for s in seen if s[2] is None] == []
    assert fake.count("token", grant_type="refresh_token") == ROUNDS


def killed_worker(options, path, out, back):
    """Sign a user in, then wait to be killed."""
    wrapped = wrap(options, path, time.time)
    client = httpx2.Client(transport=httpx2.WSGITransport(wrapped), base_url=ORIGIN)
    out.put(client.get(LOGIN).headers["location"])
    response = client.get(back.get(timeout=HANGS))
    assert response.status_code == 303
    out.put("; ".join(f"{c.name}={c.value}" for c in client.cookies.jar))
    signal.pause()


def test_kill(tmp_path):
    """A worker killed with -9 loses no stored session, and leaves the file whole."""
    path = str(tmp_path / "tokens.sqlite3")
    fake = FakeTikTok.for_settings(make_settings())
    with StandIn(fake) as stand_in:
        options = options_for(stand_in)
        for _ in range(3):
            out, back = context.Queue(), context.Queue()
            process = context.Process(
                target=killed_worker, args=(options, path, out, back), daemon=True
            )
            process.start()
            back.put(fake.consent(out.get(timeout=HANGS)))
            cookie = out.get(timeout=HANGS)
            process.kill()
            process.join(HANGS)
            assert process.exitcode == -signal.SIGKILL
            wrapped = wrap(options, path, time.time)
            with httpx2.Client(
                transport=httpx2.WSGITransport(wrapped),
                base_url=ORIGIN,
                headers={"cookie": cookie},
            ) as client:
                assert client.get("/").json()[0] is True
            wrapped.close()
    with sqlite3.connect(path) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()
