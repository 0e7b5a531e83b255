"""An app moves to another store: no session is lost, and no ended session comes
back.
"""

from __future__ import annotations

import io
import os
import secrets
from dataclasses import replace

import pytest

from tiktok_oauth_middleware import ConfigurationError, SQLiteStore, TikTokTokens
from tiktok_oauth_middleware._command_output import INTERRUPTED
from tiktok_oauth_middleware._core.backends.one_step import run
from tiktok_oauth_middleware._core.backends.threads import ThreadBackend
from tiktok_oauth_middleware._core.store_adapter import StoreAdapter
from tiktok_oauth_middleware._session import copying
from tiktok_oauth_middleware._session.copy_marks import (
    MARK_SECONDS,
    MOVING_SECONDS,
)
from tiktok_oauth_middleware._session.record import record_id
from tiktok_oauth_middleware._session.service import SessionService
from tiktok_oauth_middleware._store_command import copy
from tiktok_oauth_middleware.stores import paging, sqlite
from tiktok_oauth_middleware.testing import Person

from ..conftest import kept, make_settings

HOUR = 3600
#: How long the stand-in's access tokens live.
LIFE = 2 * HOUR


@pytest.fixture(params=["asyncio", "wsgi"])
def interface(request):
    """Return an interface; Trio would run the same code as asyncio."""
    return request.param


@pytest.fixture
def old(tmp_path, clock):
    made = SQLiteStore(tmp_path / "old.sqlite3", clock=clock)
    yield made
    made.close()


@pytest.fixture
def new(tmp_path, clock):
    made = SQLiteStore(tmp_path / "new.sqlite3", clock=clock)
    yield made
    made.close()


@pytest.fixture
def store(old):
    """Return the store that the app begins with."""
    return old


@pytest.fixture
def settings():
    """Return settings with sessions that do not end during a test."""
    return make_settings(session_idle=30 * 86400)


class Move:
    """The app before and after a copy, with its stores and records."""

    def __init__(self, world, tmp_path, old, new):
        self.world = world
        self.urls = (
            f"sqlite:///{tmp_path}/old.sqlite3",
            f"sqlite:///{tmp_path}/new.sqlite3",
        )
        self.stores = {"old": old, "new": new}
        self.shown = ""

    def copy(self, settings=None):
        """Copy everything; return the exit code."""
        out, progress = io.StringIO(), io.StringIO()
        code = copy(
            settings or self.world.settings,
            self.urls,
            out=out,
            progress=progress,
            clock=self.world.clock,
        )
        self.shown = out.getvalue() + progress.getvalue()
        return code

    def at(self, name):
        """Let the app use this store."""
        self.world.store = self.stores[name]
        self.world.start()

    def on(self, browser):
        """Return a browser with the same cookies at the app's current store."""
        return self.world.browser(**browser.cookies())

    def kept(self, name, person=0):
        """Return a person's record in a store."""
        self.world.store = self.stores[name]
        return kept(self.world, self.world.tiktok.people[person].open_id)


@pytest.fixture
def move(world, tmp_path, old, new):
    return Move(world, tmp_path, old, new)


@pytest.fixture
def people(world):
    """Return TikTok's people by number; there are eight."""
    world.tiktok.provider.people = tuple(
        Person(open_id=f"-000person{number}", display_name=f"P{number}", username="p")
        for number in range(8)
    )
    return world.tiktok.people


def browser_of(world, person):
    browser = world.browser()
    assert browser.log_in(person=person).status_code == 303
    return browser


def test_everybody_is_copied(move, world, people):
    """Sessions, tokens and profiles are the same in the new store as in the old one."""
    browsers = [browser_of(world, person) for person in people]
    before = [browser.me() for browser in browsers]
    assert move.copy() == 0
    assert "8 users read: 8 copied" in move.shown
    move.at("new")
    assert [move.on(browser).me() for browser in browsers] == before
    move.at("old")
    assert [move.on(browser).me() for browser in browsers] == before


def test_a_second_copy_writes_nothing(move, world, people):
    """A record is copied once, even if the copy is started several times."""
    for person in people:
        browser_of(world, person)
    move.copy()
    assert move.copy() == 0
    assert "8 users read: 0 copied, 0 updated, 8 kept, 0 ended" in move.shown


