"""The Redis store in addition to the contract: outages, timeouts, secrets."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from contextlib import closing
from typing import TYPE_CHECKING, Any, Self

import pytest
import trio

from tiktok_oauth_middleware import RedisStore
from tiktok_oauth_middleware.errors import ConfigurationError, StoreError
from tiktok_oauth_middleware.stores.registry import diagnose_store

from ..support.patience import HANGS
from ..support.processes import forks

redis = pytest.importorskip("redis")

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def store(redis_url: str) -> Iterator[RedisStore]:
    store = RedisStore(redis_url)
    yield store
    store.close()


def calls(url: str) -> dict[str, int]:
    """Return how often each command was run, except by this function."""
    with redis.Redis.from_url(url) as client:
        stats = client.info("commandstats")
    counts = {
        name.removeprefix("cmdstat_"): row["calls"] for name, row in stats.items()
    }
    return {
        name: count
        for name, count in counts.items()
        if not name.startswith(("info", "client", "hello", "auth", "select"))
    }


def added(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    return {
        name: count - before.get(name, 0)
        for name, count in after.items()
        if count != before.get(name, 0)
    }


# --- commands ----------------------------------------------------------------------


def test_a_read_is_one_command(redis_url: str, store: RedisStore) -> None:
    """Ten reads are ten GETs and no other command."""
    store.get("row")
    before = calls(redis_url)
    for _ in range(10):
        store.get("row")
    assert added(before, calls(redis_url)) == {"get": 10}


@pytest.mark.anyio
async def test_a_read_in_a_loop_is_one_command(redis_url: str) -> None:
    """Ten reads with the asyncio methods are ten GETs and no other command."""
    store = RedisStore(redis_url)
    await store.aget("row")
    before = calls(redis_url)
    for _ in range(10):
        await store.aget("row")
    assert added(before, calls(redis_url)) == {"get": 10}
    await store.aclose()


def test_a_swap_is_one_script(redis_url: str, store: RedisStore) -> None:
    """A swap is one EVALSHA, in which the server reads and writes."""
    store.compare_and_set("warm", None, b"value", 1)
    before = calls(redis_url)
    assert store.compare_and_set("script", None, b"value", 1) is True
    assert added(before, calls(redis_url)) == {"evalsha": 1, "get": 1, "set": 1}


def test_a_server_that_forgot_the_script_is_taught_again(
    redis_url: str, store: RedisStore
) -> None:
    """A swap works after the server's scripts are flushed."""
    with redis.Redis.from_url(redis_url) as client:
        store.compare_and_set("flushed", None, b"value", 1)
        client.script_flush()
    assert store.compare_and_set("flushed", b"value", b"new", 1) is True


def test_rows_expire_in_the_server(redis_url: str, store: RedisStore) -> None:
    """Every row has its time to live at the server, in milliseconds."""
    store.compare_and_set("life", None, b"value", 1.2345)
    store.compare_and_set("life", b"value", b"new", 60.5)
    with redis.Redis.from_url(redis_url) as client:
        assert 60_000 < client.pttl("life") <= 60_500


# --- a swap that is sent twice -----------------------------------------------------


class LosesAnswers:
    """A proxy that passes a command on and drops the connection before its answer,
    once.
    """

    def __init__(self, client: Any) -> None:
        self.left = 0
        self._pool = client.connection_pool

    def __enter__(self) -> Self:
        losing = self

        class Losing(self._pool.connection_class):
            def read_response(self, *args: Any, **options: Any) -> Any:
                answer = super().read_response(*args, **options)
                if losing.left:
                    losing.left -= 1
                    self.disconnect()
                    raise redis.ConnectionError
                return answer

        self._pool.connection_class = Losing
        self._pool.disconnect()
        self._pool.reset()
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.disconnect()


def test_a_swap_whose_answer_is_lost_is_still_true(
    store: RedisStore, request: pytest.FixtureRequest
) -> None:
    """A swap that took place returns True even if its first answer was lost."""
    key = request.node.name
    with LosesAnswers(store._connections().client) as answers:
        store.get(key)
        answers.left = 1
        assert store.compare_and_set(key, None, b"first", 60) is True
        answers.left = 1
        assert store.compare_and_set(key, b"first", b"second", 60) is True
        assert store.get(key) == b"second"
        answers.left = 1
        assert store.get(key) == b"second"


