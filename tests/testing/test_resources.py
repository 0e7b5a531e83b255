"""The stand-in's other functions: videos, creator info, links, webhooks."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import pytest

from tiktok_oauth_middleware._oauth import authorize as authorize_module
from tiktok_oauth_middleware._oauth import protocol, user_info, webhook_delivery
from tiktok_oauth_middleware.testing import FakeTikTok
from tiktok_oauth_middleware.testing import wire as stand_in_wire
from tiktok_oauth_middleware.testing.people import PEOPLE
from tiktok_oauth_middleware.testing.videos import VIDEO_FIELDS

from .registered_app import KEY, REDIRECT, SECRET, App

LIST = "https://open.tiktokapis.com/v2/video/list/"
QUERY = "https://open.tiktokapis.com/v2/video/query/"
CREATOR = "https://open.tiktokapis.com/v2/post/publish/creator_info/query/"
SCOPES = "user.info.basic,user.info.profile,video.list,video.publish"
JSON = {"content-type": "application/json"}


@pytest.fixture
def token(app):
    return app.exchange(app.consent(scope=SCOPES)["code"])["access_token"]


@pytest.fixture
def ask(fake, token):
    """Return a function that calls an endpoint and returns the status and the
    answer.
    """

    def ask(url, given=None, *, fields="id", bearer=token, headers=JSON):
        if fields is not None:
            url += f"?{urlencode({'fields': fields})}"
        body = given if isinstance(given, bytes) else json.dumps(given or {}).encode()
        headers = {**headers, "authorization": f"Bearer {bearer}"}
        reply = fake.handle("POST", url, headers, body)
        return reply.status, json.loads(reply.body)

    return ask


def videos_of(answer):
    status, body = answer
    assert (status, body["error"]["code"]) == (200, "ok")
    return body["data"]


class TestVideoList:
    def test_first_page(self, ask):
        """A page holds ten videos by default, newest first, and a cursor."""
        data = videos_of(ask(LIST, fields="id,create_time"))
        times = [video["create_time"] for video in data["videos"]]
        assert len(times) == 10
        assert times == sorted(times, reverse=True)
        assert data["cursor"] == times[-1] * 1000
        assert data["has_more"] is True

    def test_pages(self, ask):
        """The cursor leads through all videos, each once."""
        seen, cursor = [], 0
        for _ in range(10):
            data = videos_of(ask(LIST, {"cursor": cursor, "max_count": 20}))
            seen += [video["id"] for video in data["videos"]]
            cursor = data["cursor"]
            if not data["has_more"]:
                break
        assert len(seen) == len(set(seen)) == PEOPLE[0].video_count

    def test_before(self, ask):
        """A time as the cursor gives the videos that were posted before it."""
        first = videos_of(ask(LIST, fields="create_time"))["videos"]
        moment = first[4]["create_time"] * 1000
        data = videos_of(ask(LIST, {"cursor": moment}, fields="create_time"))
        assert data["videos"][0] == first[5]

    def test_no_videos(self, fake, app, ask):
        """A person without videos has an empty page."""
        query = app.consent({"person": fake.people[2]}, scope=SCOPES)
        bearer = app.exchange(query["code"])["access_token"]
        data = videos_of(ask(LIST, bearer=bearer))
        assert data == {"videos": [], "cursor": 0, "has_more": False}

    def test_fields(self, ask):
        """The answer has only the requested fields; all of TikTok's can be
        requested.
        """
        [video, *_] = videos_of(ask(LIST, fields=",".join(VIDEO_FIELDS)))["videos"]
        assert tuple(video) == VIDEO_FIELDS
        assert re.fullmatch(r"7[0-9]{18}", video["id"])
        assert "&" in video["cover_image_url"]
        assert set(videos_of(ask(LIST, fields="title"))["videos"][0]) == {"title"}

    def test_always_the_same(self, ask):
        """A person always has the same videos."""
        fields = "id,title,view_count"
        assert videos_of(ask(LIST, fields=fields)) == videos_of(
            ask(LIST, fields=fields)
        )

    @pytest.mark.parametrize(
        ("given", "options"),
        [
            ({}, {"fields": None}),
            ({}, {"fields": ""}),
            ({}, {"fields": "id,username"}),
            ({}, {"fields": "id, title"}),
            ({"max_count": 0}, {}),
            ({"max_count": 21}, {}),
            ({"max_count": "10"}, {}),
            ({"max_count": True}, {}),
            ({"cursor": -1}, {}),
            ({"cursor": "1"}, {}),
            (b"[]", {}),
            (b"{", {}),
            (b"\xff", {}),
            ({}, {"headers": {}}),
            ({}, {"headers": {"content-type": protocol.FORM}}),
        ],
    )
    def test_invalid(self, ask, given, options):
        """A request that breaks TikTok's documentation gets invalid_params, with status
        400.
        """
        status, body = ask(LIST, given, **options)
        assert (status, body["data"]) == (400, {})
        assert body["error"]["code"] == "invalid_params"

    def test_charset(self, ask):
        """The media type may carry a charset here, unlike at the token endpoint."""
        headers = {"content-type": "application/json; charset=UTF-8"}
        assert ask(LIST, headers=headers)[0] == 200


class TestVideoQuery:
    def test_found(self, ask):
        """The query returns the person's own videos among the ids."""
        known = [v["id"] for v in videos_of(ask(LIST))["videos"]][2:4]
        wanted = {"filters": {"video_ids": [*known, "7000000000000000001"]}}
        found = videos_of(ask(QUERY, wanted))["videos"]
        assert [video["id"] for video in found] == known

    def test_of_others(self, fake, app, ask):
        """Another person's videos are not found."""
        query = app.consent({"person": fake.people[1]}, scope=SCOPES)
        bearer = app.exchange(query["code"])["access_token"]
        theirs = [v["id"] for v in videos_of(ask(LIST, bearer=bearer))["videos"]]
        wanted = {"filters": {"video_ids": theirs}}
        assert videos_of(ask(QUERY, wanted)) == {"videos": []}

    @pytest.mark.parametrize(
        "given",
        [
            {},
            {"filters": []},
            {"filters": {"video_ids": []}},
            {"filters": {"video_ids": ["1"] * 21}},
            {"filters": {"video_ids": [7]}},
            {"filters": {"video_ids": "7"}},
        ],
    )
    def test_invalid(self, ask, given):
        """The query needs one to twenty ids, which are texts."""
        assert ask(QUERY, given)[1]["error"]["code"] == "invalid_params"


