"""The cookies of logins under way: seven slots, even if many logins begin at once."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiktok_oauth_middleware import ConfigurationError, MemoryStore
from tiktok_oauth_middleware._core.base64url import from_text, to_text
from tiktok_oauth_middleware._core.encryption import Box
from tiktok_oauth_middleware._session.cookie import SessionCookies
from tiktok_oauth_middleware._web.login_cookies import SLOTS, LoginCookies
from tiktok_oauth_middleware._web.responses import HEAD_LIMIT

from ...conftest import CALLBACK, LOGIN, LOGOUT, SAME_ORIGIN, query_of

PREFIX = "__Host-tiktok-login-"
SESSION = "__Host-tiktok"
LIMIT = 4096
KEY = "k3y-of-tests-0123456789-abcdefghijkl"


@pytest.fixture
def store(clock):
    """Return a store in memory: none of this depends on the store."""
    return MemoryStore(clock=clock)


def size_of(cookies):
    """Return the size of cookies in a request's header."""
    return len("; ".join(f"{name}={value}" for name, value in cookies.items()))


def under_way(jar):
    return {name: value for name, value in jar.items() if name.startswith(PREFIX)}


def applied(jar, answer):
    """Apply an answer's cookies to a browser's jar, in order."""
    for header in answer.headers.get_list("set-cookie"):
        name, _, value = header.partition(";")[0].partition("=")
        if value:
            jar[name] = value
        else:
            jar.pop(name, None)


def path_of(length):
    """Return a path of the given length in bytes."""
    return "/" + "x" * (length - 1)


def begin_at_once(world, count, target, jar, ask=None):
    """Begin logins whose requests lack each other's cookies; return their addresses at
    TikTok.
    """
    shown, urls = dict(jar), []
    for _ in range(count):
        browser = world.browser(**shown)
        answer = browser.get(f"{LOGIN}?next={target}")
        assert answer.status_code == 303, answer.text
        urls.append(answer.headers["location"])
        applied(jar, answer)
        assert size_of(jar) <= LIMIT
    return urls


class TestAtOnce:
    @pytest.mark.parametrize(
        ("length", "survivors"), [(40, 7), (300, 7), (700, 3), (2000, 1), (2048, 1)]
    )
    def test_fifty_tabs(self, world, length, survivors):
        """The newest of 50 logins begun at once can be finished, and the cookies stay
        within the limit.
        """
        signed_in = world.browser()
        signed_in.log_in()
        jar = dict(signed_in.cookies())
        urls = begin_at_once(world, 50, path_of(length), jar)
        for url in urls[-survivors:]:
            browser = world.browser(**jar)
            assert browser.get("/").status_code == 200
            answer = browser.get(browser.consent(url))
            assert answer.status_code == 303, answer.text
            assert answer.headers["location"] == path_of(length)
            applied(jar, answer)
        assert under_way(jar) == {}

    @pytest.mark.parametrize("rounds", [2, 4])
    def test_tabs_again(self, world, rounds):
        """The newest login can be finished even if the browser has earlier ones."""
        jar = {}
        for number in range(rounds):
            urls = begin_at_once(world, 12, f"/{number}", jar)
            world.clock.advance(60)
        for url in urls[-7:]:
            browser = world.browser(**jar)
            assert browser.get(browser.consent(url)).status_code == 303

    def test_short_beside_long(self, world):
        """Logins of all lengths, begun at once in any order, stay within the limit."""
        jar = {}
        for length in (2000, 40, 700, 40, 2048, 300, 40) * 4:
            answer = world.browser().get(f"{LOGIN}?next={path_of(length)}")
            applied(jar, answer)
            assert size_of(jar) <= LIMIT
            browser = world.browser(**jar)
            callback = browser.consent(answer.headers["location"])
            assert browser.get(callback).headers["location"] == path_of(length)

    @pytest.mark.parametrize("interface", ["wsgi"], indirect=True)
    def test_threads(self, world):
        """Logins begun by threads at the same moment stay within the limit."""
        jar = {}

        def begin(_):
            return world.browser().get(f"{LOGIN}?next={path_of(300)}")

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(begin, range(50)))
        for answer in answers:
            applied(jar, answer)
            assert size_of(jar) <= LIMIT
        browser = world.browser(**jar)
        callback = browser.consent(answers[-1].headers["location"])
        assert browser.get(callback).status_code == 303

    def test_several_processes(self, world):
        """Whichever process answers, the newest login is finished."""
        jar = {}
        for _ in range(20):
            world.start()  # another process chooses slots independently
            answer = world.browser().get(f"{LOGIN}?next={path_of(700)}")
            applied(jar, answer)
            assert size_of(jar) <= LIMIT
            browser = world.browser(**jar)
            callback = browser.consent(answer.headers["location"])
            assert browser.get(callback).status_code == 303


