"""Reads that share a call: each task gets its own key's answer, or its own error."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from tiktok_oauth_middleware.errors import StoreError
from tiktok_oauth_middleware.stores.redis import RedisStore
from tiktok_oauth_middleware.stores.shared_reads import MOST_READS, SharedReads

from ..support.patience import HANGS

if TYPE_CHECKING:
    from .conftest import RedisServer


class Rows:
    """Rows whose reads the tests delay or let fail."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        #: The turns of the event loop that each call takes, by the call's number.
        self.turns: list[int] = []
        #: Whether each call fails as a whole, by its number.
        self.fails: list[bool] = []

    async def one(self, key: str) -> bytes | None:
        [answer] = await self.several([key])
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def several(self, keys: list[str]) -> list[bytes | None | Exception]:
        number = len(self.calls)
        self.calls.append(keys)
        for _ in range(self.turns[number % len(self.turns)]):
            await asyncio.sleep(0)
        if self.fails[number % len(self.fails)]:
            raise StoreError("failed: " + " ".join(keys))
        return [self.answer(key) for key in keys]

    @staticmethod
    def answer(key: str) -> bytes | None | Exception:
        if key.startswith("missing"):
            return None
        if key.startswith("broken"):
            return StoreError(f"broken: {key}")
        return key.encode()


#: For each task: the number of its key, the turns before it reads, and the turns until
#: it is cancelled, or None.
ASKED = st.tuples(
    st.sampled_from(["row-1", "row-2", "row-3", "row-4", "missing-1", "broken-1"]),
    st.integers(0, 4),
    st.none() | st.integers(0, 5),
)


@given(
    asked=st.lists(ASKED, min_size=1, max_size=25),
    turns=st.lists(st.integers(0, 5), min_size=1, max_size=5),
    fails=st.lists(st.booleans(), min_size=1, max_size=5),
)
def test_each_gets_the_answer_to_its_own_key(
    asked: list[tuple[str, int, int | None]], turns: list[int], fails: list[bool]
) -> None:
    """No task gets another key's answer, even if calls are slow, fail or are
    cancelled.
    """
    rows = Rows()
    rows.turns, rows.fails = turns, fails
    reads = SharedReads(rows.one, rows.several)

    async def ask(key: str, begin: int) -> bytes | None:
        for _ in range(begin):
            await asyncio.sleep(0)
        return await reads.get(key)

    async def main() -> list[Any]:
        tasks = [asyncio.ensure_future(ask(key, begin)) for key, begin, _ in asked]
        for turn in range(10):
            for task, (_, begin, cancelled) in zip(tasks, asked, strict=True):
                if cancelled is not None and turn == begin + cancelled:
                    task.cancel()
            await asyncio.sleep(0)
        return await asyncio.gather(*tasks, return_exceptions=True)

    for (key, _, cancelled), found in zip(asked, asyncio.run(main()), strict=True):
        if isinstance(found, asyncio.CancelledError):
            assert cancelled is not None
        elif isinstance(found, Exception):
            assert isinstance(found, StoreError)
            assert key in str(found)
            assert any(fails) or str(found) == f"broken: {key}"
        else:
            assert found == rows.answer(key)
    assert all(len(keys) <= MOST_READS for keys in rows.calls)


def test_an_error_is_each_tasks_own() -> None:
    """A failing call raises a separate exception in each task, with the same cause."""
    cause = OSError("gone")

    async def fail(_: object) -> Any:
        await asyncio.sleep(0)
        raise StoreError("Redis could not read") from cause

    reads = SharedReads(fail, fail)

    async def main() -> list[Any]:
        asked = (reads.get(f"row-{n}") for n in range(5))
        return await asyncio.gather(*asked, return_exceptions=True)

    found = asyncio.run(main())
    assert len({id(error) for error in found}) == 5
    assert {str(error) for error in found} == {"Redis could not read"}
    assert all(error.__cause__ is cause for error in found)


