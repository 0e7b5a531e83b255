"""The findings of ``check``: when each is reported, and when it is not."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import sqlite3
import ssl
import stat
import subprocess
import sys
import threading
from dataclasses import replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx2
import pytest

from tiktok_oauth_middleware import (
    SQLiteStore,
    StoreError,
    TikTokEndpoints,
    TikTokOAuthWSGIMiddleware,
)
from tiktok_oauth_middleware._check import diagnose, of_faults, portal
from tiktok_oauth_middleware._check.portal import KNOWN_SCOPES, STAND_IN_KEY
from tiktok_oauth_middleware._oauth import http_library
from tiktok_oauth_middleware.errors import ConfigurationError
from tiktok_oauth_middleware.settings import TikTokSettings
from tiktok_oauth_middleware.settings.rows import rows_of
from tiktok_oauth_middleware.settings.validate import faults
from tiktok_oauth_middleware.stores.diagnose import file_system
from tiktok_oauth_middleware.stores.redis import RedisStore
from tiktok_oauth_middleware.testing import FakeTikTok, login_as

from ...conftest import ORIGIN, START, make_settings
from ...stores.conftest import RedisServer

NOW = START + 365 * 86400
LOOPBACK = "http://127.0.0.1:8000/auth/tiktok/callback"


def found(options=None, **how):
    """Return the findings about settings with these options, by code."""
    settings = make_settings(**(options or {}))
    how.setdefault("clock", lambda: NOW)
    return {finding.code: finding for finding in diagnose(settings, **how)}


def level(code, options=None, **how):
    finding = found(options, **how).get(code)
    return finding and finding.level


def test_good():
    """A good deployment has only notes, and each note says how to resolve it."""
    findings = found()
    assert {f.code for f in findings.values() if f.level == "wrong"} == set()
    for finding in findings.values():
        assert bool(finding.fix) is (finding.level != "good")
        assert not finding.message.endswith(".")


# --- the portal --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "code"),
    [
        ("https://app.example.com/cb", "redirect_uri"),
        ("https://app.example.com:8443/cb", "redirect_uri"),
        ("https://203.0.113.7/cb", "redirect_uri_address"),
        ("https://[2001:db8::1]/cb", "redirect_uri_address"),
        ("https://localhost.example/cb", "redirect_uri_private"),
        ("https://app.test/cb", "redirect_uri_private"),
        ("https://intranet/cb", "redirect_uri_private"),
        ("https://App.example.com/cb", "redirect_uri_spelling"),
        ("https://app.example.com:443/cb", "redirect_uri_spelling"),
        ("HTTPS://app.example.com/cb", "redirect_uri_spelling"),
        (LOOPBACK, "redirect_uri_loopback"),
        ("https://localhost:8443/cb", "redirect_uri_loopback"),
    ],
)
def test_redirect_uri(uri, code):
    """The redirect URI is checked by the rules of the portal."""
    codes = {c for c in found({"redirect_uri": uri}) if c.startswith("redirect_uri")}
    assert codes == {code}
    assert (level(code, {"redirect_uri": uri}) == "good") is (code == "redirect_uri")


def test_callback_outside_mount():
    """A callback outside the mount point is found, since it cannot be reached."""
    assert level("callback_outside_mount", mount="/app") == "wrong"
    assert level("callback_outside_mount", mount="/auth") is None


def test_callback_beside_mount():
    """A mount point matches whole path segments only."""
    assert level("callback_outside_mount", mount="/aut") == "wrong"


@pytest.mark.parametrize(
    "option",
    ["login_path", "logout_path", "disconnect_path", "connect_path", "webhook_path"],
)
def test_paths_collide(option):
    """A path that equals the callback's without the mount point is found."""
    options = {
        "redirect_uri": "https://app.example.com/app/cb",
        option: "/cb",
    }
    assert level("paths_collide", options) is None
    finding = found(options, mount="/app")["paths_collide"]
    assert (finding.level, finding.option) == ("wrong", option)


