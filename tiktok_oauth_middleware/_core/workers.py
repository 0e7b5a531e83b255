"""Detection of several worker processes.

Servers have no common way to report them. The evidence is in the environment and the
command line, which children inherit; in the server's configuration, which frames of the
stack hold while the server imports the app; in a module that only the server provides;
and under WSGI in a flag of each environ (PEP 3333, ``wsgi.multiprocess``).
"""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

#: Names of servers: of both the command and the package.
_SERVERS = ("gunicorn", "uvicorn", "hypercorn", "granian", "fastapi", "uwsgi")
_VARIABLES = ("WEB_CONCURRENCY", "UVICORN_WORKERS", "GRANIAN_WORKERS")
#: Variables of platforms that start and end instances with the requests.
_PLATFORMS = {
    "AWS_LAMBDA_FUNCTION_NAME": "AWS Lambda",
    "FUNCTIONS_WORKER_RUNTIME": "Azure Functions",
    "FUNCTION_TARGET": "Google Cloud Functions",
    "K_SERVICE": "Cloud Run",
}
_FLAG = re.compile(r"(?:--workers|--processes|-w)(?:[= ])?([0-9]+)")
#: The most frames of the stack that are examined.
_MOST_FRAMES = 200


def several_workers(environ: Mapping[str, str] | None = None) -> str | None:
    """Return the evidence that there are several workers, or None.

    Args:
        environ: Used instead of the process's environment.
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
    for name, platform in _PLATFORMS.items():
        if environ.get(name):
            yield f"{platform} runs several instances"
    given = environ.get("GUNICORN_CMD_ARGS", "")
    count = _flag(given)
    if count:
        yield f"GUNICORN_CMD_ARGS asks for {count} workers"


def _by_command_line(argv: Sequence[str]) -> Iterator[str]:
    # With python -m the command is uvicorn/__main__.py.
    parts = Path(argv[0]).parts[-2:] if argv else ()
    server = next((name for name in _SERVERS if name in parts), None)
    # A server that reloads runs one worker, whatever its other options say.
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
    # Both exist only in a process of their server.
    for module, name in (("uwsgi", "numproc"), ("mod_wsgi", "maximum_processes")):
        workers = getattr(sys.modules.get(module), name, 1)
        if isinstance(workers, int) and workers > 1:
            yield f"{module} runs {workers} processes"


def _by_frames() -> Iterator[str]:
    """Search the stack of this thread for a server's configuration.

    Servers import the app in the thread that holds the configuration. The stack of
    another thread is not read: on CPython 3.11 it can change while it is read, and hold
    something that is not a frame.
    """
    frame = inspect.currentframe()
    for _ in range(_MOST_FRAMES):
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
    number = found.get("worker_id")  # the only evidence in a worker of Granian
    if isinstance(number, int) and number > 1:
        yield f"this is {server}'s worker {number}"


def _reloads(config: Any) -> bool:
    # Gunicorn reloads each of its workers by itself.
    return getattr(config, "should_reload", False) is True
