"""Requests per second of one uvicorn process, sent by wrk on another core."""

from __future__ import annotations

import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator

from tests.support.ports import free_port

from .row import Row

_APPS = ("bare", "ours", "starlette")
_SECONDS = 4
_CONNECTIONS = 16


async def rows(rounds: int) -> AsyncIterator[Row]:
    """Serve each app in turn, several times over."""
    if shutil.which("wrk") is None:
        print("wrk is not installed: requests per second are not measured")
        return
    found: dict[str, list[float]] = {name: [] for name in _APPS}
    for _ in range(max(3, rounds // 3)):
        for name in _APPS:
            found[name].append(_per_second(name))
    median = {name: statistics.median(rates) for name, rates in found.items()}
    for peer, name, goal in (
        ("bare", "the bare app", 0.88),
        ("starlette", "SessionMiddleware", 2.4),
    ):
        yield Row(
            target="T13",
            what="uvicorn, one process, requests per second",
            figure=median["ours"] / median[peer],
            unit="x",
            goal=goal,
            at_least=True,
            ours=median["ours"],
            peer=median[peer],
            peer_name=name,
            spread=(min(found["ours"]), max(found["ours"])),
        )


def _per_second(name: str) -> float:
    port = free_port()
    pinned = [] if shutil.which("taskset") is None else ["taskset", "-c"]
    cores = sorted(os.sched_getaffinity(0))
    server = subprocess.Popen(
        [
            *([*pinned, str(cores[0])] if pinned else []),
            *(sys.executable, "-m", "uvicorn", "--http", "httptools"),
            *("--port", str(port), "--no-access-log", "--log-level", "warning"),
            f"benchmarks.speed.serving:{name}",
        ]
    )
    try:
        _wait_for(port)
        cookie = subprocess.run(
            [sys.executable, "-m", "benchmarks.speed.serving", name],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout.strip()
        done = subprocess.run(
            [
                *([*pinned, str(cores[-1])] if pinned else []),
                *("wrk", "-t1", f"-c{_CONNECTIONS}", f"-d{_SECONDS}s"),
                *("-H", f"Cookie: {cookie}", f"http://127.0.0.1:{port}/app/page"),
            ],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    finally:
        server.terminate()
        server.wait()
    if "Non-2xx" in done.stdout:
        raise AssertionError(done.stdout)
    rate = re.search(r"Requests/sec: *([0-9.]+)", done.stdout)
    if rate is None:
        raise AssertionError(done.stdout)
    return float(rate[1])


def _wait_for(port: int) -> None:
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    message = "the server did not start"
    raise AssertionError(message)