class TestCreatorInfo:
    def test_shape(self, ask, fake):
        """Creator info has what an app must show before it posts."""
        status, body = ask(CREATOR, fields=None)
        assert (status, body["error"]["code"]) == (200, "ok")
        assert set(body["data"]) == {
            "creator_avatar_url",
            "creator_username",
            "creator_nickname",
            "privacy_level_options",
            "comment_disabled",
            "duet_disabled",
            "stitch_disabled",
            "max_video_post_duration_sec",
        }
        assert body["data"]["creator_username"] == fake.people[0].username
        assert "SELF_ONLY" in body["data"]["privacy_level_options"]

    def test_no_body(self, ask):
        """The request needs no body, but the content type."""
        assert ask(CREATOR, b"", fields=None)[0] == 200
        assert ask(CREATOR, b"", fields=None, headers={})[0] == 400


@pytest.mark.parametrize(
    ("url", "scope"),
    [(LIST, "video.list"), (QUERY, "video.list"), (CREATOR, "video.publish")],
)
class TestErrors:
    def test_scope(self, app, ask, url, scope):
        """Without its scope an endpoint answers scope_not_authorized to every
        request.
        """
        others = ",".join(s for s in SCOPES.split(",") if s != scope)
        query = app.consent({"person": app.fake.people[1]}, scope=others)
        bearer = app.exchange(query["code"])["access_token"]
        status, body = ask(url, bearer=bearer, fields="nonsense")
        assert (status, body["data"]) == (401, {})
        assert body["error"]["code"] == "scope_not_authorized"

    @pytest.mark.parametrize("bearer", ["", "act.unknown"])
    def test_token(self, ask, url, scope, bearer):
        """Without a valid token the error is access_token_invalid."""
        status, body = ask(url, bearer=bearer)
        assert (status, body["error"]["code"]) == (401, "access_token_invalid")

    def test_token_has_ended(self, ask, clock, url, scope):
        """An expired access token is refused here, too."""
        clock.advance(7200)
        assert ask(url)[1]["error"]["code"] == "access_token_invalid"

    def test_gateway(self, fake, url, scope):
        """Without the last slash, or with GET, the answer is TikTok's plain 404."""
        for method, address in (("POST", url.rstrip("/")), ("GET", url)):
            reply = fake.handle(method, address, JSON, b"{}")
            assert (reply.status, reply.body) == (404, b"Unsupported path(Janus)")

    def test_faults(self, fake, ask, url, scope):
        """A fault has the form and the status that TikTok's pages name for it."""
        name = {LIST: "video_list", QUERY: "video_query", CREATOR: "creator_info"}[url]
        fake.fail(name, error="rate_limit_exceeded")
        status, body = ask(url)
        assert (status, body["data"]) == (429, {})
        assert set(body["error"]) == {"code", "message", "log_id"}
        fake.fail(name, error="internal_error")
        assert ask(url)[0] == 500
        assert fake.count(name) == 2


