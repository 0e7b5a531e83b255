"""Database servers for the tests: PostgreSQL and MariaDB on free ports."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from ..support.patience import HANGS
from ..support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


#: By kind, the data of a server that has not been started: making them takes a second
#: of processor time, and copying them a fifth of it.
_NEW_DATA: dict[type[Server], Path] = {}


def _copy(data: Path, folder: str | Path) -> None:
    """Copy data with their owners into a folder."""
    subprocess.run(["cp", "-a", str(data), str(folder)], check=True)


class Server:
    """A server whose data live in a temporary folder; it can be killed and started."""

    #: Ends the server and its child processes at once, as if the machine had failed.
    at_once = signal.SIGKILL

    def __init__(self) -> None:
        self.port = free_port()
        self.home = Path(tempfile.mkdtemp(prefix="database-"))
        self.process: subprocess.Popen[bytes] | None = None
        self.prepare()
        if type(self) not in _NEW_DATA:
            self.make_data()
            kept = tempfile.mkdtemp(prefix="database-")
            atexit.register(shutil.rmtree, kept, ignore_errors=True)
            _copy(self.home / "data", kept)
            _NEW_DATA[type(self)] = Path(kept, "data")
        else:
            _copy(_NEW_DATA[type(self)], self.home)

    @staticmethod
    def is_installed() -> bool:
        raise NotImplementedError

    def prepare(self) -> None:
        """Prepare `home`, in which there are no data yet."""

    def make_data(self) -> None:
        """Make the data of a new server, in ``home/data``."""
        raise NotImplementedError

    def command(self) -> list[str]:
        raise NotImplementedError

    def answers(self) -> bool:
        raise NotImplementedError

    def url(self, driver: str = "") -> str:
        raise NotImplementedError

    def start(self) -> None:
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log)
        deadline = time.monotonic() + HANGS
        while not self.answers():
            assert self.process.poll() is None, (self.home / "log").read_text()
            assert time.monotonic() < deadline, "the database does not answer"
            time.sleep(0.05)

    def pause(self) -> None:
        """Suspend the process; return once it is suspended."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)

    def go_on(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(self.at_once)
        self.process.wait()

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self.home, ignore_errors=True)


