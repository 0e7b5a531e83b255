"""The emitter: an event reaches every listener, whichever of them fails."""

from __future__ import annotations

import logging
from contextvars import copy_context

import pytest

from tiktok_oauth_middleware._core.backends.one_step import run
from tiktok_oauth_middleware._core.backends.threads import ThreadBackend
from tiktok_oauth_middleware._observe import emit
from tiktok_oauth_middleware._observe.emit import Emitter
from tiktok_oauth_middleware.errors import StoreError, TikTokError
from tiktok_oauth_middleware.events import EVENTS, Event


@pytest.fixture
def seen():
    return []


@pytest.fixture
def emitter(seen):
    return Emitter(ThreadBackend(), b"key", seen.append, None)


@pytest.mark.parametrize("name", EVENTS)
def test_event_reaches_the_app(emitter, seen, name):
    """The callback gets the event of each name as it was made."""
    event = Event(name=name, reason="any", open_id="someone")
    run(emitter(event))
    assert seen == [event]


@pytest.mark.parametrize("name", EVENTS)
def test_event_without_a_row_reaches_the_app(emitter, seen, name, monkeypatch, caplog):
    """Without its row an event is reported by name, and the callback gets it."""
    monkeypatch.setattr(emit, "EVENTS", {})
    run(emitter(Event(name=name, open_id="someone")))
    assert [event.name for event in seen] == [name]
    assert f"the log raised KeyError at {name}" in caplog.text


def test_reference_without_a_row(emitter, monkeypatch):
    """A failure has a reference for its page, even if its event has no row."""
    monkeypatch.setattr(emit, "EVENTS", {})
    assert len(emitter.reference_for("login_rejected", TikTokError("x"))) == 8


def test_texts_of_an_error(emitter, seen):
    """The event holds what TikTok wrote in the error that caused it."""
    error = TikTokError("invalid_scope", "no such scope", "L1", 400)
    run(emitter(Event(name="login_rejected"), why=error))
    [event] = seen
    assert (event.error, event.error_description) == ("invalid_scope", "no such scope")
    assert (event.log_id, event.status) == ("L1", 400)


def test_error_without_a_text(seen, caplog):
    """An error whose text cannot be made is reported, and its event emitted."""

    class Odd(Exception):
        def __str__(self):
            raise ValueError

    emitter = Emitter(ThreadBackend(), b"key", seen.append, None)
    with caplog.at_level(logging.INFO, "tiktok_oauth_middleware"):
        run(emitter(Event(name="logout"), why=Odd()))
    assert [event.name for event in seen] == ["logout"]
    assert "the log raised ValueError at logout" in caplog.text
    assert "logout: user" in caplog.text


@pytest.mark.parametrize("is_logged", [True, False])
def test_event_without_a_listener(is_logged, caplog):
    """No code is called for an event that nothing listens to; the log is a listener."""
    calls = []

    class CountingBackend(ThreadBackend):
        async def call_app_code(self, call):
            calls.append(call)
            return await super().call_app_code(call)

    emitter = Emitter(CountingBackend(), b"key", None, None)
    level = logging.INFO if is_logged else logging.WARNING
    with caplog.at_level(level, "tiktok_oauth_middleware"):
        run(emitter(Event(name="logout")))
    assert len(calls) == is_logged
    assert ("logout" in caplog.text) == is_logged


class TestPostponedEvents:
    """Events of work that others wait for."""

    def test_delivered_afterwards(self, emitter, seen):
        """They are kept during the work, and delivered in their order."""
        postponed, during = emitter.postponed(), []

        async def work():
            await emitter(Event(name="refresh"))
            await emitter(Event(name="scopes_changed"))
            during.extend(seen)

        run(postponed.during(work))
        assert during == seen == []
        run(postponed.deliver())
        assert [event.name for event in seen] == ["refresh", "scopes_changed"]

    def test_work_that_fails(self, emitter, seen):
        """They are delivered although the work raised an exception."""
        postponed = emitter.postponed()

        async def work():
            await emitter(Event(name="refresh_failed"))
            raise StoreError("down")

        with pytest.raises(StoreError):
            run(postponed.during(work))
        run(postponed.deliver())
        assert [event.name for event in seen] == ["refresh_failed"]

    def test_listener_that_fails(self, caplog):
        """An exception of the listener does not keep it from the next event."""
        seen = []

        def listen(event):
            seen.append(event.name)
            raise RuntimeError

        emitter = Emitter(ThreadBackend(), b"key", listen, None)
        postponed = emitter.postponed()

        async def work():
            await emitter(Event(name="refresh"))
            await emitter(Event(name="scopes_changed"))

        run(postponed.during(work))
        run(postponed.deliver())
        assert seen == ["refresh", "scopes_changed"]
        assert "on_event raised RuntimeError" in caplog.text

    def test_listener_that_is_interrupted(self):
        """If Ctrl-C comes during one event, the listener still gets the next one."""
        seen = []

        def listen(event):
            seen.append(event.name)
            if event.name == "refresh":
                raise KeyboardInterrupt

        emitter = Emitter(ThreadBackend(), b"key", listen, None)
        postponed = emitter.postponed()

        async def work():
            await emitter(Event(name="refresh"))
            await emitter(Event(name="scopes_changed"))

        run(postponed.during(work))
        with pytest.raises(KeyboardInterrupt):
            run(postponed.deliver())
        assert seen == ["refresh", "scopes_changed"]

    def test_inside_other_work(self, emitter, seen):
        """Work inside other work keeps its events until the other ends, in order."""
        outer, inner, during = emitter.postponed(), emitter.postponed(), []

        async def refresh():
            await emitter(Event(name="refresh"))

        async def log_in():
            await emitter(Event(name="scopes_changed"))
            await inner.during(refresh)
            await inner.deliver()
            during.extend(seen)
            await emitter(Event(name="login"))

        run(outer.during(log_in))
        assert during == []
        run(outer.deliver())
        names = [event.name for event in seen]
        assert names == ["scopes_changed", "refresh", "login"]

    def test_of_a_thread_that_is_late(self, seen):
        """An event is delivered if the delivery begins while it is being kept."""

        class DeliversMeanwhile:
            """Traces that are read just when another thread delivers."""

            report = staticmethod(lambda *_: None)
            is_provided = staticmethod(lambda: True)

            def current_span(self):
                run(postponed.deliver())

        traces = DeliversMeanwhile()
        emitter = Emitter(ThreadBackend(), b"key", seen.append, None, traces)
        postponed = emitter.postponed()

        async def work():
            await emitter(Event(name="refresh"))

        run(postponed.during(work))
        assert [event.name for event in seen] == ["refresh"]

    def test_of_another_app(self, emitter, seen):
        """Another app's event during the work is delivered at once."""
        others = []
        other = Emitter(ThreadBackend(), b"key", others.append, None)

        async def work():
            await other(Event(name="refresh"))
            assert len(others) == 1

        run(emitter.postponed().during(work))
        assert seen == []

    def test_of_a_task_that_outlives_the_work(self, emitter, seen):
        """Code with the work's context variables emits at once when it is over."""
        postponed, contexts = emitter.postponed(), []

        async def work():
            contexts.append(copy_context())

        run(postponed.during(work))
        run(postponed.deliver())
        contexts[0].run(run, emitter(Event(name="refresh")))
        assert [event.name for event in seen] == ["refresh"]
