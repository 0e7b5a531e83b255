"""Users of an app connect TikTok accounts."""

from __future__ import annotations

import pytest

from tiktok_oauth_middleware import ConfigurationError, NotSignedIn, TikTokTokens
from tiktok_oauth_middleware._core.backends.one_step import run
from tiktok_oauth_middleware._session.connections import MOST_ACCOUNTS
from tiktok_oauth_middleware._session.record import record_id

from ..conftest import ORIGIN, PAGE, kept, make_settings, query_of
from ..support.app_users import (
    CONNECT,
    async_current_user,
    begin,
    connect,
    connecting,
    current_user,
    sign_in,
    tokens_of,
)

LIFE = 7200


@pytest.fixture
def site(world):
    """Return the world of an app with users of its own."""
    return connecting(world)


@pytest.fixture
def tokens(site):
    return tokens_of(site)


@pytest.fixture
def browser(site):
    """Return a browser that is signed in to the app as a user."""
    made = site.browser()
    sign_in(made, "user-1")
    return made


def ids(tokens, user_id="user-1"):
    return [account.open_id for account in tokens.accounts(user_id)]


def rows(site):
    """Return the keys of the rows that list the accounts of users."""
    return [key for key in site.store.keys("") if ":user:" in key]


def last(site, name):
    found = [event for event in site.events if event.name == name]
    assert found, [event.name for event in site.events]
    return found[-1]


def test_connect(site, browser, tokens):
    """A user connects an account and returns to the link's target; jobs can use its
    token.
    """
    person = site.tiktok.people[0]
    response = connect(browser, "?next=/who?a%3D1")
    assert response.status_code == 303
    assert response.headers["location"] == "/who?a=1"
    [account] = tokens.accounts("user-1")
    assert account.open_id == account.user.open_id == person.open_id
    assert account.scopes == {"user.info.basic", "video.list"}
    assert account.user.display_name == person.display_name
    assert account.connected_at == site.clock.now
    assert account.expires_at > site.clock.now + 86400
    assert tokens.get(person.open_id).access_token
    event = last(site, "connect")
    assert (event.open_id, event.user_id, event.is_new) == (
        person.open_id,
        "user-1",
        True,
    )
    assert event.scopes == account.scopes
    assert event.user == account.user


def test_connecting_signs_no_user_in(site, browser, tokens):
    """Connecting begins no TikTok session, and leaves no cookie."""
    connect(browser)
    assert not browser.signed_in
    assert set(browser.cookies()) == {"app-user"}
    assert kept(site).sessions == ()


def test_login_is_untouched(site, browser, tokens):
    """The login in the browser stays: the same cookie, user and record."""
    first, second = site.tiktok.people[:2]
    browser.log_in(person=first)
    before, session = browser.cookies(), browser.me()
    connect(browser, person=second)
    assert browser.cookies() == before
    assert browser.me() == session
    assert ids(tokens) == [second.open_id]
    tokens.disconnect(second.open_id)
    assert browser.cookies() == before
    assert browser.me() == session
    assert ids(tokens) == []


def test_too_many_accounts(site, browser, tokens):
    """An account above the limit is not connected, and its new tokens are revoked."""
    first, second = site.tiktok.people[:2]
    connect(browser, person=first)
    record, service = kept(site), tokens._sync_service()
    for number in range(1, MOST_ACCOUNTS):
        other = record._replace(open_id=f"other-{number}")
        name = record_id(site.settings.client_key, other.open_id)
        found = run(service.connections.connect("user-1", name, lambda _, r=other: r))
        assert found.status == "connected"
    response = connect(browser, person=second)
    assert response.status_code == 409
    assert last(site, "connect_rejected").reason == "connect_full"
    assert second.open_id not in ids(tokens)
    assert site.tiktok.count("revoke") == 1


def test_several_accounts(site, browser, tokens):
    """A user connects several accounts, and each has its own token."""
    first, second = site.tiktok.people[:2]
    connect(browser, person=first)
    site.clock.advance(10)
    connect(browser, person=second)
    assert ids(tokens) == [first.open_id, second.open_id]
    found = {tokens.get(open_id).access_token for open_id in ids(tokens)}
    assert len(found) == 2


