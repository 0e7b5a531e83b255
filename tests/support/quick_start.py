"""Programs of Python that start quickly, since what they import is there already.

`start` is like `subprocess.Popen([sys.executable, *arguments])`. The process is forked
from one that has imported the package, its libraries and the usual servers, which takes
a new process half a second of processor time. From then on both are the same: a
process of its own with this environment, folder and output, whose `__main__` is the
program, and which ends like any other.

A program whose imports are tested, or that changes modules before they are imported, as
gevent does, needs a new interpreter.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

#: What most programs import; none of these starts a thread or reads the environment.
_IMPORTED = (
    "tiktok_oauth_middleware.asgi",
    "tiktok_oauth_middleware.wsgi",
    "tiktok_oauth_middleware._oauth.client",
    "tiktok_oauth_middleware.stores.sqlite",
    "authlib.integrations.httpx_client",
    "httpx2",
    "asyncio",
    "anyio._backends._asyncio",
    "sqlite3",
    "flask",
    "starlette.applications",
    "starlette.templating",
    "uvicorn.main",
    "uvicorn.lifespan.on",
    "uvicorn.loops.auto",
    "uvicorn.protocols.http.auto",
    "uvicorn.protocols.websockets.auto",
    "gunicorn.app.wsgiapp",
    "gunicorn.workers.gthread",
    "gunicorn.workers.sync",
    "django.core.management.commands.runserver",
    "django.db.backends.sqlite3.base",
    "django.db.migrations.executor",
    "django.forms",
)
_HERE = "tests.support.quick_start"
_ROOT = Path(__file__).parents[2]


class Program:
    """A process that `start` has started, with the usual methods of a Popen."""

    def __init__(self, pid: int, ended: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = ended

    def poll(self) -> int | None:
        """Return the status of a process that has ended, or None."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; return the status.

        Raises:
            TimeoutExpired: it has not ended in as many seconds.
        """
        if self.returncode is None:
            with selectors.DefaultSelector() as selector:
                selector.register(self._ended, selectors.EVENT_READ)
                if not selector.select(timeout):
                    raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            status = os.read(self._ended, 20)
            os.close(self._ended)
            self.returncode = int(status)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, if it has not ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


def start(
    arguments: Sequence[str],
    *,
    stdout: Any = None,
    stderr: Any = None,
    cwd: str | Path = _ROOT,
    env: Mapping[str, str] | None = None,
    start_new_session: bool = False,
) -> Program:
    """Start a program.

    Args:
        arguments: Python's, that begin with ``-m``, ``-c`` or a path.
        stdout: a file with a descriptor; by default this process's output.
        stderr: another; by default the same as `stdout`.
        cwd: its folder.
        env: its environment; by default that of this process.
        start_new_session: whether it leads a session and a group of processes.
    """
    source = _Source.of_this_process()
    outputs = [1, 2]
    if stdout is not None:
        outputs = [f.fileno() for f in (stdout, stderr or stdout)]
    return source.start(
        {
            "arguments": [*arguments],
            "cwd": str(cwd),
            "env": dict(os.environ if env is None else env),
            "new_session": start_new_session,
        },
        outputs,
    )


def run(
    arguments: Sequence[str], *, timeout: float = 120, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; return its status and output.

    Args:
        arguments: see `start`.
        timeout: in seconds.
        options: `cwd` and `env` of `start`.
    """
    with TemporaryFile("w+") as out, TemporaryFile("w+") as err:
        program = start(arguments, stdout=out, stderr=err, **options)
        try:
            code = program.wait(timeout)
        finally:
            program.kill()
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess([*arguments], code, out.read(), err.read())


