"""Events leave here and nowhere else: the log, the metrics, `on_event`."""