@pytest.mark.parametrize(
    ("key", "uri", "code"),
    [
        ("awkey", None, "client_key"),
        ("sbkey", None, "sandbox_key"),
        ("1234567", None, "odd_key"),
        ("awkey", LOOPBACK, "production_key"),
        ("sbkey", LOOPBACK, "sandbox_key"),
    ],
)
def test_client_key(key, uri, code):
    """An unusual beginning of the client key is a note, never "wrong"."""
    options = {"client_key": key, **({"redirect_uri": uri} if uri else {})}
    assert level(code, options) == ("good" if code == "client_key" else "note")


def test_key_of_the_stand_in():
    """The stand-in's key is called so at the stand-in, and is wrong at TikTok."""
    assert FakeTikTok().provider.client_key == STAND_IN_KEY
    endpoints = TikTokEndpoints(token="http://127.0.0.1:8001/v2/oauth/token/")
    options = {"client_key": STAND_IN_KEY, "redirect_uri": LOOPBACK}
    there = found({**options, "endpoints": endpoints})["client_key"]
    assert there.level == "good"
    assert "production" not in there.message
    assert "stand-in" in there.message
    at_tiktok = found(options)
    assert at_tiktok["stand_in_key"].level == "wrong"
    assert "production_key" not in at_tiktok


def test_swapped():
    """A key and a secret that were swapped are found, and neither is shown."""
    options = {
        "client_key": "Zk3vXq9LwR2tYb7NfH5cJd8GsPmA1eUo",
        "client_secret": "awq1w2e3r4t5y6u7",
    }
    finding = found(options)["key_and_secret_swapped"]
    assert finding.level == "wrong"
    assert "awq1w2e3r4t5y6u7" not in finding.message + finding.fix


def test_key_of_another_portal():
    """An app_id of the business or shop portal is no client key."""
    assert level("key_of_another_portal", {"client_key": "7528370655977505848"}) == (
        "wrong"
    )


@pytest.mark.parametrize(
    ("scope", "words"),
    [
        ("user.info.basics", "did you mean user.info.basic?"),
        ("vidoe.list", "did you mean video.list?"),
        ("video.create", "video.upload or video.publish"),
        ("comment.list", "business portal"),
        ("user.info.email", "no e-mail"),
        ("video.insights", "business portal"),
        ("openid", "OpenID Connect"),
        ("something.new.in.2027", "not known in November 2026"),
    ],
)
@pytest.mark.parametrize("option", ["scopes", "optional_scopes"])
def test_unknown_scope(scope, words, option):
    """An unknown scope is noted, with the likely scope, and never refused."""
    finding = found({option: ["user.info.basic", scope]})["unknown_scope"]
    assert finding.level == "note"
    assert words in finding.message
    assert scope in finding.message


def test_known_scopes():
    """All scopes that TikTok documents are known, and may be requested together."""
    scopes = sorted(KNOWN_SCOPES)
    assert len(scopes) >= 23
    assert level("unknown_scope", {"scopes": scopes}) is None


@pytest.mark.parametrize("idle", [100, 101, 8 * 3600])
def test_idle_is_harmless(idle):
    """A session_idle longer than session_lifetime is reported as harmless."""
    finding = found({"session_idle": idle, "session_lifetime": 100})
    assert "harmless" in finding["idle_never_counts"].message


def test_previous_client_secret():
    """A previous client secret is noted while it is set, and never shown."""
    assert level("previous_client_secret", {}) is None
    secret = "the-secret-before-it-was-rotated"
    finding = found({"previous_client_secret": secret})["previous_client_secret"]
    assert finding.level == "note"
    assert secret not in finding.message + finding.fix


def test_stand_in():
    """Addresses other than TikTok's are noted; the form of the key is not
    checked then.
    """
    options = {
        "redirect_uri": LOOPBACK,
        "endpoints": TikTokEndpoints(token="http://127.0.0.1:8001/v2/oauth/token/"),
    }
    findings = found(options)
    assert findings["stand_in"].level == "note"
    assert "production_key" not in findings


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"scopes": ["video.list"], "optional_scopes": []}, "no_profile"),
        ({"scopes": ["video.list", "user.info.stats"]}, "no_basic_scope"),
        ({"public": ["/x"]}, "public_alone"),
        ({"protect": ["/"]}, "after_logout_protected"),
        (
            {"protect": ["/app"], "after_logout": "/app/bye?x=1"},
            "after_logout_protected",
        ),
        (
            {"protect": ["/App"], "public": ["/x"], "after_logout": "/aPP/bye"},
            "after_logout_protected",
        ),
        (
            {"protect": ["/caf\u00e9"], "after_logout": "/caf%C3%A9"},
            "after_logout_protected",
        ),
        ({"session_idle": 100, "session_lifetime": 100}, "idle_never_counts"),
        ({"pkce": False}, "pkce_off"),
        ({"websocket_origins": ["http://app.example.com"]}, "websocket_origin_plain"),
        ({"store": "memory://"}, "store_memory"),
        ({"profile_max_age": 599}, "profile_often"),
    ],
)
def test_note(options, code):
    """A setting that is allowed, but seldom intended, is noted."""
    assert level(code, options) == "note"
    usual = {"store": "sqlite:////tmp/x.sqlite3"} if code == "store_memory" else {}
    assert level(code, usual) is None


