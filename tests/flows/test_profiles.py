"""The user's profile: when it is fetched again, and what stays of it in an outage."""

from __future__ import annotations

import dataclasses
import json
import math
import threading
from contextlib import ExitStack

import anyio
import anyio.to_thread
import httpx2
import pytest

from tiktok_oauth_middleware import (
    MemoryStore,
    NotSignedIn,
    StoreError,
    TikTokError,
    TikTokTokens,
    TikTokUnavailable,
)
from tiktok_oauth_middleware._oauth.user_info import join_profiles, links_end
from tiktok_oauth_middleware.testing import FakeTikTok
from tiktok_oauth_middleware.testing.server import StandIn

from ..conftest import API, ORIGIN, Clock, World, kept, make_settings
from ..support.app_process import log_in, options_for, wrap
from ..support.patience import HANGS
from ..support.processes import context

HOUR = 3600
DAY = 86400
LINK = "https://p16-sign.tiktokcdn.example/a~c5_100x100.jpeg?lk3s=a5d&x-expires={}&x-signature=a%2Fb%2Bc%3D&shp=%3D"
PROCESSES, DAYS = 6, 4
REFUSALS = ("invalid_params", "scope_not_authorized", "scope_permission_missed")


class Creator(FakeTikTok):
    """A stand-in whose people change their names, and whose avatar links expire."""

    name = "First name"
    followers = 100
    #: Seconds from an answer until its links expire.
    link_life = 12 * HOUR
    #: A function that is called before each request for a profile is answered.
    asked = None

    def handle(self, method, url, headers, body):
        if "/user/info/" in url and self.asked is not None:
            self.asked()
        reply = super().handle(method, url, headers, body)
        if "/user/info/" not in url or reply.status != 200:
            return reply
        answer = json.loads(reply.body)
        user = answer["data"].get("user", {})
        if "display_name" in user:
            user["display_name"] = self.name
            link = LINK.format(self.end_of_links())
            user["avatar_url"] = link
            user["avatar_url_100"] = user["avatar_large_url"] = link
        if "follower_count" in user:
            user["follower_count"] = self.followers
        return dataclasses.replace(reply, body=json.dumps(answer).encode())

    def end_of_links(self):
        return int(self.provider.clock() + self.link_life)

    @property
    def profiles(self):
        """How often a profile was requested."""
        return self.count("user_info")


@pytest.fixture
def settings(settings):
    return dataclasses.replace(
        settings,
        scopes=["user.info.basic", "user.info.stats"],
        optional_scopes=["video.list"],
        session_idle=30 * DAY,
    )


@pytest.fixture
def tiktok(settings, clock):
    return Creator.for_settings(settings, clock=clock)


@pytest.fixture
def signed_in(browser):
    assert browser.log_in().status_code == 303
    return browser


def avatar(world):
    """Return the avatar's link in the user's record."""
    return json.loads(kept(world).profile).get("avatar_url")


