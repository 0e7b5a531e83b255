"""check --live tests key and secret with TikTok's answers, here over real sockets."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from urllib.parse import parse_qs

import pytest

from tiktok_oauth_middleware import TikTokEndpoints
from tiktok_oauth_middleware.__main__ import main
from tiktok_oauth_middleware._check import diagnose
from tiktok_oauth_middleware._check.live import CODE
from tiktok_oauth_middleware.testing import FakeTikTok
from tiktok_oauth_middleware.testing.server import StandIn

from ...conftest import START, make_settings
from ...support.certificates import certificate
from ...support.patience import HANGS

NOW = START + 365 * 86400
SECRET = "the-client-secret-of-tests"


@pytest.fixture
def fake():
    return FakeTikTok(client_key="awexampleclientkey", client_secret=SECRET)


@pytest.fixture
def endpoints(fake):
    """Return the endpoints of the stand-in on a local port."""
    with StandIn(fake) as stand_in:
        yield stand_in.endpoints


def live(endpoints, **options):
    """Return the findings of the live check, by code."""
    settings = make_settings(endpoints=endpoints, **options)
    findings = [*diagnose(settings, live=True, clock=lambda: NOW)]
    for finding in findings:
        assert SECRET not in str(finding)
        assert options.get("client_secret", SECRET) not in str(finding)
        assert finding.message.isprintable()
        assert finding.fix.isprintable()
        assert bool(finding.fix) is (finding.level != "good")
    return {f.code: f for f in findings if f.code.startswith("live_")}


def verdict(findings):
    """Return the only finding except the one that says what was done."""
    assert findings.pop("live_request").level == "good"
    [only] = findings.values()
    return only


class TestCredentials:
    def test_right(self, fake, endpoints):
        """If TikTok refuses only the code, key and secret are right."""
        found = verdict(live(endpoints))
        assert (found.code, found.level) == ("live_credentials", "good")
        assert "invalid_grant" in found.message

    @pytest.mark.parametrize(
        "options",
        [
            {"client_secret": "the-secret-of-another-app"},
            {"client_key": "awanotherclientkey"},
            {"client_key": "sbexampleclientkey", "client_secret": "of-a-sandbox"},
        ],
        ids=["secret", "key", "both"],
    )
    def test_wrong(self, endpoints, options):
        """A wrong key or secret is reported as wrong, with what to check."""
        found = verdict(live(endpoints, **options))
        assert (found.code, found.level) == ("live_refused", "wrong")
        assert found.option == "client_secret"
        assert "invalid_client" in found.message
        assert "both to its sandbox" in found.fix

    def test_request_that_is_sent(self, fake, endpoints):
        """One request like a login's is sent, with a code that TikTok never issues."""
        message = live(endpoints)["live_request"].message
        [record] = fake.requests
        form = dict(record.form)
        assert record.endpoint == "token"
        assert form["grant_type"] == "authorization_code"
        assert form["client_key"] == "awexampleclientkey"
        assert form["redirect_uri"] == "https://app.example.com/auth/tiktok/callback"
        assert "client_id" not in form
        assert record.headers["content-type"] == "application/x-www-form-urlencoded"
        assert endpoints.token in message
        assert "client_key awexampleclientkey" in message
        assert "no user is affected" in message
        assert "once," in message

    def test_code_cannot_be_right(self):
        """The code does not have the form of a real one, and describes itself."""
        assert "*" not in CODE
        assert "." not in CODE
        assert "cannot-be-right" in CODE

    def test_no_network_otherwise(self, fake, endpoints):
        """Without the option TikTok is not called."""
        settings = make_settings(endpoints=endpoints)
        assert [*diagnose(settings, clock=lambda: NOW)]
        assert fake.requests == []

    def test_not_of_settings_that_are_wrong(self, fake, endpoints, monkeypatch, capsys):
        """Settings that cannot be built are not tried at TikTok."""
        monkeypatch.setenv("TIKTOK_ENDPOINTS_TOKEN", endpoints.token)
        assert main(["check", "--live"]) == 1
        assert "live" not in capsys.readouterr().out
        assert fake.requests == []


