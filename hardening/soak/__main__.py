"""Run the servers, the load and the faults, and print the table."""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.redis_server import RedisServer
from hardening.reliability.crew import silence
from hardening.reliability.served import gunicorn, serving, uvicorn
from hardening.reliability.world import Plan, plan_for
from tests.support.ports import free_port
from tiktok_oauth_middleware.testing.server import StandIn

from .load import USERS, Site
from .tiktok import FaultyTikTok
from .watch import Sample, grown, keys, opened, sample, slope, workers

#: For two hours: a kill each minute, an outage each ten minutes. Shorter runs have the
#: same number of outages, but at most one a minute.
_KILL_SECONDS = 60.0
_OUTAGES = 12
_OUTAGE_SECONDS = 3.0
_WATCH_SECONDS = 5.0
_TIMEOUT = 3.0
#: In MB an hour, and in MB between the last two quarters of a run, since a line fitted
#: to a few minutes says little.
_GROWTH = 1.0
_STEP = 1.0
_DESCRIPTORS = 10
#: The shortest runs, in minutes, whose memory is checked: by quarters, and by the line.
_LEAST_MINUTES = 15
_LINE_MINUTES = 60
#: The allowed results of each kind of request.
_RIGHT = {
    "call": {"200", "503"},
    "nobody": {"200"},
    "login": {"303"},
    # 502: TikTok's answer was an error; 503: there was none, or no store.
    "callback": {"303", "502", "503"},
    "logout": {"303", "503"},
    "webhook": {"200", "401", "503"},
    "hostile": {"200", "303", "400", "403", "405", "503"},
}
_RIGHT_EVERYWHERE = {"lost with a worker", "no token"}
_LOGIN_SECONDS = 660 + 120


@dataclass(kw_only=True)
class _Server:
    """One server, and the values that are watched."""

    name: str
    store: str
    site: Site
    process: subprocess.Popen[bytes]
    log: Path
    redis: RedisServer | None
    samples: dict[int, list[Sample]] = field(default_factory=lambda: defaultdict(list))
    rows: dict[str, int] = field(default_factory=dict)
    kills: int = 0
    outages: int = 0

    def watch(self) -> None:
        for pid in workers(self.process.pid):
            if (seen := sample(pid)) is not None:
                self.samples[pid].append(seen)

    def kill(self) -> None:
        """Kill the youngest worker; the oldest stays, since its memory is measured."""
        found = workers(self.process.pid)
        if len(found) > 1:
            with suppress(ProcessLookupError):
                self.site.killed_at = time.monotonic()
                os.kill(found[-1], signal.SIGKILL)
                self.kills += 1


def main() -> int:
    """Return 1 if a bound was broken."""
    parser = argparse.ArgumentParser(prog="python -m hardening.soak")
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--rate", type=float, default=200, help="requests a second")
    parser.add_argument("--seed", type=int, default=20260101)
    parser.add_argument("--swap", action="store_true", help="uvicorn on SQLite")
    args = parser.parse_args()
    silence()
    fake = FaultyTikTok.made(args.seed)
    with (
        TemporaryDirectory(prefix="soak-") as folder,
        StandIn(fake) as stand_in,
        _servers(args, fake, stand_in, Path(folder)) as servers,
    ):
        asyncio.run(_soak(args, fake, servers))
        for server in servers:
            server.rows = keys(server.store)
        broken = [fault for server in servers for fault in _faults_of(server, args)]
        _report(args, fake, servers)
    for fault in broken:
        print(f"FAIL {fault}")
    if not broken:
        print(f"PASS soak minutes={args.minutes:g} rate={args.rate:g} seed={args.seed}")
    return 1 if broken else 0


@contextmanager
def _servers(
    args: argparse.Namespace, fake: FaultyTikTok, stand_in: StandIn, folder: Path
) -> Iterator[list[_Server]]:
    with ExitStack() as stack:
        servers = []
        redis = stack.enter_context(RedisServer(str(folder)))
        sqlite = f"sqlite:///{folder / 'tokens.sqlite3'}"
        stores = [sqlite, redis.url] if args.swap else [redis.url, sqlite]
        for name, command, store in zip(
            ("uvicorn", "gunicorn"), (uvicorn, gunicorn), stores, strict=True
        ):
            port, log = free_port(), folder / f"{name}.log"
            plan: Plan = plan_for(store, stand_in, timeout=_TIMEOUT)
            process = stack.enter_context(
                serving(plan, command(port, workers=2), port, log)
            )
            kind = "Redis" if store.startswith("redis") else "SQLite"
            servers.append(
                _Server(
                    name=f"{name} on {kind}",
                    store=store,
                    site=Site(name, port, fake, args.seed),
                    process=process,
                    log=log,
                    redis=redis if kind == "Redis" else None,
                )
            )
        yield servers


