"""Counters and histograms, read with OpenTelemetry's SDK, and none without it."""

from __future__ import annotations

import pytest

from tiktok_oauth_middleware import MemoryStore, StoreError, TikTokEndpoints
from tiktok_oauth_middleware._core.backends.one_step import run
from tiktok_oauth_middleware._core.backends.threads import ThreadBackend
from tiktok_oauth_middleware._core.store_adapter import StoreAdapter
from tiktok_oauth_middleware._observe.metrics import (
    COUNTERS,
    HISTOGRAMS,
    SCOPE,
    meter,
)
from tiktok_oauth_middleware._observe.observed_store import ObservedStore
from tiktok_oauth_middleware._observe.traces import Traces
from tiktok_oauth_middleware.events import EVENTS

from ...support.app_users import connect, connecting, sign_in
from ...support.deliveries import HOOK, deliver
from ...support.every_event import DISCONNECT, LIFE, Breakable, everything
from ...support.processes import python


@pytest.fixture(scope="module")
def reader():
    """Return the SDK's reader; a process has one provider, and keeps it."""
    from opentelemetry.metrics import set_meter_provider
    from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
    from opentelemetry.sdk.metrics.export import (
        AggregationTemporality,
        InMemoryMetricReader,
    )

    since_last = {
        Counter: AggregationTemporality.DELTA,
        Histogram: AggregationTemporality.DELTA,
    }
    made = InMemoryMetricReader(preferred_temporality=since_last)
    set_meter_provider(MeterProvider([made], shutdown_on_exit=False))
    return made


@pytest.fixture
def measured(reader):
    """Return a function that reads the new points, by metric and attributes."""
    reader.get_metrics_data()

    def read():
        data = reader.get_metrics_data()
        found = {}
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                assert scope.scope.name == SCOPE
                for metric in scope.metrics:
                    for point in metric.data.data_points:
                        key = (metric.name, *sorted(point.attributes.items()))
                        found[key] = getattr(point, "value", None) or point.count
        return found

    return read


@pytest.fixture
def store(clock):
    return Breakable(clock=clock)


@pytest.fixture
def world(reader, world):
    return world.with_settings(webhook_path=HOOK, disconnect_path=DISCONNECT)


ERRORS = "tiktok_oauth.tiktok.errors"


def counts(found):
    return {key: value for key, value in found.items() if key[0] in COUNTERS}