class TestOneAfterTheOther:
    def test_seven(self, browser, world):
        """The newest seven of many short logins can be finished, the older ones cannot."""
        urls = []
        for _ in range(12):
            urls.append(browser.begin())
            world.clock.advance(1)
        assert len(under_way(browser.cookies())) == 7
        answers = [browser.get(browser.consent(url)).status_code for url in urls]
        assert answers == [400] * 5 + [303] * 7

    @pytest.mark.parametrize("length", [40, 300, 700, 1500, 2048])
    def test_as_many_as_fit(self, browser, world, length):
        """As many logins stay as fit into the slots."""
        browser.begin("?next=" + path_of(length))
        slots = len(under_way(browser.cookies()))
        urls = []
        for _ in range(9):
            urls.append(browser.begin("?next=" + path_of(length)))
            world.clock.advance(1)
        jar = browser.cookies()
        assert size_of(jar) <= LIMIT
        found = [
            world.browser(**jar).get(browser.consent(url)).status_code for url in urls
        ]
        stay = SLOTS // slots
        assert found == [400] * (9 - stay) + [303] * stay

    def test_long_address_is_kept(self, browser):
        """A login keeps an address of 2,048 bytes, but not one of 2,049."""
        for length, lands in ((2048, path_of(2048)), (2049, "/")):
            answer = browser.log_in("?next=" + path_of(length))
            assert answer.headers["location"] == lands

    def test_head_is_short(self, browser):
        """The response headers of the longest login are within nginx's default
        limit.
        """
        for _ in range(3):
            answer = browser.get(f"{LOGIN}?next={path_of(2048)}")
            lines = [f"{n}: {v}\r\n" for n, v in answer.headers.multi_items()]
            assert len("HTTP/1.1 303 See Other\r\n") + len("".join(lines)) <= HEAD_LIMIT

    def test_long_settings(self, world):
        """If address and scopes are too long together, the address is left out."""
        scopes = [f"some.quite.long.scope.{number:02}" for number in range(40)]
        world.with_settings(optional_scopes=scopes)
        answer = world.browser().get(
            f"{LOGIN}?next={path_of(2000)}&scopes={','.join(scopes)}"
        )
        assert answer.status_code == 303
        lines = [f"{n}: {v}\r\n" for n, v in answer.headers.multi_items()]
        assert len("".join(lines)) <= HEAD_LIMIT

    def test_many_scopes(self, world):
        """Many scopes are all sent to TikTok, and the address is left out."""
        scopes = [f"some.quite.long.scope.{number:03}" for number in range(60)]
        world.with_settings(optional_scopes=scopes)
        browser = world.browser()
        url = browser.begin(f"?next={path_of(2000)}&scopes={','.join(scopes)}")
        assert query_of(url)["scope"].split(",")[-60:] == scopes
        state = query_of(url)["state"]
        denied = browser.get(f"{CALLBACK}?error=access_denied&state={state}")
        assert denied.status_code == 403
        assert "xxx" not in denied.text

    def test_deleted_at_once(self, world):
        """Cookies of another form under our prefix are deleted, twenty at a time."""
        junk = {f"{PREFIX}{i:012}": "x" for i in range(30)}
        browser = world.browser(**junk)
        answer = browser.get(f"{LOGIN}?next={path_of(300)}")
        gone = [h for h in answer.headers.get_list("set-cookie") if "Max-Age=0" in h]
        assert len(gone) == 20
        jar = dict(junk)
        applied(jar, answer)
        applied(jar, world.browser(**jar).get(LOGIN))
        assert not set(jar) & set(junk)

    def test_logout_clears_them(self, browser):
        """A logout deletes the cookies of logins under way, the session's last."""
        browser.log_in()
        browser.begin("?next=" + path_of(2048))
        answer = browser.post(LOGOUT, headers=SAME_ORIGIN)
        assert browser.cookies() == {f"{SESSION}-choose": "1"}
        sent = answer.headers.get_list("set-cookie")
        assert len(sent) == 8
        assert sent[-1].startswith(f"{SESSION}=;")

    def test_session_comes_last(self, browser):
        """A login sets the session's cookie last, since some adapters keep only the
        last cookie.
        """
        answer = browser.log_in("?next=" + path_of(2000))
        sent = answer.headers.get_list("set-cookie")
        assert len(sent) > 1
        assert sent[-1].startswith(f"{SESSION}=")
        assert not any(header.startswith(f"{SESSION}=") for header in sent[:-1])

    def test_login_comes_last(self, world):
        """The cookies that a login sets come after those that it deletes."""
        answer = world.browser(**{PREFIX + "junk": "x"}).get(LOGIN)
        gone, new = answer.headers.get_list("set-cookie")
        assert "Max-Age=0" in gone
        assert "Max-Age=1800" in new

    @pytest.mark.parametrize("name", ["t", "n" * 64])
    def test_other_names(self, world, name):
        """Cookies of another name stay within the limit as well."""
        browser = world.with_settings(cookie_name=name).browser()
        browser.log_in()
        jar = dict(browser.cookies())
        for _ in range(9):
            answer = world.browser(**browser.cookies()).get(
                f"{LOGIN}?next={path_of(300)}"
            )
            applied(jar, answer)
            assert size_of(jar) <= LIMIT
        url = answer.headers["location"]
        answer = world.browser(**jar).get(browser.consent(url))
        assert answer.headers["location"] == path_of(300)

    def test_twice_with_two_values(self, world):
        """A slot that a foreign cookie made unreadable is not used."""
        for _ in range(SLOTS):
            browser = world.browser()
            browser.client.cookies.clear()
            shown = "; ".join(f"{PREFIX}{n}={v}" for n in range(6) for v in ("a", "b"))
            answer = browser.get(LOGIN, headers={"cookie": shown})
            [new] = [
                h for h in answer.headers.get_list("set-cookie") if "Max-Age=1800" in h
            ]
            assert new.startswith(f"{PREFIX}6=")