class TestPreviousSecret:
    @pytest.mark.parametrize(
        ("current", "previous", "codes"),
        [
            (
                SECRET,
                "the-former-secret",
                {"live_credentials": "good", "live_previous_refused": "note"},
            ),
            (
                "the-new-secret",
                SECRET,
                {"live_refused": "wrong", "live_previous_accepted": "good"},
            ),
        ],
    )
    def test_each(self, fake, endpoints, current, previous, codes):
        """Each secret is tried separately, and both results are reported."""
        found = live(endpoints, client_secret=current, previous_client_secret=previous)
        message = found.pop("live_request").message
        assert "once with each secret" in message
        assert {code: finding.level for code, finding in found.items()} == codes
        assert len(fake.requests) == 2

    def test_not_where_tiktok_is_away(self, fake, endpoints):
        """If TikTok does not answer for the first, the second is not tried."""
        fake.fail("token", status=503)
        found = live(endpoints, previous_client_secret="the-former-secret")
        assert "once," in found["live_request"].message
        assert verdict(found).code == "live_unknown"
        assert len(fake.requests) == 1

    def test_unknown(self, fake, endpoints):
        """An inconclusive answer for the second secret is reported as such."""

        class SecondIsOdd(FakeTikTok):
            def handle(self, method, url, headers, body):
                if "the-former-secret" in body.decode():
                    self.fail("token", error="server_error")
                return super().handle(method, url, headers, body)

        odd = SecondIsOdd(client_key="awexampleclientkey", client_secret=SECRET)
        with StandIn(odd) as stand_in:
            found = live(stand_in.endpoints, previous_client_secret="the-former-secret")
        assert "server_error" in found["live_previous_unknown"].message


class TestOtherAnswers:
    @pytest.mark.parametrize(
        ("fault", "shown", "look_at"),
        [
            ({"error": "invalid_request"}, "invalid_request", "redirect_uri"),
            ({"error": "temporarily_unavailable"}, "temporarily_unavailable", "outage"),
            ({"error": "something_new"}, "something_new", "log_id"),
            ({"status": 500}, "status 500", "outage"),
            ({"status": 502, "body": b"<html>bad gateway"}, "<html>bad", "outage"),
            ({"status": 200, "body": b"<html>Log in to the wifi"}, "<html>", "proxies"),
            ({"status": 404, "body": b"Unsupported path(Janus)"}, "Janus", "slash"),
            ({"status": 403, "body": b"denied"}, "status 403", "edge"),
            ({"status": 429, "body": b"{}"}, "status 429", "how often"),
            (
                {"status": 429, "error": "rate_limit_exceeded"},
                "rate_limit",
                "how often",
            ),
            ({"status": 200, "body": b""}, "not a JSON object", "proxies"),
            ({"status": 200, "body": b"[]"}, "not a JSON object", "proxies"),
            ({"status": 200, "body": b'{"a":1}'}, "unusable access_token", "log_id"),
        ],
        ids=lambda value: None if isinstance(value, dict) else value[:8],
    )
    def test_inconclusive_answer(self, fake, endpoints, fault, shown, look_at):
        """An inconclusive answer is a note with TikTok's error and status."""
        fake.fail("token", **fault)
        found = verdict(live(endpoints))
        assert (found.code, found.level) == ("live_unknown", "note")
        assert "does not show whether" in found.message
        assert shown in found.message
        assert look_at in found.fix

    def test_app_refused(self, fake, endpoints):
        """An app to which TikTok allows no login is reported as wrong."""
        fake.fail("token", error="unauthorized_client")
        found = verdict(live(endpoints))
        assert (found.code, found.level) == ("live_app_refused", "wrong")

    def test_tokens(self, fake, endpoints):
        """An endpoint that issues tokens for the test's code is reported as not
        TikTok's.
        """
        tokens = {
            "access_token": "act.x",
            "open_id": "someone",
            "refresh_token": "rft.x",
            "expires_in": 60,
            "scope": "user.info.basic",
        }
        fake.fail("token", status=200, body=json.dumps(tokens).encode())
        found = live(endpoints)
        assert verdict(found).code == "live_accepted"
        assert "act.x" not in str(found)

    @pytest.mark.parametrize(
        "text",
        [
            "\x1b]0;owned\x07\x1b[2J\x1b[31m",
            "\r\ngood: TikTok accepts client_key and client_secret",
            "\u202egnp.exe\u2066",
            "\x9b31m\x00\x08",
            "x" * 100_000,
            f"Your secret {SECRET} is wrong",
        ],
        ids=["escapes", "lines", "bidi", "c1", "long", "secret"],
    )
    def test_hostile_answer(self, fake, endpoints, text, monkeypatch, capsys):
        """A malicious endpoint writes no escapes, no lines and no secret to a terminal."""
        for field in ("error", "error_description", "log_id"):
            body = {"error": "invalid_client", "error_description": "x", "log_id": "1"}
            fake.fail("token", body=json.dumps({**body, field: text}).encode())
            found = verdict(live(endpoints))
            assert len(found.message) < 1000
        fake.fail("token", body=text.encode("utf-8", "replace"))
        assert verdict(live(endpoints)).code == "live_unknown"


