"""A store that is down, locked, full, corrupt or frozen: 503, and no session ends.

Each outage says what it stops. If it stops only writes, users stay signed in.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest

from tiktok_oauth_middleware import MemoryStore, SQLiteStore, StoreError

from ..conftest import API, LOGIN, LOGOUT, PAGE, RedisOfManyLoops, kept
from ..stores.conftest import RedisServer
from ..support.patience import HANGS

SESSION = "__Host-tiktok"
LIFE = 7200


class Outage:
    """A store that only one test uses, and the way to stop it."""

    #: Whether reads fail too.
    stops_reads = True
    #: Whether deletions fail too.
    stops_deletions = True
    store = None

    def begin(self):
        raise NotImplementedError

    def end(self):
        raise NotImplementedError

    def close(self):
        self.store.close()


# --- SQLite ------------------------------------------------------------------------


class OfSQLite(Outage):
    def __init__(self, home, clock):
        self.path = home / "tokens.sqlite3"
        self.store = SQLiteStore(self.path, clock=clock, timeout=0.1)

    @property
    def files(self):
        return [p for p in self.path.parent.iterdir() if p.name.startswith("tokens")]


class Locked(OfSQLite):
    """Another connection is writing, and does not finish."""

    stops_reads = False

    def begin(self):
        self.other = sqlite3.connect(self.path, isolation_level=None)
        self.other.execute("BEGIN EXCLUSIVE")

    def end(self):
        self.other.execute("ROLLBACK")
        self.other.close()


class Reserved(Locked):
    """Another process has begun to write: a backup, or a shell."""

    def begin(self):
        script = (
            "import sqlite3, sys;"
            "other = sqlite3.connect(sys.argv[1], isolation_level=None);"
            "other.execute('BEGIN IMMEDIATE');"
            "print('begun', flush=True); sys.stdin.read()"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", script, str(self.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout.readline().strip() == b"begun"

    def end(self):
        self.process.communicate()


class Corrupt(OfSQLite):
    """Something wrote over the file."""

    def begin(self):
        self.store.close()
        # Without -shm, which free-threaded Python may still map for a while: a process
        # that reads a mapped file beyond its new end is killed.
        files = [path for path in self.files if not path.name.endswith("-shm")]
        self.saved = {path: path.read_bytes() for path in files}
        for path, content in self.saved.items():
            path.write_bytes(b"\xa5" * max(4096, len(content)))

    def end(self):
        self.store.close()
        for path in self.files:
            if path not in self.saved:
                path.unlink()
        for path, content in self.saved.items():
            path.write_bytes(content)


class Truncated(Corrupt):
    """Truncate the file to half of its size."""

    def begin(self):
        super().begin()
        for path, content in self.saved.items():
            path.write_bytes(content[: len(content) // 2])


class Vanished(OfSQLite):
    """The file was moved to another place."""

    def begin(self):
        self.store.close()
        self.aside = self.path.parent / "aside"
        self.aside.mkdir()
        for path in self.files:
            path.rename(self.aside / path.name)

    def end(self):
        for path in self.aside.iterdir():
            path.rename(self.path.parent / path.name)


class Full(OfSQLite):
    """No file may grow, as on a disk that is full."""

    stops_reads = False

    def begin(self):
        self.before = resource.getrlimit(resource.RLIMIT_FSIZE)
        largest = max(path.stat().st_size for path in self.files)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, self.before[1]))

    def end(self):
        resource.setrlimit(resource.RLIMIT_FSIZE, self.before)


# --- Redis -------------------------------------------------------------------------


class DurableRedis(RedisServer):
    """A server whose rows survive a kill."""

    def __init__(self, home):
        super().__init__()
        self.home = home

    def start(self):
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(self.port)]
        command += ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        command += ["--dir", str(self.home), "--requirepass", self.password]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + HANGS
        while not (self._answers() and self._is_loaded()):
            assert time.monotonic() < deadline, "redis-server does not answer"
            time.sleep(0.01)

    def _is_loaded(self):
        import redis

        with redis.Redis.from_url(self.url) as client, suppress(redis.RedisError):
            return client.ping()
        return False


class OfRedis(Outage):
    def __init__(self, home, clock):
        self.server = DurableRedis(home)
        self.server.start()
        self.store = RedisOfManyLoops(self.server.url, timeout=0.5)

    def close(self):
        super().close()
        self.server.process.send_signal(signal.SIGCONT)
        self.server.kill()


class Killed(OfRedis):
    """The server died, and is started again later."""

    def begin(self):
        self.server.kill()

    def end(self):
        self.server.start()


class Frozen(OfRedis):
    """The server accepts connections and does not answer."""

    def begin(self):
        self.server.process.send_signal(signal.SIGSTOP)

    def end(self):
        self.server.process.send_signal(signal.SIGCONT)


class Refusing(OfRedis):
    """The server answers reads and refuses writes, since it reaches too few
    replicas.
    """

    stops_reads = False

    def begin(self):
        self._do("CONFIG", "SET", "min-replicas-to-write", "3")

    def end(self):
        self._do("CONFIG", "SET", "min-replicas-to-write", "0")

    def _do(self, *words):
        import redis

        with redis.Redis.from_url(self.server.url) as client:
            client.execute_command(*words)


class Demoted(Refusing):
    """The server became a replica of an unreachable primary."""

    def begin(self):
        self._do("REPLICAOF", "127.0.0.1", "1")

    def end(self):
        self._do("REPLICAOF", "NO", "ONE")


class OutOfMemory(Refusing):
    """The server's memory is full and it evicts nothing; deletions still succeed."""

    stops_deletions = False

    def begin(self):
        self._do("CONFIG", "SET", "maxmemory-policy", "noeviction")
        self._do("CONFIG", "SET", "maxmemory", "1")

    def end(self):
        self._do("CONFIG", "SET", "maxmemory", "0")