async def _soak(
    args: argparse.Namespace, fake: FaultyTikTok, servers: list[_Server]
) -> None:
    until = time.monotonic() + args.minutes * 60
    each = args.rate / len(servers)
    jobs = [asyncio.create_task(s.site.load(each, until)) for s in servers]
    chance = random.Random(args.seed)
    others = [_every(_WATCH_SECONDS, lambda: [s.watch() for s in servers])]
    others.append(_every(30, fake.tidy))
    # In turn, so that each server has half a minute without a kill.
    others += [_kills(s, i * _KILL_SECONDS / 2) for i, s in enumerate(servers)]
    pause = max(60.0, args.minutes * 60 / _OUTAGES)
    others += [_outages(s, pause, chance.uniform(0.3, 0.9)) for s in servers]
    tasks = [asyncio.create_task(job) for job in others]
    done, _ = await asyncio.wait([*jobs, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
    await asyncio.gather(*jobs)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _every(seconds: float, work: Any) -> None:
    while True:
        await asyncio.sleep(seconds)
        await asyncio.to_thread(work)


async def _kills(server: _Server, first: float) -> None:
    await asyncio.sleep(first + _KILL_SECONDS / 2)
    while True:
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(_KILL_SECONDS)


async def _outages(server: _Server, pause: float, share: float) -> None:
    """Restart Redis with its files; lock SQLite for longer than any timeout."""
    await asyncio.sleep(pause * share)
    while True:
        server.outages += 1
        if server.redis:
            server.redis.kill()
            await asyncio.sleep(1)
            await asyncio.to_thread(server.redis.start)
        else:
            await asyncio.to_thread(_lock, server.store)
        await asyncio.sleep(pause)


def _lock(store: str) -> None:
    path = store.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        time.sleep(_OUTAGE_SECONDS)
        other.execute("ROLLBACK")


# --- results -----------------------------------------------------------------------


def _faults_of(server: _Server, args: argparse.Namespace) -> Iterator[str]:
    name = server.name
    for (kind, what), count in sorted(server.site.answers.items()):
        if what not in _RIGHT.get(kind, set()) | _RIGHT_EVERYWHERE:
            yield f"{name}: {kind} ended with {what}, {count} times"
    if not server.site.answers["call", "200"]:
        yield f"{name}: nothing was answered"
    if errors := _errors(server):
        yield f"{name}: {len(errors)} unhandled exceptions, the first: {errors[0]}"
    yield from (f"{name}: {fault}" for fault in _too_much(server, args))


def _too_much(server: _Server, args: argparse.Namespace) -> Iterator[str]:
    """Return the exceeded limits: rows, memory, descriptors."""
    since = time.time() - _LOGIN_SECONDS
    marks = sum(at > since for at in server.site.logins)
    bounds = {
        "grant": USERS,
        "login": marks,
        "delivery": server.site.deliveries,
        "end": 2 * USERS,  # the mark of an end, and the mark of a disconnect by the app
        "lock": USERS,
    }
    for kind, bound in bounds.items():
        if server.rows[kind] > bound:
            yield f"{server.rows[kind]} rows of kind {kind}, more than {bound}"
    if not _lived(server):
        yield "no worker lived from the beginning to the end"
    for pid, seen in _lived(server):
        if opened(seen) > _DESCRIPTORS:
            yield f"worker {pid} has {opened(seen)} more descriptors open"
        if args.minutes >= _LEAST_MINUTES and grown(seen) > _STEP:
            yield f"worker {pid} has grown by {grown(seen):.2f} MB in the last quarter"
        if args.minutes >= _LINE_MINUTES and slope(seen) > _GROWTH:
            yield f"worker {pid} grows by {slope(seen):.2f} MB an hour"


def _errors(server: _Server) -> list[str]:
    """Return the last lines of uncaught exceptions in a log."""
    lines = server.log.read_text(errors="replace").splitlines()
    begun = [i for i, s in enumerate(lines) if s.startswith("Traceback (most recent")]
    return [
        next((s for s in lines[i + 1 :] if s and not s.startswith((" ", "\t"))), "")
        for i in begun
    ]


def _lived(server: _Server) -> list[tuple[int, list[Sample]]]:
    """Return the workers that ran from the beginning to the end: usually one."""
    ends = max((seen[-1].at for seen in server.samples.values()), default=0.0)
    begins = min((seen[0].at for seen in server.samples.values()), default=0.0)
    return [
        (pid, seen)
        for pid, seen in server.samples.items()
        if seen[-1].at > ends - 3 * _WATCH_SECONDS
        and seen[0].at < begins + 3 * _WATCH_SECONDS
    ]


def _report(
    args: argparse.Namespace, fake: FaultyTikTok, servers: list[_Server]
) -> None:
    print(
        f"{args.minutes:g} minutes, {args.rate:g} requests a second, seed {args.seed};"
        f" TikTok: {fake.calls} calls, {fake.refreshes} refreshes, {fake.faults} faults"
    )
    for server in servers:
        answers: dict[str, Counter[str]] = defaultdict(Counter)
        for (kind, what), count in server.site.answers.items():
            answers[kind][what] += count
        print(f"{server.name}: {server.kills} kills, {server.outages} outages")
        for kind in sorted(answers):
            shown = ", ".join(f"{w} x {c}" for w, c in sorted(answers[kind].items()))
            print(f"  {kind:9} {shown}")
        rows = ", ".join(f"{kind} {count}" for kind, count in server.rows.items())
        print(f"  rows      {rows}")
        print(f"  log       {len(_errors(server))} tracebacks")
        print(f"  slowest   {server.site.slowest:.2f} s")
        for puzzle in server.site.puzzles:
            print(f"  puzzle    {puzzle}")
        for pid, seen in _lived(server):
            first, last = seen[len(seen) // 2], seen[-1]
            print(
                f"  worker    {pid}: {seen[0].rss_mb:.1f} MB at first,"
                f" {first.rss_mb:.1f} half way, {last.rss_mb:.1f} at the end,"
                f" {grown(seen):+.2f} MB in the last quarter,"
                f" {slope(seen):+.2f} MB an hour over the second half;"
                f" descriptors {opened(seen):+d},"
                f" at most {max(s.descriptors for s in seen)}"
            )


if __name__ == "__main__":
    sys.exit(main())