def test_no_user_is_lost_in_a_move(move, world, people):
    """After a copy, a switch and a second copy, changes in both stores are kept.

    TikTok's rotation is strict: a refresh token that was used once is dead.
    """
    renewed, behind, newer, late, gone, half, left, idle = [
        browser_of(world, person) if number != 3 else world.browser()
        for number, person in enumerate(people)
    ]
    other = browser_of(world, people[5])
    assert move.copy() == 0

    # The app still writes to the old store.
    world.clock.advance(LIFE - 60)  # the tokens are due
    renewed_at_old = renewed.me()["token"]
    behind_at_old = behind.me()["token"]
    late.log_in(person=people[3])
    # By browsers with the same cookies, since these lose theirs.
    move.on(gone).log_out()
    move.on(half).log_out()

    # The app is switched, and for a while the new store is behind.
    move.at("new")
    late_there = move.on(late)
    assert not late_there.signed_in
    assert "__Host-tiktok" in late_there.cookies()  # its cookie is not deleted
    behind_there = move.on(behind)
    world.clock.advance(5 * 60)  # the copied token has ended
    me = behind_there.me()
    assert me["signed_in"]
    assert me["token"] is None
    newer_there = move.on(newer)
    newer_at_new = newer_there.me()["token"]
    assert newer_at_new is not None
    assert move.on(left).log_out().status_code == 303

    assert move.copy() == 0
    assert move.on(renewed).me()["token"] == renewed_at_old
    world.clock.advance(61)  # past the cached sessions and the back-off
    assert behind_there.me()["token"] == behind_at_old
    assert move.on(late).signed_in
    assert newer_there.me()["token"] == newer_at_new
    assert not move.on(gone).signed_in
    assert not move.on(half).signed_in
    assert move.on(other).signed_in
    assert not move.on(left).signed_in
    assert move.on(idle).signed_in


def test_an_older_refresh_token_overwrites_no_newer_one(move, world, people):
    """A token that was renewed in the new store stays, even if the old record changed
    later.
    """
    browser = browser_of(world, people[0])
    move.copy()
    move.at("new")
    move.on(browser).me()
    world.clock.advance(HOUR)
    move.at("old")
    browser = move.on(browser)
    browser.me()  # this writes "last seen"
    move.at("new")
    world.clock.advance(HOUR)
    token = move.on(browser).me()["token"]
    at_new = move.kept("new")
    assert move.kept("old").refresh_token != at_new.refresh_token
    move.copy()
    assert move.kept("new").refresh_token == at_new.refresh_token
    assert move.on(browser).me()["token"] == token


def test_refreshed_between_a_record_and_its_mark(move, world, people, monkeypatch):
    """A copied refresh token that was used meanwhile ends no session, with or without a
    mark.
    """
    browser = browser_of(world, people[0])
    world.clock.advance(LIFE - 10)
    create_many, seen = StoreAdapter.create_many, []

    async def slow_write(store, rows):
        if seen or not rows:
            return await create_many(store, rows)
        created = await create_many(store, rows[:1])  # the record, without its mark
        seen.append(browser.me()["token"])  # renewed at the old store
        move.at("new")
        seen.append(move.on(browser).signed_in)
        return created + await create_many(store, rows[1:])

    monkeypatch.setattr(StoreAdapter, "create_many", slow_write)
    move.copy()
    assert seen[1]
    assert move.on(browser).signed_in
    move.copy()
    world.clock.advance(61)  # the back-off of the failure
    assert move.on(browser).me()["token"] == seen[0]


def test_changed_after_its_page_was_read(move, world, people, monkeypatch):
    """Changes in the old store while a page is copied are made by the next copy."""
    browsers = [browser_of(world, person) for person in people]
    others = [browser_of(world, person) for person in people]
    real, changed = copying.Copy._copy_records, []

    async def records(self, page, at):
        if page and not changed:
            name = next(iter(page))
            world.clock.advance(5)
            for number, person in enumerate(people):
                if record_id(world.settings.client_key, person.open_id) != name:
                    move.on(browsers[number]).log_out()
                    changed.append((others[number], browser_of(world, person)))
        await real(self, page, at)

    with monkeypatch.context() as patch:
        patch.setattr(copying.Copy, "_copy_records", records)
        assert move.copy() == 0
    assert len(changed) == len(people) - 1
    assert move.copy() == 0
    move.at("new")
    assert sum(move.on(browser).signed_in for browser in browsers) == 1
    assert all(move.on(browser).signed_in for two in changed for browser in two)


