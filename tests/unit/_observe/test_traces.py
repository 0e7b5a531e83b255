"""Spans, read with OpenTelemetry's SDK, and no spans without a provider."""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from tiktok_oauth_middleware import (
    MemoryStore,
    SQLiteStore,
    StoreError,
    TikTokEndpoints,
    TikTokTokens,
)
from tiktok_oauth_middleware._core.backends.one_step import run
from tiktok_oauth_middleware._core.backends.threads import ThreadBackend
from tiktok_oauth_middleware._observe import metrics
from tiktok_oauth_middleware._observe.observed_store import ObservedStore
from tiktok_oauth_middleware._observe.traces import Traces
from tiktok_oauth_middleware.events import EVENTS

from ...conftest import World, kept
from ...support.app_users import connect, connecting, sign_in
from ...support.deliveries import HOOK, deliver
from ...support.every_event import DISCONNECT, LIFE, Breakable, everything
from ...support.processes import python
from ...support.spans import is_below, named, names, ours, spans

DUE = LIFE - 100


@pytest.fixture
def faulty(provided, exporter):
    return provided[1]


@pytest.fixture
def waiter(faulty):
    faulty.waiting.clear()
    return faulty.waiting


@pytest.fixture
def store(clock):
    return Breakable(clock=clock)


@pytest.fixture
def world(exporter, world):
    return traced(world.with_settings(webhook_path=HOOK, disconnect_path=DISCONNECT))


def traced(world):
    """Wrap the app so that each request has a server span, as instrumentation does."""
    from opentelemetry import trace

    tracer = trace.get_tracer("instrumentation")
    kind = trace.SpanKind.SERVER
    middleware = world.middleware
    if world.interface == "wsgi":

        def wsgi(environ, start_response):
            name = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
            with tracer.start_as_current_span(name, kind=kind):
                return [*middleware(environ, start_response)]

        world.app.wsgi_app = wsgi
    else:

        async def asgi(scope, receive, send):
            if scope["type"] != "http":
                await middleware(scope, receive, send)
                return
            name = f"{scope['method']} {scope['path']}"
            with tracer.start_as_current_span(name, kind=kind):
                await middleware(scope, receive, send)

        world.app = asgi
    return world