class PostgreSQL(Server):
    """PostgreSQL as Debian installs it, which refuses to run as root."""

    at_once = signal.SIGQUIT  # its workers would survive SIGKILL

    @staticmethod
    def _programs() -> list[Path]:
        # The client's package makes the folder even without a server.
        found = Path("/usr/lib/postgresql").glob("*/bin/postgres")
        return sorted(program.parent for program in found)

    @staticmethod
    def is_installed() -> bool:
        return bool(PostgreSQL._programs())

    def _run(self, name: str) -> list[str]:
        command = [str(self._programs()[-1] / name)]
        if os.geteuid() != 0:
            return command
        someone = ["--reuid=postgres", "--regid=postgres", "--clear-groups"]
        return ["setpriv", *someone, *command]

    def prepare(self) -> None:
        if os.geteuid() == 0:
            shutil.chown(self.home, "postgres", "postgres")

    def make_data(self) -> None:
        command = [*self._run("initdb"), "-D", str(self.home / "data"), "-U", "tests"]
        command += ["--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def command(self) -> list[str]:
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.home),
            "fsync": "off",
        }
        command = [*self._run("postgres"), "-D", str(self.home / "data")]
        return command + [f"--{name}={value}" for name, value in options.items()]

    def freeze(self) -> None:
        """Suspend the server, and the process of each connection."""
        self.pause()
        self._signal_children(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal_children(signal.SIGCONT)
        self.go_on()

    def _signal_children(self, number: signal.Signals) -> None:
        assert self.process is not None
        parent = f"PPid:\t{self.process.pid}\n"
        for status in Path("/proc").glob("[0-9]*/status"):
            with suppress(OSError):  # that process has ended
                if parent in status.read_text():
                    os.kill(int(status.parent.name), number)

    def answers(self) -> bool:
        command = [*self._run("pg_isready"), "-q", "-h", "127.0.0.1"]
        command += ["-p", str(self.port)]
        return subprocess.run(command, check=False).returncode == 0

    def url(self, driver: str = "") -> str:
        place = f"127.0.0.1:{self.port}/postgres"
        return f"postgresql+{driver or 'psycopg'}://tests@{place}"


class MariaDB(Server):
    """MariaDB with its usual collation, which ignores case and trailing blanks."""

    @staticmethod
    def _program() -> str | None:
        return shutil.which("mariadbd", path=f"{os.environ['PATH']}:/usr/sbin")

    @staticmethod
    def is_installed() -> bool:
        return MariaDB._program() is not None

    @staticmethod
    def _as_root() -> list[str]:
        return ["--user=root"] if os.geteuid() == 0 else []

    def prepare(self) -> None:
        setup = "CREATE DATABASE IF NOT EXISTS tests;\n"
        (self.home / "setup.sql").write_text(setup)

    def make_data(self) -> None:
        command = ["mariadb-install-db", "--no-defaults", f"--datadir={self.home}/data"]
        command += ["--auth-root-authentication-method=normal", "--skip-test-db"]
        quiet = subprocess.DEVNULL
        command += self._as_root()
        for _ in range(3):  # its own server may time out on a busy machine
            done = subprocess.run(
                command, check=False, stdout=quiet, stderr=subprocess.PIPE
            )
            if done.returncode == 0:
                break
            shutil.rmtree(self.home / "data", ignore_errors=True)
        assert done.returncode == 0, done.stderr.decode(errors="replace")

    def command(self) -> list[str]:
        command = [str(self._program()), "--no-defaults", "--skip-name-resolve"]
        command += [f"--datadir={self.home}/data", f"--socket={self.home}/socket"]
        command += ["--bind-address=127.0.0.1", f"--port={self.port}"]
        return [*command, f"--init-file={self.home}/setup.sql", *self._as_root()]

    def answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                return bool(connection.recv(1))  # the server's greeting
        except OSError:
            return False

    def url(self, driver: str = "") -> str:
        place = f"127.0.0.1:{self.port}/tests"
        return f"mysql+{driver or 'pymysql'}://root@{place}"


def running(kind: type[Server]) -> Iterator[Server]:
    if not kind.is_installed():
        pytest.skip(f"{kind.__name__} is not installed")
    server = kind()
    server.start()
    yield server
    server.remove()


class Waiting:
    """The statements that wait for a lock on a table, as the server lists them."""

    def __init__(self, admin: Any, server: Server, table: str) -> None:
        self._admin = admin
        self._is_mariadb = isinstance(server, MariaDB)
        self._query = (
            "SELECT id FROM information_schema.processlist"
            f" WHERE state LIKE 'Waiting for table%%' AND info LIKE '%%{table}%%'"
            if self._is_mariadb
            else "SELECT pid FROM pg_stat_activity"
            f" WHERE wait_event_type = 'Lock' AND query LIKE '%%{table}%%'"
        )

    def ids(self) -> list[int]:
        return list(self._admin.exec_driver_sql(self._query).scalars())

    def end_one(self) -> int:
        """End the connection of the waiting statement; return its id."""
        [found] = self.ids()
        kill = f"KILL {found}"
        if not self._is_mariadb:
            kill = f"SELECT pg_terminate_backend({found})"
        self._admin.exec_driver_sql(kill)
        return found


@contextmanager
def locked(server: Server, table: str) -> Iterator[Waiting]:
    """Lock a table, so that each statement on it waits."""
    engine = sa.create_engine(server.url())
    with engine.connect() as lock, engine.connect() as admin:
        admin.execution_options(isolation_level="AUTOCOMMIT")
        is_mariadb = isinstance(server, MariaDB)
        lock.exec_driver_sql(f"LOCK TABLE {table}" + " WRITE" * is_mariadb)
        try:
            yield Waiting(admin, server, table)
        finally:
            if is_mariadb:
                lock.exec_driver_sql("UNLOCK TABLES")
            lock.rollback()
    engine.dispose()


def wait_until(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + HANGS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)