@pytest.mark.parametrize(
    "options",
    [
        {"protect": ["/"], "public": ["/bye"], "after_logout": "/bye"},
        {"protect": ["/app"], "after_logout": "/apple"},
        {"protect": ["/app"], "public": ["/app/x"], "after_logout": "/app/x/y"},
    ],
)
def test_after_logout_public(options):
    """after_logout may be a path that the longest matching rule makes public."""
    assert level("after_logout_protected", options) is None


# --- keys and cookies --------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "is_weak"),
    [
        ("48151623421081519382736450917264", True),
        ("3f9a1c0b7e2d4586a9c1e0f37b5d2684", False),
        ("Zk3vXq9LwR2tYb7NfH5cJd8GsPmA1eUo", False),
        ("q8Z!w3@Kd#5rT^7yU&2iO*9pL(1aS)4f", False),
    ],
)
def test_weak_key(key, is_weak):
    """A key that cannot hold 128 bits is noted."""
    assert (level("weak_key", {"secret_keys": [key]}) == "note") is is_weak


def test_many_keys():
    """More keys than a rotation needs are noted."""
    keys = [secrets.token_urlsafe(32) for _ in range(4)]
    assert level("many_keys", {"secret_keys": keys}) == "note"
    assert level("many_keys", {"secret_keys": keys[:3]}) is None


def test_cookies():
    """Over https cookies have a prefix; on loopback they have none, and may collide."""
    assert "__Host-tiktok" in found()["cookies"].message
    assert level("cookies_plain", {"redirect_uri": LOOPBACK}) == "note"
    named = {"redirect_uri": LOOPBACK, "cookie_name": "session"}
    assert level("cookie_collides", named) == "wrong"
    assert level("cookie_collides", {"cookie_name": "session"}) is None


# --- SQLite ------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path):
    (tmp_path / "kept").mkdir(mode=0o700)
    return tmp_path / "kept" / "tokens.sqlite3"


def at(path):
    return {"store": f"sqlite:///{path}"}