def test_taken(site, browser, tokens):
    """An account of another user is not connected, and its tokens still work."""
    connect(browser)
    other = site.browser()
    sign_in(other, "user-2")
    site.clock.advance(60)
    response = connect(other)
    assert response.status_code == 409
    assert "belongs to another user" in response.text
    assert "Use another TikTok account" in response.text
    assert len(ids(tokens)) == 1
    assert ids(tokens, "user-2") == []
    event = last(site, "connect_rejected")
    assert (event.reason, event.user_id) == ("account_taken", "user-2")
    site.clock.advance(2 * 86400)
    assert tokens.get(ids(tokens)[0]).access_token


def test_connected_once_more(site, browser, tokens):
    """The same user may connect an account again, for example for further scopes."""
    connect(browser)
    since = tokens.accounts("user-1")[0].connected_at
    site.clock.advance(100)
    authorize = begin(browser, "?scopes=video.upload")
    assert "video.upload" in query_of(authorize)["scope"]
    assert browser.get(browser.consent(authorize)).status_code == 303
    [account] = tokens.accounts("user-1")
    assert "video.upload" in account.scopes
    assert account.connected_at == since
    assert last(site, "connect").is_new is False


def test_one_record_with_login_first(site, browser, tokens):
    """If an account logs in and is then connected, it has one record, with its
    session.
    """
    browser.log_in()
    connect(browser)
    record = kept(site)
    assert (record.user_id, len(record.sessions)) == ("user-1", 1)
    assert browser.signed_in
    assert len(tokens.users()) == 1


def test_one_record_with_connection_first(site, browser, tokens):
    """If an account is connected and then logs in, it has one record for both."""
    connect(browser)
    other = site.browser()
    other.log_in()
    record = kept(site)
    assert (record.user_id, len(record.sessions)) == ("user-1", 1)
    assert last(site, "login").is_new is False
    assert len(ids(tokens)) == 1


def test_logout_keeps_the_connection(site, browser, tokens):
    """A connection outlives the sessions of its account, and their tokens."""
    browser.log_in()
    connect(browser)
    browser.log_out()
    assert not browser.signed_in
    [open_id] = ids(tokens)
    site.clock.advance(30 * 86400)
    assert tokens.get(open_id).expires_at > site.clock.now


def test_sweep(site, browser, tokens):
    """A sweep refreshes the tokens of connected accounts without a session."""
    connect(browser)
    site.clock.advance(86400)
    assert tokens.refresh_expiring(within=7200).refreshed == 1
    [open_id] = ids(tokens)
    assert tokens.get(open_id).access_token
    assert site.count("refresh_token") == 1


def test_lost_row(site, browser, tokens):
    """If the row that lists an account was lost, a refresh writes it again."""
    connect(browser)
    [row] = rows(site)
    assert site.store.compare_and_set(row, site.store.get(row), None, 1)
    assert ids(tokens) == []
    site.clock.advance(86400)
    tokens.refresh_expiring(within=7200)
    assert len(ids(tokens)) == 1


def test_grant_ended_by_tiktok(site, browser, tokens):
    """When TikTok ends the grant, the connection ends, and the event names the user."""
    connect(browser)
    [open_id] = ids(tokens)
    site.tiktok.disconnect()
    site.clock.advance(86400)
    with pytest.raises(NotSignedIn):
        tokens.get(open_id)
    assert ids(tokens) == []
    event = last(site, "session_ended")
    assert (event.open_id, event.user_id) == (open_id, "user-1")


@pytest.mark.parametrize("by", ["its time", "a refresh"])
def test_withdrawal(site, tokens, by):
    """A withdrawal at TikTok ends the connection, and the event names the user.

    It is recognized by its time, or if that is too close to the login, because TikTok
    refuses to refresh the token.
    """
    site = connecting(site, webhook_path="/auth/tiktok/webhook")
    site.tiktok.access_lifetime = 10
    browser = signed_in(site)
    connect(browser)
    [open_id] = ids(tokens)
    site.clock.advance(1000 if by == "its time" else 1)
    headers, body = site.tiktok.disconnect()
    site.clock.advance(20)
    response = browser.client.post(
        "/auth/tiktok/webhook", headers=headers, content=body
    )
    assert response.status_code == 200
    assert rows(site) == []  # read before the row is corrected
    assert ids(tokens) == []
    assert len(site.reported("session_ended")) == (by == "a refresh")
    event = last(site, "withdrawal")
    assert (event.open_id, event.user_id) == (open_id, "user-1")


def signed_in(site, user_id="user-1"):
    made = site.browser()
    sign_in(made, user_id)
    return made