class TestLinks:
    def link(self, app, token, field="avatar_url"):
        return app.user(token, field)[1]["data"]["user"][field]

    @pytest.mark.parametrize(
        "field", ["avatar_url", "avatar_url_100", "avatar_large_url"]
    )
    def test_shape(self, app, token, clock, field):
        """A link to an avatar is signed, expires in six hours, and contains ``&``."""
        query = parse_qs(urlsplit(self.link(app, token, field)).query)
        assert int(query["x-expires"][0]) == clock() + 6 * 3600
        assert query["x-signature"]
        assert "refresh_token" in query

    def test_fresh(self, app, token, clock):
        """Each request for the profile returns a new link."""
        before = self.link(app, token)
        clock.advance(3600)
        after = self.link(app, token)
        assert before != after
        query = parse_qs(urlsplit(after).query)
        assert int(query["x-expires"][0]) == clock() + 6 * 3600

    def test_ends(self, app, fake, token, clock):
        """A link works until its x-expires."""
        link = self.link(app, token)
        clock.advance(6 * 3600 - 1)
        assert fake.provider.links.is_good(link, clock())
        clock.advance(1)
        assert not fake.provider.links.is_good(link, clock())

    def test_other_life(self, app, fake, token, clock):
        """The lifetime of links can be set."""
        fake.provider.link_lifetime = 47 * 3600
        query = parse_qs(urlsplit(self.link(app, token)).query)
        assert int(query["x-expires"][0]) == clock() + 47 * 3600


class TestRefusals:
    def test_not_eligible(self, app, fake):
        """For an account that may not log in, the callback has access_denied and a
        reason.
        """
        fake.refuse_next_login()
        query = app.consent()
        assert query["error"] == "access_denied"
        assert "eligible" in query["error_description"]
        assert query["state"] == "a-state"
        assert "code" in app.consent()

    @pytest.mark.parametrize("error", ["server_error", "temporarily_unavailable"])
    def test_failure_of_tiktok(self, app, fake, error):
        """A failure of TikTok's own is sent in the callback in the same way."""
        fake.refuse_next_login(error, "Try again later", times=2)
        assert [app.consent()["error"] for _ in range(2)] == [error] * 2
        assert "code" in app.consent()

    @pytest.mark.parametrize(
        "further",
        [
            {"errCode": "10008", "error_type": "code_challenge_method"},
            {"error_code": "-2", "error_msg": "user denied"},
        ],
    )
    def test_other_shapes(self, app, fake, further):
        """Callbacks of the shapes of TikTok's SDKs have no parameter named error."""
        fake.refuse_next_login(None, None, further=further)
        assert app.consent() == {**further, "state": "a-state"}

    def test_without_a_page(self, app, fake):
        """A user who consented before can be refused as well."""
        app.consent()
        fake.refuse_next_login()
        assert app.consent()["error"] == "access_denied"

    def test_no_consent(self, app, fake):
        """A refused login does not count as a consent."""
        fake.refuse_next_login()
        app.consent(scope="user.info.basic")
        assert app.consent()["scopes"] == "user.info.basic,video.list"

    @pytest.mark.parametrize(
        ("error", "status"),
        [
            ("invalid_params", 400),
            ("scope_not_authorized", 401),
            ("scope_permission_missed", 400),
        ],
    )
    def test_field(self, app, fake, token, error, status):
        """One refused field fails the whole profile, until it is allowed again."""
        fake.refuse_field("profile_web_link", error=error)
        answer = app.user(token, "open_id,profile_web_link")
        assert (answer[0], answer[1]["error"]["code"]) == (status, error)
        assert answer[1]["data"] == {}
        assert app.user(token, "open_id,username")[0] == 200
        fake.clear_faults()
        assert app.user(token, "open_id,profile_web_link")[0] == 200

    def test_field_with_a_wrong_error(self, fake):
        """An error that no resource endpoint has is refused."""
        with pytest.raises(ValueError, match="invalid_params"):
            fake.refuse_field("profile_web_link", error="invalid_parms")

    @pytest.mark.parametrize("name", ["tokens", "userinfo", "video-list", ""])
    def test_unknown_endpoint(self, fake, name):
        """A fault or a count for an unknown endpoint is an error."""
        for act in (fake.fail, fake.lose_answer, fake.slow_down, fake.count):
            with pytest.raises(ValueError, match="user_info"):
                act(name)

    def test_status(self, app, fake):
        """OAuth errors can be sent with another status."""
        fake.provider.error_status = 400
        reply = app.post(
            protocol.TOKEN, grant_type="refresh_token", refresh_token="rft.gone"
        )
        assert reply.status == 400
        assert json.loads(reply.body)["error"] == "invalid_grant"

    @pytest.mark.parametrize("query", ["fields=open_id&fields=username", "fields="])
    def test_fields_twice(self, fake, token, query):
        """Repeated or missing fields are invalid_params."""
        headers = {"authorization": f"Bearer {token}"}
        reply = fake.handle("GET", f"{protocol.USER_INFO}?{query}", headers, b"")
        assert json.loads(reply.body)["error"]["code"] == "invalid_params"