class TestFlows:
    def test_login(self, browser, exporter):
        """A login has a span below the server's span, and so has its callback."""
        browser.log_in()
        found = spans(exporter)
        for flow, server in (
            ("tiktok_oauth.login", "GET /auth/tiktok/login"),
            ("tiktok_oauth.callback", "GET /auth/tiktok/callback"),
        ):
            span = named(found, flow)
            assert span.kind.name == "INTERNAL"
            assert is_below(span, named(found, server))
            assert span.status.status_code.name == "UNSET"

    def test_callback(self, browser, world, exporter):
        """Calls to TikTok and operations of the store have spans below the
        callback's.
        """
        browser.log_in()
        found = spans(exporter)
        callback = named(found, "tiktok_oauth.callback")
        for name in ("POST /v2/oauth/token/", "GET /v2/user/info/"):
            call = named(found, name)
            assert is_below(call, callback)
            assert call.kind.name == "CLIENT"
        operations = [s for s in found if s.name == "tiktok_oauth compare_and_set"]
        assert operations
        assert all(is_below(span, callback) for span in operations)
        assert callback.attributes["tiktok_oauth.event"] == "login"
        assert callback.attributes["tiktok_oauth.outcome"] == "ok"

    def test_call_attributes(self, browser, world, exporter):
        """A call has the attributes of HTTP clients, with the settings' address."""
        browser.log_in()
        call = named(ours(exporter), "POST /v2/oauth/token/")
        assert dict(call.attributes) == {
            "tiktok_oauth.call": "exchange",
            "http.request.method": "POST",
            "http.response.status_code": 200,
            "server.address": "open.tiktokapis.com",
            "server.port": 443,
            "url.full": "https://open.tiktokapis.com/v2/oauth/token/",
        }

    def test_refused_login(self, browser, exporter):
        """A denied login is not an error; the span has the reason."""
        browser.log_in(deny=True)
        callback = named(ours(exporter), "tiktok_oauth.callback")
        assert callback.attributes["tiktok_oauth.event"] == "login_rejected"
        assert callback.attributes["tiktok_oauth.outcome"] == "login_denied"
        assert len(callback.attributes["tiktok_oauth.reference"]) == 8
        assert callback.status.status_code.name == "UNSET"
        assert "error.type" not in callback.attributes

    def test_failed_login(self, browser, world, exporter):
        """A failure of TikTok's makes the spans of the call and of the callback
        errors.
        """
        world.tiktok.fail("token", status=503)
        browser.log_in()
        found = ours(exporter)
        callback = named(found, "tiktok_oauth.callback")
        assert callback.attributes["error.type"] == "http_5xx"
        assert callback.attributes["tiktok_oauth.outcome"] == "tiktok_unavailable"
        call = named(found, "POST /v2/oauth/token/")
        assert call.attributes["error.type"] == "tiktok_unavailable"
        assert call.attributes["http.response.status_code"] == 503
        for span in (callback, call):
            assert span.status.status_code.name == "ERROR"
            assert span.status.description is None
            assert span.events == ()

    def test_log_id(self, browser, world, exporter):
        """TikTok's log_id, which its support asks for, is on the callback's span."""
        world.tiktok.fail("token", error="invalid_client")
        browser.log_in()
        callback = named(ours(exporter), "tiktok_oauth.callback")
        assert callback.attributes["error.type"] == "invalid_client"
        [event] = [e for e in world.events if e.name == "login_rejected"]
        assert callback.attributes["tiktok_oauth.log_id"] == event.log_id

    def test_others(self, browser, world, exporter):
        """Logout, disconnect and webhook have flow spans with an outcome."""
        browser.log_in()
        browser.log_out()
        browser.log_in()
        browser.post(DISCONNECT)
        deliver(world, "video.anything", "someone")
        bad = {"tiktok-signature": "t=1,s=2"}
        deliver(world, "video.anything", "someone", **bad)
        found = ours(exporter)
        outcomes = [
            (
                span.name.removeprefix("tiktok_oauth."),
                span.attributes["tiktok_oauth.event"],
                span.attributes["tiktok_oauth.outcome"],
            )
            for span in found
            if span.name.partition(".")[2] in ("logout", "disconnect", "webhook")
        ]
        assert outcomes == [
            ("logout", "logout", "ok"),
            ("disconnect", "disconnect", "revoked"),
            ("webhook", "webhook", "ok"),
            ("webhook", "webhook_rejected", "webhook_rejected"),
        ]

    def test_connect(self, world, exporter):
        """Connecting has a flow span; the callback's span has the outcome and
        the user.
        """
        browser = connecting(world).browser()
        sign_in(browser, "user-of-the-app")
        connect(browser)
        found = ours(exporter)
        named(found, "tiktok_oauth.connect")
        callback = named(found, "tiktok_oauth.callback")
        assert callback.attributes["tiktok_oauth.event"] == "connect"
        assert callback.attributes["tiktok_oauth.outcome"] == "ok"
        assert not [span for span in found if "user-of-the-app" in span.to_json()]

    def test_store_error(self, browser, world, exporter):
        """A store's failure makes the spans of the operation and of the flow errors."""
        browser.log_in()
        spans(exporter)
        world.store.is_broken = True
        browser.log_out()
        found = ours(exporter)
        logout = named(found, "tiktok_oauth.logout")
        assert logout.attributes["error.type"] == "store_error"
        assert logout.status.status_code.name == "ERROR"
        failed = [s for s in found if s.name.startswith("tiktok_oauth get")]
        assert {s.attributes["error.type"] for s in failed} == {"store_error"}

    def test_first_span(self, world, exporter):
        """Without a server span, a flow's span is the root of its trace."""
        world.start()
        browser = world.browser()
        browser.log_in()
        assert browser.signed_in  # read from the store or memory, with no span
        world.clock.advance(2)
        assert browser.signed_in  # read from the store again
        found = spans(exporter)
        roots = [span.name for span in found if span.parent is None]
        assert roots == ["tiktok_oauth.login", "tiktok_oauth.callback"]


