"""What an app sees is read-only; what holds a secret shows none; grants round-trip."""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
import pickle
import pprint
import string
import traceback
from operator import mod
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tiktok_oauth_middleware import ConfigurationError
from tiktok_oauth_middleware._core.secret import Secret
from tiktok_oauth_middleware._oauth.scopes import join_scopes, split_scopes
from tiktok_oauth_middleware._oauth.token_response import TokenResponse
from tiktok_oauth_middleware._oauth.user_info import pack_profile
from tiktok_oauth_middleware._session import cached_session
from tiktok_oauth_middleware._session.record import Session, UserRecord
from tiktok_oauth_middleware._web.guard import Challenge
from tiktok_oauth_middleware._web.mount import MountPoint
from tiktok_oauth_middleware.auth import TikTokAuth, Token, User, read_profile
from tiktok_oauth_middleware.events import Event

PLAIN = "act.PLAINSECRET!5259.va"
REFRESH = "rft.OTHERSECRET!5294.va"
NOW = 1_767_225_605
OPEN_ID = "11111111-2222-4333-8444-555555555555"


def a_grant(**changes):
    fields = {
        "open_id": OPEN_ID,
        "access_token": Secret(PLAIN),
        "issued_at": NOW,
        "expires_at": NOW + 86400,
        "refresh_token": Secret(REFRESH),
        "refresh_expires_at": NOW + 31536000,
        "scopes": "user.info.basic,video.list",
    }
    return UserRecord(**(fields | changes))


def a_sight(**changes):
    fields = {
        "since": NOW,
        "until": NOW + 60,
        "open_id": OPEN_ID,
        "scopes": "user.info.basic,video.list",
        "access_token": PLAIN,
        "expires_at": NOW + 100,
        "profile": '{"display_name": "Example Creator"}',
        "declined": "",
        "grant_id": "grant",
        "digest": "digest",
    }
    return tuple((fields | changes).values())


def a_site(now=NOW, mount="", **changes):
    routes = {
        "/auth/tiktok/login": "login",
        "/auth/tiktok/logout": "logout",
        "/auth/tiktok/callback": "callback",
    }
    given = {
        "mount": mount,
        "routes": routes,
        "askable": frozenset({"user.info.basic", "video.list", "video.upload"}),
        "clock": lambda: now,
    }
    return MountPoint(**(given | changes))


def an_auth(sight, site):
    """Return what the middleware makes for a request."""
    auth = TikTokAuth()
    auth._sight, auth._site = sight, site
    auth._looked, auth._challenge = False, None
    return auth


@pytest.fixture
def signed_in():
    return an_auth(a_sight(), a_site())


@pytest.fixture
def signed_out():
    return an_auth(None, a_site())


# --- secrets -----------------------------------------------------------------------


WAYS_TO_SHOW = {
    "repr": repr,
    "str": str,
    "ascii": ascii,
    "format": format,
    "format with width": lambda value: f"{value!s:>60}",
    "f-string": lambda value: f"{value}",
    "f-string repr": lambda value: f"{value!r}",
    "percent s": lambda value: mod("%s", (value,)),
    "percent r": lambda value: mod("%r", (value,)),
    "str.format": lambda value: str.format("{} {!r}", value, value),
    "string.Template": lambda value: string.Template("$v").substitute(v=value),
    "print in a list": lambda value: str([value]),
    "print in a dict": lambda value: str({"token": value}),
    "pprint": pprint.pformat,
    "log": lambda value: logging.LogRecord(
        "n", 20, "p", 1, "%s %r", (value, value), None
    ).getMessage(),
    "exception": lambda value: "".join(
        traceback.format_exception_only(ValueError(value))
    ),
    "key error": lambda value: "".join(
        traceback.format_exception_only(KeyError(value))
    ),
    "vars": lambda value: str(getattr(value, "__dict__", "")),
}

HOLDERS = {
    "Secret": lambda: Secret(PLAIN),
    "Token": lambda: Token(PLAIN, NOW, "user.info.basic"),
    "Grant": a_grant,
    "TokenAnswer": lambda: TokenResponse(
        open_id=OPEN_ID,
        access_token=Secret(PLAIN),
        refresh_token=Secret(REFRESH),
        scopes="",
        expires_in=1.0,
        refresh_expires_in=None,
    ),
    "TikTokAuth": lambda: an_auth(a_sight(), a_site()),
}


def says_secret(text):
    return "PLAINSECRET" in text or "OTHERSECRET" in text


