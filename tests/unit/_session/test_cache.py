"""The session cache, where a signal's handler uses it during a change."""

from __future__ import annotations

import threading

from tiktok_oauth_middleware._session.cache import SessionCache
from tiktok_oauth_middleware._session.cached_session import RECORD_ID

from ...support.patience import HANGS
from ...support.sample_records import a_cached_session


class Interrupted(dict):
    """A dictionary in which a signal arrives at the first change."""

    handler = None

    def __setitem__(self, key, value):
        handler, self.handler = self.handler, None
        if handler is not None:
            handler()
        super().__setitem__(key, value)


def in_a_thread(work):
    """Do the work, which may hang, in a thread."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(HANGS)
    assert not thread.is_alive()


def test_written_while_a_session_is_cached():
    """A session is not cached if a signal's handler changes its record meanwhile."""
    cache, cached = SessionCache(8), a_cached_session()
    cache.live = Interrupted()
    cache.live.handler = lambda: cache.forget(cached[RECORD_ID])
    in_a_thread(lambda: cache.remember(b"cookie", cached, cache.changes))
    assert not cache.live
    in_a_thread(lambda: cache.remember(b"cookie", cached, cache.changes))
    assert cache.live == {b"cookie": cached}


def test_filled_while_room_is_made():
    """A signal's handler can cache sessions while the oldest ones are dropped."""
    cache, cached = SessionCache(2), a_cached_session()
    for value in (b"1", b"2"):
        cache.remember(value, cached, 0)
    cache._values = Interrupted(cache._values)
    cache._values.handler = lambda: cache.remember(b"3", cached, 0)
    in_a_thread(lambda: cache.remember(b"4", cached, 0))
    assert {b"3", b"4"} <= {*cache.live}
    assert len(cache.live) <= 2 + 1