def test_logged_out_in_the_second_of_a_copy(move, world, people):
    """A logout at the old store counts, even if both copies are in its second."""
    browsers = [browser_of(world, person) for person in people]
    move.copy()
    move.on(browsers[0]).log_out()
    move.copy()
    assert "1 ended" in move.shown
    move.at("new")
    assert not move.on(browsers[0]).signed_in
    assert move.on(browsers[1]).signed_in


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("how", ["logged out", "forgotten"])
def test_ended_at_the_old_store_after_use_at_the_new_one(
    move, world, people, how, keep
):
    """A session that ends at the old store ends at the new one, though it was used
    there since the copy, as in a rolling restart.
    """
    world.with_settings(session_idle=30 * 86400, keep_grants=keep)
    browsers = [browser_of(world, person) for person in people]
    move.copy()
    world.clock.advance(HOUR)
    move.at("new")
    assert move.on(browsers[0]).signed_in  # this writes "last seen"
    assert move.kept("new") != move.kept("old")
    move.at("old")
    if how == "logged out":
        move.on(browsers[0]).log_out()
    else:
        with TikTokTokens(world.settings, world.store, clock=world.clock) as tokens:
            assert tokens.forget(people[0].open_id)
    assert move.copy() == 0
    move.at("new")
    assert not move.on(browsers[0]).signed_in
    assert move.on(browsers[1]).signed_in


@pytest.mark.parametrize("has_other", [False, True])
def test_expired_at_the_new_store_while_used_at_the_old_one(
    move, world, people, has_other
):
    """Sessions that expired at the new store, which nobody uses yet, are copied again."""
    world.with_settings(session_idle=HOUR)
    browsers = [browser_of(world, person) for person in people]
    move.copy()
    for _ in range(5):
        world.clock.advance(HOUR / 4)
        assert all(browser.signed_in for browser in browsers)
    if has_other:
        move.at("new")
        browsers += [browser_of(world, person) for person in people]
    assert move.copy() == 0
    assert "0 ended" in move.shown
    move.at("new")
    assert all(move.on(browser).signed_in for browser in browsers)


def test_expired_at_the_old_store_after_use_at_the_new_one(move, world, people):
    """A session that nobody uses at the old store any more expires there alone."""
    world.with_settings(session_idle=HOUR)
    browsers = [browser_of(world, person) for person in people]
    move.copy()
    move.at("new")
    for _ in range(5):
        world.clock.advance(HOUR / 4)
        assert all(move.on(browser).signed_in for browser in browsers)
    assert move.kept("old") is None
    move.at("old")
    staying = [browser_of(world, person) for person in people[2:]]
    assert move.copy() == 0
    assert "0 ended" in move.shown
    move.at("new")
    assert all(move.on(browser).signed_in for browser in [*browsers, *staying])


def test_refused_at_the_old_store_after_a_refresh_at_the_new_one(move, world, people):
    """A record whose refresh token was used at the new store ends at the old one alone."""
    browsers = [browser_of(world, person) for person in people]
    move.copy()
    world.clock.advance(LIFE)
    move.at("new")
    assert move.on(browsers[0]).signed_in  # this refreshes
    move.at("old")
    assert not move.on(browsers[0]).signed_in
    assert move.kept("old") is None
    move.at("old")
    assert all(move.on(browser).signed_in for browser in browsers[1:])
    assert move.copy() == 0
    move.at("new")
    assert all(move.on(browser).signed_in for browser in browsers)


