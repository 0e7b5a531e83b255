"""A user's record: packed, unpacked, and refused if it is damaged."""

from __future__ import annotations

import base64
import pickle

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tiktok_oauth_middleware._core.secret import Secret
from tiktok_oauth_middleware._oauth.scopes import join_scopes
from tiktok_oauth_middleware._oauth.user_info import pack_profile
from tiktok_oauth_middleware._session.record import (
    RecordOutline,
    Session,
    UserRecord,
    record_id,
    times_of,
)

from ...support.sample_records import NOW, a_record

# --- UserRecord --------------------------------------------------------------------

visible = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1)

open_ids = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=256
)

times = st.integers(0, 2**53)
scope_texts = st.frozensets(st.text("abc._", min_size=1), max_size=5).map(join_scopes)

profiles = st.dictionaries(
    st.sampled_from(["display_name", "bio_description", "username"]),
    st.text(st.characters(codec="utf-8")),
).map(pack_profile)

digests = st.text("abcXYZ019-_", min_size=43, max_size=43)
drawn_sessions = st.builds(Session, digests, times, times, st.none() | times)
sessions = st.lists(drawn_sessions, max_size=50).map(tuple)

records = st.builds(
    UserRecord,
    open_id=open_ids,
    access_token=visible.map(Secret),
    issued_at=times,
    expires_at=times,
    refresh_token=st.one_of(st.just(""), visible).map(Secret),
    refresh_expires_at=st.none() | times,
    scopes=scope_texts,
    denied=scope_texts,
    profile=profiles,
    profile_at=times,
    profile_failures=st.integers(0, 10_000),
    profile_retry_at=times,
    failures=st.integers(0, 10_000),
    retry_at=times,
    sessions=sessions,
    user_id=st.just(""),  # hypothesis draws the defaulted fields of a tuple, too
    connected_at=st.just(0),
)
user_ids = st.text(st.characters(codec="utf-8"), min_size=1, max_size=100)
connected = st.builds(
    UserRecord._replace, records, user_id=user_ids, connected_at=times
)


@given(records | connected)
@example(a_record())
@example(a_record(refresh_expires_at=0))
@example(a_record(sessions=(Session("d", 7, 9, 3), Session("e", 7, 9))))
@example(a_record(refresh_expires_at=None, refresh_token=Secret("")))
@example(a_record(open_id="\u2028\u2029 x\ufeff"))
@settings(deadline=None, derandomize=True, max_examples=200)
def test_record_round_trips(record):
    """A packed record unpacks to the same record."""
    packed = record.pack()
    unpacked = UserRecord.unpack(packed)
    assert unpacked == record
    assert unpacked.access_token.reveal() == record.access_token.reveal()
    assert unpacked.refresh_token.reveal() == record.refresh_token.reveal()
    assert unpacked.pack() == packed


@given(records | connected, records | connected)
@settings(deadline=None, derandomize=True, max_examples=100)
def test_different_records_pack_differently(one, other):
    """Different records have different packed forms."""
    assert (one == other) == (one.pack() == other.pack())


def packed_by_version_1(record):
    """Return the packed form of version 1, which has no age of a profile."""
    end = "" if record.refresh_expires_at is None else str(record.refresh_expires_at)
    lines = [
        "1",
        record.open_id,
        record.access_token.reveal(),
        f"{record.issued_at} {record.expires_at}",
        record.refresh_token.reveal(),
        end,
        record.scopes,
        record.denied,
        record.profile,
        f"{record.failures} {record.retry_at}",
        *(f"{s.digest} {s.created_at} {s.last_seen_at}" for s in record.sessions),
    ]
    return "\n".join(lines).encode()


@given(records)
@example(a_record())
@example(a_record(profile='{"username": "u"}', sessions=(Session("d", 1, 2),)))
@settings(deadline=None, derandomize=True, max_examples=200)
def test_older_records_are_read(record):
    """A record of version 1 is read completely, with its profile as old as its
    tokens.
    """
    first_logins = tuple(s._replace(earlier_login_at=None) for s in record.sessions)
    record = record._replace(sessions=first_logins)  # version 1 has no other field
    unpacked = UserRecord.unpack(packed_by_version_1(record))
    profile_at = record.issued_at if record.profile else 0
    assert unpacked == record._replace(
        profile_at=profile_at, profile_failures=0, profile_retry_at=0
    )
    assert UserRecord.unpack(unpacked.pack()) == unpacked
    assert unpacked.access_token.reveal() == record.access_token.reveal()
    assert unpacked.sessions == record.sessions


def test_unpacked_tokens_are_secrets():
    """Unpacked tokens are Secret objects."""
    record = UserRecord.unpack(a_record().pack())
    assert type(record.access_token) is Secret
    assert type(record.refresh_token) is Secret