class TestWebhooks:
    def read(self, delivery, clock, **options):
        headers, body = delivery
        return webhook_delivery.read_webhook(
            headers["tiktok-signature"].encode(),
            body,
            client_key=KEY,
            secrets=[SECRET],
            now=clock(),
            **options,
        )

    def test_ping(self, fake, clock):
        """The portal's test delivery has milliseconds, a number as the user, and a
        signature.
        """
        headers, body = fake.ping()
        event = json.loads(body)
        assert event["event"] == "tiktok.ping"
        assert event["create_time"] == int(clock() * 1000)
        assert event["user_openid"].isdecimal()
        assert json.loads(event["content"]) == {"reason": "testing Webhook"}
        assert self.read((headers, body), clock).event == "tiktok.ping"

    def test_retry(self, fake, clock):
        """A retry is the same delivery, with its old signature."""
        first = fake.disconnect()
        clock.advance(3600)
        assert fake.retry(first) == first

    def test_retry_renewed(self, fake, clock):
        """A retry that is signed again has the same body and a new time."""
        first = fake.disconnect()
        clock.advance(3600)
        headers, body = fake.retry(first, renew=True)
        assert body == first[1]
        assert headers["tiktok-signature"].startswith(f"t={int(clock())},s=")
        assert self.read((headers, body), clock).event == "authorization.removed"

    @pytest.mark.parametrize("reason", range(6))
    def test_reasons(self, fake, clock, reason):
        """A person's access can be removed for each of TikTok's reasons."""
        delivery = self.read(fake.disconnect(reason=reason), clock)
        assert delivery.content == {"reason": reason}

    def test_late(self, app, fake, clock):
        """A late delivery has the time of the withdrawal, in either unit."""
        for unit in (1, 1000):
            old = app.log_in()["access_token"]
            at = int(clock()) * unit
            clock.advance(60)
            new = app.log_in()["access_token"]
            person = fake.people[0].open_id
            fake.webhook("authorization.removed", person, create_time=at)
            assert [app.user(token)[0] for token in (old, new)] == [401, 200]

    def test_times(self, fake, clock):
        """The time of an event and the time of its signature can be chosen."""
        sent = fake.webhook("video.upload.failed", "x", create_time=7, signed_at=9.5)
        assert json.loads(sent[1])["create_time"] == 7
        assert sent[0]["tiktok-signature"].startswith("t=9,s=")

    def test_vector(self):
        """The stand-in's signature equals one that was computed independently."""
        content = r'"{\"reason\": 1 }"'
        body = (
            '{"client_key":"awexampleclientkey","event":"authorization.removed",'
            '"create_time":1767225600,'
            '"user_openid":"11111111-2222-4333-8444-555555555555",'
            f'"content":{content}}}'
        ).encode()
        expected = "ea91a09fc8107f33887230e2286243a871f3ad4dfe0f4ba0b2fa675ab72b66d7"
        made = stand_in_wire.signature(body, "example_client_secret", 1767225605)
        assert made == f"t=1767225605,s={expected}"