class TestAge:
    def test_after_a_day(self, signed_in, world):
        """The next request fetches a profile again that is a day old."""
        world.tiktok.name = "Second name"
        world.clock.advance(DAY + 1)
        assert signed_in.me()["name"] == "Second name"
        assert world.tiktok.profiles == 2

    def test_not_before(self, browser, world):
        """No request fetches a profile that is less than a day old, not even after a
        refresh.
        """
        world.tiktok.link_life = 5 * DAY
        world.tiktok.access_lifetime = 2 * HOUR
        browser.log_in()
        world.tiktok.name = "Second name"
        for _ in range(23):
            world.clock.advance(HOUR)
            assert browser.me()["name"] == "First name"
        assert world.tiktok.profiles == 1
        assert world.count("refresh_token") >= 11

    def test_once(self, signed_in, world):
        """A profile that was fetched again is not fetched for another day."""
        world.clock.advance(DAY + 1)
        for _ in range(5):
            signed_in.me()
            world.clock.advance(HOUR)
        assert world.tiktok.profiles == 2

    def test_profile_max_age(self, world):
        """`profile_max_age` sets the age at which a profile is fetched again."""
        world.with_settings(profile_max_age=600)
        browser = world.browser()
        browser.log_in()
        world.tiktok.name = "Second name"
        world.clock.advance(599)
        assert browser.me()["name"] == "First name"
        world.clock.advance(2)
        assert browser.me()["name"] == "Second name"

    def test_every_session_sees_it(self, signed_in, world):
        """A profile that one browser's request fetched is shown in the user's others too."""
        other = world.browser()
        other.log_in()
        world.tiktok.name = "Second name"
        world.clock.advance(DAY + 1)
        signed_in.me()
        asked = world.tiktok.profiles
        world.clock.advance(1)
        assert other.me()["name"] == "Second name"
        assert world.tiktok.profiles == asked

    def test_fetch_user_off(self, world):
        """With fetch_user=False no profile is ever requested."""
        world.with_settings(fetch_user=False)
        browser = world.browser()
        browser.log_in()
        for _ in range(3):
            world.clock.advance(2 * DAY)
            assert browser.me()["signed_in"]
        assert world.tiktok.profiles == 0

    def test_no_basic_scope(self, world):
        """The profile of a user without the basic scope is not requested."""
        browser = world.browser()
        browser.log_in(scopes=["user.info.stats"])
        for _ in range(3):
            world.clock.advance(2 * DAY)
            assert browser.me()["signed_in"]
        assert world.tiktok.profiles == 0

    @pytest.mark.parametrize("jump", [-10 * 365 * DAY, 10 * DAY])
    def test_clock_jumps(self, signed_in, world, jump):
        """After the clock was set, requests succeed and fetch the profile at
        most once.
        """
        world.clock.advance(jump)
        for _ in range(5):
            assert signed_in.get("/who").status_code == 200
        assert world.tiktok.profiles <= 2


class TestOutage:
    def test_kept(self, signed_in, world):
        """The old profile is used while TikTok does not return a new one."""
        world.tiktok.fail("user_info", times=100, status=500)
        world.clock.advance(DAY + 1)
        me = signed_in.me()
        assert me["name"] == "First name"
        assert me["followers"] == 100
        assert me["token"]

    def test_backs_off(self, signed_in, world):
        """After a failure TikTok is called once per back-off, at growing intervals."""
        world.tiktok.fail("user_info", times=1000, status=500)
        world.clock.advance(DAY + 1)
        for _ in range(20):
            signed_in.me()
        assert world.tiktok.profiles == 2
        for _ in range(120):
            world.clock.advance(10)
            signed_in.me()
        assert 5 <= world.tiktok.profiles <= 10
        world.tiktok.clear_faults()
        world.tiktok.name = "Second name"
        world.clock.advance(HOUR + 2)
        assert signed_in.me()["name"] == "Second name"
        assert kept(world).profile_failures == 0

    def test_retry_after(self, signed_in, world):
        """A Retry-After of TikTok's that is longer than the back-off is obeyed."""
        after = {"Retry-After": "200"}
        world.tiktok.fail("user_info", status=429, headers=after)
        world.clock.advance(DAY + 1)
        signed_in.me()
        world.clock.advance(190)
        signed_in.me()
        assert world.tiktok.profiles == 2
        world.clock.advance(20)
        signed_in.me()
        assert world.tiktok.profiles == 3

    @pytest.mark.parametrize(
        "fault",
        [
            {"status": 500},
            {"status": 429},
            {"error": "access_token_invalid", "status": 401},
            {"error": "internal_error", "status": 500},
            {"body": b"<html>", "status": 200},
            {"disconnect": True},
        ],
        ids=lambda fault: "-".join(map(str, fault.values())),
    )
    def test_login(self, browser, world, fault):
        """A profile that failed at a login is fetched again soon."""
        world.tiktok.fail("user_info", **fault)
        assert browser.log_in().status_code == 303
        assert browser.me()["name"] is None
        assert world.tiktok.profiles == 1
        world.clock.advance(10)
        assert browser.me()["name"] == "First name"

    def test_second_device(self, signed_in, world):
        """A login during an outage keeps the stored profile."""
        world.tiktok.fail("user_info", times=100, status=500)
        other = world.browser()
        other.log_in()
        for each in (other, signed_in):
            world.clock.advance(1)
            assert each.me()["name"] == "First name"
            assert each.me()["followers"] == 100
        world.tiktok.clear_faults()
        world.tiktok.name = "Second name"
        world.clock.advance(DAY + 1)
        assert other.me()["name"] == "Second name"

    def test_less_granted(self, signed_in, world):
        """A login during an outage keeps only the profile fields that its
        scopes allow.
        """
        world.tiktok.fail("user_info", times=100, status=500)
        other = world.with_settings(always_ask_consent=True).browser()
        other.log_in(scopes=["user.info.basic"])
        me = other.me()
        assert me["name"] == "First name"
        assert me["followers"] is None

    def test_read_only_store(self, world, monkeypatch):
        """If the store accepts no writes, requests succeed and TikTok is not called."""
        world.with_settings(profile_max_age=HOUR)
        browser = world.browser()
        browser.log_in()
        world.tiktok.name = "Second name"

        def refuse(*_):
            raise StoreError("read only")

        world.clock.advance(HOUR + 1)
        with monkeypatch.context() as patched:
            for name in ("compare_and_set", "acompare_and_set"):
                if hasattr(world.store, name):
                    patched.setattr(world.store, name, refuse)
            for _ in range(5):
                assert browser.me()["name"] == "First name"
                world.clock.advance(60)
        assert world.tiktok.profiles == 1
        assert browser.me()["name"] == "Second name"