class TestRefresh:
    def test_below_the_request(self, browser, world, exporter):
        """A refresh has a span below its request's, and TikTok's call one below
        that.
        """
        browser.log_in()
        world.clock.advance(DUE)
        spans(exporter)
        browser.me()
        found = spans(exporter)
        refresh = named(found, "tiktok_oauth.refresh")
        assert is_below(refresh, named(found, "GET /who"))
        assert is_below(named(found, "POST /v2/oauth/token/"), refresh)
        assert is_below(named(found, "tiktok_oauth lock"), refresh)
        assert refresh.attributes["tiktok_oauth.outcome"] == "ok"

    def test_invalid_grant(self, browser, world, exporter):
        """The span of a refresh that ends the sessions has that outcome."""
        browser.log_in()
        world.tiktok.fail("token", error="invalid_grant")
        world.clock.advance(LIFE)
        browser.me()
        refresh = named(ours(exporter), "tiktok_oauth.refresh")
        assert refresh.attributes["tiktok_oauth.event"] == "session_ended"
        assert refresh.attributes["tiktok_oauth.outcome"] == "invalid_grant"

    def test_waiting_request_links_to_the_refresh(
        self, exporter, waiter, settings, tiktok, clock, gate
    ):
        """A request that waits for another's refresh has a span that links to that
        refresh.
        """
        world = traced(signed_in(settings, tiktok, clock))
        cookies = world.browser_in.cookies()
        clock.advance(LIFE)
        spans(exporter)
        tiktok.answered = gate
        with Running(world.browser(**cookies).me) as leads:
            gate.wait()
            with Running(world.browser(**cookies).me) as waits:
                assert waiter.wait(20)
                gate.open()
        assert leads.failed is waits.failed is None
        found = spans(exporter)
        refresh = next(s for s in found if s.name == "tiktok_oauth.refresh")
        waited = named(found, "tiktok_oauth.refresh.wait")
        assert [link.context for link in waited.links] == [refresh.context]
        assert waited.context.trace_id != refresh.context.trace_id
        assert is_below(waited, [s for s in found if s.name == "GET /who"][1])

    async def test_tasks(self, exporter, settings, clock, tiktok):
        """One of many tasks on a loop refreshes; the others link to its span."""
        import anyio
        from opentelemetry import trace

        tracer = trace.get_tracer("job")
        world = signed_in(settings, tiktok, clock)
        clock.advance(LIFE)
        spans(exporter)
        tokens = TikTokTokens(
            settings, world.store, transport=tiktok.transport, clock=clock
        )

        async def job(number):
            with tracer.start_as_current_span(f"job {number}"):
                await tokens.aget(tiktok.people[0].open_id)

        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(job, number)
        await tokens.aclose()
        found = spans(exporter)
        refresh = named(found, "tiktok_oauth.refresh")
        waiting = [s for s in found if s.name == "tiktok_oauth.refresh.wait"]
        assert len(waiting) == 4
        linked = {link.context.span_id for s in waiting for link in s.links}
        assert linked == {refresh.context.span_id}
        jobs = {s.context.span_id for s in found if s.name.startswith("job")}
        assert {s.parent.span_id for s in [refresh, *waiting]} == jobs

    def test_job(self, exporter, settings, clock, tiktok):
        """A refresh in a job without a span is the root of its trace."""
        world = signed_in(settings, tiktok, clock)
        clock.advance(DUE)
        spans(exporter)
        with TikTokTokens(
            settings, world.store, transport=tiktok.transport, clock=clock
        ) as tokens:
            tokens.renew(tiktok.people[0].open_id)
        found = ours(exporter)
        refresh = named(found, "tiktok_oauth.refresh")
        assert refresh.parent is None
        assert is_below(named(found, "POST /v2/oauth/token/"), refresh)


def signed_in(settings, tiktok, clock):
    """Return a world of threads in which a browser has logged in."""
    store = MemoryStore(clock=clock)
    made = World("wsgi", settings, tiktok, store, clock, [], ExitStack()).start()
    made.browser_in = made.browser()
    made.browser_in.log_in()
    return made


class Running:
    """Runs a call in a thread, and waits for it at the end."""

    def __init__(self, call):
        self.call, self.failed = call, None
        self.thread = threading.Thread(target=self.work)

    def work(self):
        try:
            self.call()
        except BaseException as error:
            self.failed = error

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.thread.join(30)
        assert not self.thread.is_alive()


