"""Logins and connections that are written after the user's access at TikTok ended.

The code was exchanged before, so the tokens are invalid: they must not stay until the
next refresh.
"""

from __future__ import annotations

import pytest

from tiktok_oauth_middleware import NotSignedIn, StoreError, TikTokTokens
from tiktok_oauth_middleware._core.backends.one_step import run
from tiktok_oauth_middleware._session import revocation
from tiktok_oauth_middleware._session.endings import NotedEnds
from tiktok_oauth_middleware._session.notes import Notes, note_name
from tiktok_oauth_middleware._session.record import record_id
from tiktok_oauth_middleware._session.records import Records
from tiktok_oauth_middleware.stores.swap_locks import lock_row

from ..conftest import kept, make_settings
from ..support.app_users import connect, connecting, sign_in
from ..support.deliveries import HOOK, deliver_body, withdrawal
from ..support.every_event import Breakable


@pytest.fixture
def settings():
    return make_settings(webhook_path=HOOK, keep_grants=True)


@pytest.fixture
def tokens(world):
    """Return another process of the app."""
    made = TikTokTokens(
        world.settings, world.store, transport=world.tiktok.transport, clock=world.clock
    )
    yield made
    made.close()


@pytest.fixture
def meanwhile(world):
    """Return a function that runs code once, between the exchange and the write."""
    handle = world.tiktok.handle

    def arrange(happen):
        def listen(method, url, headers, body):
            reply = handle(method, url, headers, body)
            if "/user/info/" in url:
                world.tiktok.handle = handle
                happen()
            return reply

        world.tiktok.handle = listen

    return arrange


def ends(world, tokens, how):
    """Return a function that ends the first person's access at TikTok."""

    def end():
        open_id = world.tiktok.people[0].open_id
        if how == "disconnect":
            tokens.disconnect(open_id)
        else:
            headers, body = world.tiktok.disconnect()
            assert deliver_body(world, body, dict(headers)) == 200

    return end


@pytest.mark.parametrize("how", ["disconnect", "withdrawal"])
def test_login(world, tokens, meanwhile, how, caplog):
    """The login shows a page, without a session or a record.

    The log says why, and does not hint at a mistake in the settings.
    """
    world.browser().log_in()
    browser = world.browser()
    callback = browser.consent(browser.begin())
    meanwhile(ends(world, tokens, how))
    response = browser.get(callback)
    assert response.status_code == 400
    assert not browser.signed_in
    assert kept(world) is None
    assert "the access ended during the login" in caplog.text
    assert "redirect_uri" not in caplog.text
    browser.log_in()
    assert browser.signed_in


@pytest.mark.parametrize("how", ["disconnect", "withdrawal"])
def test_connect(world, tokens, meanwhile, how):
    """Nothing is connected, and a second attempt connects."""
    world.browser().log_in()
    site = connecting(world)
    browser = site.browser()
    sign_in(browser, "user-1")
    meanwhile(ends(world, tokens, how))
    assert connect(browser).status_code == 400
    # Not in the list of the user's accounts either, which a reader corrects only later.
    rows = run(tokens._sync_service().connections._rows("user-1"))
    assert {row.sealed for row in rows} == {None}
    assert tokens.accounts("user-1") == []
    assert kept(world) is None
    assert connect(browser).status_code == 303
    assert len(tokens.accounts("user-1")) == 1


@pytest.mark.parametrize("how", ["disconnect", "withdrawal"])
def test_before(world, tokens, how):
    """A login in the second after an end succeeds, since TikTok says that its token
    works.
    """
    world.browser().log_in()
    ends(world, tokens, how)()
    browser = world.browser()
    browser.log_in()
    assert browser.signed_in
    assert kept(world) is not None


def endings(tokens):
    """Return the notes about ends of access, as another process writes them."""
    return tokens._sync_service().endings


def id_of(world):
    return record_id(world.settings.client_key, world.tiktok.people[0].open_id)


@pytest.mark.parametrize("also", ["nothing", "withdrawal", "revoke"])
def test_unfinished_revoke(world, tokens, meanwhile, also, monkeypatch):
    """A login fails while another process is revoking the access.

    The login's token still works then. A withdrawal that is noted meanwhile changes
    nothing, nor does another revoke that is over.
    """
    world.browser().log_in()
    browser = world.browser()
    callback = browser.consent(browser.begin())
    noted, name = endings(tokens), id_of(world)
    monkeypatch.setattr(revocation, "LOCK_SECONDS", 0.1)
    began, lock = [], world.store.lock(tokens._sync_service().records._key(name), 60)

    def happen():
        assert lock.__enter__()
        run(tokens._sync_service().forget(name))
        began.append(run(noted.begin_revoke(name)))
        if also == "withdrawal":
            body = withdrawal(world, world.tiktok.people[0].open_id)
            assert deliver_body(world, body) == 200
        if also == "revoke":
            run(noted.end_revoke(name, [run(noted.begin_revoke(name))]))

    meanwhile(happen)
    assert browser.get(callback).status_code == 400
    assert kept(world) is None
    run(noted.end_revoke(name, began))
    lock.__exit__(None, None, None)
    browser.log_in()
    assert browser.signed_in