def test_a_lost_answer_makes_no_other_swap_ours(
    store: RedisStore, request: pytest.FixtureRequest
) -> None:
    """A swap by another caller to the same value is not counted as this one's."""
    key = request.node.name
    store.compare_and_set(key, None, b"used", 60)
    with LosesAnswers(store._connections().client) as answers:
        store.get(key)
        answers.left = 1
        assert store.compare_and_set(key, None, b"used", 60) is False


def test_two_lost_answers_are_an_error(store: RedisStore) -> None:
    """Two lost answers in a row are an error."""
    with LosesAnswers(store._connections().client) as answers:
        store.get("row")
        answers.left = 2
        with pytest.raises(StoreError):
            store.get("row")
        assert answers.left == 0


# --- outages -----------------------------------------------------------------------


def test_a_dead_server_is_an_error_in_time(redis_server: Any) -> None:
    """Each call to a killed server fails at once; after a restart all work again."""
    store = RedisStore(redis_server.url)
    store.compare_and_set("row", None, b"value", 60)
    redis_server.kill()
    for ask in (
        lambda: store.get("row"),
        lambda: store.compare_and_set("row", None, b"new", 60),
        lambda: store.lock("row", 60).__enter__(),
    ):
        began = time.monotonic()
        with pytest.raises(StoreError):
            ask()
        assert time.monotonic() - began < HANGS
    redis_server.start()
    assert store.get("row") is None
    assert store.compare_and_set("row", None, b"new", 60) is True
    store.close()


@pytest.mark.anyio
async def test_a_dead_server_is_an_error_in_a_loop(redis_server: Any) -> None:
    """The asyncio methods fail at once too, and work again after a restart."""
    store = RedisStore(redis_server.url)
    await store.acompare_and_set("row", None, b"value", 60)
    redis_server.kill()
    for ask in (store.aget("row"), store.acompare_and_set("row", None, b"new", 60)):
        began = time.monotonic()
        with pytest.raises(StoreError):
            await ask
        assert time.monotonic() - began < HANGS
    redis_server.start()
    assert await store.acompare_and_set("row", None, b"new", 60) is True
    assert await store.aget("row") == b"new"
    await store.aclose()


def test_dead_connections_are_replaced(redis_server: Any) -> None:
    """Threads whose pooled connections died with a restart see no error."""
    store = RedisStore(redis_server.url)
    together = threading.Barrier(4)

    def use() -> None:
        together.wait()
        store.get("row")

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    redis_server.kill()
    redis_server.start()
    for _ in range(8):
        assert store.get("row") is None
    store.close()


def test_a_silent_server_is_an_error_in_time() -> None:
    """A server that accepts and never answers costs one timeout, not two."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = RedisStore(f"redis://127.0.0.1:{silent.getsockname()[1]}", timeout=0.3)
        with pytest.raises(StoreError):
            store.get("row")
        store.close()
        # A second attempt would have connected again.
        silent.accept()[0].close()
        silent.setblocking(False)
        with pytest.raises(BlockingIOError):
            silent.accept()


@pytest.mark.anyio
async def test_a_silent_server_is_an_error_in_a_loop(redis_server: Any) -> None:
    """The asyncio methods also wait for only one timeout, without blocking the loop."""
    store = RedisStore(redis_server.url, timeout=5)
    await store.aget("row")
    redis_server.process.send_signal(signal.SIGSTOP)
    steps = []

    async def ask() -> None:
        steps.append("begins")
        with pytest.raises(StoreError):
            await store.aget("row")
        steps.append("ends")

    try:
        await asyncio.gather(*(ask() for _ in range(5)))
        assert steps == ["begins"] * 5 + ["ends"] * 5
    finally:
        redis_server.process.send_signal(signal.SIGCONT)
    await store.aclose()


def test_another_kind_of_row_is_an_error(redis_url: str, store: RedisStore) -> None:
    """A row that is not a string is an error, and does not count as missing."""
    with redis.Redis.from_url(redis_url) as client:
        client.lpush("a list", "value")
        with pytest.raises(StoreError, match="WRONGTYPE, another program keeps"):
            store.get("a list")
        with pytest.raises(StoreError, match="WRONGTYPE, another program keeps"):
            store.compare_and_set("a list", None, b"value", 60)
        client.delete("a list")


# --- processes and loops -----------------------------------------------------------


@forks
def test_a_child_has_connections_of_its_own(redis_url: str, store: RedisStore) -> None:
    """After a fork, parent and child do not read each other's answers."""
    store.compare_and_set("forked", None, b"value", 60)
    child = os.fork()
    if child == 0:
        try:
            same = all(store.get("forked") == b"value" for _ in range(200))
            os._exit(0 if same else 1)
        finally:
            os._exit(2)
    assert all(store.get("missing") is None for _ in range(200))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_each_loop_has_connections_of_its_own(redis_url: str) -> None:
    """A store serves one event loop after another, and drops those that closed."""
    store = RedisStore(redis_url)

    async def use() -> bytes | None:
        try:
            return await store.aget("row")
        finally:
            await store.aclose()

    for _ in range(3):
        assert asyncio.run(use()) is None
    assert store._by_loop == {}