# --- a third party's ---------------------------------------------------------------


class Foreign(MemoryStore):
    """A third party's store."""

    waits = "always"

    def __init__(self, clock):
        super().__init__(clock=clock)
        self.trouble = None

    def get(self, key):
        if self.trouble is not None:
            self.trouble()
        return super().get(key)

    def compare_and_set(self, key, old, new, ttl):
        if self.trouble is not None:
            self.trouble()
        return super().compare_and_set(key, old, new, ttl)


class ForeignReader(Foreign):
    """A third party's store in which only writes fail."""

    def get(self, key):
        return MemoryStore.get(self, key)


class Honest(Outage):
    """The store raises StoreError, as it should."""

    def __init__(self, home, clock):
        self.store = Foreign(clock)

    def begin(self):
        def trouble():
            message = "down"
            raise StoreError(message)

        self.store.trouble = trouble

    def end(self):
        self.store.trouble = None


class HonestReader(Honest):
    """The store raises StoreError for writes, and can read."""

    stops_reads = False

    def __init__(self, home, clock):
        super().__init__(home, clock)
        self.store = ForeignReader(clock)


class Raises(Honest):
    """The store raises its driver's exceptions."""

    def begin(self):
        def trouble():
            raise ConnectionRefusedError(111, "secret-host:1234")

        self.store.trouble = trouble


OUTAGES = [
    Locked,
    Reserved,
    Corrupt,
    Truncated,
    Vanished,
    Full,
    Killed,
    Frozen,
    Refusing,
    Demoted,
    OutOfMemory,
    Honest,
    HonestReader,
    Raises,
]


@pytest.fixture(params=OUTAGES, ids=[outage.__name__ for outage in OUTAGES])
def outage(request, tmp_path, clock):
    if issubclass(request.param, OfRedis) and shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    made = request.param(tmp_path, clock)
    yield made
    made.close()


def only(outages):
    """Return a mark that runs a test for the given outages."""
    names = [outage.__name__ for outage in outages]
    return pytest.mark.parametrize("outage", outages, indirect=True, ids=names)


of_all = only([outage for outage in OUTAGES if outage.stops_reads])
of_writes = only([outage for outage in OUTAGES if not outage.stops_reads])
of_deletions = only([outage for outage in OUTAGES if outage.stops_deletions])


@pytest.fixture
def store(outage):
    return outage.store


@pytest.fixture
def world(world):
    world.tiktok.access_lifetime = LIFE
    changes = {"protect": ["/ruled"], "webhook_path": "/hook"}
    return world.with_settings(disconnect_path="/disconnect", **changes)


@pytest.fixture
def signed_in(browser):
    browser.log_in()
    assert browser.signed_in
    return browser


@contextmanager
def during(outage):
    outage.begin()
    try:
        yield
    finally:
        outage.end()


def assert_503(response):
    assert response.status_code == 503, response.text
    assert response.headers["retry-after"].isdigit()
    assert response.headers["cache-control"] == "no-store"
    assert "secret-host" not in response.text
    return response


def good_again(browser):
    """Wait until the store is back, and return the app's answer then."""
    deadline = time.monotonic() + HANGS
    while browser.get("/who", headers=API).status_code != 200:
        assert time.monotonic() < deadline, "never good again"
        time.sleep(0.02)
    return browser.me()