@pytest.mark.parametrize("show", WAYS_TO_SHOW.values(), ids=WAYS_TO_SHOW.keys())
@pytest.mark.parametrize("make", HOLDERS.values(), ids=HOLDERS.keys())
def test_secret_is_not_shown(make, show):
    """No way of printing a value that holds a secret prints the secret."""
    assert not says_secret(show(make()))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("make", HOLDERS.values(), ids=HOLDERS.keys())
def test_secret_is_not_pickled(make, protocol):
    """Whatever holds a secret refuses to be pickled, by every protocol."""
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(make(), protocol)


@pytest.mark.parametrize("name", ["Grant", "TokenAnswer"])
@pytest.mark.parametrize("turn", [dataclasses.asdict, dataclasses.astuple])
def test_dataclass_turned_into_a_dict_shows_no_secret(name, turn):
    """What asdict and astuple give still prints no secret."""
    shown = str(turn(HOLDERS[name]()))
    assert OPEN_ID in shown
    assert not says_secret(shown)


def test_secret_compares_as_its_text():
    """A secret is equal to its text, and hashes like it."""
    assert Secret("abc") == "abc"
    assert {Secret("abc"): 1}["abc"] == 1
    assert Secret("abc") != Secret("abd")


def test_secret_reveals_its_text():
    """The plain text is had by asking for it, as a plain string."""
    revealed = Secret("abc").reveal()
    assert revealed == "abc"
    assert type(revealed) is str
    assert str(revealed) == "abc"


def test_secret_encodes_as_its_text():
    """Bytes made of a secret are those of its text, never asterisks."""
    assert Secret("abc").encode() == b"abc"


def test_secret_of_a_secret_keeps_the_text():
    """Wrapping a secret twice does not turn its asterisks into its text."""
    assert Secret(Secret("abc")).reveal() == "abc"


def test_secret_is_true_iff_it_has_text():
    """An empty secret counts as none."""
    assert not Secret("")
    assert Secret("a")


def test_secret_can_be_deep_copied():
    """A deep copy, such as asdict makes, keeps the secret a Secret."""
    copied = copy.deepcopy({"a": Secret("abc")})["a"]
    assert type(copied) is Secret
    assert copied.reveal() == "abc"


# --- scopes ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "scopes"),
    [
        ("", set()),
        (",", set()),
        (" , ,", set()),
        ("user.info.basic", {"user.info.basic"}),
        ("user.info.basic,video.list", {"user.info.basic", "video.list"}),
        (" user.info.basic ,\tvideo.list,", {"user.info.basic", "video.list"}),
        ("a,a,a", {"a"}),
        ("a b", {"a b"}),
    ],
)
def test_scopes_are_split_at_commas(text, scopes):
    """Scopes end at commas; white space around them is no part of them."""
    assert split_scopes(text) == scopes


def test_equal_sets_of_scopes_are_equal_texts():
    """Joined scopes do not depend on the order they came in."""
    assert join_scopes(["b", "a"]) == join_scopes({"a", "b"}) == "a,b"


@given(st.frozensets(st.text("abcdef._-", min_size=1, max_size=9), max_size=6))
@settings(deadline=None, derandomize=True)
def test_scopes_round_trip(scopes):
    """Splitting what was joined gives the same scopes."""
    assert split_scopes(join_scopes(scopes)) == scopes


# --- Token and User ----------------------------------------------------------------


def test_token_tells_what_it_is():
    """A token knows its text, its end and its scopes."""
    token = Token(PLAIN, NOW, "user.info.basic,video.list")
    assert token.access_token == PLAIN
    assert type(token.access_token) is str
    assert token.expires_at == NOW
    assert token.scopes == {"user.info.basic", "video.list"}


@pytest.mark.parametrize("name", ["access_token", "expires_at", "scopes", "other"])
def test_token_is_read_only(name):
    """No attribute of a token can be set, and none added."""
    with pytest.raises(AttributeError):
        setattr(Token(PLAIN, NOW, ""), name, "x")


