"""Writes that can be postponed: when one is tried, and the effect of a failure."""

from __future__ import annotations

import pytest

from tiktok_oauth_middleware import StoreError
from tiktok_oauth_middleware._session import deferred_writes
from tiktok_oauth_middleware._session.deferred_writes import DeferredWrites

from ...conftest import Clock


@pytest.fixture
def monotonic(monkeypatch):
    clock = Clock(1000.0)
    monkeypatch.setattr(deferred_writes.time, "monotonic", clock)
    return clock


@pytest.fixture
def writes(monotonic, clock):
    return DeferredWrites(clock)


def fail(writes, monotonic, seconds=0.0):
    with writes.attempt():
        monotonic.advance(seconds)
        raise StoreError("full")


def test_usual(writes):
    """Every write is tried as long as writes succeed."""
    for _ in range(3):
        assert writes.may_try()
        with writes.attempt():
            pass
    assert writes.may_try()


@pytest.mark.parametrize(
    ("took", "pause"), [(0.0, 1.0), (0.05, 1.0), (2.0, 20.0), (12.0, 30.0)]
)
def test_pause(writes, monotonic, took, pause):
    """A failure is followed by a pause of ten times its length, 1 to 30 s."""
    fail(writes, monotonic, took)
    monotonic.advance(pause - 0.001)
    assert not writes.may_try()
    monotonic.advance(0.001)
    assert writes.may_try()


def test_one_tries(writes, monotonic):
    """After a pause one request tries, and the others do not wait for it."""
    fail(writes, monotonic)
    monotonic.advance(1)
    with writes.attempt():
        assert not writes.may_try()
    assert writes.may_try()


def test_share_of_the_time(writes, monotonic):
    """While the file is locked, less than a tenth of a process's time is spent waiting."""
    waited, began = 0.0, monotonic()
    for _ in range(1000):
        if writes.may_try():
            fail(writes, monotonic, 2.0)
            waited += 2.0
        monotonic.advance(0.1)
    assert 0 < waited < (monotonic() - began) / 10


@pytest.mark.parametrize("jump", [1.0, 3600.0, -3600.0])
def test_app_clock(writes, monotonic, clock, jump):
    """The app's clock ends a pause too, and setting it back begins none."""
    fail(writes, monotonic)
    clock.advance(jump)
    assert writes.may_try()


def test_other_errors_pass(writes, monotonic):
    """Only store errors are handled; any other error propagates to the request."""
    with pytest.raises(KeyError), writes.attempt():
        raise KeyError
    assert writes.may_try()
    fail(writes, monotonic)
    monotonic.advance(1)
    with pytest.raises(KeyError), writes.attempt():
        raise KeyError
    assert writes.may_try()


def test_warning_a_minute(writes, monotonic, caplog):
    """One WARNING a minute is logged, with the cause."""
    for _ in range(3):
        fail(writes, monotonic)
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert "takes no writes: full" in caplog.text
    for seen in caplog.records[0].name, "tiktok_oauth_middleware":
        assert seen.startswith("tiktok_oauth_middleware")
    monotonic.advance(60)
    fail(writes, monotonic)
    assert len(caplog.records) <= 2