@pytest.mark.parametrize("count", [0, 2, 6])
def test_no_task_waits_for_ever(count: int) -> None:
    """After a call with too few or too many answers, no task waits."""

    async def one(key: str) -> bytes:
        await asyncio.sleep(0)
        return key.encode()

    async def several(keys: list[str]) -> list[bytes]:
        return [*map(str.encode, keys), b"more", b"more"][:count]

    reads = SharedReads(one, several)

    async def main() -> list[str]:
        asked = [asyncio.ensure_future(reads.get(f"row-{n}")) for n in range(5)]
        _, waiting = await asyncio.wait(asked, timeout=HANGS)
        assert not waiting
        return [str(task.cancelled() or task.result()) for task in asked]

    found = asyncio.run(main())
    rows = [str(f"row-{n}".encode()) for n in range(5)]
    assert all(got in (row, "True") for got, row in zip(found, rows, strict=True))


def test_a_read_alone_does_not_wait() -> None:
    """Reads that follow one another are separate calls, without a delay."""
    rows = Rows()
    rows.turns, rows.fails = [1], [False]
    reads = SharedReads(rows.one, rows.several)

    async def main() -> None:
        for number in range(5):
            assert await reads.get(f"row-{number}") == f"row-{number}".encode()

    asyncio.run(main())
    assert rows.calls == [[f"row-{n}"] for n in range(5)]


def test_a_call_is_bounded() -> None:
    """A thousand reads at once make eleven calls: one single read, and ten of a
    hundred.
    """
    rows = Rows()
    rows.turns, rows.fails = [1], [False]
    reads = SharedReads(rows.one, rows.several)

    async def main() -> list[bytes | None]:
        return await asyncio.gather(*(reads.get(f"row-{n}") for n in range(1000)))

    assert asyncio.run(main()) == [f"row-{n}".encode() for n in range(1000)]
    assert Counter(map(len, rows.calls)) == {1: 1, MOST_READS: 9, MOST_READS - 1: 1}


def test_another_open_loop_reads_alone() -> None:
    """A second open loop in another thread does not share reads; a later loop does."""
    rows = Rows()
    rows.turns, rows.fails = [1], [False]
    reads = SharedReads(rows.one, rows.several)

    async def main() -> list[bytes | None]:
        return await asyncio.gather(*(reads.get(f"row-{n}") for n in range(5)))

    async def outer() -> None:
        assert await reads.get("row-0") == b"row-0"
        thread = threading.Thread(target=lambda: found.extend(asyncio.run(main())))
        thread.start()
        await asyncio.to_thread(thread.join)

    found: list[bytes | None] = []
    asyncio.run(outer())
    assert found == [f"row-{n}".encode() for n in range(5)]
    assert all(len(keys) == 1 for keys in rows.calls)
    asyncio.run(main())
    assert rows.calls[-1] == [f"row-{n}" for n in range(1, 5)]


# --- of Redis ------------------------------------------------------------------------


def commands(client: Any) -> Counter[str]:
    """Return how often the server ran each command."""
    stats = client.info("commandstats")
    return Counter(
        {
            name.removeprefix("cmdstat_"): each["calls"]
            for name, each in stats.items()
            if name.startswith("cmdstat_")
        }
    )


def test_reads_of_redis_at_once(redis_server: RedisServer) -> None:
    """Fifty tasks send two commands, and two more for keys that MGET does not find."""
    store = RedisStore(redis_server.url)
    rows = {f"row-{n}": os.urandom(100) for n in range(48)}
    client = redis.Redis.from_url(redis_server.url)
    client.lpush("a list", "value")
    asked = [*rows, "missing", "a list"]

    async def main() -> None:
        for key, value in rows.items():
            await store.acompare_and_set(key, None, value, 60)
        before = commands(client)
        tasks = [asyncio.ensure_future(store.aget(key)) for key in asked]
        await asyncio.sleep(0)
        tasks[7].cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        made = commands(client) - before
        for key, answer in zip(asked, found, strict=True):
            if key == "row-7":
                assert isinstance(answer, asyncio.CancelledError)
            elif key == "a list":
                assert isinstance(answer, StoreError)
                assert "WRONGTYPE, another program keeps" in str(answer)
            else:
                assert answer == rows.get(key)
        assert (made["get"], made["mget"]) == (3, 1)
        await store.aclose()

    asyncio.run(main())
    client.close()


