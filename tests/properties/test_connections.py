"""Sequences of logins, connections and their ends, against a model of a few lines.

After any sequence of connecting, logging in and out, disconnecting and withdrawing, an
account has at most one owner, each list is complete, and no other row is left.
"""

from __future__ import annotations

import os
from contextlib import ExitStack

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tiktok_oauth_middleware import MemoryStore, TikTokTokens
from tiktok_oauth_middleware.testing import FakeTikTok

from ..conftest import Clock, World, kept, make_settings
from ..support.app_users import begin, connect, connecting, sign_in

USERS = ("user-1", "user-2", "user-3")
PERSONS = st.integers(0, 2)
SOME_USER = st.sampled_from(USERS)
SOME_BROWSER = st.sampled_from((0, 1))
HOOK = "/auth/tiktok/webhook"
IS_LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"


class Connections(RuleBasedStateMachine):
    """Two browsers, three users of the app, three people at TikTok."""

    def __init__(self):
        super().__init__()
        self.stack = ExitStack()
        clock, given = Clock(), make_settings()
        tiktok = FakeTikTok.for_settings(given, clock=clock)
        store = MemoryStore(clock=clock)
        world = World("wsgi", given, tiktok, store, clock, [], self.stack)
        self.site = connecting(world, webhook_path=HOOK)
        self.tokens = TikTokTokens(
            self.site.settings, store, transport=tiktok.transport, clock=clock
        )
        self.stack.callback(self.tokens.close)
        self.browsers = [self.site.browser(), self.site.browser()]
        #: The model: person to user, browser to person, browser to user of the app.
        self.owner, self.session, self.user = {}, {}, {}

    def teardown(self):
        self.stack.close()

    def person(self, number):
        return self.site.tiktok.people[number]

    def end(self, number):
        """Note that an account's tokens have ended."""
        # A cached session may be a second old.
        self.site.clock.advance(2)
        self.owner.pop(number, None)
        self.session = {b: p for b, p in self.session.items() if p != number}

    @rule(browser=SOME_BROWSER, number=PERSONS)
    def log_in(self, browser, number):
        response = self.browsers[browser].log_in(person=self.person(number))
        assert response.status_code == 303
        self.session[browser] = number

    @rule(browser=SOME_BROWSER)
    def log_out(self, browser):
        assert self.browsers[browser].log_out().status_code == 303
        self.session.pop(browser, None)

    @rule(browser=SOME_BROWSER, user=SOME_USER | st.none())
    def sign_in_to_the_app(self, browser, user):
        sign_in(self.browsers[browser], user)
        self.user[browser] = user

    @rule(browser=SOME_BROWSER, number=PERSONS)
    def connect(self, browser, number):
        user = self.user.get(browser)
        if user is None:
            return
        response = connect(self.browsers[browser], person=self.person(number))
        is_free = self.owner.get(number, user) == user
        assert response.status_code == (303 if is_free else 409)
        if is_free:
            self.owner[number] = user

    @rule(browser=SOME_BROWSER, number=PERSONS, later=SOME_USER | st.none())
    def switch_during_a_trip(self, browser, number, later):
        user, here = self.user.get(browser), self.browsers[browser]
        if user is None or later == user:
            return
        callback = here.consent(begin(here), person=self.person(number))
        sign_in(here, later)
        self.user[browser] = later
        assert here.get(callback).status_code == 403

    @rule(number=PERSONS)
    def disconnect(self, number):
        is_stored = number in self.owner or number in self.session.values()
        result = self.tokens.disconnect(self.person(number).open_id)
        assert (result == "gone") is not is_stored
        self.end(number)

    @rule(number=PERSONS)
    def forget(self, number):
        self.tokens.forget(self.person(number).open_id)
        self.end(number)

    @rule(number=PERSONS)
    def withdraw(self, number):
        self.site.clock.advance(120)
        headers, body = self.site.tiktok.disconnect(self.person(number))
        client = self.browsers[0].client
        assert client.post(HOOK, headers=headers, content=body).status_code == 200
        self.site.clock.advance(120)
        self.end(number)

    @rule()
    def wait(self):
        self.site.clock.advance(3 * 3600)
        self.tokens.refresh_expiring(within=3 * 3600)

    @invariant()
    def each_user_has_their_accounts(self):
        for user in USERS:
            found = {account.open_id for account in self.tokens.accounts(user)}
            model = {
                self.person(number).open_id
                for number, owner in self.owner.items()
                if owner == user
            }
            assert found == model

    @invariant()
    def each_account_is_one_record_or_none(self):
        for number in range(3):
            record = kept(self.site, self.person(number).open_id)
            sessions = [*self.session.values()].count(number)
            if number not in self.owner and not sessions:
                assert record is None
            else:
                assert record.user_id == self.owner.get(number, "")
                assert len(record.sessions) == sessions

    @invariant()
    def each_browser_is_signed_in_as_before(self):
        for browser in (0, 1):
            number = self.session.get(browser)
            wanted = None if number is None else self.person(number).open_id
            assert self.browsers[browser].me()["open_id"] == wanted


def test_every_sequence():
    """Every sequence agrees with the model."""
    chosen = settings(
        derandomize=not IS_LONG,
        deadline=None,
        max_examples=400 if IS_LONG else 30,
        stateful_step_count=30 if IS_LONG else 20,
        suppress_health_check=[HealthCheck.too_slow],
    )
    run_state_machine_as_test(Connections, settings=chosen)