class TestRefusedField:
    @pytest.mark.parametrize("error", REFUSALS)
    def test_login(self, browser, world, error):
        """If TikTok refuses one field, the basic fields are fetched alone."""
        world.tiktok.fail("user_info", error=error, status=400)
        browser.log_in()
        me = browser.me()
        assert me["name"] == "First name"
        assert me["followers"] is None
        assert world.tiktok.profiles == 2

    def test_refused_fields_stay(self, signed_in, world):
        """Fields that TikTok refuses keep their earlier values."""
        world.tiktok.name = "Second name"
        world.tiktok.fail("user_info", error="invalid_params", status=400)
        world.clock.advance(DAY + 1)
        me = signed_in.me()
        assert me["name"] == "Second name"
        assert me["followers"] == 100

    def test_refused_field_stays_at_login(self, signed_in, world):
        """A login at which a field is refused keeps its earlier value."""
        world.tiktok.fail("user_info", error="invalid_params", status=400)
        other = world.browser()
        other.log_in()
        assert other.me()["followers"] == 100

    def test_all_refused(self, signed_in, world):
        """If the basic fields are refused too, the old profile stays."""
        world.tiktok.fail("user_info", times=2, error="invalid_params", status=400)
        world.clock.advance(DAY + 1)
        assert signed_in.me()["name"] == "First name"
        assert world.tiktok.profiles == 3

    def test_not_twice(self, world):
        """If only basic fields were requested and refused, no second request
        follows.
        """
        browser = world.browser()
        world.tiktok.fail("user_info", error="invalid_params", status=400)
        browser.log_in(scopes=["user.info.basic"])
        assert browser.me()["signed_in"]
        assert world.tiktok.profiles == 1