GENUINE = a_record(sessions=(Session("d", 1, 2),)).pack()


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"\n",
        b"1",
        b"3" + GENUINE[1:],
        b"01" + GENUINE[1:],
        b" " + GENUINE,
        GENUINE.replace(b"\n", b"\r"),
        GENUINE.replace(b"\n", b"\n\n", 1),
        GENUINE + b"\n",
        GENUINE + b" 3",
        GENUINE + b"\nd 1",
        GENUINE + b"\nd one two",
        GENUINE + b"\nd 1/ 2",
        GENUINE + b"\nd 1/2/3 4",
        GENUINE + b"\nd /1 2",
        GENUINE.replace(str(NOW).encode(), b"soon", 1),
        GENUINE.replace(str(NOW).encode(), b"nan", 1),
        GENUINE.replace(str(NOW).encode(), b"1.5", 1),
        GENUINE.replace(str(NOW).encode(), b"9" * 5000, 1),
        b"\xff" + GENUINE,
        GENUINE.replace(b"user.info", b"\xff\xfe"),
        b'{"open_id": "x"}',
        pickle.dumps({"open_id": "x"}),
        b"\x00" * 100,
    ],
    ids=range(24),
)
def test_other_bytes_unpack_to_none(packed):
    """Bytes that are not a packed record unpack to None, without an error."""
    assert UserRecord.unpack(packed) is None


@pytest.mark.parametrize("lines", range(GENUINE.count(b"\n")))
def test_cut_record_unpacks_to_none(lines):
    """A packed record without some of its lines unpacks to None."""
    kept = GENUINE.split(b"\n")[:lines]
    assert UserRecord.unpack(b"\n".join(kept)) is None


def test_record_is_frozen():
    """A record is immutable."""
    with pytest.raises(AttributeError):
        a_record().open_id = "another"


def test_open_ids_stay_byte_exact():
    """An open_id keeps its case and its normal form through packing."""
    for open_id in ("AbC", "abc", "e\u0301", "\u00e9", "\u212a", "K"):
        assert UserRecord.unpack(a_record(open_id=open_id).pack()).open_id == open_id


# --- what lists and sweeps read of a packed record ------------------------------------


@given(st.one_of(records, connected), times, times)
def test_an_outline_has_the_values_of_the_record(record, created_after, seen_after):
    """The outline of a packed record, for lists of users, has the record's values."""
    packed = record.pack()
    assert RecordOutline.of(packed, created_after, seen_after) == RecordOutline(
        open_id=record.open_id,
        expires_at=record.expires_at,
        refresh_expires_at=record.refresh_expires_at,
        has_refresh_token=bool(record.refresh_token),
        scopes=record.scopes,
        failures=record.failures,
        sessions=sum(
            session.created_at > created_after and session.last_seen_at > seen_after
            for session in record.sessions
        ),
    )
    assert times_of(packed) == (record.issued_at, record.expires_at)


def test_an_outline_of_the_first_version():
    """A record of version 1, which has no line about the profile, is read as well."""
    record = a_record(sessions=(Session("d" * 43, NOW, NOW),), failures=2)
    version, *lines = record.pack().decode().split("\n")
    assert version == "2"
    first = "\n".join(["1", *lines[:9], *lines[10:]]).encode()
    assert UserRecord.unpack(first) is not None
    outline = RecordOutline.of(first, 0, 0)
    assert outline == RecordOutline.of(record.pack(), 0, 0)
    assert times_of(first) == (record.issued_at, record.expires_at)


@pytest.mark.parametrize(
    "packed",
    [b"", b"2", b"\xff", b"2\n\n\nno time\n", b"9" + a_record().pack()[1:]],
    ids=["nothing", "a version", "no text", "no times", "a later version"],
)
def test_invalid_record_has_no_outline(packed):
    """An invalid record, or one of a later version, has neither outline nor times."""
    assert UserRecord.unpack(packed) is None
    assert RecordOutline.of(packed, 0, 0) is None
    assert times_of(packed) is None


# --- ids --------------------------------------------------------------------------


def test_record_id_of_a_lone_surrogate():
    """An open_id with a lone surrogate has its own record id."""
    assert record_id("k", "\ud800") not in (
        record_id("k", "?"),
        record_id("k", "\ud801"),
    )


def test_record_id_is_always_the_same():
    """A user of an app has the same record id in every process."""
    assert record_id("awexampleclientkey", "user") == record_id(
        "awexampleclientkey", "user"
    )
    assert (
        len(base64.urlsafe_b64decode(record_id("awexampleclientkey", "user") + "=="))
        == 16
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("k", "user"), ("k", "User")),
        (("k", "user"), ("k", "user ")),
        (("k", "e\u0301"), ("k", "\u00e9")),
        (("k", "u"), ("l", "u")),
        (("ab", "c"), ("a", "bc")),
        (("k", ""), ("", "k")),
    ],
)
def test_record_id_is_byte_exact(one, other):
    """Users or apps that differ in one byte have different record ids."""
    assert record_id(*one) != record_id(*other)