def test_the_end_at_tiktok_is_noticed_after_a_move(move, world, people):
    """A grant that TikTok ended is ended in the new store too, a day after the last
    copy.
    """
    browser = browser_of(world, people[0])
    move.copy()
    move.at("new")
    there = move.on(browser)
    world.tiktok.rotate_away(people[0])
    for _ in range(3):
        world.clock.advance(MOVING_SECONDS / 4)
        assert there.signed_in
    world.clock.advance(MOVING_SECONDS / 4)
    assert not there.signed_in
    assert move.kept("new") is None


def test_a_store_that_was_emptied_ends_no_session(move, world, people, old):
    """If the old store has lost its rows, the copied records stay."""
    browsers = [browser_of(world, person) for person in people]
    move.copy()
    for key in old.keys("tiktok:"):
        old.compare_and_set(key, old.get(key), None, 1)
    world.clock.advance(60)
    assert move.copy() == 0
    survivor = browser_of(world, people[0])
    assert move.copy() == 1
    assert "not ended: 7 users are missing in FROM" in move.shown
    move.at("new")
    assert all(move.on(each).signed_in for each in [*browsers[1:], survivor])


def test_connected_accounts_are_copied(move, world, people, old, new):
    """An account that is connected to a user of the app is also connected in the new
    store.
    """
    browser_of(world, people[0])
    record = move.kept("old")
    name = record_id(world.settings.client_key, people[0].open_id)
    options = {"store": old, "clock": world.clock}
    service = SessionService(world.settings, ThreadBackend(), **options)
    done = run(service.connections.connect("7", name, lambda _: record))
    assert done.status == "connected"
    move.copy()
    tokens = TikTokTokens(world.settings, new, clock=world.clock)
    assert [each.open_id for each in tokens.accounts("7")] == [people[0].open_id]
    # A login at the old store, not a connecting one, keeps the connection.
    world.clock.advance(60)
    move.at("old")
    browser_of(world, people[0])
    move.copy()
    assert [each.open_id for each in tokens.accounts("7")] == [people[0].open_id]
    assert len(move.kept("new").sessions) == 2


class TestDisputed:
    """One account that the two stores connect to different users of the app."""

    @pytest.fixture
    def connect(self, move, world, people):
        """Return a function that connects the first person's account at a store."""
        name = record_id(world.settings.client_key, people[0].open_id)

        def do(store, user_id, *, later=0):
            record = move.kept(store)._replace(user_id="", connected_at=0)
            record = record._replace(issued_at=record.issued_at + later)
            service = SessionService(
                world.settings,
                ThreadBackend(),
                store=move.stores[store],
                clock=world.clock,
            )
            if move.kept(store).user_id:
                run(service.forget(name))
            done = run(service.connections.connect(user_id, name, lambda _: record))
            assert done.status == "connected"

        return do

    def owners(self, world, new, *user_ids):
        tokens = TikTokTokens(world.settings, new, clock=world.clock)
        return [each for each in user_ids if tokens.accounts(each)]

    @pytest.mark.parametrize("later", [-60, 0, 60])
    @pytest.mark.parametrize("is_first", [True, False])
    def test_stays(self, move, world, people, new, connect, later, is_first):
        """The account stays with the new store's user, whichever store has the newer
        tokens.
        """
        browser_of(world, people[0])
        if is_first:
            assert move.copy() == 0
        else:
            move.at("new")
            browser_of(world, people[0])
        connect("old", "alice", later=later)
        connect("new", "bob")
        for _ in range(2):  # a second copy reports it again
            assert move.copy() == 1
            assert "not connected: 1 accounts" in move.shown
            assert self.owners(world, new, "alice", "bob") == ["bob"]
            assert move.kept("new").user_id == "bob"

    def test_changed_at_the_old_store(self, move, world, people, new, connect):
        """If only the old store changed it since the last copy, the change is copied."""
        browser_of(world, people[0])
        connect("old", "alice")
        assert move.copy() == 0
        connect("old", "bob", later=60)
        assert move.copy() == 0
        assert self.owners(world, new, "alice", "bob") == ["bob"]

    @pytest.mark.parametrize("is_used", [False, True])
    @pytest.mark.parametrize("where", ["old", "new"])
    def test_disconnected(self, move, world, people, new, connect, where, is_used):
        """An account that its user disconnected in either store stays disconnected."""
        browser_of(world, people[0])
        connect("old", "alice")
        browser = browser_of(world, people[0])
        assert move.copy() == 0
        assert self.owners(world, new, "alice") == ["alice"]
        world.clock.advance(3600)
        if is_used:
            before = move.kept("new")
            move.at("new")
            assert move.on(browser).signed_in
            assert move.kept("new") != before
        # The user now logs in with TikTok only, at the other store.
        store = move.stores[where]
        TikTokTokens(world.settings, store, clock=world.clock).forget(people[0].open_id)
        move.at(where)
        browser_of(world, people[0])
        if where == "new":
            move.at("old")
            browser_of(world, people[0])
        assert move.copy() == 0
        assert self.owners(world, new, "alice") == []
        assert move.kept("new").user_id == ""

    def test_resolved(self, move, world, people, new, connect):
        """Once the account is disconnected at the new store, the next copy moves it."""
        browser_of(world, people[0])
        assert move.copy() == 0
        connect("old", "alice", later=60)
        connect("new", "bob")
        assert move.copy() == 1
        tokens = TikTokTokens(world.settings, new, clock=world.clock)
        tokens.forget(people[0].open_id)
        assert move.copy() == 0
        assert self.owners(world, new, "alice", "bob") == ["alice"]