class TestLinks:
    def test_byte_for_byte(self, signed_in, world):
        """A link reaches the app as TikTok signed it."""
        link = LINK.format(int(world.clock()) + 12 * HOUR)
        assert avatar(world) == link
        assert "&" in link

    def test_ended_and_read(self, signed_in, world):
        """An expired link is renewed when the app reads it."""
        signed_in.me()
        before = avatar(world)
        world.clock.advance(12 * HOUR + 1)
        signed_in.me()
        assert world.tiktok.profiles == 2
        assert avatar(world) != before
        assert links_end(kept(world).profile) > world.clock()

    def test_first_read(self, signed_in, world):
        """After the first read of an expired link, the next request has a new link."""
        world.clock.advance(12 * HOUR + 1)
        signed_in.get("/private")
        asked = world.tiktok.profiles
        signed_in.me()
        signed_in.me()
        assert world.tiktok.profiles == 2
        assert asked <= 2
        assert links_end(kept(world).profile) > world.clock()

    @pytest.mark.parametrize("pages", [["/private"], []], ids=["cached", "new"])
    def test_ends_soon(self, world, browser, pages):
        """A link that expires within minutes is renewed by the first read after that.

        So is the link of a session that was cached before its link was first read.
        """
        world.tiktok.link_life = 100
        browser.log_in()
        for page in pages:
            browser.get(page)
        browser.me()
        world.clock.advance(101)
        browser.me()
        assert world.tiktok.profiles == 2
        assert links_end(kept(world).profile) > world.clock()

    def test_not_read(self, signed_in, world):
        """An expired link that is not read is not renewed before the profile is old."""
        for _ in range(10):
            world.clock.advance(HOUR * 2)
            assert signed_in.get("/videos").status_code in (303, 403)
            assert signed_in.get("/").text == "home"
        assert world.tiktok.profiles == 1

    def test_ends_at_once(self, signed_in, world):
        """Links that are expired on arrival are requested at most once a minute."""
        world.tiktok.link_life = -HOUR
        world.clock.advance(12 * HOUR + 1)
        for _ in range(120):
            signed_in.me()
            world.clock.advance(1)
        assert 2 <= world.tiktok.profiles <= 5

    @pytest.mark.parametrize(
        ("link", "end"),
        [
            ("https://a.example/x?x-expires=1767312000&x-signature=b", 1767312000),
            ("https://a.example/x?b=1&x-expires=1767312000", 1767312000),
            ("https://a.example/x?x-expires=1767312000123&s=b", 1767312000.123),
            ("https://a.example/x?x-expires=0&s=b", math.inf),
            ("https://a.example/x?x-expires=&s=b", math.inf),
            ("https://a.example/x?x-expires=-5", math.inf),
            ("https://a.example/x?x-expires=1e9999", 1),
            ("https://a.example/x?x-expires=" + "9" * 5000, math.inf),
            ("https://a.example/x?x-expires=soon", math.inf),
            ("https://a.example/x?ax-expires=5", math.inf),
            ("https://a.example/x", math.inf),
            ("", math.inf),
            ("\x00", math.inf),
        ],
        ids=range(13),
    )
    def test_end(self, link, end):
        """A link's expiry is read from its URL, and a malformed URL raises nothing."""
        assert links_end(json.dumps({"avatar_url": link})) == end
        later = {"avatar_url": "?x-expires=99999999999", "avatar_large_url": link}
        assert links_end(json.dumps(later)) == min(end, 99999999999)

    def test_none(self):
        """Without a profile there is no link, and no expiry."""
        assert links_end("") == links_end("{}") == math.inf

    def test_joined(self):
        """Earlier fields that are still granted and were not sent again stay."""
        old = json.dumps({"display_name": "a", "username": "u", "video_count": 3})
        new = json.dumps({"display_name": "b"})
        scopes = "user.info.basic,user.info.stats"
        assert json.loads(join_profiles(new, old, scopes)) == {
            "display_name": "b",
            "video_count": 3,
        }
        assert join_profiles("", "", scopes) == ""