class TestSQLite:
    def test_new(self, path):
        """A missing file is not created: only its directory is tried."""
        assert level("store", at(path)) == "good"
        assert list(path.parent.iterdir()) == []

    def test_there(self, path):
        """An existing file is tried itself, and is unchanged afterwards."""
        store = SQLiteStore(path)
        assert store.compare_and_set("k", None, b"v", 60)
        findings = found(at(path))
        assert findings["store"].level == "good"
        assert "store_file_open" not in findings
        assert store.keys("") == ["k"]
        store.close()

    def test_no_directory(self, path):
        """A missing directory is found, and nothing is created."""
        assert (
            level("store_no_directory", at(path.parent / "x" / "y.sqlite3")) == "wrong"
        )
        assert list(path.parent.iterdir()) == []

    def test_foreign(self, path):
        """Another application's file is found."""
        with sqlite3.connect(path) as other:
            other.execute("CREATE TABLE theirs (x)")
        other.close()
        finding = found(at(path))["store_unusable"]
        assert finding.level == "wrong"
        assert "another application" in finding.message

    def test_file_without_a_wal(self, path):
        """A file that a backup left without a WAL is noted, and has a WAL
        afterwards.
        """
        with contextlib.closing(SQLiteStore(path)) as store:
            store.compare_and_set("k", None, b"v", 60)
        with sqlite3.connect(path) as other:
            other.execute("PRAGMA journal_mode = DELETE")
        other.close()
        finding = found(at(path))["store_no_wal"]
        assert finding.level == "note"
        assert "WAL" in finding.message
        assert "store_no_wal" not in found(at(path))

    def test_file_that_cannot_have_a_wal(self, path):
        """A file that cannot switch to a WAL because others use it is wrong."""
        with contextlib.closing(SQLiteStore(path)) as store:
            store.compare_and_set("k", None, b"v", 60)
        with sqlite3.connect(path, isolation_level=None) as other:
            other.execute("PRAGMA journal_mode = DELETE")
            other.execute("BEGIN IMMEDIATE")
            assert found(at(path))["store_no_wal"].level == "wrong"
        other.close()

    @pytest.mark.parametrize(
        ("mode", "expected"), [(0o600, None), (0o640, "note"), (0o622, "wrong")]
    )
    def test_mode(self, path, mode, expected):
        """A file that others may read is noted; one that they may write is wrong."""
        with contextlib.closing(SQLiteStore(path)) as store:
            store.compare_and_set("k", None, b"v", 60)
        path.chmod(mode)
        assert level("store_file_open", at(path)) == expected

    @pytest.mark.parametrize(
        ("mode", "expected"),
        [(0o700, None), (0o755, None), (0o777, "wrong"), (0o1777, "note")],
    )
    def test_directory_mode(self, path, mode, expected):
        """A directory that all users may write is wrong; with the sticky bit it is a
        note.
        """
        path.parent.chmod(mode)
        assert level("store_directory_open", at(path)) == expected

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
    def test_owner(self, path):
        """A file of another user is noted."""
        with contextlib.closing(SQLiteStore(path)) as store:
            store.compare_and_set("k", None, b"v", 60)
        os.chown(path, 12345, 12345)
        assert level("store_owner", at(path)) == "note"

    def test_relative(self, path, monkeypatch):
        """A relative path is noted with the absolute one."""
        monkeypatch.chdir(path.parent)
        finding = found(at("tokens.sqlite3"))["store_relative"]
        assert finding.level == "note"
        assert str(path) in finding.fix

    def test_long_name(self, path):
        """A path that cannot be examined is a finding, not an exception."""
        finding = found(at(path.parent / ("x" * 300)))["store_unreadable"]
        assert finding.level == "wrong"

    def test_tmpfs(self):
        """A file on a file system in memory is noted."""
        place = Path("/dev/shm")
        if file_system(place) != "tmpfs":
            pytest.skip("/dev/shm is no tmpfs here")
        assert (
            level("store_passing", at(place / f"{secrets.token_hex(8)}.db")) == "note"
        )


MOUNTS = r"""
22 1 0:21 / / rw,relatime - ext4 /dev/sda1 rw
23 22 0:22 / /srv rw,relatime shared:1 - nfs4 host:/srv rw
24 22 0:23 / /srv/my\040files rw - tmpfs tmpfs rw
25 22 0:24 / /srv2 rw - xfs /dev/sdb rw
26 22 0:25 / /srv2 rw - cifs //host/share rw
27 broken
"""


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("/", "ext4"),
        ("/home/app", "ext4"),
        ("/srv", "nfs4"),
        ("/srv/deep/er", "nfs4"),
        ("/srv/my files/x", "tmpfs"),
        ("/srv2/x", "cifs"),
        ("/srv22", "ext4"),
    ],
)
def test_file_system(place, kind):
    """A path's file system is that of the longest mount point, and of its last
    entry.
    """
    assert file_system(Path(place), MOUNTS) == kind


def test_file_system_unknown():
    """Without an entry in the table, the file system is unknown."""
    assert file_system(Path("/x"), "") is None


# --- Redis -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    made = RedisServer()
    with contextlib.chdir(tmp_path_factory.mktemp("redis")):  # Redis writes here
        made.start()
    yield made
    made.kill()


@pytest.fixture
def configure(server):
    """Return a function that sets an option of the server until the test ends."""
    import redis

    with redis.Redis.from_url(server.url) as client:
        before = client.config_get("*")

        def set_(**options):
            for name, value in options.items():
                client.config_set(name.replace("_", "-"), value)

        yield set_
        set_(
            **{
                n: before[n]
                for n in ("maxmemory", "maxmemory-policy", "save", "appendonly")
            }
        )