def test_both_faces_see_the_same_rows(redis_url: str, store: RedisStore) -> None:
    """Blocking methods read rows that asyncio methods wrote, and the reverse."""
    store.compare_and_set("faces", None, b"value", 60)

    async def use() -> bytes | None:
        try:
            await store.acompare_and_set("faces", b"value", b"new", 60)
            return await store.aget("faces")
        finally:
            await store.aclose()

    assert asyncio.run(use()) == b"new"
    assert store.get("faces") == b"new"


def test_a_connection_closed_under_a_waiting_call(redis_server: Any) -> None:
    """A call is repeated if another thread closed its connection, at any moment."""
    store = RedisStore(redis_server.url, timeout=2.5)
    store.compare_and_set("row", None, b"1", 60)
    connections = store._connections()
    pool = connections.pool  # `pool` is read only to be emptied
    [connection] = pool._connections
    with redis.Redis.from_url(redis_server.url) as client:
        client.client_pause(2600)
    done: list[object] = []

    def write() -> None:
        try:
            done.append(store.compare_and_set("row", b"1", b"2", 60))
        except StoreError as error:
            done.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    while connection in pool.pool.queue:
        time.sleep(0.01)
    time.sleep(0.5)
    connection._parser.on_disconnect()
    thread.join(HANGS)
    assert done == [True]
    assert store.get("row") == b"2"
    store.close()


def test_aclose_under_trio(store: RedisStore) -> None:
    """Under Trio, aclose closes the connections that were used there."""
    store.compare_and_set("row of trio", None, b"1", 60)
    trio.run(store.aclose)
    assert not store._by_process
    assert store.get("row of trio") == b"1"


def test_a_blocking_client_has_no_asyncio_face(redis_url: str) -> None:
    """In an event loop a blocking client is an error that names the right client."""
    with redis.Redis.from_url(redis_url) as client:
        store = RedisStore(client)
        assert store.get("row") is None
        with pytest.raises(ConfigurationError, match=r"redis\.asyncio\.Redis or a URL"):
            asyncio.run(store.aget("row"))


@pytest.mark.anyio
async def test_an_asyncio_client_has_no_blocking_face(redis_url: str) -> None:
    """Under WSGI an asyncio client is an error that names the right client."""
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        store = RedisStore(client)
        assert await store.acompare_and_set("row of a client", None, b"v", 60) is True
        assert await store.aget("row of a client") == b"v"
        with pytest.raises(ConfigurationError, match=r"redis\.Redis or a URL"):
            store.get("row")
        await store.aclose()
        assert await client.ping() is True


def test_a_given_client_is_not_closed(redis_url: str) -> None:
    """Closing the store leaves a client that the app made open."""
    with redis.Redis.from_url(redis_url) as client:
        store = RedisStore(client)
        store.get("row")
        store.close()
        assert len(client.connection_pool._available_connections) == 1


# --- configuration and secrets -----------------------------------------------------


def test_the_password_is_shown_nowhere(redis_server: Any) -> None:
    """Neither repr nor any error of the store shows the password."""
    store = RedisStore(redis_server.url)
    report = [repr(store), str(store), repr(vars(store)["_by_process"])]
    store.get("row")
    redis_server.kill()
    with pytest.raises(StoreError) as failure:
        store.get("row")
    report += traceback.format_exception(failure.value)
    store.close()
    assert repr(store) == f"RedisStore('redis://127.0.0.1:{redis_server.port}/0')"
    assert redis_server.password not in "".join(report)