@pytest.mark.parametrize("name", ["open_id", "display_name"])
def test_user_is_read_only(name):
    """A user's profile can not be changed by the app."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(User(open_id=OPEN_ID), name, "x")


def test_profile_round_trips():
    """A packed profile reads back as the same user."""
    fields = {
        "display_name": "Example Creator é 日本",
        "is_verified": False,
        "follower_count": 2**62,
        "bio_description": 'line\nline "x"',
    }
    user = read_profile(OPEN_ID, pack_profile(fields))
    assert user == User(open_id=OPEN_ID, **fields)


def test_packed_profile_is_one_line_of_ascii():
    """A profile packs into one line of ASCII, whatever a display name holds."""
    packed = pack_profile({"display_name": "a\r\nb\u2028c\x00🎵"})
    assert packed.isascii()
    assert packed.isprintable()


@pytest.mark.parametrize("fields", [{}, {"open_id": "x"}, {"username": None}])
def test_profile_of_nothing_is_empty(fields):
    """Without a field but the id there is nothing to keep."""
    assert pack_profile(fields) == ""
    assert read_profile("x", "") == User(open_id="x")


def test_profile_does_not_name_the_user():
    """The id of the user comes from the grant, never from the packed profile."""
    assert "open_id" not in json.loads(pack_profile({"open_id": "x", "username": "u"}))


# --- Grant -------------------------------------------------------------------------

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
sessions = st.lists(st.builds(Session, digests, times, times), max_size=50).map(tuple)
grants = st.builds(
    UserRecord,
    open_id=open_ids,
    access_token=visible.map(Secret),
    issued_at=times,
    expires_at=times,
    refresh_token=st.one_of(st.just(""), visible).map(Secret),
    refresh_expires_at=st.none() | times,
    scopes=scope_texts,
    declined=scope_texts,
    profile=profiles,
    profile_at=times,
    profile_failures=st.integers(0, 10_000),
    profile_retry_at=times,
    failures=st.integers(0, 10_000),
    retry_at=times,
    sessions=sessions,
)


@given(grants)
@example(a_grant())
@example(a_grant(refresh_expires_at=0))
@example(a_grant(refresh_expires_at=None, refresh_token=Secret("")))
@example(a_grant(open_id="\u2028\u2029 x\ufeff"))
@settings(deadline=None, derandomize=True, max_examples=200)
def test_grant_round_trips(grant):
    """Packing and unpacking are exact opposites."""
    packed = grant.pack()
    unpacked = UserRecord.unpack(packed)
    assert unpacked == grant
    assert unpacked.access_token.reveal() == grant.access_token.reveal()
    assert unpacked.refresh_token.reveal() == grant.refresh_token.reveal()
    assert unpacked.pack() == packed


@given(grants, grants)
@settings(deadline=None, derandomize=True, max_examples=100)
def test_different_grants_pack_differently(one, other):
    """No two grants share their packed form."""
    assert (one == other) == (one.pack() == other.pack())


def packed_by_version_1(grant):
    """Return what the version before wrote, which knew no age of a profile."""
    end = "" if grant.refresh_expires_at is None else str(grant.refresh_expires_at)
    lines = [
        "1",
        grant.open_id,
        grant.access_token.reveal(),
        f"{grant.issued_at} {grant.expires_at}",
        grant.refresh_token.reveal(),
        end,
        grant.scopes,
        grant.declined,
        grant.profile,
        f"{grant.failures} {grant.retry_at}",
        *(f"{s.digest} {s.born} {s.seen}" for s in grant.sessions),
    ]
    return "\n".join(lines).encode()


@given(grants)
@example(a_grant())
@example(a_grant(profile='{"username": "u"}', sessions=(Session("d", 1, 2),)))
@settings(deadline=None, derandomize=True, max_examples=200)
def test_older_records_are_read(grant):
    """A record of the version before is read whole, its profile as old as its tokens."""
    unpacked = UserRecord.unpack(packed_by_version_1(grant))
    profile_at = grant.issued_at if grant.profile else 0
    assert unpacked == dataclasses.replace(
        grant, profile_at=profile_at, profile_failures=0, profile_retry_at=0
    )
    assert UserRecord.unpack(unpacked.pack()) == unpacked
    assert unpacked.access_token.reveal() == grant.access_token.reveal()
    assert unpacked.sessions == grant.sessions


def test_unpacked_tokens_are_secrets():
    """Tokens come out of a packed grant as secrets again."""
    grant = UserRecord.unpack(a_grant().pack())
    assert type(grant.access_token) is Secret
    assert type(grant.refresh_token) is Secret


GENUINE = a_grant(sessions=(Session("d", 1, 2),)).pack()


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
    ids=range(21),
)
def test_what_is_no_grant_unpacks_to_none(packed):
    """Bytes that no grant packs to are no grant, and raise nothing."""
    assert UserRecord.unpack(packed) is None


@pytest.mark.parametrize("lines", range(GENUINE.count(b"\n")))
def test_cut_grant_unpacks_to_none(lines):
    """A grant that lost lines of its fields is no grant."""
    kept = GENUINE.split(b"\n")[:lines]
    assert UserRecord.unpack(b"\n".join(kept)) is None


def test_grant_is_frozen():
    """A grant is a value: it is replaced, never changed."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        a_grant().open_id = "another"