class TestOneAsks:
    def test_others_do_not_wait(self, signed_in, world, gate):
        """While one request fetches the profile, the user's other requests use the
        stored one.
        """
        other = world.browser()
        other.log_in()
        asked = world.tiktok.profiles
        world.clock.advance(DAY + 1)
        world.tiktok.asked = gate
        first = threading.Thread(target=signed_in.me)
        first.start()
        gate.wait()
        try:
            assert other.me()["name"] == "First name"
            assert other.me()["signed_in"]
        finally:
            gate.open()
            first.join(HANGS)
        # A call is counted when it is answered; no second one was made.
        assert world.tiktok.profiles == asked + 1

    def test_other_process(self, signed_in, world):
        """The back-off after a failure applies to other processes, too."""
        world.tiktok.fail("user_info", times=100, status=500)
        world.clock.advance(DAY + 1)
        signed_in.me()
        asked = world.tiktok.profiles
        cookies = signed_in.cookies()
        world.start()
        assert world.browser(**cookies).me()["name"] == "First name"
        assert world.tiktok.profiles == asked

    async def test_tasks(self, settings, tiktok, clock):
        """A hundred requests at once in one event loop fetch the profile once."""
        tiktok.access_lifetime = 30 * DAY
        store = MemoryStore(clock=clock)
        with ExitStack() as stack:
            world = World("wsgi", settings, tiktok, store, clock, [], stack).start()
            browser = await anyio.to_thread.run_sync(world.browser)
            await anyio.to_thread.run_sync(browser.log_in)
            cookies = browser.cookies()
            world.interface = "asyncio"
            world.start()
            clock.advance(DAY + 1)
            names = []
            async with httpx2.AsyncClient(
                transport=httpx2.ASGITransport(world.app),
                base_url=ORIGIN,
                cookies=cookies,
                headers=API,
            ) as client:

                async def once():
                    names.append((await client.get("/who")).json()["name"])

                async with anyio.create_task_group() as group:
                    for _ in range(100):
                        group.start_soon(once)
            await world.app.aclose()
        assert set(names) == {"First name"}
        assert len(names) == 100
        assert tiktok.profiles == 2

    def test_processes(self, tmp_path):
        """Six processes that find an old profile at the same moment fetch it once a
        day.
        """
        path = str(tmp_path / "tokens.sqlite3")
        now = context.Value("d", Clock().now)
        fake = Creator.for_settings(make_settings(), clock=lambda: now.value)
        fake.access_lifetime = 300 * DAY
        with StandIn(fake) as stand_in:
            options = options_for(stand_in)
            first = wrap(options, path, lambda: now.value)
            cookie = log_in(first, fake)
            first.close()
            barrier, answers = context.Barrier(PROCESSES + 1), context.Queue()
            workers = [
                context.Process(
                    target=_worker,
                    args=(options, path, now, cookie, barrier, answers),
                    daemon=True,
                )
                for _ in range(PROCESSES)
            ]
            for process in workers:
                process.start()
            for day in range(1, DAYS + 1):
                now.value += DAY + 1
                barrier.wait(HANGS)
                found = [answers.get(timeout=HANGS) for _ in workers]
                assert found == [True] * PROCESSES
                assert fake.profiles == 1 + day
            for process in workers:
                process.join(HANGS)

    def test_log_out_meanwhile(self, signed_in, world, gate):
        """A profile that arrives after a logout does not bring the session back."""
        world.clock.advance(DAY + 1)
        signed_in.get("/")
        twin = world.browser(**signed_in.cookies())
        world.clock.advance(DAY + 1)
        world.tiktok.asked = gate
        first = threading.Thread(target=signed_in.me)
        first.start()
        gate.wait()
        try:
            twin.log_out()
        finally:
            gate.open()
            first.join(HANGS)
        assert kept(world) is None
        world.clock.advance(1)
        assert not signed_in.signed_in


def _worker(options, path, now, cookie, barrier, answers):
    """Send a request each day, at the same moment as the others; report the answers."""
    wrapped = wrap(options, path, lambda: now.value)
    with httpx2.Client(
        transport=httpx2.WSGITransport(wrapped),
        base_url=ORIGIN,
        headers={"cookie": cookie},
    ) as client:
        for _ in range(DAYS):
            barrier.wait(HANGS)
            answers.put(client.get("/").json()[0])
    wrapped.close()


@pytest.fixture(params=["blocking", "asyncio", "trio"])
def job(request, settings, tiktok, store, clock):
    """A job beside a web app, whose user is signed in."""
    with ExitStack() as stack:
        world = World("wsgi", settings, tiktok, store, clock, [], stack).start()
        world.browser().log_in()
        yield Job(world, request.param)


