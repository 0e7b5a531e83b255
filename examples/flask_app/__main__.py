"""Serve the example with gunicorn: ``python -m examples.flask_app``."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys

from ..stand_in import settings_in_environment


def main() -> int:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m examples.flask_app")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    with settings_in_environment(given.port):
        command = [
            *(sys.executable, "-m", "gunicorn", "examples.flask_app.app:app"),
            *("--bind", f"127.0.0.1:{given.port}", "--workers", str(given.workers)),
            *("--worker-class", "gthread", "--threads", "4", "--log-level", "warning"),
        ]
        with subprocess.Popen(command) as gunicorn:
            # A signal that ends this process ends gunicorn, which ends its workers.
            signal.signal(signal.SIGTERM, lambda *_: gunicorn.terminate())
            signal.signal(signal.SIGINT, lambda *_: gunicorn.terminate())
            return gunicorn.wait()


if __name__ == "__main__":
    sys.exit(main())
