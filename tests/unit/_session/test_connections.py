"""Connections: the account's record decides, and the user's row lists all accounts."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest

from tiktok_oauth_middleware import (
    MemoryStore,
    RedisStore,
    SQLiteStore,
    SQLStore,
    StoreError,
)
from tiktok_oauth_middleware._core.backends.one_step import run
from tiktok_oauth_middleware._core.backends.threads import ThreadBackend
from tiktok_oauth_middleware._core.secret import Secret
from tiktok_oauth_middleware._session.connections import (
    LONGEST_USER_ID,
    MOST_ACCOUNTS,
    user_id_fault,
)
from tiktok_oauth_middleware._session.record import UserRecord, record_id
from tiktok_oauth_middleware._session.service import SessionService

from ...conftest import START, make_settings

NOW = int(START)


class Breaking(MemoryStore):
    """A store that fails from a given write on, before or after completing it."""

    writes = 0
    #: The number of the first write that fails; 0 for none.
    broken_from = 0
    #: Whether that write is completed nevertheless.
    is_done = False

    def compare_and_set(self, key, old, new, ttl):
        self.writes += 1
        if not 0 < self.broken_from <= self.writes:
            return super().compare_and_set(key, old, new, ttl)
        if self.is_done and self.writes == self.broken_from:
            super().compare_and_set(key, old, new, ttl)
        message = "broken"
        raise StoreError(message)


class Site:
    """The users of one app, and the tokens that TikTok issues."""

    def __init__(self, clock, store=None, **options):
        self.clock = clock
        self.store = store or Breaking(clock=clock)
        self.settings = make_settings(**options)
        self.service = self.another()

    def another(self, **changes):
        """Return another process of the app."""
        settings = replace(self.settings, **changes)
        return SessionService(
            settings, ThreadBackend(), store=self.store, clock=self.clock
        )

    def record_id(self, open_id):
        return record_id(self.settings.client_key, open_id)

    def connect(
        self,
        user_id,
        open_id,
        token="act.1",
        service=None,
        life=86400,
        before_the_write=lambda: None,
    ):
        """Connect with a token that was issued now; return the result."""
        now = int(self.clock())

        def make(known):
            before_the_write()
            return UserRecord(
                open_id=open_id,
                access_token=Secret(token),
                issued_at=now,
                expires_at=now + life,
                refresh_token=Secret("rft." + token),
                refresh_expires_at=now + 300 * 86400,
                scopes="user.info.basic",
                sessions=known.sessions if known else (),
                user_id=known.user_id if known else "",
                connected_at=known.connected_at if known else 0,
            )

        connections = (service or self.service).connections
        done = run(connections.connect(user_id, self.record_id(open_id), make))
        return done.status

    def accounts(self, user_id, service=None):
        connections = (service or self.service).connections
        return [each.record.open_id for each in run(connections.of_user(user_id))]

    def record(self, open_id):
        stored = run(self.service.records.load(self.record_id(open_id)))
        return stored and stored.record

    def rows(self):
        return self.store.keys(f"{self.service.records.space}:user:")


@pytest.fixture
def site(clock):
    return Site(clock)


def test_several_accounts(site, clock):
    """A user has several accounts, listed from the oldest connection to the newest."""
    for name in ("b", "a", "c"):
        assert site.connect("user 1", name) == "connected"
        clock.advance(10)
    assert site.accounts("user 1") == ["b", "a", "c"]
    assert site.accounts("user 2") == []


def test_connected_again(site, clock):
    """Connecting again renews the tokens, and keeps the time of the connection."""
    site.connect("user 1", "a")
    clock.advance(1000)
    assert site.connect("user 1", "a", "act.2") == "renewed"
    record = site.record("a")
    assert (record.access_token.reveal(), record.connected_at) == ("act.2", NOW)
    assert site.accounts("user 1") == ["a"]


def test_taken(site, clock):
    """Another user's account stays that user's, and its record gets the new tokens."""
    site.connect("user 1", "a")
    clock.advance(1000)
    assert site.connect("user 2", "a", "act.2") == "taken"
    record = site.record("a")
    assert record.user_id == "user 1"
    assert record.access_token.reveal() == "act.2"
    assert site.accounts("user 1") == ["a"]
    assert site.accounts("user 2") == []
    assert len(site.rows()) == 1


@pytest.fixture(params=["sqlite", "sql", "redis"])
def durable(request, tmp_path, clock):
    """Return a store that outlives the process."""
    if request.param == "sqlite":
        made = SQLiteStore(tmp_path / "tokens.sqlite3", clock=clock)
    elif request.param == "sql":
        made = SQLStore(f"sqlite+pysqlite:///{tmp_path}/sql.sqlite3", clock=clock)
        made.create_table()
    else:
        made = RedisStore(request.getfixturevalue("empty_redis"))
    yield made
    made.close()


def test_durable_stores(clock, durable):
    """Every store keeps the rows and their expiry like MemoryStore."""
    site = Site(clock, durable)
    for name in ("a", "b"):
        assert site.connect("user 1", name) == "connected"
        clock.advance(10)
    assert site.connect("user 2", "a", "act.2") == "taken"
    assert site.accounts("user 1", site.another()) == ["a", "b"]
    run(site.service.forget(site.record_id("a")))
    assert site.accounts("user 1") == ["b"]
    assert site.connect("user 2", "a") == "connected"
    run(site.service.forget(site.record_id("a")))
    run(site.service.forget(site.record_id("b")))
    assert site.rows() == []


def test_user_ids_are_compared_exactly(site):
    """User ids that differ in case or normal form are different users."""
    assert site.connect("\u00e9", "a") == "connected"
    assert site.connect("e\u0301", "a") == "taken"
    assert site.connect("U", "b") == "connected"
    assert site.connect("u", "b") == "taken"


def test_full(site, clock):
    """A user with the maximum of accounts cannot connect another one, but can renew
    those.
    """
    for number in range(MOST_ACCOUNTS):
        assert site.connect("user 1", f"a{number}") == "connected"
    assert site.connect("user 1", "further") == "full"
    assert site.record("further") is None
    clock.advance(10)
    assert site.connect("user 1", "a7", "act.2") == "renewed"
    assert len(site.accounts("user 1")) == MOST_ACCOUNTS
    run(site.service.forget(site.record_id("a3")))
    assert site.connect("user 1", "further") == "connected"


def test_full_while_two_are_connected_at_once(site):
    """The row lists both accounts if another one fills it during a connection."""
    for number in range(MOST_ACCOUNTS - 1):
        site.connect("user 1", f"a{number}")

    def connect_another():
        if "b" not in connected:
            connected.append("b")
            assert site.connect("user 1", "b") == "connected"

    connected = []
    done = site.connect("user 1", "c", before_the_write=connect_another)
    assert done == "connected"
    assert {"b", "c"} < {*site.accounts("user 1")}


def test_full_of_entries_without_records(site):
    """Entries that no record confirms do not count as accounts."""
    for number in range(MOST_ACCOUNTS):
        site.connect("user 1", f"a{number}")
        run(site.service.records.forget(site.record_id(f"a{number}")))
    assert site.connect("user 1", "b") == "connected"
    assert site.accounts("user 1") == ["b"]


def test_forgotten_account_leaves_no_row(site):
    """The row of a user is deleted with the user's last account."""
    site.connect("user 1", "a")
    site.connect("user 1", "b")
    run(site.service.forget(site.record_id("a")))
    assert site.accounts("user 1") == ["b"]
    run(site.service.forget(site.record_id("b")))
    assert site.rows() == []