def test_note_of_a_revoke(world, tokens, monkeypatch):
    """A revoke is noted before TikTok is asked, and its end afterwards."""
    world.browser().log_in()
    noted, name, handle = endings(tokens), id_of(world), world.tiktok.handle
    seen = []

    def listen(method, url, headers, body):
        if "/oauth/revoke/" in url:
            seen.append(run(noted._read(name)))
        return handle(method, url, headers, body)

    monkeypatch.setattr(world.tiktok, "handle", listen)
    tokens.disconnect(world.tiktok.people[0].open_id)
    now = int(world.clock())
    assert seen == [NotedEnds(begun=(now,))]
    assert run(noted._read(name)) == NotedEnds(ended_at=now, revoked_at=now)


@pytest.mark.parametrize("how", ["disconnect", "revoke_refused"])
def test_lock_of_a_revoke(world, tokens, monkeypatch, how):
    """Whatever revokes holds the lock until TikTok has answered."""
    world.browser().log_in()
    service, name, handle = tokens._sync_service(), id_of(world), world.tiktok.handle
    seen = []

    def listen(method, url, headers, body):
        if "/oauth/revoke/" in url:
            with world.store.lock(service.records._key(name), 60) as is_free:
                seen.append(is_free)
        return handle(method, url, headers, body)

    monkeypatch.setattr(world.tiktok, "handle", listen)
    given = [] if how == "disconnect" else [kept(world)]
    run(getattr(service.revocation, how)(name, *given))
    assert seen == [False]
    assert kept(world) is None


def test_disconnect_of_an_unknown_user(world, tokens):
    """It leaves neither the note of a beginning nor that of a revoke."""
    assert tokens.disconnect(world.tiktok.people[0].open_id) == "gone"
    now = int(world.clock())
    assert run(endings(tokens)._read(id_of(world))) == NotedEnds(ended_at=now)


@pytest.mark.parametrize("how", ["disconnect", "revoke_refused"])
def test_revoke_without_the_lock(world, tokens, monkeypatch, how):
    """A login fails although the lock is free, while a revoke is made without it.

    The revoke began while a refresh of another process had the lock.
    """
    monkeypatch.setattr(revocation, "LOCK_SECONDS", 0.1)
    world.browser().log_in()
    service, name, handle = tokens._sync_service(), id_of(world), world.tiktok.handle
    of_refresh = world.store.lock(service.records._key(name), 60)
    browser = world.browser()
    callback = browser.consent(browser.begin())
    answers = []

    def listen(method, url, headers, body):
        if "/oauth/revoke/" in url:
            of_refresh.__exit__(None, None, None)
            answers.append(browser.get(callback).status_code)
        return handle(method, url, headers, body)

    monkeypatch.setattr(world.tiktok, "handle", listen)
    given = [] if how == "disconnect" else [kept(world)]
    assert of_refresh.__enter__()
    run(getattr(service.revocation, how)(name, *given))
    assert answers == [400]
    assert not browser.signed_in
    assert kept(world) is None
    browser.log_in()
    assert browser.signed_in


@pytest.mark.parametrize("how", ["disconnect", "revoke_refused", "revoke_dropped"])
def test_process_that_was_suspended(world, tokens, monkeypatch, how):
    """A revoke whose process lost the lock, and runs on, spares a login made since."""
    world.browser().log_in()
    service, name, browser = tokens._sync_service(), id_of(world), world.browser()
    revoke, forget = service.revocation, service.revocation._forget

    async def forget_and_sleep(record_id):
        ended = await forget(record_id)
        row = lock_row(service.records._key(name))
        assert world.store.compare_and_set(row, world.store.get(row), None, 0)
        await service.backend.sleep(service.refresh._lease)
        browser.log_in()
        return ended

    async def end_refresh(record_id, record):
        since = await service.endings.begin_revoke(record_id)
        async with service.refresh.held_off(record_id, 0) as lock:
            await forget_and_sleep(record_id)
            await revoke.revoke_dropped(record_id, record, since, lock)

    monkeypatch.setattr(service.refresh, "_lease", 0.5)
    monkeypatch.setattr(revoke, "_forget", forget_and_sleep)
    calls = {
        "disconnect": lambda: revoke.disconnect(name),
        "revoke_refused": lambda: revoke.revoke_refused(name, kept(world)),
        "revoke_dropped": lambda: end_refresh(name, kept(world)),
    }
    run(calls[how]())
    assert browser.signed_in
    assert world.tiktok.count("revoke") == 0
    assert tokens.profile(world.tiktok.people[0].open_id)