class TestSecrets:
    def test_whole_journey(self, world, exporter):
        """No attribute, name, status or event of any span has a secret or an open_id."""
        everything(world)
        browser = world.browser()
        browser.log_in()
        callback = browser.consent(browser.begin("?next=/private%3Fa%3Dsecret-of-next"))
        browser.get(callback)
        people = [person.open_id for person in world.tiktok.people]
        secrets = [*people, world.settings.client_secret.reveal(), "secret-of-next"]
        secrets += [parse_qs(urlsplit(callback).query)[n][0] for n in ("code", "state")]
        for value in browser.cookies().values():
            secrets.append(value)
        for open_id in people:
            record = kept(world, open_id)
            if record is not None:
                secrets.append(record.access_token.reveal())
                secrets.append(record.refresh_token.reveal())
        assert len(secrets) > 8
        found = ours(exporter)
        assert len(names(found)) > 10
        for span in found:
            written = span.to_json() + repr(dict(span.attributes))
            for secret in secrets:
                assert secret not in written
                assert quote(secret, safe="") not in written
            assert span.events == ()
            assert span.status.description is None

    def test_query_of_a_callback(self, exporter):
        """Only the query of a callback is replaced in the attributes of
        instrumentation.
        """
        from opentelemetry import trace

        query = "code=secret-code&state=secret-state"
        made = Traces(TikTokEndpoints(), None)
        written = {
            "http.url": f"https://app.example.com/cb?{query}",
            "http.target": f"/cb?{query}",
            "url.full": f"https://app.example.com/cb?{query}?again={query}",
            "url.query": query,
            "url.path": "/cb",
            "http.status_code": 303,
        }
        tracer = trace.get_tracer("t")
        for flow in ("callback", "login"):
            server = tracer.start_as_current_span("server", attributes=written)
            with server, made.flow(flow):
                pass
        bare = tracer.start_as_current_span("server", attributes={"http.target": "/cb"})
        with bare, made.flow("callback"):
            pass
        called, other, without = [s for s in spans(exporter) if s.name == "server"]
        assert dict(called.attributes) == {
            "http.url": "https://app.example.com/cb?REDACTED",
            "http.target": "/cb?REDACTED",
            "url.full": "https://app.example.com/cb?REDACTED",
            "url.query": "REDACTED",
            "url.path": "/cb",
            "http.status_code": 303,
        }
        assert dict(other.attributes) == written
        assert dict(without.attributes) == {"http.target": "/cb"}

    def test_user(self, browser, world, exporter, caplog):
        """A user appears as the same keyed hash as in the log."""
        with caplog.at_level("INFO", "tiktok_oauth_middleware"):
            browser.log_in()
        [logged] = [
            r for r in caplog.records if r.__dict__.get("tiktok_event") == "login"
        ]
        callback = named(ours(exporter), "tiktok_oauth.callback")
        assert callback.attributes["enduser.pseudo.id"] == logged.tiktok_user
        assert len(logged.tiktok_user) == 8

    def test_hostile_answer(self, browser, world, exporter):
        """No span has text of TikTok's, and its log_id is shortened and on one line."""
        body = {
            "error": "x\x1b[31m",
            "error_description": "act.a-token",
            "log_id": "1\n" * 999,
        }
        world.tiktok.fail("token", body=json.dumps(body).encode())
        browser.log_in()
        for span in ours(exporter):
            for value in span.attributes.values():
                assert str(value).isprintable()
                assert len(str(value)) <= 201
                assert "act.a-token" not in str(value)

    def test_names_are_few(self, world, exporter):
        """Names, events and outcomes come from closed lists, never from input."""
        everything(world)
        for reason in ("video.anything", "video.other"):
            deliver(world, reason, "someone")
        found = ours(exporter)
        for span in found:
            event = span.attributes.get("tiktok_oauth.event")
            if event:
                allowed = {"ok", "other", *EVENTS[event].reasons}
                assert span.attributes["tiktok_oauth.outcome"] in allowed
        assert not {name for name in names(found) if "video" in name}