def test_disconnect(site, browser, tokens):
    """Disconnecting ends the access at TikTok, and the event names the user."""
    connect(browser)
    [open_id] = ids(tokens)
    assert tokens.disconnect(open_id) == "revoked"
    assert ids(tokens) == []
    assert tokens.users() == []
    event = last(site, "disconnect")
    assert (event.open_id, event.user_id) == (open_id, "user-1")


def test_deleted_user(site, browser, tokens):
    """Disconnecting each account of a user leaves nothing of the user in the store."""
    for person in site.tiktok.people[:2]:
        connect(browser, person=person)
    for account in tokens.accounts("user-1"):
        tokens.disconnect(account.open_id)
    left = [key for key in site.store.keys("") if ":used:" not in key]
    assert left == []


def test_free_again(site, browser, tokens):
    """An account that was disconnected can be connected to another user."""
    connect(browser)
    tokens.disconnect(ids(tokens)[0])
    other = signed_in(site, "user-2")
    assert connect(other).status_code == 303
    assert len(ids(tokens, "user-2")) == 1


def test_tiktok_shows_its_page(site, browser):
    """TikTok always shows its page, so that the person sees the account."""
    for _ in range(2):
        authorize = begin(browser)
        assert query_of(authorize)["disable_auto_auth"] == "1"
        browser.get(browser.consent(authorize))


def test_denied(site, browser, tokens):
    """A person who cancels at TikTok gets a page that offers to try again."""
    response = connect(browser, "?next=/who", deny=True)
    assert response.status_code == 403
    assert "Nothing was connected" in response.text
    assert f"{CONNECT}?next=/who" in response.text
    assert ids(tokens) == []
    assert last(site, "connect_rejected").reason == "login_denied"


def test_too_late(site, browser, tokens):
    """A connection that took longer than `login_lifetime` is refused."""
    callback = browser.consent(begin(browser))
    site.clock.advance(601)
    response = browser.get(callback)
    assert response.status_code == 400
    assert "Nothing was connected" in response.text
    assert last(site, "connect_rejected").reason == "login_expired"
    assert ids(tokens) == []


def test_tiktok_is_down(site, browser, tokens):
    """An outage of TikTok connects nothing, and the page says so."""
    callback = browser.consent(begin(browser))
    site.tiktok.fail("token", status=503)
    response = browser.get(callback)
    assert response.status_code == 502
    assert "TikTok did not complete the connection" in response.text
    assert last(site, "connect_rejected").reason == "tiktok_unavailable"
    assert ids(tokens) == []


def test_wrong_secret(site, browser, caplog):
    """TikTok's own error is in the event and in the log, with what to look at."""
    site.tiktok.fail("token", error="invalid_client")
    connect(browser)
    event = last(site, "connect_rejected")
    assert (event.reason, event.error) == ("invalid_client", "invalid_client")
    [line] = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert event.reference in line
    assert "TikTok: invalid_client" in line
    assert "client_secret" in line


def test_callback_again(site, browser, tokens):
    """A callback that is sent twice gets the same result twice, with one exchange."""
    authorize = begin(browser, "?next=/who")
    before = browser.cookies()
    callback = browser.consent(authorize)
    first = browser.get(callback)
    browser.client.cookies.update(before)
    second = browser.get(callback)
    assert first.headers["location"] == second.headers["location"] == "/who"
    assert site.count("authorization_code") == 1
    assert len(ids(tokens)) == 1
    assert [e.name for e in site.events].count("connect") == 1


def test_failed_callback_again(site, browser):
    """A callback that failed and is sent again gets the same page, with one event."""
    authorize = begin(browser)
    before = browser.cookies()
    callback = browser.consent(authorize)
    site.tiktok.fail("token", status=503)
    first = browser.get(callback)
    browser.client.cookies.update(before)
    second = browser.get(callback)
    reference = last(site, "connect_rejected").reference
    for response in (first, second):
        assert response.status_code == 502
        assert reference in response.text
    assert site.count("authorization_code") == 1
    assert [e.name for e in site.events].count("connect_rejected") == 1


def test_link(site, browser):
    """A link on a page of this site begins a connection without a question."""
    headers = {**PAGE, "sec-fetch-site": "same-origin", "referer": ORIGIN + "/"}
    response = browser.get(CONNECT, headers=headers)
    assert response.status_code == 303
    assert response.headers["location"].startswith("https://www.tiktok.com/")


def test_posted_only(site):
    """With ``login_methods=("POST",)`` a link leads to a page with a button."""
    site = site.with_settings(login_methods=["POST"])
    headers = {**PAGE, "sec-fetch-site": "same-origin"}
    browser = signed_in(site)
    response = browser.get(CONNECT + "?next=/who", headers=headers)
    assert response.status_code == 200
    assert f'action="{CONNECT}?next=/who"' in response.text
    assert browser.post(CONNECT).status_code == 303