@pytest.mark.parametrize("is_revoked", [False, True])
def test_process_that_died(world, tokens, meanwhile, is_revoked):
    """If a process died during a revoke, a login asks TikTok whether its token works.

    The lock of the process that died is free.
    """
    world.browser().log_in()

    def happen():
        run(endings(tokens).begin_revoke(id_of(world)))
        run(tokens._sync_service().forget(id_of(world)))
        if is_revoked:
            world.tiktok.provider.end_tokens(world.tiktok.people[0].open_id)

    browser = world.browser()
    callback = browser.consent(browser.begin())
    meanwhile(happen)
    assert browser.get(callback).status_code == (400 if is_revoked else 303)
    assert browser.signed_in is not is_revoked
    browser.log_in()
    assert browser.signed_in


def test_lock_that_cannot_be_taken(world, tokens, meanwhile, monkeypatch, caplog):
    """A login is refused if the store does not answer whether a revoke is over."""

    def fail(*_):
        message = "the store is down"
        raise StoreError(message)

    def happen():
        run(endings(tokens).begin_revoke(id_of(world)))
        monkeypatch.setattr(Records, "lock", fail)

    browser = world.browser()
    callback = browser.consent(browser.begin())
    meanwhile(happen)
    assert browser.get(callback).status_code == 400
    assert not browser.signed_in
    assert kept(world) is None
    assert "whether a disconnect is over is unknown: the store is down" in caplog.text


def test_disconnect_that_failed(world, tokens, monkeypatch):
    """A disconnect whose store failed before the deletion prevents no login."""

    async def fail(*_):
        message = "the store is down"
        raise StoreError(message)

    world.browser().log_in()
    with monkeypatch.context() as patched:
        patched.setattr(Records, "forget", fail)
        with pytest.raises(StoreError):
            tokens.disconnect(world.tiktok.people[0].open_id)
    browser = world.browser()
    browser.log_in()
    assert browser.signed_in


def test_foreign_note(world, tokens):
    """An unreadable note counts as missing, and the next one replaces it."""
    noted, name = endings(tokens), id_of(world)
    for row in (b"1 2 3", b"1 x 0 ", b"2 9 9 9", b"\xff"):
        before = run(noted._notes.read(note_name("ended", name)))
        assert run(noted._notes.swap(note_name("ended", name), before, row, 60))
        assert run(noted.revoked_at(name)) is None
    run(noted.end_revoke(name, []))
    assert run(noted.revoked_at(name)) == int(world.clock())


def test_store_that_fails(world, monkeypatch, caplog):
    """If the note cannot be read, the login succeeds, and the next refresh notices an
    end.
    """
    read = Notes.read

    async def reading(self, name):
        if name.startswith("ended-"):
            message = "the store is down"
            raise StoreError(message)
        return await read(self, name)

    browser = world.browser()
    callback = browser.consent(browser.begin())
    monkeypatch.setattr(Notes, "read", reading)
    assert browser.get(callback).status_code == 303
    assert "access has ended could not be read" in caplog.text


class TestOutage:
    """The store fails when the record with the dead tokens is to be deleted."""

    @pytest.fixture
    def store(self, clock):
        return Breakable(clock=clock)

    @pytest.fixture
    def outage(self, world, tokens, meanwhile):
        """End the access during the next login, and make the store fail after that."""

        def happen():
            ends(world, tokens, "withdrawal")()
            handle = world.tiktok.handle

            def listen(method, url, headers, body):
                if "/user/info/" in url:  # whether the new token works
                    world.store.is_broken = True
                    world.tiktok.handle = handle
                return handle(method, url, headers, body)

            world.tiktok.handle = listen

        world.browser().log_in()
        meanwhile(happen)

    def test_login(self, world, outage):
        """The login is a 503 that signs no browser in, and the next login succeeds."""
        browser = world.browser()
        response = browser.get(browser.consent(browser.begin()))
        assert world.store.is_broken
        world.store.is_broken = False
        assert response.status_code == 503
        assert not browser.signed_in
        browser.log_in()
        assert browser.signed_in

    def test_connect(self, world, tokens, outage):
        """The account is a 503 and stays connected until its refresh finds the end."""
        site = connecting(world)
        browser = site.browser()
        sign_in(browser, "user-1")
        response = connect(browser)
        assert world.store.is_broken
        world.store.is_broken = False
        assert response.status_code == 503
        person = world.tiktok.people[0]
        assert [each.open_id for each in tokens.accounts("user-1")] == [person.open_id]
        world.clock.advance(86400)
        with pytest.raises(NotSignedIn):
            tokens.get(person.open_id)
        assert tokens.accounts("user-1") == []
        assert connect(browser).status_code == 303
