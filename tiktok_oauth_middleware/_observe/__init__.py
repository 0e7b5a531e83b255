"""The only place that emits events: to the log, the metrics and `on_event`."""