class TestCounters:
    def test_login(self, browser, measured):
        """A login is counted once, as ok, and no other counter changes."""
        browser.log_in()
        assert counts(measured()) == {("tiktok_oauth.logins", ("outcome", "ok")): 1}

    def test_refused(self, browser, measured):
        """A refused login is counted by its reason."""
        browser.log_in(deny=True)
        browser.log_in(deny=True)
        key = ("tiktok_oauth.logins", ("outcome", "login_denied"))
        error = (ERRORS, ("error", "access_denied"), ("status", "none"))
        assert counts(measured()) == {key: 2, error: 2}

    def test_no_answer(self, browser, world, measured):
        """A call that TikTok did not answer is counted by its cause, at a login, a
        refresh and a disconnect.
        """
        world.tiktok.fail("token", disconnect=True)
        browser.log_in()
        browser.log_in()
        world.tiktok.fail("token", disconnect=True)
        world.clock.advance(LIFE)
        browser.me()
        world.tiktok.fail("revoke", disconnect=True)
        browser.post(DISCONNECT)
        error = (ERRORS, ("error", "network"), ("status", "none"))
        assert counts(measured())[error] == 3

    def test_refreshes(self, browser, world, measured):
        """A refresh is counted by its outcome; invalid_grant also counts as ended
        sessions.
        """
        browser.log_in()
        world.tiktok.fail("token", status=500)
        world.clock.advance(LIFE)
        browser.me()
        world.clock.advance(10)
        browser.me()
        world.tiktok.fail("token", error="invalid_grant")
        world.clock.advance(LIFE)
        browser.me()
        refreshes = "tiktok_oauth.refreshes"
        assert counts(measured()) == {
            ("tiktok_oauth.logins", ("outcome", "ok")): 1,
            (refreshes, ("outcome", "tiktok_unavailable")): 1,
            (refreshes, ("outcome", "ok")): 1,
            (refreshes, ("outcome", "invalid_grant")): 1,
            (ERRORS, ("error", "http_5xx"), ("status", "500")): 1,
            (ERRORS, ("error", "invalid_grant"), ("status", "200")): 1,
            ("tiktok_oauth.sessions.ended", ("reason", "invalid_grant")): 1,
        }

    def test_leaving(self, browser, world, measured):
        """Logouts, disconnects and withdrawals are counted, also as ended sessions."""
        ended = "tiktok_oauth.sessions.ended"
        browser.log_in()
        browser.log_out()
        browser.log_in()
        browser.post(DISCONNECT)
        browser.log_in()
        open_id = world.tiktok.people[0].open_id
        deliver(world, "authorization.removed", open_id)
        found = counts(measured())
        del found["tiktok_oauth.logins", ("outcome", "ok")]
        assert found == {
            ("tiktok_oauth.logouts",): 1,
            ("tiktok_oauth.disconnects", ("outcome", "revoked")): 1,
            ("tiktok_oauth.webhooks", ("outcome", "withdrawal")): 1,
            (ended, ("reason", "logout")): 1,
            (ended, ("reason", "disconnect")): 1,
            (ended, ("reason", "withdrawal")): 1,
        }

    def test_webhook(self, world, measured):
        """A delivery's event name, which can be any text, is not an attribute."""
        deliver(world, "video.anything", "someone")
        bad = {"tiktok-signature": "t=1,s=2"}
        deliver(world, "video.anything", "someone", **bad)
        assert counts(measured()) == {
            ("tiktok_oauth.webhooks", ("outcome", "taken")): 1,
            ("tiktok_oauth.webhooks", ("outcome", "rejected")): 1,
        }

    def test_store(self, browser, world, measured):
        """A request that failed because of the store is counted, and the operation has
        the error.
        """
        browser.log_in()
        measured()
        world.clock.advance(2)
        world.store.is_broken = True
        assert browser.get("/who").status_code == 503
        found = measured()
        assert found["tiktok_oauth.store.errors",] == 1
        failed = (("error.type", "store_error"), ("operation", "get"))
        assert found[("tiktok_oauth.store.duration", *failed)] == 1

    def test_all(self, world, measured):
        """The requests of `everything` change every counter and both histograms."""
        everything(world)
        browser = connecting(world).browser()
        sign_in(browser, "user-1")
        connect(browser)
        assert {key[0] for key in measured()} == {*COUNTERS, *HISTOGRAMS}


class TestHistograms:
    def test_calls(self, browser, world, measured):
        """Each call to TikTok is measured under its name, a failed one with its
        error.
        """
        browser.log_in()
        world.tiktok.fail("token", status=500)
        world.clock.advance(LIFE)
        browser.me()
        world.clock.advance(10)
        browser.me()
        browser.post(DISCONNECT)
        name = "tiktok_oauth.call.duration"
        found = {k[1:]: v for k, v in measured().items() if k[0] == name}
        assert found == {
            (("call", "exchange"),): 1,
            (("call", "user_info"),): 1,
            (("call", "refresh"), ("error.type", "tiktok_unavailable")): 1,
            (("call", "refresh"),): 1,
            (("call", "revoke"),): 1,
        }

    def test_store(self, browser, world, measured):
        """Reads, swaps and locks of the store are measured, each once."""
        browser.log_in()
        measured()
        world.clock.advance(LIFE)
        browser.me()
        name = "tiktok_oauth.store.duration"
        found = {k[1][1]: v for k, v in measured().items() if k[0] == name}
        assert found == {
            "get": 3,
            "lock": 1,
            "compare_and_set": found["compare_and_set"],
        }

    def test_fast_path(self, browser, measured):
        """A signed-in request with a fresh cached session records no measurement."""
        browser.log_in()
        browser.me()
        measured()
        for _ in range(3):
            assert browser.signed_in
        assert measured() == {}

    def test_lock_passes_errors(self, reader):
        """An exception under a measured lock is raised, and the lock is released."""
        memory = MemoryStore()
        store = ObservedStore(
            ThreadBackend().adapt_store(memory),
            meter(),
            Traces(TikTokEndpoints(), memory),
        )

        async def use():
            async with store.lock("k", 5) as hold:
                assert hold
                raise StoreError("inside")

        for _ in range(2):
            with pytest.raises(StoreError, match="inside"):
                run(use())

    def test_seconds(self, reader, browser):
        """Durations are seconds, in buckets that distinguish a fast store from a slow one."""
        reader.get_metrics_data()
        browser.log_in()
        [resource] = reader.get_metrics_data().resource_metrics
        [scope] = resource.scope_metrics
        for metric in scope.metrics:
            if metric.name in HISTOGRAMS:
                assert metric.unit == "s"
                assert all(0 < p.sum < 60 for p in metric.data.data_points)
                assert all(
                    len(p.explicit_bounds) == 11 for p in metric.data.data_points
                )