def test_a_wrong_password_is_an_error(redis_url: str) -> None:
    """A password that the server refuses is a StoreError that does not repeat it."""
    store = RedisStore(redis_url.replace("correct", "wrong"))
    with pytest.raises(StoreError, match="wrong user or password") as failure:
        store.get("row")
    assert "wrong-horse" not in "".join(traceback.format_exception(failure.value))
    store.close()


@pytest.mark.parametrize(
    "url",
    [
        "http://user:hunter2@host",
        "redis://:hunter2/x@host:port",
        "redis://:hunter2@host?max_connections=many",
        "redis://:hunter2@host?hunter2=1",
    ],
)
def test_an_unreadable_url_is_not_repeated(url: str) -> None:
    """A URL that redis-py cannot read is a ConfigurationError without its text."""
    with pytest.raises(ConfigurationError, match="not a URL") as refused:
        RedisStore(url)
    assert "hunter2" not in str(refused.value)
    assert refused.value.__suppress_context__


@pytest.mark.parametrize("made", ["url", "client"])
def test_decoding_is_refused(redis_url: str, made: str) -> None:
    """A client that would decode values is refused when the store is made."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        decoding = client if made == "client" else f"{redis_url}?decode_responses=true"
        with pytest.raises(ConfigurationError, match="decode_responses"):
            RedisStore(decoding)


def test_value_without_a_client_is_refused() -> None:
    """A value that is neither a URL nor a client is a ConfigurationError that
    names it.
    """

    class Coredis:
        """A client of another library: some names are the same, not all."""

        def execute_command(self):
            raise AssertionError

        async def get(self, key):
            raise AssertionError

    for given in (42, None, object(), Coredis(), b"redis://localhost"):
        with pytest.raises(
            ConfigurationError, match="neither a URL nor a client"
        ) as refused:
            RedisStore(given)
        assert type(given).__qualname__ in str(refused.value)
        assert "redis.asyncio.Redis" in str(refused.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda url, nowhere: f"redis://:x@127.0.0.1:{nowhere}/0", "refused"),
        (lambda url, nowhere: url.replace("redis://", "rediss://"), "speak TLS"),
        (
            lambda url, nowhere: url.replace("correct", "wrong"),
            "wrong user or password",
        ),
        (lambda url, nowhere: re.sub(r"//.*@", "//", url), "asks for a password"),
        (lambda url, nowhere: url.removesuffix("/0") + "/9999", "no database"),
        (lambda url, nowhere: "redis://:x@no-such-host.invalid:6379/0", "resolved"),
        (lambda url, nowhere: "unix:///no/such/redis.sock?password=x", "socket"),
    ],
    ids=["refused", "plain port", "password", "none", "database", "name", "socket"],
)
def test_the_cause_of_no_connection(
    redis_url: str, change: Any, message: str, tmp_path: Any
) -> None:
    """An error names why there is no connection, sync, asyncio and in `check`.

    None of them contains the address or its secrets.
    """
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        url = change(redis_url, taken.getsockname()[1])
        # A plain-text server does not answer TLS at all.
        store = RedisStore(url, timeout=0.5 if "rediss" in url else HANGS)

        async def ask_in_a_loop() -> None:
            try:
                await store.aget("row")
            finally:
                await store.aclose()

        report = []
        for ask in (lambda: store.get("row"), lambda: asyncio.run(ask_in_a_loop())):
            with pytest.raises(StoreError) as failure:
                ask()
            report.append(str(failure.value))
        found = {f.code: f for f in diagnose_store(url)}
        report.append(found["store_unusable"].message)
    for each in report:
        assert message in each, report
        for secret in ("horse", "127.0.0.1", "no-such-host", ":x@"):
            assert secret not in each
    store.close()


WITHOUT_REDIS = """
import sys
sys.modules["redis"] = None
from tiktok_oauth_middleware.errors import ConfigurationError
from tiktok_oauth_middleware.stores import open_store
try:
    open_store("redis://localhost")
except ConfigurationError as error:
    print(error)
"""


def test_a_missing_library_is_named() -> None:
    """Without redis-py, a Redis URL is an error that names the package to install."""
    report = subprocess.run(
        [sys.executable, "-c", WITHOUT_REDIS],
        capture_output=True,
        text=True,
        check=True,
    )
    assert 'pip install "tiktok-oauth-middleware[redis]"' in report.stdout
