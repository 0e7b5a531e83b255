"""Sealed and signed values are accepted only in their place, with their key, and
unchanged.
"""

from __future__ import annotations

import logging

import pytest

from tiktok_oauth_middleware._core.base64url import from_text, to_text
from tiktok_oauth_middleware._core.encryption import derive
from tiktok_oauth_middleware._core.log import logger
from tiktok_oauth_middleware._session.cookie import SessionCookies
from tiktok_oauth_middleware._session.record import record_id

from ..conftest import API, CALLBACK, another_core, kept, make_settings, query_of

SESSION = "__Host-tiktok"
LOGIN_COOKIE = "__Host-tiktok-login-"
OLD = "Zr4u7x0A3DfGhKjMnPqTsVwYbEeHiLkO"
NEW = "mX2cV6bN0aS4dF8gH1jK5lP9oI3uY7tR"


@pytest.fixture(params=["asyncio", "wsgi"])
def interface(request):
    return request.param


@pytest.fixture
def settings():
    return make_settings(secret_keys=[OLD])


@pytest.fixture
def report(caplog):
    """Return a function that returns the lines logged since its last call, without the
    usual ones.
    """
    caplog.set_level(logging.DEBUG, "tiktok_oauth_middleware")

    def since():
        found = [
            (record.levelname, record.getMessage())
            for record in caplog.records
            if record.name == logger.name
        ]
        caplog.clear()
        for seldom in logger.filters:  # resets the limit of one line a minute
            seldom._last.clear()
        return found

    return since


def row_of(world, person):
    """Return the key of a user's row, and the row."""
    named = record_id(world.settings.client_key, person.open_id)
    core = another_core(world)
    key = core.service.records._key(named)
    return key, world.store.get(key)


def put(world, key, value):
    """Overwrite a row, as anyone with access to the store can."""
    assert world.store.compare_and_set(key, world.store.get(key), value, 10_000)
    world.clock.advance(2)  # past the cached session


# --- another purpose ---------------------------------------------------------------

PLACES = ("session", "login", "row")


@pytest.fixture
def values(world):
    """Return a genuine value of each kind, as raw bytes, and their user."""
    browser = world.browser()
    browser.log_in()
    session = browser.cookies()[SESSION]
    state = query_of(browser.begin())["state"]
    [(name, login)] = [
        c for c in browser.cookies().items() if c[0].startswith(LOGIN_COOKIE)
    ]
    _, row = row_of(world, world.tiktok.people[0])
    return {"session": session, "login": login, "row": to_text(row)}, name, state


@pytest.mark.parametrize(
    ("kind", "place"), [(a, b) for a in PLACES for b in PLACES if a != b]
)
def test_value_in_another_place(world, values, kind, place):
    """A genuine value of one kind is refused in the place of any other kind."""
    genuine, name, state = values
    value = genuine[kind]
    if place == "session":
        assert not world.browser(**{SESSION: value}).signed_in
    elif place == "login":
        calls = world.count("authorization_code")
        answer = world.browser(**{name: value}).get(
            f"{CALLBACK}?code=abc&state={state}"
        )
        assert answer.status_code == 400
        assert world.count("authorization_code") == calls
    else:
        key, _ = row_of(world, world.tiktok.people[0])
        for raw in (value.encode(), from_text(value.encode())):
            if raw:
                put(world, key, raw)
                assert not world.browser(**{SESSION: genuine["session"]}).signed_in


@pytest.mark.parametrize(
    "purpose", ["grant", "login", "grant/id", "session/id", "Session"]
)
def test_session_of_another_purposes_key(world, purpose):
    """A session cookie signed with another purpose's key is refused."""
    world.browser().log_in()
    named = record_id(world.settings.client_key, world.tiktok.people[0].open_id)
    key = derive(OLD, world.settings.client_key, purpose)
    value, _ = SessionCookies("tiktok", [key], secure=True).issue(named)
    assert not world.browser(**{SESSION: value}).signed_in


def test_login_cookie_of_another_login(world):
    """A login's cookie finishes that login in any slot, but not another login."""
    browser = world.browser()
    first = browser.consent(browser.begin())
    second = browser.consent(browser.begin())
    cookies = {n: v for n, v in browser.cookies().items() if n.startswith(LOGIN_COOKIE)}
    assert len(cookies) == 2
    one, other = cookies.items()
    assert world.browser(**dict([other])).get(first).status_code == 400
    assert world.browser(**dict([one])).get(second).status_code == 400
    assert world.count("authorization_code") == 0
    swapped = {one[0]: other[1], other[0]: one[1]}
    for callback in (first, second):
        assert world.browser(**swapped).get(callback).status_code == 303


def test_mixture_of_two_login_cookies(world):
    """Parts of two logins' cookies, combined, are refused."""
    target = "?next=/" + "x" * 700
    jars, callbacks = [], []
    for _ in range(2):
        browser = world.browser()
        callbacks.append(browser.consent(browser.begin(target)))
        jars.append(list(browser.cookies().values()))
    assert len(jars[0]) > 1
    for last in range(1, len(jars[0])):
        values = [*jars[0][:last], *jars[1][last:]]
        mixed = {f"{LOGIN_COOKIE}{n}": value for n, value in enumerate(values)}
        for callback in callbacks:
            assert world.browser(**mixed).get(callback).status_code == 400
    assert world.count("authorization_code") == 0


# --- rows --------------------------------------------------------------------------


