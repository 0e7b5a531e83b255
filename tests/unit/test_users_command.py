"""Lists and sweeps of very many users: pages, progress, and interruptions."""

import asyncio
import gc
import io
import warnings
from contextlib import aclosing
from dataclasses import replace

import anyio
import pytest

from tiktok_oauth_middleware import MemoryStore, TikTokTokens, _users_command
from tiktok_oauth_middleware._command_output import INTERRUPTED, Report
from tiktok_oauth_middleware._core import progress as progress_module
from tiktok_oauth_middleware._core.backends.one_step import run
from tiktok_oauth_middleware._core.secret import Secret
from tiktok_oauth_middleware._session.record import UserRecord, record_id
from tiktok_oauth_middleware._users_command import Sweep, list_users
from tiktok_oauth_middleware.stores.paging import ROWS

USERS = 5_000
SOME = 600
DAY = 86400


class Watched(MemoryStore):
    """A store that counts the rows it returned, and is interrupted before a page."""

    interrupts_at = 0

    def __init__(self, clock):
        super().__init__(clock=clock)
        self.given = 0

    # Overridden like `rows`: otherwise each row would be read by its key.
    def get(self, key):
        return super().get(key)

    def keys(self, prefix):
        return super().keys(prefix)

    def pages(self, prefix):
        return super().pages(prefix)

    def rows(self, prefix):
        for number, page in enumerate(super().rows(prefix), 1):
            if number == self.interrupts_at:
                raise KeyboardInterrupt
            self.given += len(page)
            yield page


class Terminal(io.StringIO):
    """A text stream that claims to be a terminal."""

    def isatty(self):
        return True


def filled(store, settings, clock, count):
    """Return the TikTokTokens of `count` users, whose ids are not in order."""
    tokens = TikTokTokens(replace(settings, keep_grants=True), store, clock=clock)
    records = tokens._sync_service().records
    now = int(clock())
    for number in range(count):
        record = UserRecord(
            open_id=f"-000user{number * 7919 % count:05d}",
            access_token=Secret(f"act.{number}"),
            issued_at=now,
            expires_at=now + DAY,
            refresh_token=Secret(f"rft.{number}"),
            refresh_expires_at=now + (1 + number % 100) * DAY,
            scopes="user.info.basic",
        )
        named = record_id(settings.client_key, record.open_id)
        run(records.create(named, record))
    return tokens


@pytest.fixture
def store(clock):
    return Watched(clock)


@pytest.fixture
def some(store, settings, clock):
    return filled(store, settings, clock, SOME)


def report(**more):
    """Return a progress report that writes to text streams."""
    return Report(io.StringIO(), io.StringIO(), "secret_keys", **more)


def listed(text):
    """Return the open_ids of a printed list."""
    return [line.split()[0] for line in text.splitlines() if line.startswith("-000")]


class TestIterUsers:
    def test_pages(self, store, settings, clock):
        """With 5,000 users, at most one page is read ahead."""
        tokens = filled(store, settings, clock, USERS)
        seen = set()
        for user in tokens.iter_users():
            assert store.given - len(seen) <= 2 * ROWS
            seen.add(user.open_id)
        assert len(seen) == USERS

    def test_in_a_loop(self, some, store):
        """In an event loop the same users are returned, also in pages."""

        async def found():
            seen = []
            async for user in some.aiter_users():
                assert store.given - len(seen) <= 2 * ROWS
                seen.append(user)
            return seen

        assert asyncio.run(found()) == [*some.iter_users()]

    def test_after(self, some):
        """An iteration continues after the last user of an earlier one."""
        users = [user.open_id for user in some.iter_users()]
        rest = some.iter_users(after=users[321])
        assert [user.open_id for user in rest] == users[322:]
        assert [*some.iter_users(after="nobody")] == []

    def test_left_early(self, some, store):
        """If an iteration ends early, the rest of the store is not read."""
        users = some.iter_users()
        next(users)
        users.close()
        assert store.given <= 2 * ROWS
        assert len(some.users()) == SOME

    @pytest.mark.parametrize("backend", ["asyncio", "trio"])
    def test_left_early_in_a_loop(self, some, store, backend):
        """An iteration that ends early in an event loop leaves no generator open.

        Trio warns of those that are left to the garbage collector.
        """

        async def begin():
            async with aclosing(some.aiter_users()) as users:
                return (await anext(users)).open_id

        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            assert anyio.run(begin, backend=backend)
            gc.collect()
        assert [str(each.message) for each in warned] == []
        assert store.given <= 2 * ROWS

    def test_unreadable(self, some, store):
        """Records that cannot be decrypted are counted and left out."""
        key = store.keys("tiktok:")[0]
        store.compare_and_set(key, store.get(key), b"damaged", DAY)
        users, counted = some.iter_users(), []

        def counting():
            counted.append((yield from users))

        assert len([*counting()]) == SOME - 1
        assert counted == [1]
        assert some.unreadable() == 1

    def test_own_get(self, settings, clock):
        """If a store's class overrides `get`, rows are read with it."""

        class Prefixed(MemoryStore):
            def get(self, key):
                value = super().get(key)
                return None if value is None else value.removeprefix(b"x")

            def compare_and_set(self, key, old, new, ttl):
                old, new = (v and b"x" + v for v in (old, new))
                return super().compare_and_set(key, old, new, ttl)

        tokens = filled(Prefixed(clock=clock), settings, clock, 3)
        assert len(tokens.users()) == 3


