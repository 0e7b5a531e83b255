"""The app of a plan as a real server imports it; the plan is in the environment.

uvicorn --factory hardening.reliability.served:asgi
gunicorn "hardening.reliability.served:wsgi()"
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .world import Asgi, Plan, Wsgi

_VARIABLE = "BENCHMARK_PLAN"
_ROOT = Path(__file__).parent.parent.parent
_START_SECONDS = 60


def _plan() -> Plan:
    return Plan(**json.loads(os.environ[_VARIABLE]))


def asgi() -> Any:
    """Return the ASGI app, with a lifespan that closes connections at its end."""
    return Asgi(_plan(), time.time).wrapped


def wsgi() -> Any:
    """Return the WSGI app."""
    return Wsgi(_plan(), time.time).wrapped


@contextmanager
def serving(
    plan: Plan, command: Sequence[str], port: int, log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server of this plan's app; its output is written to `log`."""
    environ = os.environ | {_VARIABLE: json.dumps(asdict(plan))}
    with log.open("wb") as out:
        server = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=_ROOT,
            env=environ,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        try:
            _await(server, port, log)
            yield server
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _await(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    message = f"the server does not answer: {log.read_text()[-2000:]}"
    raise TimeoutError(message)


def uvicorn(port: int, workers: int = 1) -> list[str]:
    """Return the arguments for uvicorn, without the interpreter."""
    factory = ["--factory", "hardening.reliability.served:asgi"]
    where = ["--host", "127.0.0.1", "--port", str(port), "--workers", str(workers)]
    # So that a worker is not killed for answering its parent's ping slowly.
    where += ["--timeout-worker-healthcheck", "120"]
    return ["uvicorn", *factory, *where, "--no-access-log", "--log-level", "warning"]


def gunicorn(port: int, workers: int = 1, threads: int = 8) -> list[str]:
    """Return the arguments for gunicorn with threads, without the interpreter."""
    where = ["--bind", f"127.0.0.1:{port}", "--workers", str(workers)]
    kind = ["--worker-class", "gthread", "--threads", str(threads)]
    app = "hardening.reliability.served:wsgi()"
    return ["gunicorn", *where, *kind, "--log-level", "warning", app]
