#!/usr/bin/env bash
# OpenTelemetry's instrumentation of ASGI and WSGI 0.66b1: metrics and spans differ in a request's time.
#
# Both measure http.server.request.duration, from which dashboards and alerts are made. For ASGI
# the measured time ends when the app returns, which with Starlette and FastAPI is after the
# background tasks: a login that answers in 5 ms and then sends a mail for a second counts as one
# of a second, and a queue of slow mails looks like a slow site. For WSGI it ends when the app
# returns its iterable, before any chunk has been made: an export that streams for a minute counts
# as one of 0 ms, and so does all of an app that is a generator, such as a FastAPI app bridged by
# a2wsgi. The span of the same request has the time until the response has ended in both. This
# affects anyone who alerts on these metrics. Our own metrics count logins and refreshes, and time
# the calls that they make.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet opentelemetry-instrumentation-asgi==0.66b1 \
    opentelemetry-instrumentation-wsgi==0.66b1 opentelemetry-sdk==1.45.1 starlette==1.10.0 flask==3.1.3
export OTEL_SEMCONV_STABILITY_OPT_IN=http
"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import time
from importlib.metadata import version

from flask import Flask
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware as ForASGI
from opentelemetry.instrumentation.wsgi import OpenTelemetryMiddleware as ForWSGI
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from werkzeug.test import EnvironBuilder

for name in ("asgi", "wsgi"):
    print(name, version(f"opentelemetry-instrumentation-{name}"))


class Telemetry:
    def __init__(self):
        self.spans = InMemorySpanExporter()
        tracers = TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        self.metrics = InMemoryMetricReader()
        meters = MeterProvider(metric_readers=[self.metrics])
        self.providers = {"tracer_provider": tracers, "meter_provider": meters}

    def seconds(self):
        """Return the seconds of the server's span and of the metric, rounded."""
        [span] = [s for s in self.spans.get_finished_spans() if s.kind is SpanKind.SERVER]
        [point] = [
            point
            for resource in self.metrics.get_metrics_data().resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == "http.server.request.duration"
            for point in metric.data.data_points
        ]
        return round((span.end_time - span.start_time) / 1e9), round(point.sum)


def with_asgi():
    async def login(request):
        return PlainTextResponse("welcome", background=BackgroundTask(time.sleep, 1))

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        pass

    telemetry = Telemetry()
    app = ForASGI(Starlette(routes=[Route("/login", login)]), **telemetry.providers)
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "path": "/login",
        "raw_path": b"/login",
        "root_path": "",
        "query_string": b"",
        "scheme": "http",
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 80),
    }
    asyncio.run(app(scope, receive, send))
    return telemetry.seconds()


def with_wsgi():
    site = Flask("site")

    @site.get("/export")
    def export():
        def rows():
            yield "first\n"
            time.sleep(1)
            yield "last\n"

        return rows()

    telemetry = Telemetry()
    app = ForWSGI(site.wsgi_app, **telemetry.providers)
    chunks = app(EnvironBuilder("/export").get_environ(), lambda status, headers, exc_info=None: None)
    assert b"".join(chunks) == b"first\nlast\n"
    chunks.close()
    return telemetry.seconds()


seen = {
    "ASGI, a background task of a second": with_asgi(),
    "WSGI, a stream of a second": with_wsgi(),
}
for name, (span, metric) in seen.items():
    print(f"{name}: span {span} s, metric {metric} s")
if [*seen.values()] != [(0, 1), (1, 0)]:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   asgi 0.66b1
#   wsgi 0.66b1
#   ASGI, a background task of a second: span 0 s, metric 1 s
#   WSGI, a stream of a second: span 1 s, metric 0 s