class TestRedis:
    def test_keeps_nothing(self, server):
        """A server that writes nothing to a disk is noted."""
        findings = found({"store": server.url})
        assert findings["store"].level == "good"
        assert findings["redis_keeps_nothing"].level == "note"
        assert findings["redis_eviction"].level == "good"
        assert "redis_open" not in findings

    def test_snapshots(self, server, configure):
        """A server that only writes snapshots is noted."""
        configure(save="3600 1")
        assert level("redis_snapshots", {"store": server.url}) == "note"

    @pytest.mark.parametrize(
        ("memory", "policy", "expected"),
        [
            ("100mb", "allkeys-lru", "note"),
            ("100mb", "volatile-ttl", "note"),
            ("100mb", "noeviction", None),
            ("0", "allkeys-lru", None),
        ],
    )
    def test_eviction(self, server, configure, memory, policy, expected):
        """A policy that drops keys is noted, if a memory limit is set."""
        configure(maxmemory=memory, maxmemory_policy=policy)
        assert level("redis_evicts", {"store": server.url}) == expected

    def test_log(self, server, configure):
        """A server that writes its append-only log is good."""
        configure(appendonly="yes")
        assert level("redis_persistence", {"store": server.url}) == "good"

    def test_down(self):
        """A server that cannot be reached is wrong, and its URL is not shown."""
        options = {"store": "redis://:a-password@127.0.0.1:1/0"}
        finding = found(options)["store_unusable"]
        assert finding.level == "wrong"
        assert "a-password" not in repr(finding)

    @pytest.mark.parametrize(
        ("url", "codes"),
        [
            ("redis://127.0.0.1:1/0", {"redis_open"}),
            ("redis://:p@127.0.0.1:1/0", set()),
            ("redis://:p@redis.invalid:1/0", {"redis_plain"}),
            ("rediss://:p@redis.invalid:1/0", set()),
            ("unix:///nowhere/redis.sock", set()),
        ],
    )
    def test_address(self, url, codes):
        """A URL without password, or without TLS to another host, is noted."""
        codes_found = set(found({"store": url}))
        assert codes_found & {"redis_open", "redis_plain"} == codes
        assert "store_unusable" in codes_found

    def test_no_info(self, server):
        """A Redis user who may not run INFO gets a note."""
        import redis

        with redis.Redis.from_url(server.url) as client:
            rules = "on >pass ~* +@all -info"
            client.execute_command("ACL", "SETUSER", "app", *rules.split())
        url = server.url.replace("//:", "//app:").replace(server.password, "pass")
        findings = found({"store": url})
        assert findings["store"].level == "good"
        assert findings["redis_silent"].level == "note"

    def test_no_config(self, server):
        """A server without the CONFIG command is assumed to write no more than
        snapshots.
        """
        import redis

        with redis.Redis.from_url(server.url) as client:
            rules = "on >pass ~* +@all -config"
            client.execute_command("ACL", "SETUSER", "app2", *rules.split())
        url = server.url.replace("//:", "//app2:").replace(server.password, "pass")
        assert level("redis_snapshots", {"store": url}) == "note"

    def test_no_library(self):
        """A store whose client is not installed is wrong; the finding says what to
        install.
        """
        code = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name == "redis":
            raise ModuleNotFoundError(name=name)
