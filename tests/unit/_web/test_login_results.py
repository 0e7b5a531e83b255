"""How long a callback waits for an equal one in another process."""

from __future__ import annotations

import pytest

from tiktok_oauth_middleware._core.backends.one_step import run
from tiktok_oauth_middleware._web import login_results
from tiktok_oauth_middleware._web.login_results import LoginResults

#: gunicorn's default for a request to a sync worker, in seconds.
_WORKER_TIMEOUT = 30


class DeadProcess:
    """The store, with the row of a process that died, and the time that waiting takes."""

    def __init__(self):
        self.now = 1000.0

    async def read(self, name):
        return b"begun 1000 its-mark"

    async def sleep(self, seconds):
        self.now += seconds

    def monotonic(self):
        return self.now


@pytest.mark.parametrize("exchange", [5.0, 35.0, 245.0])
def test_wait_for_a_process_that_died(exchange, monkeypatch):
    """A sync worker is not ended because the person sent the callback again."""
    dead = DeadProcess()
    monkeypatch.setattr(login_results, "time", dead)
    results = LoginResults(
        notes=dead,
        backend=dead,
        box=None,
        clock=lambda: 1000,
        used_seconds=660,
        exchange_seconds=exchange,
    )
    assert run(results.wait("login")) is None
    assert min(exchange, 20) <= dead.now - 1000 < _WORKER_TIMEOUT