def test_notes_are_copied(move, world, people, new):
    """The marks of used logins and of denied scopes are copied."""
    browser = world.browser()
    callback = browser.consent(
        browser.begin(), person=people[0], scopes=["user.info.basic"]
    )
    assert browser.get(callback).status_code == 303
    move.copy()
    names = {
        key.split("{")[1]
        for key in move.stores["old"].keys("tiktok:")
        if ":used:" in key
    }
    assert {
        key.split("{")[1] for key in new.keys("tiktok:") if ":used:" in key
    } == names
    assert len(names) >= 1


def test_times_to_live_are_computed_again(move, world, people, new):
    """A copied session ends at the same time in the new store as in the old one."""
    world.with_settings(session_idle=8 * HOUR)
    browser = browser_of(world, people[0])
    world.clock.advance(5 * HOUR)
    move.copy()
    move.at("new")
    world.clock.advance(3 * HOUR + 1)
    assert not move.on(browser).signed_in
    assert [key for key in new.keys("tiktok:") if ":grant:" in key] == []


def test_wrong_keys_are_refused(move, world, people, new):
    """If the keys decrypt no record, nothing is written, and the message says what to
    do.
    """
    browser_of(world, people[0])
    other = replace(world.settings, secret_keys=[secrets.token_urlsafe(32)])
    with pytest.raises(ConfigurationError, match="TIKTOK_SECRET_KEYS"):
        move.copy(other)
    assert new.keys("") == []
    # The same for rows at the new store.
    move.copy()
    move.urls = move.urls[::-1]
    with pytest.raises(ConfigurationError, match="none of secret_keys opens"):
        move.copy(other)


def test_a_wrong_client_key_is_refused(move, world, people, new):
    """If the store has only records of other TikTok apps, the copy fails."""
    browser_of(world, people[0])
    with pytest.raises(ConfigurationError, match="TIKTOK_CLIENT_KEY"):
        move.copy(replace(world.settings, client_key="anotherclientkey"))
    assert new.keys("") == []


def test_one_record_that_cannot_be_opened(move, world, people, old):
    """A record that cannot be decrypted is counted, and the exit code reports it."""
    browser_of(world, people[0])
    [key] = [key for key in old.keys("tiktok:") if ":grant:" in key]
    assert old.compare_and_set(key[:-2] + "x}", None, b"damaged", HOUR)
    assert move.copy() == 1
    assert "not copied: 1 users whose records" in move.shown


def test_an_unknown_kind_of_row_is_reported(move, world, people, old):
    """Rows of a kind that a later version of the package wrote are reported."""
    browser_of(world, people[0])
    [key] = [key for key in old.keys("tiktok:") if ":grant:" in key]
    old.compare_and_set(key.replace(":grant:", ":invention:"), None, b"1", HOUR)
    assert move.copy() == 1
    assert "not copied: 1 rows of the kind 'invention'" in move.shown