sys.meta_path.insert(0, Hidden())
from tests.unit._check.test_findings import found
finding = found({"store": "redis://:p@127.0.0.1:1/0"})["store_library"]
print(finding.level, finding.fix)
"""
        done = subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[3],
        )
        assert done.stdout.startswith("wrong pip install")

    def test_unreachable_server_has_no_facts(self):
        """Reading the facts of a server that cannot be reached raises StoreError."""
        store = RedisStore("redis://127.0.0.1:1/0")
        with pytest.raises(StoreError):
            store.facts()


# --- the machine -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "expected"),
    [(0, "wrong"), (1.7e9, "wrong"), (NOW, "good"), (4e9, "wrong"), (1e20, "wrong")],
)
def test_clock(now, expected):
    """A clock that is earlier than the package, or decades ahead, is wrong."""
    codes = {"good": "clock", "wrong": "clock_wrong"}
    assert level(codes[expected], clock=lambda: now) == expected


@pytest.mark.parametrize(
    ("uri", "tab"),
    [
        ("https://app.example.com/cb", "Web"),
        (LOOPBACK, "Desktop"),
        ("https://localhost:8443/cb", "Desktop"),
    ],
)
def test_tab(uri, tab):
    """An address on loopback belongs into the Desktop tab, with https too."""
    settings = make_settings(redirect_uri=uri)
    assert portal.registration(settings, "")["tab"] == tab


class TestCertificates:
    @pytest.fixture(autouse=True)
    def no_variables(self, monkeypatch):
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        monkeypatch.delenv("SSL_CERT_DIR", raising=False)

    @pytest.mark.parametrize("content", [None, "no certificate", ""])
    def test_file(self, monkeypatch, tmp_path, content):
        """A file that is missing or holds none is found, as every login fails."""
        file = tmp_path / "ca.pem"
        if content is not None:
            file.write_text(content)
        assert level("certificates") == "good"
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        assert level("no_certificates") == "wrong"

    @pytest.mark.parametrize(
        ("name", "code"),
        [
            ("0a1b2c3d.0", "certificates"),
            ("README", "no_certificates"),
            (None, "no_certificates"),
        ],
    )
    def test_directory(self, monkeypatch, tmp_path, name, code):
        """A directory counts if it has a file with a name that OpenSSL looks for, and
        so does the last of several.
        """
        if name:
            (tmp_path / name).touch()
        for directories in (str(tmp_path), f"/nowhere{os.pathsep}{tmp_path}"):
            monkeypatch.setenv("SSL_CERT_DIR", directories)
            assert found()[code]

    def test_of_the_system(self, monkeypatch):
        """Where the system itself checks, as on Windows and macOS, no file is missed."""
        context = type("SSLContext", (ssl.SSLContext,), {})
        made = context(ssl.PROTOCOL_TLS_CLIENT)
        monkeypatch.setattr(http_library.httpx, "create_ssl_context", lambda: made)
        assert level("certificates") == "good"

    def test_of_the_library(self, monkeypatch):
        """Certificates that the HTTP library brings along are enough."""
        context = ssl.create_default_context()
        monkeypatch.setattr(http_library.httpx, "create_ssl_context", lambda: context)
        nowhere = ssl.get_default_verify_paths()._replace(
            cafile=None, capath=None, openssl_capath="/nowhere"
        )
        monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: nowhere)
        assert level("certificates") == "good"


class Answering(BaseHTTPRequestHandler):
    """A token endpoint whose Date is the time of the test."""

    seen: list = []
    status = 405
    date: str | None = None

    def do_HEAD(self):
        self.seen.append((self.path, self.headers.items()))
        self.send_response_only(self.status)
        if self.date:
            self.send_header("Date", self.date)
        self.end_headers()

    def log_message(self, *_): ...


@pytest.fixture
def endpoint():
    class Mine(Answering):
        seen: list = []

    with HTTPServer(("127.0.0.1", 0), Mine) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        Mine.url = f"http://127.0.0.1:{server.server_port}/v2/oauth/token/"
        yield Mine
        server.shutdown()


def online(endpoint, now=NOW):
    options = {"endpoints": TikTokEndpoints(token=endpoint.url)}
    return found(options, online=True, clock=lambda: now)


class TestOnline:
    @pytest.mark.parametrize(
        ("seconds", "code", "expected"),
        [
            (0, "clock_compared", "good"),
            (9, "clock_compared", "good"),
            (-30, "clock_off", "note"),
            (61, "clock_off", "wrong"),
            (-3600, "clock_off", "wrong"),
        ],
    )
    @pytest.mark.parametrize("status", [200, 404, 405, 500])
    def test_clock(self, endpoint, seconds, code, expected, status):
        """The clock is compared with TikTok's, at any status of the response."""
        endpoint.status, endpoint.date = status, formatdate(NOW, usegmt=True)
        findings = online(endpoint, NOW + seconds)
        assert findings["tiktok"].level == "good"
        assert findings[code].level == expected

    @pytest.mark.parametrize("date", [None, "yesterday", ""])
    def test_no_date(self, endpoint, date):
        """An answer without a Date is noted."""
        endpoint.date = date
        assert online(endpoint)["clock_unknown"].level == "note"

    def test_nothing_is_sent(self, endpoint):
        """The request sends no credentials."""
        online(endpoint)
        [(path, headers)] = endpoint.seen
        assert path == "/v2/oauth/token/"
        assert {name.lower() for name, _ in headers} <= {
            "host",
            "user-agent",
            "accept-encoding",
            "connection",
        }

    def test_unreachable(self):
        """An endpoint that does not answer is wrong."""
        endpoint = type("Nowhere", (), {"url": "http://127.0.0.1:1/v2/oauth/token/"})
        assert online(endpoint)["tiktok_unreachable"].level == "wrong"

    def test_not_http(self):
        """An endpoint that does not speak HTTP is wrong."""
        with socket.create_server(("127.0.0.1", 0)) as server:

            def greet():
                connection = server.accept()[0]
                with connection:
                    connection.recv(1000)
                    connection.sendall(b"SSH-2.0-other\r\n\r\n")

            thread = threading.Thread(target=greet)
            thread.start()
            url = f"http://127.0.0.1:{server.getsockname()[1]}/v2/oauth/token/"
            endpoint = type("Other", (), {"url": url})
            assert online(endpoint)["tiktok_unreachable"].level == "wrong"
            thread.join()

    def test_no_request_without_the_option(self, endpoint):
        """Without the option no request is sent."""
        found({"endpoints": TikTokEndpoints(token=endpoint.url)})
        assert endpoint.seen == []


