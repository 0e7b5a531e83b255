"""Spans that OpenTelemetry's SDK collects, and a processor of them that raises."""

from __future__ import annotations

import threading
from collections import Counter

from tiktok_oauth_middleware._observe import metrics


class Faulty:
    """A span processor that raises at the place that a test chooses."""

    raises = ""
    #: Set when a request begins to wait for another's refresh.
    waiting = threading.Event()

    def on_start(self, span, parent_context=None):
        if span.name == "tiktok_oauth.refresh.wait":
            self.waiting.set()
        if self.raises == "start":
            raise RuntimeError("act.a-secret")

    def on_end(self, span):
        if self.raises == "end":
            raise RuntimeError("act.a-secret")

    def _on_ending(self, span):
        """Called by the SDK before a span ends."""

    def shutdown(self):
        """Called by the SDK at its end."""

    def force_flush(self, timeout_millis=0):
        return True


def spans(exporter):
    """Return the finished spans in the order of their start, and clear them."""
    found = sorted(exporter.get_finished_spans(), key=lambda span: span.start_time)
    exporter.clear()
    return found


def ours(exporter):
    return [s for s in spans(exporter) if s.instrumentation_scope.name == metrics.SCOPE]


def named(found, name):
    [only] = [span for span in found if span.name == name]
    return only


def names(found):
    return Counter(span.name for span in found)


def is_below(span, parent):
    return span.parent is not None and span.parent.span_id == parent.context.span_id