def test_rows_of_another_app_are_left(move, world, people, old):
    """Rows of other TikTok apps in the same store are counted, and are not an error."""
    browser_of(world, people[0])
    old.compare_and_set("tiktok:0123456789ab:grant:{x}", None, b"1", HOUR)
    assert move.copy() == 0
    assert "1 rows belong to other TikTok apps" in move.shown


def test_one_store_is_not_copied_onto_itself(move, world, people, tmp_path):
    """Two URLs of the same store are recognized, even if they are written
    differently.
    """
    browser_of(world, people[0])
    os.symlink(tmp_path / "old.sqlite3", tmp_path / "link.sqlite3")
    for other in ("old.sqlite3", "link.sqlite3"):
        move.urls = (move.urls[0], f"sqlite:///{tmp_path}/{other}")
        with pytest.raises(ConfigurationError, match="the same store"):
            move.copy()
    assert move.kept("old") is not None


def test_interrupted(move, world, people, monkeypatch):
    """After Ctrl-C the command says how far it came, and the next run copies
    the rest.
    """
    browsers = [browser_of(world, person) for person in people]
    real, calls = copying.Copy._copy_records, []

    async def records(self, *page):
        calls.append(page)
        if len(calls) == 2:
            raise KeyboardInterrupt
        await real(self, *page)

    short = sqlite._ROWS.replace(f"LIMIT {paging.ROWS}", "LIMIT 3")
    monkeypatch.setattr(sqlite, "_ROWS", short)
    monkeypatch.setattr(paging, "ROWS", 3)
    monkeypatch.setattr(copying.Copy, "_copy_records", records)
    assert move.copy() == INTERRUPTED
    assert "interrupted: 3 users read: 3 copied" in move.shown
    assert "run the same command again" in move.shown
    assert move.copy() == 0
    assert "8 users read: 5 copied, 0 updated, 3 kept" in move.shown
    move.at("new")
    assert all(move.on(browser).signed_in for browser in browsers)


def test_stopped_between_a_record_and_its_mark(move, world, people, monkeypatch):
    """If a copy died between a record and its mark, the next one keeps the newer
    tokens.
    """
    browser = browser_of(world, people[0])
    create_many = StoreAdapter.create_many

    async def stop(store, rows):
        await create_many(store, rows[:1])
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(StoreAdapter, "create_many", stop)
        with pytest.raises(ZeroDivisionError):
            move.copy()
    assert move.kept("new") is not None
    move.at("old")
    world.clock.advance(LIFE)
    token = browser.me()["token"]
    move.copy()
    move.at("new")
    assert move.on(browser).me()["token"] == token


def test_stopped_after_some_records(move, world, people, monkeypatch):
    """A session of a stopped copy that ended in the new store does not come back."""
    browsers = [browser_of(world, person) for person in people]
    create_many = SQLiteStore.create_many

    def stop(store, rows):
        create_many(store, rows)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(SQLiteStore, "create_many", stop)
        assert move.copy() == INTERRUPTED
    move.at("new")
    for browser in browsers[1:]:
        move.on(browser).log_out()
    assert move.copy() == 0
    assert [move.on(browser).signed_in for browser in browsers] == [True] + [False] * 7


def test_a_login_while_records_are_written(move, world, people, monkeypatch):
    """A login in the new store, just before a record is written, keeps both sessions."""
    browser = browser_of(world, people[0])
    create_many, others = SQLiteStore.create_many, []

    def write(store, rows):
        if rows and not others:
            move.at("new")
            others.append(browser_of(world, people[0]))
        return create_many(store, rows)

    with monkeypatch.context() as patch:
        patch.setattr(SQLiteStore, "create_many", write)
        assert move.copy() == 0
    move.at("new")
    assert move.on(browser).signed_in
    assert move.on(others[0]).signed_in


def test_a_copy_long_ago_is_forgotten(move, world, people):
    """After a week the marks have expired; with `keep_grants` newer tokens
    still win.
    """
    world.with_settings(keep_grants=True)
    browser_of(world, people[0])
    move.copy()
    world.clock.advance(MARK_SECONDS + 60)
    again = browser_of(world, people[0])
    move.copy()
    assert "0 copied, 1 updated" in move.shown
    move.at("new")
    assert move.on(again).signed_in