# --- faults of settings ------------------------------------------------------------


def test_faults_have_options():
    """Every fault of wrong settings is a finding about an option."""
    settings = make_settings()
    names = settings.__dataclass_fields__
    nonsense = dict.fromkeys(names, object())
    report = [*faults(nonsense, rows_of(TikTokSettings))]
    findings = [*of_faults(ConfigurationError(report))]
    assert {f.option for f in findings} == set(names)
    assert all(f.level == "wrong" and f.code == f"bad_{f.option}" for f in findings)


def test_mode_of_the_tried_file(path):
    """The file with which a directory is tried is readable by its owner only."""
    path.parent.chmod(0o500)
    try:
        findings = found(at(path))
    finally:
        path.parent.chmod(0o700)
    # Root may write everywhere.
    expected = "store" if os.geteuid() == 0 else "store_unusable"
    assert expected in findings
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


class TestRecords:
    """Whether the keys decrypt the stored records."""

    @pytest.fixture
    def stored(self, tmp_path):
        """Settings whose store holds two users."""
        settings = make_settings(store=f"sqlite:///{tmp_path}/tokens.sqlite3")
        fake = FakeTikTok.for_settings(settings)
        wrapped = TikTokOAuthWSGIMiddleware(
            lambda *_: [], settings, transport=fake.transport
        )
        transport = httpx2.WSGITransport(wrapped)
        for person in fake.people[:2]:
            with httpx2.Client(transport=transport, base_url=ORIGIN) as client:
                login_as(client, fake, person)
        wrapped.close()
        return settings

    def found(self, settings):
        return {finding.code: finding for finding in diagnose(settings)}

    def test_open(self, stored):
        """If all records can be decrypted, a finding says so."""
        found = self.found(stored)
        assert found["records"].level == "good"
        assert "2 stored users" in found["records"].message
        assert "store_unknown_key" not in found

    def test_unknown_key(self, stored):
        """Records sealed with another key are counted, and the finding says
        what to do.
        """
        other = replace(stored, secret_keys=[secrets.token_urlsafe(32)])
        finding = self.found(other)["store_unknown_key"]
        assert finding.level == "note"
        assert "2 of 2 stored users" in finding.message
        assert "end of secret_keys" in finding.fix

    def test_rotated(self, stored):
        """With a new key before the old one, all records can be decrypted."""
        old = [key.reveal() for key in stored.secret_keys]
        rotated = replace(stored, secret_keys=[secrets.token_urlsafe(32), *old])
        assert "records" in self.found(rotated)

    def test_none(self, tmp_path):
        """Looking for records does not create a missing store."""
        file = tmp_path / "new.sqlite3"
        found = self.found(make_settings(store=f"sqlite:///{file}"))
        assert "records" not in found
        assert not file.exists()
