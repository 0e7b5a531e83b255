"""Runs tests in worker processes that are forked after test collection.

The main process imports and collects the tests once, and reports results. Each worker is
a copy of it that runs tests. A process that is started anew takes as long to collect this
suite as to run a thousand of its tests.

A worker has its own captured output, temporary folder and fixtures, including those of
the session. If a worker crashes, the test that it ran has failed, and another worker runs
what is left. Workers do not pass on warnings, since warnings are errors here.
"""

from __future__ import annotations

import atexit
import os
import threading
import traceback
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NoReturn

import pytest

#: An environment variable of each worker: its name.
WORKER = "PYTEST_FORKED_WORKER"
#: Messages of a worker, besides the reports of one test.
_NEXT, _DONE = "next", "done"


@dataclass(eq=False)
class _Worker:
    pid: int
    connection: Connection
    #: Indexes of the tests that it has not reported yet, in order.
    pending: deque[int] = field(default_factory=deque)


def run(
    session: pytest.Session, groups: Iterable[list[pytest.Item]], workers: int
) -> None:
    """Run a session's tests.

    Args:
        session: the session after test collection.
        groups: its items. One worker runs all tests of a group.
        workers: the number of processes that run tests.

    Raises:
        Failed: as many tests have failed as `--maxfail` allows.
        RuntimeError: a worker could not begin or end.
    """
    # A fork copies only the thread that forks.
    assert threading.active_count() == 1, threading.enumerate()
    _Run(session, groups).run(workers)


class _Run:
    def __init__(
        self, session: pytest.Session, groups: Iterable[list[pytest.Item]]
    ) -> None:
        self._session = session
        indexes = {item: index for index, item in enumerate(session.items)}
        self._groups = deque([indexes[item] for item in group] for group in groups)
        self._running: dict[Connection, _Worker] = {}
        self._done: list[_Worker] = []
        self._numbers = count()
        # Made now, so that the folders of all workers are in it.
        self._folder: Path = session.config._tmp_path_factory.getbasetemp()

    def run(self, workers: int) -> None:
        for _ in range(min(workers, len(self._groups))):
            self._start_worker()
        try:
            while self._running:
                for connection in wait([*self._running]):
                    self._hear(self._running[connection])
        finally:
            # Those that still run end after their test.
            statuses = [*map(_end, (*self._running.values(), *self._done))]
        if any(statuses):
            raise RuntimeError(f"The workers ended with the statuses {statuses}.")

    def _start_worker(self) -> None:
        ours, theirs = Pipe()
        folder = self._folder / f"worker{next(self._numbers)}"
        self._session.config.get_terminal_writer().flush()  # else both write the rest
        if pid := os.fork():
            theirs.close()
            self._running[ours] = _Worker(pid, ours)
            return
        for connection in (ours, *self._running):
            connection.close()
        _live(self._session, theirs, folder)

    def _hear(self, worker: _Worker) -> None:
        """Handle one message of a worker."""
        try:
            message = worker.connection.recv()
        except (EOFError, ConnectionError):
            self._replace(worker)
            return
        if message == _NEXT:
            indexes = self._groups.popleft() if self._groups else []
            worker.pending.extend(indexes)
            with suppress(ConnectionError):  # if it has crashed since
                worker.connection.send(indexes)
        elif message == _DONE:
            self._done.append(self._running.pop(worker.connection))
        else:
            worker.pending.popleft()
            config = self._session.config
            for data in message:
                self._report(
                    config.hook.pytest_report_from_serializable(
                        config=config, data=data
                    )
                )

    def _replace(self, crashed: _Worker) -> None:
        """Report the test in which a worker crashed; let another run the rest."""
        del self._running[crashed.connection]
        what = f"A worker crashed with status {_end(crashed)}."
        if not crashed.pending:
            raise RuntimeError(what)
        item = self._session.items[crashed.pending.popleft()]
        if crashed.pending:
            self._groups.appendleft([*crashed.pending])
        self._report(
            pytest.TestReport(item.nodeid, item.location, {}, "failed", what, "call")
        )
        if self._groups:
            self._start_worker()

    def _report(self, report: pytest.TestReport) -> None:
        self._session.config.hook.pytest_runtest_logreport(report=report)
        if self._session.shouldfail:
            raise self._session.Failed(self._session.shouldfail)


def _end(worker: _Worker) -> int:
    """Return a worker's status at its end."""
    worker.connection.close()
    _, status = os.waitpid(worker.pid, 0)
    return os.waitstatus_to_exitcode(status)


def _live(session: pytest.Session, main: Connection, folder: Path) -> NoReturn:
    """Run as a worker, from the beginning to the end."""
    status = pytest.ExitCode.INTERNAL_ERROR
    try:
        _be_separate(session.config, folder)
        _work(session, main)
        session.config.hook.pytest_sessionfinish(session=session, exitstatus=0)
        atexit._run_exitfuncs()
        status = pytest.ExitCode.OK
    except KeyboardInterrupt:
        status = pytest.ExitCode.INTERRUPTED
    except BaseException:
        traceback.print_exc()
    finally:
        # A usual end would wait for the threads that tests have left, of which some
        # sleep for minutes.
        os._exit(status)


def _be_separate(config: pytest.Config, folder: Path) -> None:
    """Separate a worker's output and files from those of the main process."""
    os.environ[WORKER] = folder.name
    for name in ("terminalreporter", "terminalprogress"):
        config.pluginmanager.unregister(name=name)
    capture = config.pluginmanager.getplugin("capturemanager")._global_capturing
    if config.option.capture == "fd":
        for stream in (capture.out, capture.err):
            # Modules may have kept sys.stdout at import, so it stays the same object,
            # with the same descriptor.
            with TemporaryFile() as own:
                os.dup2(own.fileno(), stream.tmpfile.fileno(), inheritable=False)
    config.option.basetemp = str(folder)
    config._tmp_path_factory = pytest.TempPathFactory.from_config(
        config, _ispytest=True
    )


def _work(session: pytest.Session, main: Connection) -> None:
    """Run the tests that the main process gives this worker."""
    hook, config = session.config.hook, session.config
    reports: list[Any] = []

    class Reports:
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            reports.append(
                hook.pytest_report_to_serializable(config=config, report=report)
            )

    def given() -> Iterator[pytest.Item]:
        while True:
            main.send(_NEXT)
            if not (indexes := main.recv()):
                return
            yield from (session.items[index] for index in indexes)

    config.pluginmanager.register(Reports())
    # The main process closes the connection if it needs no more results.
    with suppress(EOFError, OSError):
        items = given()
        item = next(items, None)
        while item is not None and not session.shouldfail and not session.shouldstop:
            following = next(items, None)  # which may use the same fixtures
            hook.pytest_runtest_protocol(item=item, nextitem=following)
            main.send(reports)
            reports.clear()
            item = following
        main.send(_DONE)