class TestList:
    def test_sorted(self, some):
        """A few thousand users are printed in the order of their open_ids."""
        streams = report()
        assert list_users(some, streams) == 0
        found = listed(streams.out.getvalue())
        assert len(found) == SOME
        assert found == sorted(found)
        assert f"{SOME} stored\n" in streams.out.getvalue()
        assert streams.err.getvalue() == ""

    def test_very_many(self, some, monkeypatch):
        """More users are printed in the order of reading, each once."""
        monkeypatch.setattr(_users_command, "SORTED", 100)
        streams = report()
        assert list_users(some, streams) == 0
        found = listed(streams.out.getvalue())
        assert len(found) == len(set(found)) == SOME
        assert found != sorted(found)

    def test_interrupted(self, some, store, monkeypatch):
        """Ctrl-C prints how many were listed, and a later list continues from there."""
        monkeypatch.setattr(_users_command, "SORTED", 100)
        store.interrupts_at = 3
        streams = report()
        assert list_users(some, streams) == INTERRUPTED
        first = listed(streams.out.getvalue())
        assert len(first) == 2 * ROWS
        after = streams.err.getvalue().partition("--after=")[2].strip()
        assert streams.err.getvalue().startswith(f"stopped: {2 * ROWS} users listed;")
        assert after == first[-1]
        store.interrupts_at = 0
        rest = report()
        assert list_users(some, rest, after=after) == 0
        assert len({*first, *listed(rest.out.getvalue())}) == SOME
        assert f"{SOME - 2 * ROWS} stored after that user" in rest.out.getvalue()

    def test_after_an_unknown_user(self, some):
        """Continuing a list after a deleted user fails with a message."""
        last = [*some.iter_users()][-1].open_id
        streams = report()
        assert list_users(some, streams, after=last) == 0
        assert "0 stored after that user" in streams.out.getvalue()
        some.forget(last)
        streams = report()
        assert list_users(some, streams, after=last) == 1
        assert f"{last} is not stored any more" in streams.out.getvalue()

    def test_interrupted_early(self, some, store):
        """After Ctrl-C before the first line, the message says that nothing was
        listed.
        """
        store.interrupts_at = 2
        streams = report()
        assert list_users(some, streams) == INTERRUPTED
        assert streams.err.getvalue() == "stopped: 0 users listed\n"

    def test_ending(self, some, store):
        """Users whose grant ends soon are printed in the order of the ends; Ctrl-C
        works there, too.
        """
        streams = report()
        assert list_users(some, streams, ending=10) == 0
        assert len(listed(streams.out.getvalue())) == SOME // 10
        assert f"60 of {SOME} stored end within 10 days" in streams.out.getvalue()
        store.interrupts_at = 3
        streams = report()
        assert list_users(some, streams, ending=10) == INTERRUPTED
        assert (
            streams.err.getvalue() == f"stopped: {2 * ROWS} users read, none listed\n"
        )

    def test_progress(self, some, monkeypatch):
        """Progress is shown on a terminal, or if requested, and cleared at the end."""
        monkeypatch.setattr(progress_module, "_TERMINAL_SECONDS", -1)
        monkeypatch.setattr(progress_module, "_LINE_SECONDS", -1)
        monkeypatch.setenv("TERM", "xterm")
        streams = report()._replace(err=Terminal())
        list_users(some, streams)
        assert f"\r{SOME} users listed\x1b[K" in streams.err.getvalue()
        assert streams.err.getvalue().endswith("\r\x1b[K")
        streams = report(progress=True)
        list_users(some, streams, ending=10)
        assert f"{SOME} users read\n" in streams.err.getvalue()

    def test_no_progress_beside_lines(self, some, monkeypatch):
        """If the list itself is printed on the terminal, no progress is shown."""
        monkeypatch.setattr(progress_module, "_TERMINAL_SECONDS", -1)
        streams = report()._replace(out=Terminal(), err=Terminal())
        list_users(some, streams)
        assert streams.err.getvalue() == ""


class TestSweep:
    def test_interrupted(self, some, store):
        """Ctrl-C says how far the sweep came; no user is lost."""
        store.interrupts_at = 3
        streams = report()
        sweep = Sweep(streams)
        assert sweep.run(some, 3600) == INTERRUPTED
        assert streams.err.getvalue().startswith(
            f"stopped: {ROWS} users read, 0 refreshed, 0 failed, 0 ended; the refreshes"
        )
        assert "the next sweep does the rest" in streams.err.getvalue()

    def test_progress(self, some, monkeypatch):
        """Progress counts users, and refreshes only if events are available."""
        monkeypatch.setattr(progress_module, "_LINE_SECONDS", -1)
        streams = report(progress=True)
        assert Sweep(streams, counts=False).run(some, 3600) == 0
        assert streams.err.getvalue().splitlines() == [
            f"{read} users read" for read in (0, ROWS, 2 * ROWS)
        ]
        assert streams.out.getvalue() == "refreshed 0, failed 0, ended 0\n"

    def test_in_a_loop(self, some):
        """A sweep in an event loop reports its progress as well."""
        read = []
        asyncio.run(some.arefresh_expiring(3600, progress=read.append))
        assert read == [0, ROWS, 2 * ROWS]
