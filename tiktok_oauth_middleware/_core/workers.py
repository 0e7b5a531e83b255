"""Whether this process is one of several workers, where that can be seen.

No server says so in one way for all. What they leave to see: the environment and the
command line, which children inherit; the server's configuration, which stands in the
frames below the app; a module of the server's own; and under WSGI a flag in each
environ (PEP 3333, ``wsgi.multiprocess``).
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

#: Servers by the name of their command and of their package.
_SERVERS = ("gunicorn", "uvicorn", "hypercorn", "granian", "fastapi", "uwsgi")
_VARIABLES = ("WEB_CONCURRENCY", "UVICORN_WORKERS", "GRANIAN_WORKERS")
_FLAG = re.compile(r"(?:--workers|--processes|-w)(?:[= ])?([0-9]+)")
_DEEPEST = 200


def several_workers(environ: Mapping[str, str] | None = None) -> str | None:
    """Return how it can be seen that there are several workers, or None.

    Args:
        environ: instead of the process's environment.
    """
    found = os.environ if environ is None else environ
    for reason in (
        *_by_variables(found),
        *_by_command_line(sys.argv),
        *_by_modules(),
        *_by_frames(),
    ):
        return reason
    return None


def _by_variables(environ: Mapping[str, str]) -> Iterator[str]:
    for name in _VARIABLES:
        workers = environ.get(name, "")
        if workers.isdecimal() and int(workers) > 1:
            yield f"{name} is {workers}"
    given = environ.get("GUNICORN_CMD_ARGS", "")
    asked = _flag(given)
    if asked:
        yield f"GUNICORN_CMD_ARGS asks for {asked} workers"


def _by_command_line(argv: Sequence[str]) -> Iterator[str]:
    # With python -m the command is uvicorn/__main__.py.
    parts = Path(argv[0]).parts[-2:] if argv else ()
    server = next((name for name in _SERVERS if name in parts), None)
    # A server that reloads runs one worker, whatever else it was told.
    if server is None or "--reload" in argv:
        return
    workers = _flag(" ".join(argv[1:]))
    if workers:
        yield f"{server} was started with {workers} workers"


def _flag(text: str) -> str | None:
    for match in re.finditer(r"(?<!\S)" + _FLAG.pattern + r"(?!\S)", text):
        if int(match[1]) > 1:
            return match[1]
    return None


def _by_modules() -> Iterator[str]:
    # Neither can be imported anywhere but inside of its server.
    for module, name in (("uwsgi", "numproc"), ("mod_wsgi", "maximum_processes")):
        workers = getattr(sys.modules.get(module), name, 1)
        if isinstance(workers, int) and workers > 1:
            yield f"{module} runs {workers} processes"


def _by_frames() -> Iterator[str]:
    """Look for a server's configuration on the stack of the main thread."""
    frame: FrameType | None = sys._current_frames().get(  # noqa: SLF001 - documented
        threading.main_thread().ident or 0
    )
    for _ in range(_DEEPEST):
        if frame is None:
            return
        package = frame.f_globals.get("__name__", "").partition(".")[0]
        if package in _SERVERS:
            yield from _in_frame(package, frame.f_locals)
        frame = frame.f_back


def _in_frame(server: str, found: Mapping[str, Any]) -> Iterator[str]:
    owner = found.get("self")
    for config in (
        found.get("config"),
        found.get("cfg"),
        getattr(owner, "cfg", None),
        getattr(owner, "config", None),
    ):
        workers = getattr(config, "workers", None)
        if isinstance(workers, int) and workers > 1 and not _reloads(config):
            yield f"{server} runs {workers} workers"
    number = found.get("worker_id")  # of Granian, which tells a worker no more
    if isinstance(number, int) and number > 1:
        yield f"this is {server}'s worker {number}"


def _reloads(config: Any) -> bool:
    # Gunicorn reloads each of its workers by itself.
    return getattr(config, "should_reload", False) is True
