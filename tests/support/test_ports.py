"""Ports that tests reserve."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from . import ports
from .ports import free_port

ROOT = Path(__file__).parents[2]


@pytest.fixture
def three_ports(monkeypatch):
    """Leave three ports of the range, which are free now; return them."""
    three = {free_port() for _ in range(3)}
    # As in another process: a lock that is this process's own does not hinder it.
    monkeypatch.setattr(ports, "_taken", set(range(65536)) - three)
    return three


def test_given_once(three_ports):
    """A port is given out once, and an empty range is an error."""
    assert {free_port() for _ in range(3)} == three_ports
    with pytest.raises(OSError, match="no port is left"):
        free_port()


def test_one_in_use(three_ports):
    """A port that a server listens on is not given out."""
    used = min(three_ports)
    with socket.create_server(("127.0.0.1", used)):
        assert {free_port() for _ in range(2)} == three_ports - {used}
        with pytest.raises(OSError, match="no port is left"):
            free_port()


def test_other_processes(three_ports):
    """Another process gets none of them while this one lives."""
    program = f"""
from tests.support import ports
ports._taken = set(range(65536)) - {three_ports}
try:
    print(ports.free_port())
except OSError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "no port is left for a test\n"