class TestAsStrictAsTikTok:
    @pytest.mark.parametrize(
        "host",
        [
            "tiktok.com",
            "tiktokapis.com",
            "business-api.tiktok.com",
            "open.tiktokapis.us",
            "open.tiktokapis.com.",
        ],
    )
    def test_hosts(self, app, fake, host):
        """TikTok's other hosts offer neither the login nor the API."""
        fake_url = protocol.TOKEN.replace("open.tiktokapis.com", host)
        assert fake.handle("POST", fake_url, JSON, b"").status == 404

    def test_own_code(self):
        """The stand-in verifies with its own code, without importing the package's."""
        import tiktok_oauth_middleware.testing.api as api
        import tiktok_oauth_middleware.testing.fake as fake
        import tiktok_oauth_middleware.testing.provider as provider

        for module in (api, fake, provider, stand_in_wire):
            assert protocol not in vars(module).values()
            own = {
                value.__module__
                for value in vars(module).values()
                if hasattr(value, "__module__")
            }
            assert protocol.__name__ not in own

    def test_same_fields_and_addresses(self):
        """The package and the stand-in list the same fields and addresses of
        TikTok's.
        """
        assert stand_in_wire.PROFILE_FIELDS == user_info.FIELDS
        assert stand_in_wire.API_ORIGIN + stand_in_wire.TOKEN == protocol.TOKEN
        assert stand_in_wire.API_ORIGIN + stand_in_wire.REVOKE == protocol.REVOKE
        assert stand_in_wire.API_ORIGIN + stand_in_wire.USER_INFO == protocol.USER_INFO
        authorize = stand_in_wire.BROWSER_ORIGIN + stand_in_wire.AUTHORIZE
        assert authorize == protocol.AUTHORIZE

    def test_uppercase_challenge(self, app):
        """A challenge in upper-case hex is refused."""
        challenge = authorize_module.challenge_of(app.verifier).upper()
        answer = app.exchange(app.consent(code_challenge=challenge)["code"])
        assert answer["error"] == "invalid_request"

    def test_code_twice_encoded(self, app):
        """A code that was percent-encoded twice is unknown."""
        url = app.fake.consent(app.url())
        raw = re.search(r"code=([^&]+)", url).group(1)
        assert "%2A" in raw
        assert app.exchange(raw)["error"] == "invalid_grant"
        assert "access_token" in app.exchange(
            dict(parse_qsl(urlsplit(url).query))["code"]
        )

    def test_parameters_in_the_query(self, app, fake):
        """The token endpoint does not accept its parameters in the query, as version 1
        did.
        """
        form = {"client_key": KEY, "client_secret": SECRET, "code": "x"}
        url = f"{protocol.TOKEN}?{urlencode(form)}"
        reply = fake.handle("POST", url, {"content-type": protocol.FORM}, b"")
        assert json.loads(reply.body)["error"] == "invalid_request"

    def test_log_id(self, app, clock):
        """A log_id begins with the time, as real ones do, and is also in a header."""
        reply = app.post(protocol.TOKEN, grant_type="refresh_token", refresh_token="x")
        named = json.loads(reply.body)["log_id"]
        assert re.fullmatch(r"20260101000000[0-9A-F]{20}", named)
        assert dict(reply.headers)["x-tt-logid"] == named

    def test_union_id(self, app, token):
        """A union_id is a UUID, the same for a person each time."""
        first = app.user(token, "union_id")[1]["data"]["user"]["union_id"]
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", first)
        assert app.user(token, "union_id")[1]["data"]["user"]["union_id"] == first

    def test_odd_username(self, clock):
        """Links of a person with an unusual name are valid."""
        odd = replace(PEOPLE[0], username="a b/c?d&é")
        app = App(FakeTikTok(redirect_uris=[REDIRECT], clock=clock, people=[odd]))
        token = app.log_in()["access_token"]
        link = app.user(token, "avatar_url")[1]["data"]["user"]["avatar_url"]
        assert re.fullmatch(r"[\x21-\x7e]+", link)
        assert urlsplit(link).path.count("/") == 1
