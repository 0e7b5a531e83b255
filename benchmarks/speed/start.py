"""Importing the package, and the first use of the HTTP client, in fresh processes."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import AsyncIterator

from .row import Row
from .tiktok_server import TokenServer

_HEAVY = (
    "httpx2",
    "httpx",
    "authlib",
    "ssl",
    "asyncio",
    "sqlite3",
    "redis",
    "cryptography",
    "starlette",
    "flask",
)
_TIMED = """
import sys, time
{before}
began = time.perf_counter_ns()
{what}
print((time.perf_counter_ns() - began) / 1000)
"""
_OURS = "import tiktok_oauth_middleware"
_PEER = "import starlette.middleware.sessions, authlib.integrations.starlette_client"
_STALL = """
import asyncio, json, sys, time
from benchmarks.speed import stall
print(json.dumps(asyncio.run(stall.{who}(sys.argv[1]))))
"""


def _python(code: str, *args: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *args],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout


def _import_us(what: str, before: str, runs: int) -> float:
    code = _TIMED.format(what=what, before=before)
    return statistics.median(float(_python(code)) for _ in range(runs))


async def rows(rounds: int) -> AsyncIterator[Row]:
    """Measure each in new processes, in turn."""
    runs = max(5, rounds)
    ours, peer = _import_us(_OURS, "", runs), _import_us(_PEER, "", runs)
    yield Row(
        target="T9",
        what="import in a cold process",
        figure=ours / peer,
        unit="x",
        goal=0.25,
        ours=ours,
        peer=peer,
        peer_name="Starlette's sessions and Authlib's client",
    )
    beside = _import_us(_OURS, "import uvicorn, starlette.applications", runs)
    what = "import beside uvicorn and Starlette"
    yield Row(target="T9", what=what, figure=beside / 1000, unit="ms", goal=3)
    whole = _import_us(
        "from tiktok_oauth_middleware import TikTokOAuthMiddleware, TikTokSettings",
        "import uvicorn, starlette.applications",
        runs,
    )
    what = "import and look up both names, beside uvicorn and Starlette"
    yield Row(what=what, figure=whole / 1000, unit="ms")
    loaded = _python(f"import sys; {_OURS}; print(*sys.modules)").split()
    heavy = sum(name in loaded for name in _HEAVY)
    what = f"heavy modules loaded by it, of {', '.join(_HEAVY)}"
    yield Row(target="T9", what=what, figure=heavy, unit="1", goal=0)
    with TokenServer() as server:
        found = {
            who: _stalls(who, server, runs)
            for who in ("ours", "ours_unwarned", "authlib")
        }
    yield Row(
        target="T10",
        what="longest stall of the loop in the first login and callback",
        figure=found["ours"],
        unit="ms",
        goal=10,
        ours=found["ours"],
        peer=found["authlib"],
        peer_name="Authlib's Starlette client, as documented",
    )
    yield Row(
        what="the same, on a server without a lifespan",
        figure=found["ours_unwarned"],
        unit="ms",
    )


def _stalls(who: str, server: TokenServer, runs: int) -> float:
    code = _STALL.format(who=who)
    return statistics.median(
        json.loads(_python(code, server.base)) for _ in range(runs)
    )