class TestUnreachable:
    def test_refused(self):
        """A port without a listener is wrong, with what to check."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        endpoints = TikTokEndpoints(token=f"http://127.0.0.1:{port}/v2/oauth/token/")
        found = verdict(live(endpoints))
        assert (found.code, found.level) == ("live_unreachable", "wrong")
        assert "refused" in found.message
        assert "firewall" in found.fix

    def test_silent(self):
        """An endpoint that never answers is given up after `timeout`."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            url = f"http://127.0.0.1:{server.getsockname()[1]}/v2/oauth/token/"
            found = verdict(live(TikTokEndpoints(token=url), timeout=0.5))
        assert found.code == "live_unreachable"
        assert "0.5 s" in found.message or "in time" in found.message
        assert "timeout" in found.fix

    def test_dropped(self, fake, endpoints):
        """A connection that is closed without an answer is wrong."""
        fake.fail("token", disconnect=True)
        found = verdict(live(endpoints))
        assert found.code == "live_unreachable"

    def test_certificate(self, tmp_path):
        """With an untrusted certificate the check fails, and no credentials are
        sent.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate(tmp_path, "localhost"))
        read = []

        def serve(server):
            for _ in range(2):
                try:
                    peer, _ = server.accept()
                    with peer, context.wrap_socket(peer, server_side=True) as secure:
                        read.append(secure.recv(65536))
                except OSError:
                    continue

        with socket.create_server(("127.0.0.1", 0)) as server:
            server.settimeout(HANGS)
            thread = threading.Thread(target=serve, args=(server,), daemon=True)
            thread.start()
            url = f"https://localhost:{server.getsockname()[1]}/v2/oauth/token/"
            found = verdict(live(TikTokEndpoints(token=url)))
        assert found.code == "live_unreachable"
        assert "certificate" in found.message
        assert "SSL_CERT_FILE" in found.fix
        assert [data for data in read if data] == []

    def test_proxy(self, monkeypatch):
        """A proxy that refuses is named, and TikTok is not called without it."""
        seen = []

        def serve(server):
            for _ in range(2):
                try:
                    peer, _ = server.accept()
                except OSError:
                    return
                with peer:
                    seen.append(peer.recv(65536).split(b"\r\n")[0])
                    peer.sendall(b"HTTP/1.1 407 No\r\ncontent-length: 0\r\n\r\n")

        with socket.create_server(("127.0.0.1", 0)) as server:
            thread = threading.Thread(target=serve, args=(server,), daemon=True)
            thread.start()
            proxy = f"http://127.0.0.1:{server.getsockname()[1]}"
            for name in ("HTTPS_PROXY", "https_proxy"):
                monkeypatch.setenv(name, proxy)
            found = verdict(live(TikTokEndpoints()))
        assert seen[0] == b"CONNECT open.tiktokapis.com:443 HTTP/1.1"
        assert found.code == "live_unreachable"
        assert "proxy" in found.message
        assert "HTTPS_PROXY" in found.fix


class TestCommand:
    @pytest.fixture
    def environment(self, fake, monkeypatch):
        """Return the stand-in that the environment's settings name."""
        with StandIn(fake) as stand_in:
            callback = "http://127.0.0.1:8000/auth/tiktok/callback"
            for name, value in stand_in.environment(callback).items():
                monkeypatch.setenv(name, value)
            monkeypatch.setenv("TIKTOK_SECRET_KEYS", "Zk3vXq9LwR2tYb7NfH5cJd8GsPmA1eUo")
            monkeypatch.setenv("TIKTOK_STORE", "memory://")
            yield fake

    def test_text(self, environment, capsys):
        """The text output says what was done, and TikTok's answer."""
        assert main(["check", "--live"]) == 0
        out = capsys.readouterr().out
        assert "no user is affected" in out
        assert "good: TikTok accepts client_key and client_secret" in out
        assert SECRET not in out

    def test_wrong(self, environment, capsys, monkeypatch):
        """Refused credentials lead to exit code 1, also with --json."""
        monkeypatch.setenv("TIKTOK_CLIENT_SECRET", "the-secret-of-another-app")
        assert main(["check", "--live", "--json"]) == 1
        message = json.loads(capsys.readouterr().out)
        codes = {f["code"]: f["level"] for f in message["findings"]}
        assert codes["live_refused"] == "wrong"
        assert message["exit_code"] == 1
        assert "the-secret-of-another-app" not in str(message)

    def test_inconclusive_answer(self, environment, capsys):
        """An inconclusive answer is a note, which fails only with --strict."""
        environment.fail("token", times=2, status=503)
        assert main(["check", "--live"]) == 0
        assert main(["check", "--live", "--strict"]) == 1


def test_the_form_is_encoded_once(fake):
    """The secret is sent to the endpoint unchanged, whatever characters it has."""
    secret = "a+b/c=d&e%20f!*"
    bodies = []

    class Reading(FakeTikTok):
        def handle(self, method, url, headers, body):
            bodies.append(parse_qs(body.decode(), strict_parsing=True))
            return super().handle(method, url, headers, body)

    reading = Reading(client_key="awexampleclientkey", client_secret=secret)
    with StandIn(reading) as stand_in:
        found = verdict(live(stand_in.endpoints, client_secret=secret))
    assert found.code == "live_credentials"
    [body] = bodies
    assert body["client_secret"] == [secret]
    assert body["code"] == [CODE]
