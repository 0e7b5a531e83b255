"""When a token is due; both sides of each limit."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tiktok_oauth_middleware._core.secret import Secret
from tiktok_oauth_middleware._session.due import Demand, DueTimes

from ...conftest import make_settings

DAY = 86400


def due_times_of(clock, **options):
    return DueTimes(make_settings(**options), clock)


@pytest.fixture
def due_times(clock):
    return due_times_of(clock)


def of_user(record, number):
    return record._replace(open_id=f"user-{number}")


class TestDueAt:
    @pytest.mark.parametrize(
        ("life", "options", "leeway"),
        [
            (DAY, {}, 300),
            (3000, {}, 300),
            (2000, {}, 200),
            (60, {}, 6),
            (DAY, {"refresh_leeway": 30}, 30),
        ],
    )
    def test_leeway(self, clock, record, life, options, leeway):
        """A token is due at its leeway or a tenth of its life before it ends, or up to
        a tenth earlier.
        """
        due_times = due_times_of(clock, **options)
        record = record._replace(expires_at=record.issued_at + life)
        early = [
            record.expires_at - due_times.due_at(of_user(record, number))
            for number in range(300)
        ]
        assert leeway <= min(early) < 1.01 * leeway
        assert 1.09 * leeway < max(early) <= 1.1 * leeway

    def test_same_everywhere(self, clock, record):
        """All processes compute the same time for a token, and another for the next
        token.
        """
        one, other = due_times_of(clock), due_times_of(clock)
        assert one.due_at(record) == other.due_at(record)
        later = record._replace(
            issued_at=record.issued_at + 7, expires_at=record.expires_at + 7
        )
        assert one.due_at(later) != one.due_at(record) + 7


class TestIsDue:
    def test_moment(self, due_times, clock, record):
        """A token is due from the computed second on."""
        clock.now = due_times.due_at(record)
        assert due_times.is_due(record)
        clock.now -= 0.001
        assert not due_times.is_due(record)

    def test_ahead(self, due_times, clock, record):
        """A sweep renews tokens that end within its time, but none before half of its
        life.
        """
        clock.now = due_times.due_at(record) - 600
        assert due_times.is_due(record, Demand(within=600))
        assert not due_times.is_due(record, Demand(within=599))
        life = record.expires_at - record.issued_at
        clock.now = record.issued_at + life / 2
        assert not due_times.is_due(record, Demand(within=10 * life))
        clock.now += 1
        assert due_times.is_due(record, Demand(within=10 * life))

    @pytest.mark.parametrize(("ahead", "due"), [(300, False), (301, True)])
    def test_future(self, due_times, clock, record, ahead, due):
        """A token obtained in the future is due, unless a difference between clocks
        explains it.
        """
        clock.now = record.issued_at - ahead
        record = record._replace(retry_at=0)
        assert due_times.is_due(record) is due
        assert due_times.is_due(record, Demand(within=600)) is due

    def test_times_of_due(self, clock):
        """A sweep reads no more than a difference between clocks and the longest
        leeway require.
        """
        due_times = due_times_of(clock, refresh_leeway=100)
        expected = (clock() + 600 + 110, clock() + 300)
        assert due_times.times_of_due(600) == pytest.approx(expected, abs=0.001)

    @pytest.mark.parametrize(
        ("after", "due"), [(-1, True), (0, True), (1, False), (600, False), (601, True)]
    )
    def test_retry_at(self, due_times, clock, record, after, due):
        """After a failure a refresh waits for the stored time, if that is within the
        longest back-off.
        """
        clock.now = float(record.expires_at)
        record = record._replace(retry_at=int(clock.now) + after)
        assert due_times.is_due(record) is due


class TestCanAsk:
    def test_no_token(self, due_times, record):
        """A record without a refresh token is never due."""
        assert due_times.can_ask(record) is True
        assert due_times.can_ask(record._replace(refresh_token=Secret(""))) is False

    @pytest.mark.parametrize(("left", "can"), [(0, False), (1, True), (None, True)])
    def test_end(self, due_times, clock, record, left, can):
        """An expired refresh token is not sent; one with an unknown expiry is."""
        end = None if left is None else int(clock()) + left
        assert due_times.can_ask(record._replace(refresh_expires_at=end)) is can


@given(
    life=st.integers(1, 2 * DAY),
    left=st.integers(-DAY, 2 * DAY),
    within=st.integers(0, 2 * DAY),
    leeway=st.integers(1, 3600),
    open_id=st.text(max_size=5),
    has_refresh_token=st.booleans(),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_sweep_skips_no_user(
    clock, record, life, left, within, leeway, open_id, has_refresh_token
):
    """A sweep does not skip a user whose refresh is due."""
    due_times = due_times_of(clock, refresh_leeway=leeway)
    ends = int(clock()) + left
    record = record._replace(
        open_id=open_id, issued_at=ends - life, expires_at=ends, failures=0
    )
    if not has_refresh_token:
        record = record._replace(refresh_token=Secret(""))
    if due_times.is_due(record, Demand(within=within)):
        expires_by, issued_after = due_times.times_of_due(within)
        assert record.expires_at <= expires_by or record.issued_at > issued_after