class _Source:
    """The process from which programs are forked, one for each process of tests."""

    _made: tuple[int, _Source] | None = None

    @classmethod
    def of_this_process(cls) -> _Source:
        if cls._made is None or cls._made[0] != os.getpid():
            cls._made = (os.getpid(), cls())
        return cls._made[1]

    def __init__(self) -> None:
        self._connection, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", _HERE, str(theirs.fileno())],
                cwd=_ROOT,
                # Each program has its own.
                env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        atexit.register(self._close)

    def start(self, request: dict[str, Any], outputs: list[int]) -> Program:
        ended, theirs = os.pipe()
        text = json.dumps(request).encode()
        try:
            socket.send_fds(
                self._connection, [len(text).to_bytes(4)], [*outputs, theirs]
            )
            self._connection.sendall(text)
        finally:
            os.close(theirs)
        pid = int.from_bytes(_read(self._connection, 4))
        return Program(pid, ended)

    def _close(self) -> None:
        self._connection.close()
        self._process.kill()  # it may still import
        self._process.wait()


def _read(connection: socket.socket, length: int) -> bytes:
    """Return as many bytes; fewer if the connection is closed."""
    found = b""
    while len(found) < length and (more := connection.recv(length - len(found))):
        found += more
    return found


# --- the process that programs are forked from -------------------------------------


def _serve(connection: socket.socket) -> dict[str, Any]:
    """Fork a process for each request; return the request in that process.

    The process that serves ends itself, when the tests close the connection.
    """
    for name in _IMPORTED:
        with suppress(ModuleNotFoundError):  # not installed
            import_module(name)
    gc.collect()
    gc.freeze()  # else a program's first collection would copy all of it
    wakes, wake = os.pipe()
    os.set_blocking(wakes, False)
    os.set_blocking(wake, False)
    usual = {
        number: signal.signal(number, handler)
        for number, handler in (
            (signal.SIGCHLD, lambda *_: None),
            (signal.SIGINT, signal.SIG_IGN),  # Ctrl-C is for the tests
        )
    }
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    running: dict[int, int] = {}
    with selectors.DefaultSelector() as selector:
        for source in (connection, wakes):
            selector.register(source, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj == wakes:
                    with suppress(BlockingIOError):
                        os.read(wakes, 4096)
                    _report(running)
                    continue
                length, given, _, _ = socket.recv_fds(connection, 4, 3)
                if not length:
                    sys.exit()
                request = json.loads(_read(connection, int.from_bytes(length)))
                if pid := os.fork():
                    running[pid] = given.pop()
                    for descriptor in given:
                        os.close(descriptor)
                    continue
                signal.set_wakeup_fd(-1)
                for number, handler in usual.items():
                    signal.signal(number, handler)
                for descriptor in (*running.values(), given.pop(), wakes, wake):
                    os.close(descriptor)
                if request["new_session"]:
                    os.setsid()  # before `start` returns
                connection.sendall(os.getpid().to_bytes(4))
                connection.close()
                for own, descriptor in enumerate(given, start=1):
                    os.dup2(descriptor, own)
                    os.close(descriptor)
                return request


def _report(running: dict[int, int]) -> None:
    """Write the status of each process that has ended to its pipe."""
    for pid in [*running]:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            ended_at = running.pop(pid)
            with suppress(BrokenPipeError):  # nobody waits any more
                os.write(ended_at, b"%d" % os.waitstatus_to_exitcode(status))
            os.close(ended_at)


def _run(request: dict[str, Any]) -> None:
    """Run a program as this process, which ends as `python` with its arguments does."""
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    if os.environ.get("PYTHONUNBUFFERED"):
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(write_through=True)
    what, *rest = request["arguments"]
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:1] = filter(None, paths)
    if what == "-m":
        sys.path.insert(0, os.getcwd())
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif what == "-c":
        sys.path.insert(0, "")
        sys.argv = ["-c", *rest[1:]]
        main = type(sys)("__main__")
        main.__dict__["__builtins__"] = __builtins__
        sys.modules["__main__"] = main
        exec(compile(rest[0], "<string>", "exec"), main.__dict__)
    else:
        sys.path.insert(0, str(Path(what).resolve().parent))
        sys.argv = request["arguments"]
        runpy.run_path(what, run_name="__main__")


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as opened:
        asked = _serve(opened)
    _run(asked)