class TestTables:
    def test_events(self):
        """Every event has a counter, and every counter has an event."""
        assert all(kind.counts for kind in EVENTS.values())
        counted = {count.counter for kind in EVENTS.values() for count in kind.counts}
        assert counted | {ERRORS} == set(COUNTERS)

    def test_reasons(self):
        """A reason that is an attribute is one of a fixed list."""
        for kind in EVENTS.values():
            for count in kind.counts:
                assert count.value or not count.attribute or kind.reasons


BUILD = """
import sys
from tiktok_oauth_middleware import TikTokOAuthWSGIMiddleware, TikTokSettings
from tiktok_oauth_middleware._observe import metrics
loaded = "opentelemetry" in sys.modules
settings = TikTokSettings(
    client_key="awexample", client_secret="a-secret-of-the-tests", store="memory://",
    redirect_uri="https://app.example.com/auth/tiktok/callback",
    secret_keys=["Zk3vXq9LwR2tYb7NfH5cJd8GsPmA1eUo"],
)
TikTokOAuthWSGIMiddleware(lambda environ, start_response: [], settings)
print(loaded, "opentelemetry.metrics" in sys.modules, metrics.meter() is None)
"""


def test_imported_when_built():
    """Importing the package does not import OpenTelemetry; building a middleware does."""
    assert python(BUILD) == ["False", "True", "False"]


@pytest.mark.parametrize("missing", ["opentelemetry", "opentelemetry.metrics"])
def test_not_installed(missing):
    """Without OpenTelemetry's API everything works, and nothing is measured."""
    hide = f"""
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name == {missing!r}:
            raise ModuleNotFoundError(name=name)
sys.meta_path.insert(0, Hidden())
"""
    assert python(hide + BUILD) == ["False", "False", "True"]


def test_old_api():
    """An older API without advice on buckets is used without it."""
    from tiktok_oauth_middleware._observe.metrics import Meter

    class Instrument:
        def __init__(self):
            self.seen = []

        def add(self, *given):
            self.seen.append(given)

        record = add

    class Old:
        def __init__(self):
            self.made = {}

        def create_counter(self, name, unit="", description=""):
            return self.made.setdefault(name, Instrument())

        create_histogram = create_counter

    api = Old()
    made = Meter(api)
    with made.call("refresh"):
        pass
    made.count("logout", "")
    assert len(api.made["tiktok_oauth.call.duration"].seen) == 1
    assert api.made["tiktok_oauth.logouts"].seen == [(1, {})]


def test_every_operation_is_observed():
    """An observed store implements every operation itself."""
    operations = {name for name in vars(StoreAdapter) if not name.startswith("_")}
    assert operations <= {*vars(ObservedStore)}


def test_pages(reader, clock):
    """An observed store returns keys in the store's own pages."""
    store = MemoryStore(clock=clock)
    for number in range(3):
        store.compare_and_set(f"tiktok:{number}", None, b"1", 60)
    observed = ObservedStore(
        ThreadBackend().adapt_store(store), meter(), Traces(TikTokEndpoints(), store)
    )

    async def listed():
        return [key async for page in observed.pages("tiktok:") for key in page]

    assert sorted(run(listed())) == ["tiktok:0", "tiktok:1", "tiktok:2"]