def test_links_only(site, browser):
    """With ``login_methods=("GET",)`` forms and the question's button still post."""
    site.with_settings(connect_path=CONNECT, login_methods=("GET",))
    again = site.browser(**browser.cookies())
    assert again.get(CONNECT).status_code == 200
    assert begin(again).startswith("https://www.tiktok.com/")


def test_signed_out(site, tokens):
    """A user who is not signed in to the app gets a page instead of a redirect to
    TikTok.
    """
    response = site.browser().post(CONNECT)
    assert response.status_code == 401
    assert "Sign in to this site first" in response.text
    assert site.browser().get(CONNECT).status_code == 401


def test_scope_not_offered(site, browser):
    """Scopes beyond those of the settings are not requested."""
    response = browser.post(CONNECT + "?scopes=research.data.basic")
    assert response.status_code == 400


def test_signed_in_to_tiktok_as_the_app_user(world):
    """``current_user`` may return the TikTok login's user, to whom further accounts are
    connected.
    """

    def current(connection):
        auth = connection.get("tiktok") or connection.get("tiktok.auth")
        return auth.open_id

    world.further = {"current_user": current}
    site = world.with_settings(connect_path=CONNECT)
    first, second = site.tiktok.people[:2]
    browser = site.browser()
    assert browser.post(CONNECT).status_code == 401
    browser.log_in(person=first)
    assert connect(browser, person=second).status_code == 303
    assert browser.me()["open_id"] == first.open_id
    tokens = TikTokTokens(site.settings, site.store, clock=site.clock)
    site.stack.callback(tokens.close)
    assert ids(tokens, first.open_id) == [second.open_id]


def test_connect_url(site):
    """`TikTokAuth.connect_url` returns the connect path with the path to return to."""
    from tiktok_oauth_middleware.auth import TikTokAuth

    mounted = site.middleware
    auth = TikTokAuth.of(None, mounted._core.mount_points.at(""))
    assert auth.connect_url() == CONNECT
    url = auth.connect_url(next="/x?y=1", scopes=["video.upload"])
    assert url == CONNECT + "?next=/x%3Fy%3D1&scopes=video.upload"
    assert auth.connect_url(next=ORIGIN + "/x") == CONNECT + "?next=/x"
    with pytest.raises(ConfigurationError, match="connect_url asks for nonsense"):
        auth.connect_url(scopes=["nonsense"])


def test_async_current_user(world):
    """Under ASGI ``current_user`` may be an async def, under WSGI it may not."""
    world.further = {"current_user": async_current_user}
    if world.interface == "wsgi":
        with pytest.raises(ConfigurationError, match="async def"):
            world.with_settings(connect_path=CONNECT)
        return
    browser = signed_in(world.with_settings(connect_path=CONNECT))
    assert connect(browser).status_code == 303


@pytest.mark.parametrize(
    ("options", "further", "words"),
    [
        ({"connect_path": CONNECT}, {}, "current_user is missing"),
        ({}, {"current_user": current_user}, "connect_path is not set"),
        ({"connect_path": CONNECT}, {"current_user": "me"}, "must be a function"),
        ({"connect_path": CONNECT}, {"current_user": dict}, None),
        ({"connect_path": CONNECT}, {"current_user": lambda: 1}, "one argument"),
    ],
    ids=range(5),
)
@pytest.mark.parametrize("store", ["memory"], indirect=True)
def test_configuration(world, options, further, words):
    """Options that cannot work are refused at the start; the message says what to
    change.
    """
    world.further = further
    if words is None:
        world.with_settings(**options)
        return
    with pytest.raises(ConfigurationError, match=words):
        world.with_settings(**options)


@pytest.mark.parametrize("path", ["/", "connect", "/auth/tiktok/login", "/a b"])
def test_bad_path(path):
    """The connect path must be a plain path that no other option uses."""
    with pytest.raises(ConfigurationError, match="connect_path"):
        make_settings(connect_path=path)


@pytest.mark.parametrize("user_id", ["", "x" * 256, "\ud800"])
def test_bad_user_id(tokens, user_id):
    """An invalid user id is refused without a lookup."""
    with pytest.raises(ValueError, match="user_id"):
        tokens.accounts(user_id)
    with pytest.raises(TypeError, match="user_id"):
        tokens.accounts(7)
