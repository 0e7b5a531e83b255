"""Spans below those of OpenTelemetry's own instrumentation, for Starlette and Flask."""

from __future__ import annotations

from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from tiktok_oauth_middleware import (
    MemoryStore,
    TikTokOAuthMiddleware,
    TikTokOAuthWSGIMiddleware,
)

from ..conftest import LOGIN, Browser, flask_app, starlette_app
from ..support.spans import is_below, named, spans

LIFE = 7200


@pytest.fixture
def options(tiktok, clock):
    return {
        "store": MemoryStore(clock=clock),
        "transport": tiktok.transport,
        "clock": clock,
    }


@pytest.fixture
def open_(tiktok):
    """Return what opens a browser for an app; it is closed at the end."""
    import httpx2
    from starlette.testclient import TestClient

    with ExitStack() as stack:

        def open_app(app, *, is_wsgi=False):
            origin = "https://app.example.com"
            client = (
                httpx2.Client(transport=httpx2.WSGITransport(app=app), base_url=origin)
                if is_wsgi
                else TestClient(app, base_url=origin)
            )
            world = type("W", (), {"tiktok": tiktok})
            return Browser(stack.enter_context(client), world)

        yield open_app


def journey(browser, clock, exporter):
    """Log in, and make a request that reads the store and one that refreshes."""
    browser.log_in("?next=/who")
    clock.advance(2)
    assert browser.signed_in
    clock.advance(LIFE)
    assert browser.signed_in
    return spans(exporter)


def check_below_the_servers(found):
    """Check that every span of ours is below a server span of the instrumentation."""
    servers = {s.context.span_id: s for s in found if s.kind.name == "SERVER"}
    for flow, path in (("login", LOGIN), ("callback", "/auth/tiktok/callback")):
        span = named(found, f"tiktok_oauth.{flow}")
        server = servers[span.parent.span_id]
        assert urlsplit(server.attributes["http.url"]).path == path
        assert span.context.trace_id == server.context.trace_id
    refresh = named(found, "tiktok_oauth.refresh")
    assert refresh.parent.span_id in servers
    calls = [s for s in found if s.name == "POST /v2/oauth/token/"]
    assert is_below(calls[-1], refresh)
    assert all(s.parent is not None for s in found if s.name.startswith("tiktok"))
    # The code and the state, which the instrumentation had written.
    assert not [s for s in found if "code=" in s.to_json() or "state=" in s.to_json()]
    callback = named(found, "tiktok_oauth.callback")
    server = servers[callback.parent.span_id]
    assert server.attributes["http.url"].endswith("/callback?REDACTED")


def test_starlette(settings, clock, exporter, open_, options):
    """Instrumented after add_middleware, Starlette's server span is above everything."""
    starlette = pytest.importorskip("opentelemetry.instrumentation.starlette")
    app = starlette_app()
    app.add_middleware(TikTokOAuthMiddleware, settings=settings, **options)
    starlette.StarletteInstrumentor.instrument_app(app)
    check_below_the_servers(journey(open_(app), clock, exporter))


def test_asgi(settings, clock, exporter, open_, options):
    """The ASGI middleware of the instrumentation stands around any wrapped app."""
    asgi = pytest.importorskip("opentelemetry.instrumentation.asgi")
    app = asgi.OpenTelemetryMiddleware(
        TikTokOAuthMiddleware(starlette_app(), settings, **options)
    )
    check_below_the_servers(journey(open_(app), clock, exporter))


def test_wsgi(settings, clock, exporter, open_, options):
    """The WSGI middleware of the instrumentation stands around Flask's wsgi_app."""
    wsgi = pytest.importorskip("opentelemetry.instrumentation.wsgi")
    app = flask_app()
    app.wsgi_app = TikTokOAuthWSGIMiddleware(app.wsgi_app, settings, **options)
    app.wsgi_app = wsgi.OpenTelemetryMiddleware(app.wsgi_app)
    found = journey(open_(app, is_wsgi=True), clock, exporter)
    check_below_the_servers(found)


def test_flask(settings, clock, exporter, open_, options):
    """Flask's instrumentation begins its span inside the middleware.

    So flows are the first spans of their traces, and a read of the store, which comes
    before the server span, is none.
    """
    flask = pytest.importorskip("opentelemetry.instrumentation.flask")
    app = flask_app()
    flask.FlaskInstrumentor().instrument_app(app)
    app.wsgi_app = TikTokOAuthWSGIMiddleware(app.wsgi_app, settings, **options)
    found = journey(open_(app, is_wsgi=True), clock, exporter)
    roots = [s.name for s in found if s.parent is None and s.kind.name != "SERVER"]
    flows = ["login", "callback", "refresh"]
    assert roots == [f"tiktok_oauth.{flow}" for flow in flows]
    servers = [s for s in found if s.kind.name == "SERVER"]
    assert len(servers) == 2
    assert all(s.attributes["http.route"] == "/who" for s in servers)


def test_header_of_another_service(settings, clock, exporter, open_, options):
    """The login's spans continue a trace that another service began."""
    asgi = pytest.importorskip("opentelemetry.instrumentation.asgi")
    app = asgi.OpenTelemetryMiddleware(
        TikTokOAuthMiddleware(starlette_app(), settings, **options)
    )
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    header = {"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"}
    answer = open_(app).get(LOGIN, headers={"accept": "text/html", **header})
    assert answer.status_code == 303
    login = named(spans(exporter), "tiktok_oauth.login")
    assert f"{login.context.trace_id:032x}" == trace_id