class TestContext:
    def test_on_event(self, world, exporter):
        """on_event and the log get the flow's span as the current one."""
        from opentelemetry import trace

        seen = []

        def note(event):
            seen.append((event.name, trace.get_current_span().get_span_context()))

        world.further = {"on_event": note}
        world.start()
        browser = world.browser()
        browser.log_in()
        world.clock.advance(LIFE)
        assert browser.signed_in
        found = ours(exporter)
        assert ("login", named(found, "tiktok_oauth.callback").context) in seen
        assert ("refresh", named(found, "tiktok_oauth.refresh").context) in seen

    def test_http_client(self, settings, tiktok, clock, exporter):
        """Instrumentation of the HTTP client finds the call's span, in other threads,
        too.
        """
        from opentelemetry import trace

        seen = []
        handle = tiktok.handle

        def look(*given):
            seen.append(trace.get_current_span().get_span_context())
            return handle(*given)

        tiktok.handle = look
        traced(signed_in(settings, tiktok, clock)).browser().log_in()
        calls = [s.context for s in ours(exporter) if s.kind.name == "CLIENT"]
        assert len(calls) == 4
        assert [c for c in seen if c.is_valid] == calls

    def test_current_span_is_restored(self, browser, world, exporter):
        """After a request the current span is what it was before."""
        from opentelemetry import trace

        everything(world)
        assert trace.get_current_span() is trace.INVALID_SPAN

    def test_app(self, world, exporter):
        """The app's code runs below the server span, not below one of the
        middleware's.
        """
        from opentelemetry import trace

        seen = []

        def page(problem):
            seen.append(trace.get_current_span().get_span_context())

        world.further = {"page": page}
        traced(world.start()).browser().log_in(deny=True)
        found = spans(exporter)
        assert seen == [named(found, "tiktok_oauth.callback").context]


class TestFaults:
    @pytest.mark.parametrize("when", ["start", "end"])
    def test_processor(self, browser, world, exporter, faulty, caplog, when):
        """If a processor raises, spans are lost, but logins and refreshes succeed."""
        faulty.raises = when
        world.start()  # without instrumentation, which fails with such a processor
        browser = world.browser()
        browser.log_in()
        world.clock.advance(LIFE)
        assert browser.signed_in
        assert world.count("refresh_token") == 1
        assert "the tracer provider raised RuntimeError" in caplog.text
        assert "act.a-secret" not in caplog.text

    def test_sampled_out(self, world, exporter):
        """If a trace is not sampled, the middleware's spans are not recorded either."""
        from opentelemetry import context, trace

        parent = trace.SpanContext(
            1, 2, is_remote=True, trace_flags=trace.TraceFlags(0)
        )
        token = context.attach(
            trace.set_span_in_context(trace.NonRecordingSpan(parent))
        )
        try:
            made = Traces(TikTokEndpoints(), world.store)
            with made.flow("login"), made.call("refresh"), made.operation("get"):
                assert trace.get_current_span().get_span_context().trace_id == 1
        finally:
            context.detach(token)
        assert ours(exporter) == []


class TestStore:
    @pytest.mark.parametrize(
        ("system", "kind"),
        [("", "INTERNAL"), ("sqlite", "INTERNAL"), ("redis", "CLIENT")],
    )
    def test_attributes(self, exporter, system, kind):
        """An operation of a database store has the attributes of database clients."""
        from opentelemetry import trace

        class Mine(MemoryStore):
            db_system = system

        made = Traces(TikTokEndpoints(), Mine())
        tracer = trace.get_tracer("t")
        with tracer.start_as_current_span("server"), made.operation("compare_and_set"):
            pass
        [span] = ours(exporter)
        assert span.name == "tiktok_oauth compare_and_set"
        assert span.kind.name == kind
        expected = {"tiktok_oauth.operation": "compare_and_set"}
        if system:
            expected = {
                "db.system.name": system,
                "db.operation.name": "compare_and_set",
                "db.query.summary": "tiktok_oauth compare_and_set",
            }
        assert dict(span.attributes) == expected

    def test_own_stores(self, tmp_path):
        """The stores name their databases as OpenTelemetry does."""
        from tiktok_oauth_middleware import RedisStore, SQLStore

        stores = [
            SQLiteStore(tmp_path / "a.sqlite3"),
            RedisStore("redis://127.0.0.1:1/0"),
            SQLStore("postgresql+psycopg://127.0.0.1:1/x"),
            SQLStore("mysql+pymysql://127.0.0.1:1/x"),
            SQLStore("mariadb+pymysql://127.0.0.1:1/x"),
        ]
        found = [store.db_system for store in stores]
        assert found == ["sqlite", "redis", "postgresql", "mysql", "mariadb"]

    def test_lock(self, exporter):
        """The work under a lock is outside the lock's span, and its errors are
        raised.
        """
        from opentelemetry import trace

        memory = MemoryStore()
        store = observed(memory)

        async def use():
            async with store.lock("k", 5) as hold:
                assert hold
                raise StoreError("inside")

        server = trace.get_tracer("t").start_as_current_span("server")
        with server, pytest.raises(StoreError, match="inside"):
            run(use())
        [span] = ours(exporter)
        assert span.status.status_code.name == "UNSET"