class Job:
    def __init__(self, world, backend):
        self.world = world
        self.backend = backend
        self.open_id = world.tiktok.people[0].open_id

    def call(self, method, *args):
        world = self.world
        tokens = TikTokTokens(
            world.settings,
            world.store,
            transport=world.tiktok.transport,
            clock=world.clock,
            on_event=world.events.append,
        )
        if self.backend == "blocking":
            try:
                return getattr(tokens, method)(*args)
            finally:
                tokens.close()

        async def once():
            try:
                return await getattr(tokens, f"a{method}")(*args)
            finally:
                await tokens.aclose()
                if self.backend == "asyncio" and hasattr(world.store, "aclose"):
                    await world.store.aclose()

        return anyio.run(once, backend=self.backend)

    def profile(self):
        return self.call("profile", self.open_id)


class TestTokensProfile:
    def test_now(self, job):
        """tokens.profile calls TikTok at once, and the app uses the result from then
        on.
        """
        job.world.tiktok.name = "Second name"
        user = job.profile()
        assert user.display_name == "Second name"
        assert user.open_id == job.open_id
        assert json.loads(kept(job.world).profile)["display_name"] == "Second name"
        assert job.world.tiktok.profiles == 2

    def test_expired_token(self, job):
        """An expired token is renewed first."""
        job.world.clock.advance(DAY + 1)
        assert job.profile().display_name == "First name"
        assert job.world.count("refresh_token") == 1

    def test_dead_token(self, job):
        """If TikTok refuses a token before it expires, one new token is fetched."""
        job.world.tiktok.fail("user_info", error="access_token_invalid", status=401)
        assert job.profile().display_name == "First name"
        assert job.world.count("refresh_token") == 1

    def test_withdrawn(self, job):
        """A user who has withdrawn is no longer signed in."""
        job.world.tiktok.provider.remove(job.open_id)
        with pytest.raises(NotSignedIn):
            job.profile()
        assert kept(job.world) is None

    def test_outage(self, job):
        """If TikTok does not answer, an error is raised, and the stored fields stay."""
        job.world.tiktok.fail("user_info", status=500)
        with pytest.raises(TikTokUnavailable):
            job.profile()
        job.world.tiktok.fail("user_info", error="rate_limited", status=400)
        with pytest.raises(TikTokError):
            job.profile()
        assert json.loads(kept(job.world).profile)["display_name"] == "First name"

    def test_refused_field(self, job):
        """A refused field keeps its stored value."""
        job.world.tiktok.name = "Second name"
        job.world.tiktok.fail("user_info", error="invalid_params", status=400)
        user = job.profile()
        assert (user.display_name, user.follower_count) == ("Second name", 100)

    def test_anonymous(self, job):
        """An unknown user has no profile."""
        with pytest.raises(NotSignedIn):
            job.call("profile", "nobody")

    def test_no_basic_scope(self, job):
        """Without the basic scope no request is made, and only the id is returned."""
        browser = job.world.with_settings(always_ask_consent=True).browser()
        browser.log_in(scopes=["user.info.stats"])
        asked = job.world.tiktok.profiles
        user = job.profile()
        assert user.display_name is None
        assert user.open_id == job.open_id
        assert job.world.tiktok.profiles == asked

    def test_fetch_user(self, job):
        """With fetch_user=False a job's call fetches the profile, but does not store
        it.
        """
        job.world.with_settings(fetch_user=False)
        job.world.browser().log_in()
        assert job.profile().display_name == "First name"
        assert kept(job.world).profile == ""

    def test_at_a_refresh(self, job):
        """A job's refresh also fetches a profile that is old."""
        job.world.tiktok.name = "Second name"
        job.world.clock.advance(DAY + 1)
        job.call("get", job.open_id)
        assert json.loads(kept(job.world).profile)["display_name"] == "Second name"

    def test_at_a_sweep(self, job):
        """A sweep's refresh also fetches an old profile."""
        job.world.tiktok.name = "Second name"
        job.world.clock.advance(DAY + 1)
        assert job.call("refresh_expiring", HOUR).refreshed == 1
        assert json.loads(kept(job.world).profile)["display_name"] == "Second name"

    def test_not_for_a_token(self, job):
        """A job that gets a token that is not due does not fetch the profile."""
        job.world.with_settings(profile_max_age=60)
        job.world.clock.advance(HOUR)
        job.call("get", job.open_id)
        assert job.world.tiktok.profiles == 1