def test_row_shows_no_user_id(site):
    """Neither a row's key nor its value contains the user's id or an unkeyed hash of
    it.
    """
    site.connect("4711", "a")
    [key] = site.rows()
    sealed = site.store.get(key)
    assert "4711" not in key
    assert b"4711" not in sealed
    assert site.record_id("a").encode() not in sealed
    other = Site(site.clock)
    other.connect("4711", "a")
    assert other.rows() != site.rows()


@pytest.mark.parametrize("is_done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("write", [1, 2, 3])
def test_crash(clock, write, is_done):
    """If a process dies at any write, the account is both connected and listed, or
    neither.
    """
    site = Site(clock)
    site.connect("user 1", "other")
    site.store.broken_from, site.store.is_done = site.store.writes + write, is_done
    with contextlib.suppress(StoreError):
        site.connect("user 1", "a")
    site.store.broken_from = 0
    record = site.record("a")
    for _ in range(2):
        listed = site.accounts("user 1")
        assert listed == (["other", "a"] if record else ["other"]) or listed == [
            "a",
            "other",
        ]
        assert ("a" in listed) == (record is not None)
        clock.advance(1000)
    assert site.connect("user 1", "a", "act.2") == (
        "renewed" if record else "connected"
    )
    assert sorted(site.accounts("user 1")) == ["a", "other"]


@pytest.mark.parametrize("write", [1, 2])
def test_failed_write_is_an_error(clock, write):
    """If the list or the record cannot be written, nothing is reported as connected."""
    site = Site(clock)
    site.store.broken_from = write
    with pytest.raises(StoreError):
        site.connect("user 1", "a")
    site.store.broken_from = 0
    assert site.record("a") is None
    assert site.accounts("user 1") == []


def test_failed_renewal_is_an_error(site):
    """If a record cannot be replaced, the account keeps its older tokens."""
    site.connect("user 1", "a")
    site.store.broken_from = site.store.writes + 2
    with pytest.raises(StoreError):
        site.connect("user 1", "a", "act.2")
    site.store.broken_from = 0
    assert site.record("a").access_token.reveal() == "act.1"


def test_lost_answer(site):
    """A record whose write succeeded is connected, although the store's answer is lost."""
    site.store.broken_from, site.store.is_done = 2, True
    assert site.connect("user 1", "a") == "connected"


def test_older_tokens(site, clock):
    """Tokens for another user's account are not kept if the record has newer ones."""
    site.connect("user 1", "a", "act.1")
    assert site.connect("user 2", "a", "act.2") == "taken"
    assert site.record("a").access_token.reveal() == "act.1"


def test_taken_meanwhile(site, clock):
    """Of two users at the same moment one gets the account, and only theirs lists it."""
    others = [lambda: site.connect("user 2", "a", "act.2")]

    def let_the_other_be_first():
        if others:
            assert others.pop()() == "connected"

    status = site.connect("user 1", "a", before_the_write=let_the_other_be_first)
    assert status == "taken"
    assert len(site.rows()) == 1
    assert (site.accounts("user 1"), site.accounts("user 2")) == ([], ["a"])


def test_entry_of_a_connection_that_is_being_made(site, clock):
    """An entry without a record is kept for ten minutes, and removed later."""
    connections = site.service.connections
    run(connections._list("user 1", site.record_id("a")))
    clock.advance(599)
    assert site.accounts("user 1") == []
    assert len(site.rows()) == 1
    clock.advance(1)
    assert site.accounts("user 1") == []
    assert site.rows() == []


def test_entry_of_anothers_account(site):
    """A row that lists another user's account after a crash does not connect that
    account.
    """
    run(site.service.connections._list("user 1", site.record_id("a")))
    site.connect("user 2", "a")
    assert site.accounts("user 1") == []
    assert site.accounts("user 2") == ["a"]


def test_correction_decided_before_a_connection(site, clock):
    """A correction that was decided before a connection was made does not undo it."""
    connections = site.service.connections
    run(connections._list("user 1", site.record_id("a")))
    clock.advance(1000)
    rows = run(connections._rows("user 1"))
    site.connect("user 1", "a")
    run(connections._try_to_keep(rows, {}))
    assert site.accounts("user 1") == ["a"]


class TestRotation:
    """The keys of rows follow ``secret_keys``, the newest first."""

    @pytest.fixture
    def rotated(self, site):
        newest = make_settings().secret_keys[0]
        return site.another(secret_keys=[newest, *site.settings.secret_keys])

    def test_read(self, site, rotated):
        """A row under an older key is found, and moved to the newest key."""
        site.connect("user 1", "a")
        before = site.rows()
        assert site.accounts("user 1", rotated) == ["a"]
        assert site.rows() != before
        assert len(site.rows()) == 1

    def test_written(self, site, rotated):
        """A new connection is added to the entry under an older key."""
        site.connect("user 1", "a")
        site.connect("user 1", "b", service=rotated)
        assert site.accounts("user 1", rotated) == ["a", "b"]

    def test_renewed(self, site, rotated):
        """A refresh of the tokens moves the entry before the old key is removed."""
        site.connect("user 1", "a")
        stored = run(rotated.records.load(site.record_id("a")))
        run(rotated.records.replace(stored, stored.record))
        run(rotated.connections.keep_listed("user 1", site.record_id("a")))
        later = site.another(secret_keys=[rotated.settings.secret_keys[0]])
        assert site.accounts("user 1", later) == ["a"]

    def test_unreadable_record(self, site, rotated, clock):
        """An account whose record another worker sealed with a newer key stays
        listed.
        """
        site.connect("user 1", "a")
        stored = run(rotated.records.load(site.record_id("a")))
        run(rotated.records.replace(stored, stored.record))
        clock.advance(1000)
        assert site.accounts("user 1") == []
        run(site.service.connections.unlist("user 1", site.record_id("a")))
        assert site.accounts("user 1", rotated) == ["a"]


def test_row_is_rewritten_before_it_expires(site, clock):
    """Refreshes keep a row alive as long as the records of its accounts."""
    site.connect("user 1", "a")
    for _ in range(20):
        clock.advance(40 * 86400)
        site.store.get(site.rows()[0])
        run(site.service.connections.keep_listed("user 1", site.record_id("a")))
    assert len(site.rows()) == 1


def test_recent_entry_is_not_written(site, clock):
    """A refresh reads the row of a connected account, and writes it once in 30 days."""
    site.connect("user 1", "a")
    before = site.store.writes
    for seconds, written in (30 * 86400 - 1, 0), (1, 1):
        clock.advance(seconds)
        run(site.service.connections.keep_listed("user 1", site.record_id("a")))
        assert site.store.writes == before + written


@pytest.mark.parametrize(
    ("value", "is_fine"),
    [
        ("1", True),
        ("x" * LONGEST_USER_ID, True),
        ("x" * (LONGEST_USER_ID + 1), False),
        ("\u00e9" * LONGEST_USER_ID, False),
        ("", False),
        ("\ud800", False),
        (1, False),
        (b"1", False),
        (True, False),
        (None, False),
    ],
)
def test_user_id(value, is_fine):
    """A user id must be a text of 1 to 255 bytes."""
    assert (user_id_fault(value) is None) is is_fine