def observed(store):
    return ObservedStore(
        ThreadBackend().adapt_store(store),
        metrics.meter(),
        Traces(TikTokEndpoints(), store),
    )


# --- without a provider ------------------------------------------------------------

LOOKS = """
from opentelemetry import metrics as api, trace
from tiktok_oauth_middleware import MemoryStore, TikTokEndpoints
from tiktok_oauth_middleware._core.backends.base import nothing
from tiktok_oauth_middleware._core.backends.one_step import run
from tiktok_oauth_middleware._core.backends.threads import ThreadBackend
from tiktok_oauth_middleware._observe import metrics, observed_store, traces
from tiktok_oauth_middleware._observe.traces import Traces

memory = MemoryStore()
store = observed_store.ObservedStore(
    ThreadBackend().adapt_store(memory), metrics.meter(), Traces(TikTokEndpoints(), None)
)
run(store.compare_and_set("k", None, b"v", 9))
before = [store._traces._is_provided]
for _ in range(traces._LOOK_EVERY):
    run(store.get("k"))
before.append(store._traces._is_provided)
"""
METRICS = """
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
reader = InMemoryMetricReader()
api.set_meter_provider(MeterProvider([reader], shutdown_on_exit=False))
"""
TRACES = """
from opentelemetry.sdk.trace import TracerProvider
trace.set_tracer_provider(TracerProvider(shutdown_on_exit=False))
"""
READS = """
for _ in range(traces._LOOK_EVERY):
    assert run(store.get("k")) == b"v"
print(*before, store._traces._is_provided)
"""


@pytest.mark.parametrize(
    ("provider", "is_heard"), [("", False), (METRICS, True), (TRACES, True)]
)
def test_provider_set_later(provider, is_heard):
    """A provider that is set after the middleware was built is used from some later
    read on.
    """
    assert python(LOOKS + provider + READS) == ["False", "False", str(is_heard)]


def test_read_is_the_stores_own():
    """Without a provider, a read is the store's own coroutine, without a wrapper."""
    check = """
inner = []
class Inner:
    renews = False
    def get(self, key):
        inner.append(key)
        return inner
store = observed_store.ObservedStore(Inner(), metrics.meter(), Traces(TikTokEndpoints(), None))
print(store.get("k") is inner)
"""
    assert python(LOOKS + check) == ["True"]


def test_not_imported():
    """Importing the package imports neither OpenTelemetry nor its instrumentation."""
    check = """
import sys
import tiktok_oauth_middleware
from tiktok_oauth_middleware._session import service
print(any("opentelemetry" in n or "_observe.traces" in n for n in sys.modules))
"""
    assert python(check) == ["False"]


def test_provider_set_during_a_refresh():
    """If a provider is set during a refresh, a waiting caller still gets its result."""
    check = """
import threading
gate, begun = threading.Event(), threading.Event()
async def work():
    begun.set()
    assert gate.wait(20)
    return "record"
backend, made = ThreadBackend(), store._traces
results = []
def ask():
    results.append(run(made.refresh(backend, "user", work, wait=20, afterwards=nothing)))
threads = [threading.Thread(target=ask) for _ in range(2)]
threads[0].start()
begun.wait(20)
made._is_provided = True
with trace.get_tracer("job").start_as_current_span("job"):
    import contextvars
    waits = threading.Thread(target=contextvars.copy_context().run, args=(ask,))
    waits.start()
gate.set()
for thread in (threads[0], waits):
    thread.join(20)
print(*results)
"""
    assert python(LOOKS + TRACES + check) == ["record", "record"]