def test_open_ids_stay_byte_exact():
    """An open_id keeps its case and its normal form through packing."""
    for open_id in ("AbC", "abc", "e\u0301", "\u00e9", "\u212a", "K"):
        assert UserRecord.unpack(a_grant(open_id=open_id).pack()).open_id == open_id


# --- Site --------------------------------------------------------------------------


def test_site_knows_its_own_paths_below_the_mount():
    """The paths a login may not return to are the full ones a browser sees."""
    site = a_site(mount="/app")
    assert "/app/auth/tiktok/login" in site.own_paths
    assert "/auth/tiktok/login" not in site.own_paths


@pytest.mark.parametrize(
    ("mount", "home"), [("", "/"), ("/app", "/app/"), ("/a b/ü", "/a%20b/%C3%BC/")]
)
def test_site_begins_at_its_mount(mount, home):
    """The front page is the mount point, percent-encoded."""
    assert a_site(mount=mount).home == home


# --- Challenge and Event -----------------------------------------------------------


def test_challenge_without_missing_scopes_is_401():
    """A guard that only wants somebody asks to sign in."""
    assert Challenge().status == 401


def test_challenge_with_missing_scopes_is_403():
    """A guard that misses a scope forbids."""
    assert Challenge(frozenset({"video.list"})).status == 403


def test_event_has_no_field_for_a_secret():
    """An event says who and what; there is nowhere to put a token."""
    names = {field.name for field in dataclasses.fields(Event)}
    answer = {"error", "error_description", "log_id", "status"}
    known = {"name", "reason", "open_id", "scopes", "reference", "details"}
    assert names - {"user", "is_new"} == known | answer


# --- TikTokAuth --------------------------------------------------------------------


def test_signed_in_request_tells_who(signed_in):
    """With somebody signed in, every property speaks of them."""
    assert signed_in.is_authenticated is True
    assert signed_in.open_id == OPEN_ID
    assert signed_in.scopes == {"user.info.basic", "video.list"}
    assert signed_in.token.access_token == PLAIN
    assert signed_in.token.expires_at == NOW + 100
    assert signed_in.token.scopes == signed_in.scopes
    assert signed_in.user == User(open_id=OPEN_ID, display_name="Example Creator")


def test_signed_out_request_tells_nobody(signed_out):
    """With nobody signed in, every property says so and none fails."""
    assert signed_out.is_authenticated is False
    assert signed_out.open_id is None
    assert signed_out.scopes == frozenset()
    assert signed_out.token is None
    assert signed_out.user is None


@pytest.mark.parametrize(
    ("now", "there"),
    [
        (NOW - 10_000, True),
        (NOW + 99, True),
        (NOW + 99.999, True),
        (NOW + 100, False),
        (NOW + 101, False),
        (4_102_444_800, False),
    ],
)
def test_expired_token_is_none(now, there):
    """A token is shown until the second it ends, by the given clock; then never."""
    auth = an_auth(a_sight(), a_site(now))
    assert (auth.token is not None) is there
    assert auth.is_authenticated


def test_token_is_judged_when_it_is_asked_for():
    """A token that ends during a request is gone at the next look."""
    times = iter([NOW, NOW + 200])
    auth = an_auth(a_sight(), a_site(clock=lambda: next(times)))
    assert auth.token is not None
    assert auth.token is None


@pytest.mark.parametrize(
    "name",
    [
        "is_authenticated",
        "open_id",
        "scopes",
        "token",
        "user",
        "logout_url",
        "refresh_token",
        "is_admin",
    ],
)
def test_auth_is_read_only(signed_in, name):
    """An app can neither change what a request says nor add to it."""
    with pytest.raises(AttributeError):
        setattr(signed_in, name, "x")


def test_auth_has_no_refresh_token(signed_in):
    """The refresh token is nothing an app can see."""
    shown = [name for name in dir(signed_in) if not name.startswith("_")]
    assert "access_token" not in shown
    assert not [name for name in shown if "refresh" in name]


def test_scopes_can_not_be_added(signed_in):
    """The set of granted scopes is frozen."""
    assert type(signed_in.scopes) is frozenset


@pytest.mark.parametrize(
    ("asked", "missing"),
    [
        ((), set()),
        (("video.list",), set()),
        (("video.upload",), {"video.upload"}),
        (("video.list", "video.upload"), {"video.upload"}),
        (("VIDEO.LIST",), {"VIDEO.LIST"}),
    ],
)
def test_missing_scopes_are_those_not_granted(signed_in, asked, missing):
    """Of the scopes asked about, those that were not granted are missing."""
    assert signed_in.missing_scopes(*asked) == missing