def test_row_of_another_user(world, report):
    """A row that is copied over another user's row signs no user in, and logs one
    WARNING.
    """
    one, other = world.tiktok.people[:2]
    first, second = world.browser(), world.browser()
    first.log_in()
    second.log_in(person=other)
    _, row = row_of(world, one)
    put(world, row_of(world, other)[0], row)
    report()
    assert second.me()["open_id"] is None
    assert report() == [UNOPENED]
    assert first.me()["open_id"] == one.open_id
    assert second.log_in(person=other).status_code == 303
    assert second.me()["open_id"] == other.open_id


UNOPENED = (
    "WARNING",
    "a stored record cannot be opened; its user counts as signed out",
)


def damaged(row):
    """Return damaged rows, each damaged differently."""
    return {
        "a bit": bytes([*row[:40], row[40] ^ 1, *row[41:]]),
        "the version": b"\x02" + row[1:],
        "the key's name": row[:1] + bytes(4) + row[5:],
        "the nonce": row[:5] + bytes(12) + row[17:],
        "the tag": row[:-1] + bytes([row[-1] ^ 0x80]),
        "cut": row[:-1],
        "nothing": b"",
        "text": b"a row of something else",
        "long": row * 3,
    }


def test_damaged_row(world, report):
    """The answer and the log are the same for every kind of damage to a row."""
    browser = world.browser()
    browser.log_in()
    key, row = row_of(world, world.tiktok.people[0])
    nobody = world.browser().get("/who", headers=API)
    for name, value in damaged(row).items():
        put(world, key, value)
        report()
        answer = browser.get("/who", headers=API)
        assert (answer.status_code, answer.text) == (200, nobody.text), name
        assert report() == [UNOPENED], name
    put(world, key, row)
    assert browser.signed_in


# --- cookies -----------------------------------------------------------------------


def tampered(value):
    """Return changed session cookies, each changed differently."""
    body, _, mac = value.partition(".")
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    spellings = [value[:-1] + char for char in last if char != value[-1]]
    return [
        body[:-1] + ("A" if body[-1] != "A" else "B") + "." + mac,
        body + "." + mac[::-1],
        value[:-1],
        value + "A",
        value + "=",
        body,
        mac,
        value.swapcase(),
        *spellings,
    ]


def test_tampered_session_cookie(world, report):
    """A request with a changed session cookie is anonymous, without a log line or a
    read of the store.

    A cookie with our name is deleted by the response.
    """
    browser = world.browser()
    browser.log_in()
    value = browser.cookies()[SESSION]
    nobody = world.browser().get("/who", headers=API)
    other = world.browser()
    report()
    for changed in tampered(value):
        headers = {**API, "cookie": f"{SESSION}={changed}"}
        answer = other.get("/who", headers=headers)
        assert (answer.status_code, answer.text) == (200, nobody.text), changed
        for line in answer.headers.get_list("set-cookie"):
            assert line.startswith(f"{SESSION}=; Max-Age=0; ")
    assert report() == []


# --- keys --------------------------------------------------------------------------


def test_rotation(world):
    """A new first key ends no session, and rows that are written again use it."""
    browser, late = world.browser(), world.browser()
    browser.log_in()
    callback = late.consent(late.begin(), person=world.tiktok.people[1])
    session, _ = browser.cookies()[SESSION], late.cookies()
    before = browser.me()
    _, sealed = row_of(world, world.tiktok.people[0])
    world.with_settings(secret_keys=[NEW, OLD])
    browser, late = world.browser(**browser.cookies()), world.browser(**late.cookies())
    assert browser.me() == before
    assert browser.cookies()[SESSION] == session
    # A login that began before the change of keys succeeds after it.
    assert late.get(callback).status_code == 303
    assert late.signed_in
    world.clock.advance(301)  # "last seen" is written again
    assert browser.me() == before
    _, resealed = row_of(world, world.tiktok.people[0])
    assert resealed[1:5] != sealed[1:5]
    world.with_settings(secret_keys=[NEW])
    assert kept(world) is not None
    assert kept(world, world.tiktok.people[1].open_id) is not None


def test_removed_key(world, report):
    """Removing a key ends its sessions, without a log line."""
    browser, late = world.browser(), world.browser()
    browser.log_in()
    callback = late.consent(late.begin())
    world.with_settings(secret_keys=[NEW])
    nobody = world.browser().get("/who", headers=API)
    browser, late = world.browser(**browser.cookies()), world.browser(**late.cookies())
    report()
    answer = browser.get("/who", headers=API)
    assert (answer.status_code, answer.text) == (200, nobody.text)
    assert report() == []
    assert browser.get("/private").status_code == 303
    assert late.get(callback).status_code == 400
    assert [level for level, _ in report()] == ["INFO"]
    # The next login replaces the record that no key can decrypt.
    again = world.browser()
    assert again.log_in().status_code == 303
    assert again.signed_in


def test_removed_key_of_a_row(world, report):
    """A row whose key was removed is treated like a damaged one."""
    browser = world.browser()
    browser.log_in()
    key, sealed = row_of(world, world.tiktok.people[0])
    world.with_settings(secret_keys=[NEW, OLD])
    browser = world.browser()
    browser.log_in()
    world.with_settings(secret_keys=[NEW])
    browser = world.browser(**browser.cookies())
    assert browser.signed_in
    put(world, key, sealed)  # as it was before the rotation
    report()
    assert not browser.signed_in
    assert report() == [UNOPENED]