class TestSignedIn:
    """Requests of authenticated users."""

    @of_all
    def test_503(self, signed_in, world, outage):
        """If reads fail, requests get 503 with Retry-After, and are signed in
        afterwards.
        """
        before = signed_in.me()
        # Past the cached session, and past the time at which "last seen" is written.
        world.clock.advance(301)
        with during(outage):
            for _ in range(2):
                api = assert_503(signed_in.get("/who", headers=API))
                assert api.json().keys() == {"error", "reference"}
                assert api.json()["error"] == "store_error"
            for path in ("/private", "/ruled/x", "/", "/videos"):
                page = assert_503(signed_in.get(path, headers=PAGE))
                assert page.headers["content-type"] == "text/html; charset=utf-8"
            assert_503(signed_in.post("/private"))
            assert_503(signed_in.get("/ruled/x", headers=API))
        assert good_again(signed_in) == before
        assert world.count("refresh_token") == 0

    @of_writes
    def test_reads_go_on(self, signed_in, world, outage):
        """If only writes fail, requests are served for as long as their token lives.

        Writing "last seen" and refreshing a valid token are put off; a request with an
        expired token gets 503 without a call to TikTok.
        """
        before = signed_in.me()
        end = before["expires_at"]
        with during(outage):
            # Past the cached session; past "last seen", twice; when a refresh is due;
            # just before the token expires.
            for now in (2, 310, 700, LIFE / 2, LIFE - 200, LIFE - 1):
                world.clock.now = end - LIFE + now
                assert signed_in.me() == before
                assert signed_in.get("/ruled/x").text == "home"
                assert signed_in.get("/private", headers=API).json() == before
            world.clock.now = end + 1
            assert_503(signed_in.get("/who", headers=API))
            assert_503(signed_in.get("/ruled/x", headers=PAGE))
            assert world.count("refresh_token") == 0
        after = good_again(signed_in)
        assert after["token"] not in (None, before["token"])
        assert world.count("refresh_token") == 1

    @of_writes
    def test_deferred_writes(self, signed_in, world, outage):
        """Deferred writes are made after the outage, without a restart."""
        before = signed_in.me()
        with during(outage):
            world.clock.now = before["expires_at"] - 100
            assert signed_in.me() == before
        assert good_again(signed_in)["token"]
        world.clock.advance(31)
        after = signed_in.me()
        assert after["token"] not in (None, before["token"])
        assert world.count("refresh_token") == 1
        [session] = kept(world).sessions
        assert session.last_seen_at == int(world.clock())

    @of_writes
    def test_one_warning(self, signed_in, world, outage, caplog):
        """Failing writes are logged, but not by every request."""
        signed_in.me()
        with during(outage):
            for _ in range(3):
                world.clock.advance(301)
                signed_in.me()
        warnings = [r for r in caplog.records if "takes no writes" in r.getMessage()]
        assert [record.levelname for record in warnings] == ["WARNING"]

    def test_no_refresh(self, signed_in, world, outage):
        """No token is refreshed while its successor could not be written."""
        world.clock.advance(LIFE + 1)
        with during(outage):
            assert_503(signed_in.get("/who", headers=API))
            assert world.count("refresh_token") == 0
        assert good_again(signed_in)["token"]
        assert world.count("refresh_token") == 1

    @of_deletions
    def test_logout(self, signed_in, world, outage):
        """A logout that cannot be written gets 503, and the cookie stays."""
        world.clock.advance(2)
        with during(outage):
            response = assert_503(signed_in.log_out())
            assert "set-cookie" not in response.headers
            assert_503(signed_in.post("/disconnect"))
            assert world.tiktok.count("revoke") == 0
        assert good_again(signed_in)["signed_in"]
        assert signed_in.log_out().status_code == 303
        assert not signed_in.signed_in

    @of_deletions
    def test_webhook(self, signed_in, world, outage):
        """A delivery gets 503, so that TikTok repeats it."""
        open_id = world.tiktok.people[0].open_id
        headers, body = world.tiktok.webhook("authorization.removed", open_id)
        client = world.browser().client
        with during(outage):
            response = client.post("/hook", content=body, headers=headers)
            assert assert_503(response).json()["error"] == "store_error"
        assert good_again(signed_in)["signed_in"]
        response = client.post("/hook", content=body, headers=headers)
        assert response.status_code == 200
        world.clock.advance(2)
        assert not signed_in.signed_in

    @only([OutOfMemory])
    def test_logout_makes_room(self, signed_in, world, outage):
        """A logout succeeds at a full server, which can still delete."""
        with during(outage):
            assert signed_in.log_out().status_code == 303
            assert not signed_in.signed_in


class TestOthers:
    """Requests that do not need the store."""

    def test_do_not_notice(self, signed_in, world, outage):
        """Requests without a session cookie, or with a forged one, are answered as
        usual.
        """
        value = signed_in.cookies()[SESSION]
        forged = ("A" if value[0] != "A" else "B") + value[1:]
        others = [
            world.browser(**cookies)
            for cookies in ({}, {SESSION: forged}, {SESSION: "x"})
        ]
        with during(outage):
            for other in others:
                assert other.me()["signed_in"] is False
                assert other.get("/").text == "home"
                assert other.get("/private").status_code == 303
                assert other.get("/private", headers=API).status_code == 401
                assert other.get("/ruled/x").status_code == 303
                assert other.get("/ruled/x", headers=API).status_code == 401
                assert other.get(LOGIN).status_code == 303
                assert other.get(LOGOUT).status_code == 200


