"""The servers' resources: memory and descriptors of each worker, rows in the store."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import redis

_PAGE = 4096
#: Fields of /proc/PID/stat, counted from the one after the name in brackets.
_PARENT, _STARTED = 1, 19


class Sample(NamedTuple):
    """A worker at one moment."""

    at: float
    rss_mb: float
    descriptors: int


def workers(server: int) -> list[int]:
    """Return the workers of a server, oldest first."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            fields = (path / "stat").read_text().rpartition(")")[2].split()
            command = (path / "cmdline").read_bytes()
        except OSError:  # the process has ended
            continue
        if int(fields[_PARENT]) == server and b"resource_tracker" not in command:
            # Not sorted by PID, which starts again after the highest number.
            found.append((int(fields[_STARTED]), int(path.name)))
    return [pid for _, pid in sorted(found)]


def sample(pid: int) -> Sample | None:
    """Return a worker's resources; None if it has ended."""
    path = Path(f"/proc/{pid}")
    try:
        pages = int((path / "statm").read_text().split()[1])
        descriptors = sum(1 for _ in (path / "fd").iterdir())
    except OSError:
        return None
    # A worker that was just killed has no memory left.
    return (
        Sample(time.monotonic(), pages * _PAGE / 2**20, descriptors) if pages else None
    )


def slope(samples: list[Sample]) -> float:
    """Return growth of memory over the second half, in MB an hour (least squares)."""
    half = samples[len(samples) // 2 :]
    if len(half) < 3:
        return 0.0
    middle = sum(s.at for s in half) / len(half)
    mean = sum(s.rss_mb for s in half) / len(half)
    above = sum((s.at - middle) * (s.rss_mb - mean) for s in half)
    return 3600 * above / sum((s.at - middle) ** 2 for s in half)


def grown(samples: list[Sample]) -> float:
    """Return how much more memory is used in the last quarter than in the third, MB."""
    quarter = max(1, len(samples) // 4)
    third, last = samples[-2 * quarter : -quarter] or samples, samples[-quarter:]
    means = [sum(s.rss_mb for s in part) / len(part) for part in (third, last)]
    return means[1] - means[0]


def opened(samples: list[Sample]) -> int:
    """Return how many more descriptors are open in the last quarter than in the second.

    The minimum of each quarter is compared, without those of current requests.
    """
    quarter = max(1, len(samples) // 4)
    second, last = samples[quarter : 2 * quarter] or samples, samples[-quarter:]
    fewest = [min(s.descriptors for s in part) for part in (second, last)]
    return fewest[1] - fewest[0]


def keys(store: str) -> dict[str, int]:
    """Return the number of rows in a store, by kind."""
    if store.startswith("redis:"):
        with redis.Redis.from_url(store) as client:
            found = [key.decode() for key in client.scan_iter(count=1000)]
    else:
        path = store.removeprefix("sqlite:///")
        with closing(sqlite3.connect(path, timeout=30)) as file:
            found = [key for (key,) in file.execute("SELECT key FROM entries")]
    kinds = {"grant": 0, "login": 0, "delivery": 0, "end": 0, "lock": 0}
    for key in found:
        if ":used:{webhook-" in key:
            kinds["delivery"] += 1
        elif ":used:{ended-" in key:
            kinds["end"] += 1
        elif ":used:" in key:
            kinds["login"] += 1
        else:
            kinds["grant" if key.endswith("}") else "lock"] += 1
    return kinds