def test_all_scopes_are_missing_when_signed_out(signed_out):
    """Nobody has granted nothing."""
    assert signed_out.missing_scopes("a", "b") == {"a", "b"}


@pytest.mark.parametrize(
    "look",
    [
        lambda auth: auth.is_authenticated,
        lambda auth: auth.open_id,
        lambda auth: auth.scopes,
        lambda auth: auth.token,
        lambda auth: auth.user,
        lambda auth: auth.missing_scopes(),
    ],
    ids=["is_authenticated", "open_id", "scopes", "token", "user", "missing_scopes"],
)
@pytest.mark.parametrize("sight", [a_sight(), None], ids=["in", "out"])
def test_every_look_is_noted(look, sight):
    """Each way of asking who is there is noted, even if the answer is nobody."""
    auth = an_auth(sight, a_site())
    assert auth._looked is False
    look(auth)
    assert auth._looked is True


@pytest.mark.parametrize(
    "show", [repr, lambda a: a.login_url(), lambda a: a.logout_url]
)
def test_link_is_no_look(signed_in, show):
    """Links are the same for everybody: asking for one notes nothing."""
    show(signed_in)
    assert signed_in._looked is False


def test_repr_says_who_or_nobody(signed_in, signed_out):
    """The repr is for a developer: the id, or that nobody is there."""
    assert OPEN_ID in repr(signed_in)
    assert "nobody" in repr(signed_out)


def test_login_url_without_arguments_is_the_path(signed_in):
    """The plain link begins a login that ends at the usual place."""
    assert signed_in.login_url() == "/auth/tiktok/login"


@pytest.mark.parametrize("scopes", [["video.list", "no.such"], "no.such", ["x" * 9999]])
def test_login_url_of_no_scope_of_ours_is_an_error(signed_in, scopes):
    """A link that asks for what the settings do not offer is an error, not a dead link."""
    with pytest.raises(ConfigurationError, match="neither scopes nor optional_scopes"):
        signed_in.login_url("/x", scopes)


def test_login_url_carries_target_and_scopes(signed_in):
    """The link says where to come back to and what to ask for, scopes by commas."""
    url = signed_in.login_url("/x", ["video.upload", "video.list"])
    assert url == "/auth/tiktok/login?next=/x&scopes=video.list,video.upload"


@pytest.mark.parametrize(
    "target",
    [
        "/a?b=c&scopes=evil",
        "/a#b",
        "/ü",
        "/a b",
        "/a%2Fb",
        "/a+b",
        '/"><script>',
        "//e",
    ],
)
def test_login_url_target_comes_back_whole(signed_in, target):
    """Whatever stands in a target, a form decoder gives back that and nothing more."""
    parts = urlsplit(signed_in.login_url(next=target))
    assert parse_qs(parts.query, strict_parsing=True) == {"next": [target]}
    assert not parts.fragment


def test_login_url_needs_no_escaping_of_markup(signed_in):
    """A link holds nothing that would end an attribute or open a tag."""
    assert not set(signed_in.login_url("/\"<>'")) & set("\"'<>")


def test_login_url_is_below_the_mount():
    """Links carry the prefix that the server took off, percent-encoded."""
    auth = an_auth(None, a_site(mount="/my app"))
    assert auth.login_url() == "/my%20app/auth/tiktok/login"
    assert auth.logout_url == "/my%20app/auth/tiktok/logout"


def test_logout_url_is_the_path(signed_in):
    """The address to post to is the logout path."""
    assert signed_in.logout_url == "/auth/tiktok/logout"


def test_site_logout_url_carries_a_target():
    """A logout may say where to go after it."""
    assert a_site().logout_url("/bye?x=1") == "/auth/tiktok/logout?next=/bye%3Fx%3D1"


def test_places_of_a_sight_are_those_of_its_type():
    """The ten names of a sight's places count from zero without a gap."""
    places = [
        cached_session.FETCHED_AT,
        cached_session.FRESH_UNTIL,
        cached_session.OPEN_ID,
        cached_session.SCOPES,
        cached_session.ACCESS_TOKEN,
        cached_session.EXPIRES_AT,
        cached_session.PROFILE,
        cached_session.DECLINED,
        cached_session.GRANT_ID,
        cached_session.DIGEST,
    ]
    assert places == list(range(len(a_sight())))