def test_no_room():
    """Names that leave no room for a login are refused when they are given."""
    jar = SessionCookies("n" * 400, [bytes(32)], secure=True)
    with pytest.raises(ConfigurationError, match="cookie_name"):
        LoginCookies(jar, Box([KEY], "aw", "login"), 60)


# --- the slots themselves ----------------------------------------------------------


@pytest.fixture(scope="module")
def slots():
    jar = SessionCookies("tiktok", [bytes(32)], secure=True)
    return LoginCookies(jar, Box([KEY], "aw", "login"), 1800)


def header_of(jar):
    line = "; ".join(f"{name}={value}" for name, value in jar.items())
    return [(b"cookie", line.encode())]


def begun(slots, jar, state, packed, created_at=5):
    """Begin a login with what a jar shows; put its cookies there."""
    for cookie in slots.begin(header_of(jar), state, created_at, packed):
        if cookie.value:
            jar[cookie.name] = cookie.value
        else:
            jar.pop(cookie.name, None)


@given(
    packed=st.binary(max_size=2300),
    created_at=st.integers(min_value=0, max_value=2**40 - 1),
    state=st.text("abc", min_size=1, max_size=50),
)
def test_round_trip(slots, packed, created_at, state):
    """Written login cookies are read at any length, and not under another state."""
    jar = {}
    begun(slots, jar, state, packed, created_at)
    assert slots.open(header_of(jar), state) == (created_at, packed)
    assert slots.open(header_of(jar), state + "d") is None


@pytest.mark.parametrize("created_at", [-1, 2**40])
def test_times_out_of_range(slots, created_at):
    """A clock that is far off causes no error."""
    jar = {}
    begun(slots, jar, "s", b"p", created_at)
    assert slots.open(header_of(jar), "s") == (min(max(created_at, 0), 2**40 - 1), b"p")


def test_too_long(slots):
    """A login that does not fit into seven slots is not written."""
    assert slots.begin([], "s", 5, b"x" * 2700) is not None
    assert slots.begin([], "s", 5, b"x" * 2900) is None