class TestLogin:
    def test_no_token_call(self, world, outage):
        """A callback gets 503 without a token call, and can be sent again
        afterwards.
        """
        browser = world.browser()
        world.browser().log_in(person=world.tiktok.people[1])
        callback = browser.consent(browser.begin())
        with during(outage):
            page = assert_503(browser.get(callback))
            assert page.headers["content-type"] == "text/html; charset=utf-8"
            assert "set-cookie" not in page.headers
            assert world.count("authorization_code") == 1
        if isinstance(outage, Frozen):
            # Longer than an exchange takes: a callback waits so long for the one that
            # marked the login as used, and this mark is the frozen server's.
            world.clock.advance(3 * world.settings.timeout + 6)
        deadline = time.monotonic() + HANGS
        response = browser.get(callback)
        while response.status_code == 503 and time.monotonic() < deadline:
            time.sleep(0.02)
            response = browser.get(callback)
        if isinstance(outage, Frozen) and response.status_code == 400:
            # The frozen server later processes what it was sent before: the login is
            # marked as used, which the middleware could not know.
            assert "used already" in response.text
            response = browser.log_in()
        assert response.status_code == 303
        assert browser.signed_in
        assert world.count("authorization_code") == 2

    def test_event(self, signed_in, world, outage):
        """A store error is reported with the reference in the response."""
        world.clock.advance(LIFE + 1)
        with during(outage):
            reference = signed_in.get("/who", headers=API).json()["reference"]
        [event] = [e for e in world.events if e.name == "store_error"]
        assert (event.reason, event.reference) == ("store_error", reference)
        assert event.open_id is None


# --- outages outside of the table --------------------------------------------------


@contextmanager
def nobody():
    """If root runs the tests, act as a user to whom file modes apply."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(0)


class TestReadOnly:
    @pytest.fixture
    def outage(self, clock):
        class ReadOnly(OfSQLite):
            def begin(self):
                for path in self.files:
                    path.chmod(0o444)
                self.path.parent.chmod(0o555)

            def end(self):
                self.path.parent.chmod(0o755)
                for path in self.files:
                    path.chmod(0o600)

        with tempfile.TemporaryDirectory() as home:  # all users may enter its parents
            made = ReadOnly(Path(home), clock)
            yield made
            made.close()

    def test_directory(self, signed_in, world, outage):
        """If no file in the directory may be written, reads succeed and logins
        get 503.
        """
        before = signed_in.me()
        world.clock.advance(301)
        browser = world.browser()
        callback = browser.consent(browser.begin())
        outage.store.close()
        with during(outage), nobody():
            assert signed_in.me() == before
            assert signed_in.get("/ruled/x", headers=PAGE).text == "home"
            assert_503(signed_in.log_out())
            assert_503(browser.get(callback))
            assert world.count("authorization_code") == 1
        assert signed_in.me() == before
        assert browser.get(callback).status_code == 303


class TestAsync:
    """A third party's store that is written for asyncio."""

    @pytest.fixture
    def interface(self):
        return "asyncio"

    @pytest.fixture
    def outage(self, clock):
        inner = Foreign(clock)

        class Async:
            async def get(self, key):
                return inner.get(key)

            async def compare_and_set(self, key, old, new, ttl):
                return inner.compare_and_set(key, old, new, ttl)

            @asynccontextmanager
            async def lock(self, key, ttl):
                with inner.lock(key, ttl) as held:
                    yield held

            async def close(self):
                inner.close()

        class AsyncOutage(Raises):
            def __init__(self):
                self.store = Async()

            def begin(self):
                def trouble():
                    raise ConnectionRefusedError(111, "secret-host:1234")

                inner.trouble = trouble

            def end(self):
                inner.trouble = None

            def close(self):
                inner.close()

        return AsyncOutage()

    def test_own_exception(self, signed_in, world, outage):
        """An exception of its driver also leads to 503."""
        before = signed_in.me()
        world.clock.advance(2)
        with during(outage):
            assert_503(signed_in.get("/who", headers=API))
            assert_503(signed_in.get("/ruled/x", headers=PAGE))
        assert signed_in.me() == before

    def test_works(self, world):
        """Without an outage it serves a login, a refresh and a logout."""
        browser = world.browser()
        browser.log_in()
        token = browser.me()["token"]
        world.clock.advance(LIFE + 1)
        assert browser.me()["token"] not in (token, None)
        assert browser.log_out().status_code == 303
        assert not browser.signed_in
