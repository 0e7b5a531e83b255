"""Ports for the servers of tests, each given out once on this machine.

A port that the system picks is free at that moment only: before a server that starts
slowly has bound it, the server of another test or an outgoing connection may have it.
These ports are below the range that the system picks from, and a lock on a file reserves
each for the process that took it, until that process ends.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
import time
from contextlib import closing
from itertools import chain
from pathlib import Path

import httpx2
import pytest

#: The same folder for every run, whatever its own TMPDIR is.
_COMMON = Path(os.sep, "tmp") if os.name == "posix" else Path(tempfile.gettempdir())
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
#: A process's own locks do not hinder it, so it remembers them.
_taken: set[int] = set()
#: The file of locks, by process, since a forked child has no locks of its parent's.
_files: dict[int, int] = {}


def free_port() -> int:
    """Return a port on 127.0.0.1 that no server listens on, and no other test gets.

    Raises:
        OSError: no port is left.
    """
    end = int(_RANGE.read_text().split()[0]) if _RANGE.exists() else 32768
    first = max(end - 12_000, 1024)
    # Each process begins elsewhere, so that few ask for the same port.
    start = random.SystemRandom().randrange(first, end)
    for port in chain(range(start, end), range(first, start)):
        if port not in _taken and _is_reserved(port) and _is_unused(port):
            _taken.add(port)
            return port
    raise OSError("no port is left for a test")


def _is_reserved(port: int) -> bool:
    """Lock one byte of the common file: a lock ends with its process, however it ends."""
    try:
        fcntl.lockf(_locks(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except (BlockingIOError, PermissionError):  # POSIX allows both
        return False
    return True


def _locks() -> int:
    pid = os.getpid()
    if pid not in _files:
        name = f"tiktok-oauth-tests-{os.getuid()}.ports"
        path = _COMMON / name
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        _files[pid] = os.open(path, flags, 0o600)
    return _files[pid]


def _is_unused(port: int) -> bool:
    try:
        with closing(socket.create_server(("127.0.0.1", port))):
            return True
    except OSError:
        return False


def wait_for(url: str) -> None:
    """Wait until a page is answered with 200."""
    give_up = time.monotonic() + 30
    while time.monotonic() < give_up:
        try:
            if httpx2.get(url).status_code == 200:
                return
        except httpx2.HTTPError:
            time.sleep(0.1)
    pytest.fail(f"nothing answers at {url}")