@given(st.lists(st.tuples(st.integers(0, 2400), st.booleans()), max_size=12))
def test_any_order(slots, logins):
    """For any logins, with or without each other's cookies, the newest is complete and
    all fit.
    """
    jar, before = {}, {}
    for number, (length, sees) in enumerate(logins):
        shown = dict(jar) if sees else dict(before)
        before = dict(jar)
        for cookie in slots.begin(
            header_of(shown), f"s{number}", number, b"x" * length
        ):
            if cookie.value:
                jar[cookie.name] = cookie.value
            else:
                jar.pop(cookie.name, None)
        assert size_of(jar) + 2 + len(SESSION) + 1 + 87 <= LIMIT
        assert slots.open(header_of(jar), f"s{number}") == (number, b"x" * length)


@pytest.mark.parametrize("place", ["tag", "number", "created_at", "sealed"])
def test_each_bit(slots, place):
    """A login with a changed bit anywhere in its cookie is not read."""
    jar = {}
    begun(slots, jar, "s", b"packed")
    [(name, value)] = jar.items()
    raw = from_text(value.encode())
    span = {
        "tag": (0, 3),
        "number": (3, 4),
        "created_at": (4, 9),
        "sealed": (9, len(raw)),
    }
    for at in range(span[place][0] * 8, span[place][1] * 8):
        changed = bytearray(raw)
        changed[at // 8] ^= 1 << at % 8
        spoilt = {name: to_text(bytes(changed))}
        assert slots.open(header_of(spoilt), "s") is None


def test_any_slot(slots):
    """The parts of a login are identified by their content, not by their slots."""
    jar = {}
    begun(slots, jar, "s", b"x" * 2000)
    values = list(jar.values())
    other = {f"{PREFIX}{6 - n}": value for n, value in enumerate(values)}
    assert slots.open(header_of(other), "s") == (5, b"x" * 2000)


@pytest.mark.parametrize("missing", range(6))
def test_missing_part(slots, missing):
    """A login with a missing or repeated part is not read."""
    jar = {}
    begun(slots, jar, "s", b"x" * 2200)
    assert len(jar) == 6
    names = list(jar)
    less = {n: v for n, v in jar.items() if n != names[missing]}
    assert slots.open(header_of(less), "s") is None
    free = next(f"{PREFIX}{n}" for n in range(7) if f"{PREFIX}{n}" not in jar)
    twice = {**jar, free: jar[names[missing]]}
    assert slots.open(header_of(twice), "s") is None


def test_ended(slots):
    """When a login ends its cookies and invalid ones are deleted; others stay."""
    jar = {}
    begun(slots, jar, "long", b"x" * 1000)
    begun(slots, jar, "short", b"x")
    short = {c.name for c in slots.ended(header_of(jar), "short")}
    long = {c.name for c in slots.ended(header_of(jar), "long")}
    assert (len(short), len(long)) == (1, 3)
    assert short | long == set(jar)
    lost = dict(jar)
    del lost[min(long)]
    lost[f"{PREFIX}ancient"] = "x"
    gone = {c.name for c in slots.ended(header_of(lost), "short")}
    assert gone == set(lost)
    assert all(re.fullmatch(r"__Host-tiktok-login-\w+", name) for name in gone)


PARTS = st.one_of(
    st.binary(max_size=600).map(to_text),
    st.text("ab-_=.!", max_size=40),
    st.builds(
        lambda tag, number, total, rest: to_text(
            tag + bytes((number << 4 | total,)) + rest
        ),
        st.sampled_from([b"abc", b"xyz"]),
        st.integers(0, 15),
        st.integers(0, 15),
        st.binary(max_size=3000),
    ),
)
NAMES = st.one_of(
    st.integers(0, 8).map(str), st.text("ab09-_", min_size=1, max_size=12)
)


@given(planted=st.dictionaries(NAMES, PARTS, max_size=12), length=st.integers(0, 2300))
def test_planted(slots, planted, length):
    """With any values in our cookies, the next login fits and works."""
    jar = {PREFIX + name: value for name, value in planted.items() if value}
    slots.ended(header_of(jar), "s")
    assert slots.open(header_of(jar), "s") is None
    begun(slots, jar, "s", b"x" * length)
    assert slots.open(header_of(jar), "s") == (5, b"x" * length)
    assert size_of(jar) <= LIMIT
    for cookie in slots.ended(header_of(jar), "s"):
        jar.pop(cookie.name)
    assert slots.open(header_of(jar), "s") is None