def test_a_proxy_that_drops_answers() -> None:
    """Fewer answers than keys are a StoreError, so that no key gets another's
    answer.
    """

    async def answer(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while count := (await reader.readline())[1:]:
            words = []
            for _ in range(int(count)):
                await reader.readline()
                words.append((await reader.readline()).strip())
            if words[0] == b"GET":
                await asyncio.sleep(0.01)
            answers = words[2:] if words[0] == b"MGET" else words[1:]
            found = [b"$%d\r\n%s--------\r\n" % (len(key) + 8, key) for key in answers]
            if words[0] == b"MGET":
                writer.write(b"*%d\r\n" % len(found))
            elif words[0] != b"GET":
                found = [b"+OK\r\n"]
            writer.write(b"".join(found))
        writer.close()

    async def main() -> list[Any]:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as proxy:
            port = proxy.sockets[0].getsockname()[1]
            store = RedisStore(f"redis://127.0.0.1:{port}/0")
            asked = (store.aget(f"row-{n}") for n in range(5))
            found = await asyncio.gather(*asked, return_exceptions=True)
            await store.aclose()
            return found

    first, *others = asyncio.run(main())
    assert first == b"row-0"
    assert [type(error) for error in others] == [StoreError] * 4


def test_a_server_that_refuses_mget(redis_server: RedisServer) -> None:
    """A Redis user without MGET gets all answers, and the right error for a key."""
    client = redis.Redis.from_url(redis_server.url)
    client.execute_command(
        *("ACL", "SETUSER", "reader", "on", ">reader-password", "~row-*", "+get"),
        *("+client", "+select"),
    )
    for number in range(10):
        client.set(f"row-{number}", f"{number}" + "-" * 8)
    url = redis_server.url.replace(
        f"redis://:{redis_server.password}", "redis://reader:reader-password"
    )
    store = RedisStore(url)

    async def main() -> list[Any]:
        keys = [*(f"row-{n}" for n in range(10)), "foreign"]
        asked = (store.aget(key) for key in keys)
        found = await asyncio.gather(*asked, return_exceptions=True)
        await store.aclose()
        return found

    *found, foreign = asyncio.run(main())
    assert found == [f"{n}".encode() for n in range(10)]
    assert isinstance(foreign, StoreError)
    assert "NOPERM" in str(foreign)
    client.close()


def test_reads_at_once_survive_a_restart(redis_server: RedisServer) -> None:
    """If a connection dies between two reads, no task gets an error."""
    store = RedisStore(redis_server.url)
    keys = [f"row-{n}" for n in range(20)]

    async def read() -> list[Any]:
        asked = (store.aget(key) for key in keys)
        return await asyncio.gather(*asked, return_exceptions=True)

    async def main() -> None:
        assert await read() == [None] * 20
        redis_server.kill()
        found = await read()
        assert all(isinstance(error, StoreError) for error in found)
        assert len({id(error) for error in found}) == 20
        redis_server.start()
        for key in keys:
            await store.acompare_and_set(key, None, key.encode(), 60)
        await read()
        redis_server.kill()
        redis_server.start()
        assert await read() == [None] * 20
        await store.aclose()

    asyncio.run(main())


@pytest.mark.parametrize("count", [1, 2, 50])
def test_a_client_of_the_apps_own_shares_reads(redis_url: str, count: int) -> None:
    """Reads through an app's asyncio client are shared like those through a URL."""
    from redis.asyncio import Redis

    async def main() -> None:
        async with Redis.from_url(redis_url) as client:
            store = RedisStore(client)
            values = {f"own-{count}-{n}": os.urandom(20) for n in range(count)}
            for key, value in values.items():
                await store.acompare_and_set(key, None, value, 60)
            found = await asyncio.gather(*map(store.aget, values))
            assert found == [*values.values()]

    asyncio.run(main())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_loop_that_was_closed_too_early() -> None:
    """The calls of a loop that was closed before they ended are not kept."""

    async def forever(*_: object) -> Any:
        await asyncio.get_running_loop().create_future()

    reads = SharedReads(forever, forever)

    async def leave() -> None:
        left.extend(asyncio.ensure_future(reads.get(key)) for key in "ab")
        for _ in range(5):
            await asyncio.sleep(0)

    left: list[object] = []
    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave())
    loop.close()
    assert reads._tasks
    rows = Rows()
    rows.turns, rows.fails = [0], [False]
    reads._one = rows.one
    assert asyncio.run(reads.get("c")) == b"c"
    assert not reads._tasks
    # Now, since asyncio and Python report such tasks when they are collected.
    del loop, left[:]
    gc.collect()
