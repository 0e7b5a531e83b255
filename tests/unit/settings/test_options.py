"""Settings: all faults are reported at once, by the option's name, without a secret."""

from __future__ import annotations

import dataclasses
import pickle
import random
import secrets

import pytest

from tiktok_oauth_middleware._core.secret import Secret
from tiktok_oauth_middleware._oauth import protocol
from tiktok_oauth_middleware.errors import ConfigurationError
from tiktok_oauth_middleware.settings import TikTokEndpoints, TikTokSettings

from ...support.options import CLIENT_SECRET, ENVIRON, GIVEN, KEY, OLDER, make

LOOPBACK = "http://127.0.0.1:8000/auth/tiktok/callback"


def faults(**changes):
    with pytest.raises(ConfigurationError) as refused:
        make(**changes)
    return refused.value.faults


def only_fault(**changes):
    [fault] = faults(**changes)
    return fault


# --- good settings -----------------------------------------------------------------


def test_four_options_are_enough():
    """TikTok's credentials, an address and a key are enough: other options have
    defaults.
    """
    settings = make()
    assert settings.scopes == ("user.info.basic",)
    assert settings.optional_scopes == ()
    assert settings.login_path == "/auth/tiktok/login"
    assert settings.logout_path == "/auth/tiktok/logout"
    assert settings.disconnect_path is None
    assert settings.webhook_path is None
    assert (settings.after_login, settings.after_logout) == ("/", "/")
    assert (settings.protect, settings.public) == ((), ())
    assert settings.login_methods == ("GET", "POST")
    assert settings.session_lifetime == 30 * 86400
    assert settings.session_idle == 8 * 3600
    assert settings.login_lifetime == 600
    assert settings.refresh_leeway == 300
    assert settings.keep_grants is False
    assert settings.fetch_user is True
    assert settings.profile_max_age == 86400
    assert settings.pkce is True
    assert settings.always_ask_consent is False
    assert settings.websocket_origins == ()
    assert settings.starlette_auth is True
    assert settings.store == "sqlite:///tiktok-oauth.sqlite3"
    assert settings.timeout == 10
    assert settings.cookie_name == "tiktok"
    assert settings.endpoints == TikTokEndpoints()


def test_usual_endpoints_are_tiktoks():
    """By default the endpoints are TikTok's."""
    usual = TikTokEndpoints()
    assert dataclasses.astuple(usual) == (
        protocol.AUTHORIZE,
        protocol.TOKEN,
        protocol.REVOKE,
        protocol.USER_INFO,
    )


@pytest.mark.parametrize(
    "name", [option.name for option in dataclasses.fields(TikTokSettings)]
)
def test_settings_are_frozen(name):
    """No option can be changed once the settings are checked."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(make(), name, None)


def test_lists_are_frozen():
    """Changing the caller's list later does not change the settings."""
    scopes, keys = ["user.info.basic"], [KEY]
    settings = make(scopes=scopes, secret_keys=keys)
    scopes.append("video.publish")
    keys[0] = "x"
    assert settings.scopes == ("user.info.basic",)
    assert settings.secret_keys == (KEY,)


def test_unknown_option_is_refused():
    """An unknown option is refused."""
    with pytest.raises(TypeError, match="scope_list"):
        make(scope_list=["x"])


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("scope", "scopes"),
        ("Store", "store"),
        ("session_lifetme", "session_lifetime"),
        ("client_id", "client_key"),
        ("secret_key", "secret_keys"),
        ("callback_url", "redirect_uri"),
    ],
)
def test_unknown_option_names_the_meant_one(given, meant):
    """The error of an unknown option names the option that it seems to mean."""
    with pytest.raises(TypeError) as refused:
        make(**{given: "x"})
    assert str(refused.value) == (
        f"{given!r} is not an option of TikTokSettings; did you mean {meant!r}?"
    )


def test_unknown_option_that_is_like_none():
    """The error of an unknown option that is like no option guesses none."""
    with pytest.raises(TypeError) as refused:
        make(colour="x")
    assert str(refused.value) == "'colour' is not an option of TikTokSettings"


def test_options_are_named():
    """Options are given by name only."""
    with pytest.raises(TypeError):
        TikTokSettings("awexampleclientkey")


def test_settings_can_be_replaced_in_part():
    """Settings made with replace() keep the secrets, not the masked texts."""
    changed = dataclasses.replace(make(secret_keys=[KEY, OLDER]), timeout=5)
    assert changed.timeout == 5
    assert changed.client_secret.reveal() == CLIENT_SECRET
    assert [key.reveal() for key in changed.secret_keys] == [KEY, OLDER]
    assert changed == make(secret_keys=[KEY, OLDER], timeout=5)


def test_settings_derive_from_the_redirect_uri():
    """Origin, callback path and loopback are derived from the redirect URI."""
    settings = make(redirect_uri="https://app.example.com:8443/x/callback")
    assert settings.origin == "https://app.example.com:8443"
    assert settings.callback_path == "/x/callback"
    assert settings.is_loopback is False
    assert make(redirect_uri=LOOPBACK).is_loopback is True
    assert make(redirect_uri=LOOPBACK).origin == "http://127.0.0.1:8000"


# --- every option's fault ----------------------------------------------------------

WRONG_TYPES = [
    *(
        (name, value)
        for name in ("client_key", "client_secret", "redirect_uri", "login_path")
        for value in (None, 1, b"x", ["x"])
    ),
    *(
        (name, value)
        for name in (
            "logout_path",
            "after_login",
            "after_logout",
            "store",
            "cookie_name",
        )
        for value in (None, 1, b"/x")
    ),
    *(
        (name, value)
        for name in ("disconnect_path", "connect_path", "webhook_path")
        for value in (1, b"/x")
    ),
    *(
        (name, value)
        for name in (
            "secret_keys",
            "scopes",
            "optional_scopes",
            "protect",
            "public",
            "login_methods",
            "websocket_origins",
        )
        for value in (
            "/a-text-is-no-list-of-texts",
            None,
            1,
            {"x"},
            [1],
            [b"x"],
            [None],
        )
    ),
    *(
        (name, value)
        for name in (
            "session_lifetime",
            "session_idle",
            "login_lifetime",
            "refresh_leeway",
            "profile_max_age",
            "timeout",
        )
        for value in (None, "10", True, [10])
    ),
    *(
        (name, value)
        for name in (
            "keep_grants",
            "fetch_user",
            "pkce",
            "always_ask_consent",
            "starlette_auth",
        )
        for value in (None, 1, "false", "")
    ),
    *(("endpoints", value) for value in (None, "https://x.example/", {}, ())),
]


@pytest.mark.parametrize(("name", "value"), WRONG_TYPES, ids=repr)
def test_option_of_a_wrong_type_is_reported(name, value):
    """An option of a wrong type is reported by its name."""
    fault = only_fault(**{name: value})
    assert fault.startswith(name)
    assert "got a" in fault


WRONG_VALUES = [
    ("client_key", ""),
    ("client_key", " "),
    ("client_key", "aw key"),
    ("client_key", "awkey\n"),
    ("client_key", "ü"),
    ("client_key", "x" * 201),
    *(
        (name, text)
        for name in ("client_key", "client_secret")
        for text in (
            "...",
            "***",
            "<client-key>",
            "changeme",
            "CHANGE-ME",
            "your-client-key",
            "your_client_secret",
            "xxxxxxxx",
            "placeholder",
        )
    ),
    ("client_secret", ""),
    ("client_secret", "a b"),
    ("client_secret", "secret\n"),
    ("client_secret", "x" * 201),
    ("client_secret", GIVEN["client_key"]),
    ("previous_client_secret", ""),
    ("previous_client_secret", "a b"),
    ("previous_client_secret", "x" * 201),
    ("previous_client_secret", CLIENT_SECRET),
    ("previous_client_secret", GIVEN["client_key"]),
    ("previous_client_secret", "change-me"),
    ("previous_client_secret", "your-client-secret"),
    ("scopes", []),
    ("scopes", ["user.info.basic,video.list"]),
    ("scopes", ["user.info.basic video.list"]),
    ("scopes", [""]),
    ("scopes", ["a", "a"]),
    ("optional_scopes", ["a b"]),
    ("optional_scopes", ["a", "a"]),
    *(
        (name, path)
        for name in (
            "login_path",
            "logout_path",
            "disconnect_path",
            "connect_path",
            "webhook_path",
        )
        for path in (
            "",
            "/",
            "x",
            "x/y",
            "//x",
            "/x//y",
            "/x/../y",
            "/./x",
            "/x?y",
            "/x#y",
            "/x y",
            "/%6cogin",
            "/ü",
            "/x\\y",
            "/x\n",
            "https://app.example.com/x",
        )
    ),
    *(
        (name, target)
        for name in ("after_login", "after_logout")
        for target in (
            "",
            "x",
            "//evil.example",
            "https://app.example.com/",
            "/\\evil.example",
            "/a b",
            "/ü",
            "/x\r\n",
            "/..",
            "/auth/tiktok/login",
            "/auth/tiktok/logout?x",
            "/auth/tiktok/callback",
            "/auth/tiktok/%6cogin",
            "/" + "x" * 3000,
        )
    ),
    ("protect", [""]),
    ("protect", ["app"]),
    ("protect", ["/app//x"]),
    ("protect", ["/app/../x"]),
    ("public", ["app"]),
    ("login_methods", []),
    ("login_methods", ["get"]),
    ("login_methods", ["GET", "PUT"]),
    ("session_lifetime", 0),
    ("session_lifetime", -1),
    ("session_lifetime", 400 * 86400 + 1),
    ("session_idle", 0),
    ("login_lifetime", 0),
    ("login_lifetime", 901),
    ("refresh_leeway", -1),
    ("profile_max_age", 0),
    ("profile_max_age", 400 * 86400 + 1),
    ("profile_max_age", float("nan")),
    ("refresh_leeway", 86401),
    ("timeout", 0),
    ("timeout", 61),
    *(
        (name, number)
        for name in ("session_lifetime", "session_idle", "login_lifetime", "timeout")
        for number in (float("nan"), float("inf"), -float("inf"), 1e300)
    ),
    ("websocket_origins", ["app.example.com"]),
    ("websocket_origins", ["https://app.example.com/"]),
    ("websocket_origins", ["https://app.example.com:443"]),
    ("websocket_origins", ["https://APP.example.com"]),
    ("websocket_origins", ["https://user@app.example.com"]),
    ("websocket_origins", ["*"]),
    ("websocket_origins", ["null"]),
    ("websocket_origins", [""]),
    ("websocket_origins", ["https://[::1"]),
    ("cookie_name", ""),
    ("cookie_name", "a b"),
    ("cookie_name", "a;b"),
    ("cookie_name", "a=b"),
    ("cookie_name", "ü"),
    ("cookie_name", "a\n"),
    ("cookie_name", "x" * 65),
    ("cookie_name", "tiktok-login"),
    ("cookie_name", "tiktok-login-0"),
    ("cookie_name", "tiktok-choose"),
    ("cookie_name", "tiktok-carry"),
    ("cookie_name", "__Host-tiktok"),
    ("cookie_name", "__secure-tiktok"),
    ("store", ""),
    ("store", "/tmp/x"),
    ("store", "postgres://x"),
    ("store", "SQLITE:///x"),
    ("store", "memory"),
    ("store", "memory://x"),
    ("store", "sqlite://"),
    ("store", "sqlite:///"),
    ("store", "sqlite://x"),
    ("store", "sqlite:///:memory:"),
    ("store", "sqlite:///file:x"),
    ("store", "sqlite:///x?mode=ro"),
    ("store", "redis://"),
    ("store", "redis://:pw@"),
    ("store", "redis://localhost:port"),
    ("store", "redis://localhost:99999"),
    ("store", "redis://[::1"),
    ("store", "unix://x"),
]


@pytest.mark.parametrize(
    ("name", "value"), WRONG_VALUES, ids=[f"{n}-{v!r}"[:60] for n, v in WRONG_VALUES]
)
def test_option_of_a_wrong_value_is_reported(name, value):
    """An invalid value is reported by the option's name."""
    assert faults(**{name: value})[0].startswith(name)


RIGHT_VALUES = [
    ("client_key", "sbsandboxkey"),
    ("client_key", "awstandinclientkey"),
    ("client_secret", "stand-in-client-secret"),
    ("client_secret", "a<b>c...d"),
    ("scopes", ("user.info.basic", "video.list")),
    ("optional_scopes", ["video.upload", "portability.all.single"]),
    ("login_path", "/login"),
    ("login_path", "/a.b/~c/d;e=f"),
    ("logout_path", "/logout/"),
    ("disconnect_path", "/auth/tiktok/disconnect"),
    ("connect_path", "/auth/tiktok/connect"),
    ("webhook_path", "/hooks/tiktok"),
    ("after_login", "/videos?page=2#top"),
    ("after_logout", "/%C3%BC"),
    ("protect", ["/"]),
    ("protect", ["/app", "/api/v1"]),
    ("public", ["/app/help"]),
    ("login_methods", ["POST"]),
    ("session_lifetime", 400 * 86400),
    ("session_idle", 1),
    ("login_lifetime", 900),
    ("refresh_leeway", 0),
    ("profile_max_age", 1),
    ("profile_max_age", 400 * 86400),
    ("refresh_leeway", 0.5),
    ("timeout", 0.1),
    ("timeout", 60),
    ("websocket_origins", ["https://ws.example.com", "http://localhost:3000"]),
    ("cookie_name", "my-app_2"),
    ("cookie_name", "my-logins"),
    ("cookie_name", "my-choose-2"),
    ("cookie_name", "my-carry-2"),
    ("store", "memory://"),
    ("store", "redis://localhost:6379/0"),
    ("store", "redis://user:p%40w@localhost/0"),
    ("store", "rediss://[::1]:6380/2"),
    ("store", "sqlite:////var/lib/app/tiktok.sqlite3"),
    ("store", "rediss://cache.example:6380"),
    ("store", "unix:///run/redis.sock"),
    ("pkce", False),
]


@pytest.mark.parametrize(("name", "value"), RIGHT_VALUES, ids=repr)
def test_option_of_a_right_value_is_taken(name, value):
    """A valid value is accepted."""
    taken = getattr(make(**{name: value}), name)
    assert taken == (tuple(value) if isinstance(value, list) else value)


def test_all_faults_are_reported_at_once():
    """Faults of every kind, of values and of types, are reported at once."""
    report = faults(
        client_key="",
        client_secret=5,
        redirect_uri="http://app.example.com/cb",
        secret_keys=["short"],
        scopes=["a b"],
        login_path="x",
        after_login="//evil.example",
        protect=["app"],
        timeout=0,
        login_lifetime="600",
        cookie_name="a b",
        store="x",
        pkce="no",
        endpoints=TikTokEndpoints(token="http://evil.example/"),
    )
    for name in (
        "client_key",
        "client_secret",
        "redirect_uri",
        "secret_keys[0]",
        "scopes",
        "login_path",
        "after_login",
        "protect",
        "timeout",
        "login_lifetime",
        "cookie_name",
        "store",
        "pkce",
        "endpoints.token",
    ):
        assert [fault for fault in report if fault.startswith(name)], name


def test_two_options_of_wrong_types_are_both_reported():
    """One option of a wrong type does not hide another."""
    report = faults(timeout="x", scopes="y")
    assert {fault.split()[0] for fault in report} == {"timeout", "scopes"}


def test_paths_must_differ():
    """Two equal paths are reported by both their names."""
    fault = only_fault(login_path="/x", logout_path="/x")
    assert "login_path" in fault
    assert "logout_path" in fault


@pytest.mark.parametrize("name", ["login_path", "logout_path", "webhook_path"])
def test_path_may_not_be_the_callback(name):
    """No other path may be the redirect URI's."""
    fault = only_fault(**{name: "/auth/tiktok/callback"})
    assert name in fault
    assert "redirect_uri" in fault


#: Rules that are not plain paths, and what to write instead.
NO_RULES = {
    "/app/*": "/app",
    "/app/**": "/app",
    "/app*": "/app",
    "/app/:id": "/app",
    "/app/{id}": "/app",
    "/app/{id:int}": "/app",
    "/app/<int:id>": "/app",
    "/app/<path:rest>": "/app",
    "/app/[id]": "/app",
    "/app/$id": "/app",
    "/app/.*": "/app",
    "/app/.+": "/app",
    "/app/(.+)": "/app",
    "/app/(?P<id>x)": "/app",
    "/app/\\d+": "/app",
    "/app$": "/app",
    "^/app": "/app",
    "^/app/.*$": "/app",
    "(?i)/app": "/",
    "/app|/api": "/",
    "/app/*/private": "/app",
    "/app/%s": "/app",
    "*": "/",
    "/*": "/",
    "**": "/",
    "app": "/app",
    "app/*": "/app",
    "": "/",
    "/app?x=1": "/app",
    "/app#top": "/app",
    "?x": "/",
    "https://app.example.com/app": "/app",
    "https://app.example.com": "/",
    "//app.example.com/app": "/app",
    "/app ": "/app",
    " /app": "/app",
    "/app\n": "/app",
    "/app\u3000": "/app",
    "/caf%C3%A9": "/café",
    "/a%20b": "/a b",
}


@pytest.mark.parametrize("name", ["protect", "public"])
@pytest.mark.parametrize(("rule", "right"), NO_RULES.items(), ids=ascii)
def test_rule_that_is_not_a_path_is_reported_with_a_fix(name, rule, right):
    """A pattern, a URL or an encoded path, which would protect nothing, is refused."""
    fault = only_fault(**{name: [rule]})
    assert fault.startswith(f"{name} holds {rule!r}; ")
    assert f"write {right!r}" in fault
    assert getattr(make(**{name: [right]}), name) == (right,)


@pytest.mark.parametrize("rule", ["/app /my page", "/app,/my page", "/app; /my page"])
def test_several_rules_in_one_are_reported(rule):
    """Two rules in one string, which would protect neither path, are refused."""
    assert "write ['/app', '/my page'], or in a variable /app,/my page" in only_fault(
        protect=[rule]
    )


@pytest.mark.parametrize(
    "rule", ["/a//b", "/a/../b", "/a/./b", "/a/..", "/a\\", "/a\x00", "/a\x7fb", "/a/%"]
)
def test_rule_that_no_path_matches_is_reported(rule):
    """A rule that is not written like a path is reported."""
    assert only_fault(protect=[rule]).startswith(f"protect holds {rule!r}; ")


@pytest.mark.parametrize(
    "rule",
    ["/", "/app", "/app/", "/a/b/c", "/a.b", "/a:b", "/@me", "/~me", "/c++", "/a$b"]
    + ["/wiki/Foo_(bar)", "/my page", "/café", "/a;b", "/a=b", "/...", "/a,b", "/!x"],
)
def test_unusual_paths_are_rules(rule):
    """A rule may contain every character that a decoded path may contain."""
    assert make(protect=[rule]).protect == (rule,)


def test_rules_that_differ_in_case_contradict():
    """Protecting rules ignore case, so two rules that differ only in case
    contradict.
    """
    assert "'/App'" in only_fault(protect=["/app"], public=["/App"])


def test_path_is_not_both_protected_and_public():
    """A path that is both protected and public is reported."""
    assert "'/app'" in only_fault(protect=["/app"], public=["/app"])


# --- the redirect URI --------------------------------------------------------------

BAD_URIS = [
    "",
    "app.example.com/cb",
    "/auth/tiktok/callback",
    "//app.example.com/cb",
    "https://",
    "https:///cb",
    "https:app.example.com/cb",
    "https://app.example.com",
    "https://app.example.com/",
    "https://app.example.com/cb?",
    "https://app.example.com/cb?x=y",
    "https://app.example.com/cb#",
    "https://app.example.com/cb#x",
    "https://app.example.com//cb",
    "https://app.example.com/a//b",
    "https://app.example.com/a/../b",
    "https://app.example.com/./b",
    "https://app.example.com/%63b",
    "https://app.example.com/c b",
    "https://app.example.com/ü",
    "https://äpp.example/cb",
    "https://app.example.com\\cb",
    "https://app.example.com/cb\n",
    " https://app.example.com/cb",
    "https://app.example.com/c\tb",
    "https://user@app.example.com/cb",
    "https://user:pw@app.example.com/cb",
    "https://app.example.com@evil.example/cb",
    "https://:pw@app.example.com/cb",
    "https://@app.example.com/cb",
    "https://app.example.com:port/cb",
    "https://app.example.com:99999/cb",
    "https://[::1/cb",
    "http://app.example.com/cb",
    "http://app.example.com:8000/cb",
    "http://localhost.evil.example:8000/cb",
    "http://evil.example:8000/localhost",
    "http://127.0.0.2:8000/cb",
    "http://[::1]:8000/cb",
    "http://127.1:8000/cb",
    "http://2130706433:8000/cb",
    "http://0.0.0.0:8000/cb",
    "http://192.168.0.1:8000/cb",
    "http://localhost/cb",
    "http://localhost:/cb",
    "http://127.0.0.1/cb",
    "http://127.0.0.1:*/cb",
    "http://localhost:80@attacker",
    "http://localhost:80@attacker/cb",
    "http://localhost:80@attacker:80/cb",
    "http://attacker/cb@localhost:80",
    "http://attacker#@localhost:80/cb",
    "http://attacker\\@localhost:80/cb",
    "ftp://localhost:8000/cb",
    "https://localhost/cb",
    "https://127.0.0.1/cb",
    "https://app..example.com/cb",
    "https://.example.com/cb",
    f"https://{'x' * 64}.example.com/cb",
    "https://app.example.com/cb\r",
    "https://m\u00fcnchen.example/cb",
    "ws://localhost:8000/cb",
    "javascript:alert(1)",
    "myapp://callback/cb",
]


@pytest.mark.parametrize("uri", BAD_URIS)
def test_redirect_uri_that_tiktok_refuses_is_reported(uri):
    """A redirect URI that TikTok's portal refuses, or a browser misreads, is a fault."""
    assert faults(redirect_uri=uri)[0].startswith("redirect_uri")


@pytest.mark.parametrize(
    "uri",
    [
        "https://app.example.com/auth/tiktok/callback",
        "https://app.example.com/auth/tiktok/callback/",
        "https://app.example.com:8443/cb",
        "https://xn--pp-jia.example/cb",
        "http://localhost:3000/cb",
        "http://127.0.0.1:8000/cb",
        "http://127.0.0.1:8000/a/b-c/~d/",
    ],
)
def test_valid_redirect_uri_is_kept_byte_for_byte(uri):
    """An address that may be registered is kept as it is written."""
    assert make(redirect_uri=uri).redirect_uri == uri


def test_redirect_uri_is_shorter_than_512():
    """TikTok takes 511 characters and refuses 512."""
    start = "https://app.example.com/"
    make(redirect_uri=start + "x" * (511 - len(start)))
    fault = only_fault(redirect_uri=start + "x" * (512 - len(start)))
    assert fault.startswith("redirect_uri has 512 characters")


@pytest.mark.parametrize(
    "uri", ["HTTP://127.0.0.1:8000/cb", "Http://LOCALHOST:8000/cb"]
)
def test_loopback_is_known_in_any_case(uri):
    """An address that may use plain http counts as loopback, so that cookies work."""
    assert make(redirect_uri=uri).is_loopback


def test_wrong_type_of_pkce_is_one_fault():
    """A pkce of a wrong type is reported once, and not also treated as False."""
    assert "got a" in only_fault(redirect_uri=LOOPBACK, pkce="yes")


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_loopback_demands_pkce(scheme, host):
    """PKCE cannot be turned off for loopback addresses, for which TikTok
    requires it.
    """
    uri = f"{scheme}://{host}:8000/cb"
    assert make(redirect_uri=uri).pkce is True
    assert only_fault(redirect_uri=uri, pkce=False).startswith("pkce")


# --- keys --------------------------------------------------------------------------

BAD_KEYS = {
    "empty": "",
    "short": KEY[:31],
    "one letter": "a" * 32,
    "two letters": "ab" * 16,
    "four letters": "abcd" * 8,
    "a word again and again": "tiktoksecret" * 3,
    "sixteen twice": KEY[:16] * 2,
    "digits in order": "0123456789" * 4,
    "the alphabet": "abcdefghijklmnopqrstuvwxyzabcdefghij",
    "ASCII in order": "".join(chr(n) for n in range(40, 80)),
    "zeros": "0" * 64,
    "changeme": "changeme-changeme-please-do-it-now!",
    "change me": "please Change Me before you deploy 1",
    "replace me": "REPLACE_ME_WITH_32_RANDOM_LETTERS!",
    "your secret": "your-secret-key-goes-right-in-here7",
    "placeholder": "a-placeholder-of-some-32-characters",
    "example": "this-is-an-example-key-of-my-app-42",
    "password": "MyPassword123MyOtherWord456TheEnd7",
    "insecure": "django-insecure-7Qw2eR5tY8uI1oP4aS6",
    "words in one": "yourSecretKeyGoesHere7Qw2eR5tY8uI1oP",
    "a dummy in capitals": "APP_DUMMY_7Qw2eR5tY8uI1oP4aS6dF9gH3jK0l",
    "a dummy between words": "mydummykeyforthetestsof-7Qw2eR5tY8uI1oP",
    "a dummy between WORDS": "MYDUMMYKEYFORTHETESTSOF-7Qw2eR5tY8uI1oP",
    "a dummy between Words": "My1stDummyKeyForTheTests7Qw2eR5tY8uI1oP",
    "a word in two": "PassWord123MyOtherWord456TheEnd7Qw2eR5t",
    "crosses": "7Qw2eR5tY8uI1oPxxxxxxxxxx4aS6dF9gH3jK0l",
    "dummy": "dummy-7Qw2eR5tY8uI1oP4aS6dF9gH3jK0l",
    "the client secret": CLIENT_SECRET,
    "a line break behind it, as in a file": f"{KEY}\n",
    "a comment behind it": f"{KEY} # the old one",
    "two keys with a space between": f"{KEY} {OLDER}",
    "two keys with a semicolon between": f"{KEY};{OLDER}",
    "its own name": f"TIKTOK_SECRET_KEYS={KEY}",
    "a variable that was not replaced": "${TIKTOK_SECRET_KEYS_OF_THE_SHOP}",
    "a variable without braces": "$TIKTOK_SECRET_KEYS_OF_THE_SITE42",
    "a command that was not run": "$(cat /run/secrets/tiktok_secret_keys)",
    "a file that was not read": "$(</run/secrets/tiktok_secret_keys)",
    "a name in parentheses": "$(TIKTOK_SECRET_KEYS_OF_THE_SHOP)",
    "a template that was not filled": "{{ vault.tiktok.secret_keys_of_9 }}",
    "a name that was not replaced": "%(ENV_TIKTOK_SECRET_KEYS_OF_SHOP)s",
    "an address in a vault": "op://web/tiktok-login-9/secret_keys",
}


@pytest.mark.parametrize("key", BAD_KEYS.values(), ids=BAD_KEYS.keys())
@pytest.mark.parametrize("place", [0, 1])
def test_key_that_is_not_random_is_reported(key, place):
    """A weak key is a fault, reported by its place in the list and not by its value."""
    keys = [KEY]
    keys.insert(place, key)
    fault = only_fault(secret_keys=keys)
    assert fault.startswith(f"secret_keys[{place}]")
    assert not key or key not in fault


def test_key_may_consist_of_words():
    """A space inside a key is a part of it, unless a comment follows."""
    assert make(secret_keys=["seven quiet otters carry 4 lamps over Oslo"])


def test_key_may_look_like_a_command():
    """A random key of Django's letters may begin with "$(" and end with ")"."""
    assert make(secret_keys=["$(61u&6+3il%wcfv&dx!@=h7l@8!(b)3d%lyiz77nr&=)98gf)"])


@pytest.mark.parametrize("option", ["client_secret", "previous_client_secret"])
@pytest.mark.parametrize("text", ["${SECRET_9}", "$SECRET_9", "%(ENV_SECRET_9)s"])
def test_reference_that_nothing_replaced_is_no_secret(option, text):
    """A reference that a shell or a template was to replace is no client secret."""
    assert "nothing has replaced" in only_fault(**{option: text})


@pytest.mark.parametrize(
    "url",
    [
        "redis://:${REDIS_PASSWORD}@cache/0",
        "redis://:%(ENV_REDIS_PASSWORD)s@cache/0",
        "redis://:$(REDIS_PASSWORD)@cache/0",
        "redis://:$(cat /run/secrets/redis)@cache/0",
        "sqlite:///${HOME}/tokens.sqlite3",
        "sqlite:////var/lib/app/tokens.sqlite3 # the users",
    ],
)
def test_store_that_a_file_damaged(url):
    """A reference or a comment in the store's URL is named, without the URL."""
    fault = only_fault(store=url)
    assert fault.startswith("store holds")
    assert "tokens" not in fault
    assert "REDIS" not in fault


def test_password_of_a_store_may_have_any_mark():
    """Marks of references in a password of a store's URL are no fault."""
    assert make(store="redis://:p%40$$w$RD@cache/0")
    assert make(store="redis://:a7$(q!b*w)x@cache/0")


@pytest.mark.parametrize("behind", [" # production", "\tx", "\n# production"])
def test_comment_behind_the_redirect_uri(behind):
    """A comment behind the redirect URI is named as the fault."""
    fault = only_fault(redirect_uri=GIVEN["redirect_uri"] + behind)
    assert fault.startswith("redirect_uri holds a space or line break")


def test_previous_client_secret_is_a_secret_as_the_present_one():
    """The previous client secret is wrapped, is not printed, and can be set in the
    environment; "" means none.
    """
    secret = "the-secret-before-it-was-rotated"
    environ = {**ENVIRON, "TIKTOK_PREVIOUS_CLIENT_SECRET": secret}
    settings = TikTokSettings.from_env(environ)
    assert type(settings.previous_client_secret) is Secret
    assert settings.previous_client_secret.reveal() == secret
    assert secret not in repr(settings)
    environ["TIKTOK_PREVIOUS_CLIENT_SECRET"] = ""
    assert TikTokSettings.from_env(environ).previous_client_secret is None
    assert TikTokSettings(**GIVEN).previous_client_secret is None


def test_previous_client_secret_is_not_a_key():
    """A key that equals the previous client secret is refused, as for the current one."""
    secret = KEY
    fault = only_fault(secret_keys=[secret], previous_client_secret=secret)
    assert "equals client_secret" in fault


def test_key_that_equals_the_client_secret_is_reported_as_that():
    """A key that equals the client secret is reported as such."""
    assert "equals client_secret" in only_fault(secret_keys=[CLIENT_SECRET])


def test_no_key_is_a_fault():
    """There is no default key."""
    assert only_fault(secret_keys=[]).startswith("secret_keys is empty")


def test_key_listed_twice_is_a_fault():
    """A repeated key is refused, since removing it once would not remove it."""
    assert "twice" in only_fault(secret_keys=[KEY, OLDER, KEY])


def test_every_weak_key_is_reported():
    """Each weak key of a list is reported, not only the first."""
    report = faults(secret_keys=["short", KEY, "a" * 40])
    assert [fault.split()[0] for fault in report] == [
        "secret_keys[0]",
        "secret_keys[2]",
    ]


@pytest.mark.parametrize(
    "make_key",
    [
        lambda rng: rng.randbytes(16).hex(),
        lambda rng: rng.randbytes(32).hex(),
        lambda rng: "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=32)),
        lambda rng: "".join(rng.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", k=32)),
        lambda rng: "".join(rng.choices([chr(n) for n in range(0x21, 0x7F)], k=40)),
    ],
    ids=["hex 16", "hex 32", "letters", "base32", "visible"],
)
def test_random_key_is_taken(make_key):
    """A generated key is accepted, in any alphabet."""
    rng = random.Random("settings: keys")
    for _ in range(200):
        key = make_key(rng)
        assert make(secret_keys=[key]).secret_keys == (key,)


@pytest.mark.parametrize(
    "key",
    [
        "q3Vt0dUMmyZk7_Rb2wLhX9cN4sEgPj1fAoT8iYuK5mQ",
        "q3Vt0dummyZk7-Rb2wLhX9cN4sEgPj1fAoT8iYuK5mQ",
        "q3Vt0xXxXxXZk7_Rb2wLhX9cN4sEgPj1fAoT8iYuK5mQ",
        "q3Vt0YoUrkEyZk7_Rb2wLhX9cN4sEgPj1fAoT8iYuK5m",
    ],
    ids=["mixed", "within a word", "crosses", "two words"],
)
def test_random_key_that_spells_a_word_by_chance_is_taken(key):
    """Letters of a random key that spell a placeholder by chance are accepted; one key
    in a million held ``dummy`` in some mixture of small and capital letters.
    """
    assert make(secret_keys=[key]).secret_keys == (key,)


def test_key_made_as_the_message_says_is_taken():
    """The command in the message about keys makes a key that is accepted."""
    fault = only_fault(secret_keys=[])
    assert "secrets.token_urlsafe(32)" in fault
    assert len(secrets.token_urlsafe(32)) >= 32


# --- secrets -----------------------------------------------------------------------


@pytest.mark.parametrize("show", [repr, str, ascii, format, lambda s: f"{s!r}"])
def test_settings_do_not_print_secrets(show):
    """However settings are printed, no key or client secret is shown."""
    shown = show(make(secret_keys=[KEY, OLDER]))
    assert "awexampleclientkey" in shown
    for secret in (KEY, OLDER, CLIENT_SECRET):
        assert secret not in shown


def test_settings_as_a_dict_do_not_print_secrets():
    """Settings turned into a dictionary print no secret."""
    shown = str(dataclasses.asdict(make()))
    assert KEY not in shown
    assert CLIENT_SECRET not in shown


def test_settings_do_not_print_the_password_of_a_store():
    """A password in the store's address is not printed."""
    assert "hunter2" not in repr(make(store="redis://:hunter2@localhost/0"))


def test_settings_are_not_pickled():
    """Settings contain secrets, so they cannot be pickled."""
    with pytest.raises(TypeError, match="secret"):
        pickle.dumps(make())


def test_secrets_are_wrapped():
    """Secrets in settings are of the type that does not show them."""
    settings = make()
    assert type(settings.client_secret) is Secret
    assert [type(key) for key in settings.secret_keys] == [Secret]


@pytest.mark.parametrize(
    "changes",
    [
        {"client_secret": "SECRETPART with a space"},
        {"client_secret": "SECRETPART" * 30},
        {"client_key": "SECRETPART", "client_secret": "SECRETPART"},
        {"secret_keys": ["SECRETPART"]},
        {"secret_keys": ["SECRETPART" * 10]},
        {"secret_keys": ["SECRETPART-changeme-SECRETPART-changeme"]},
        {"secret_keys": "SECRETPART"},
        {"secret_keys": [b"SECRETPART"]},
        {"client_secret": b"SECRETPART"},
        {"redirect_uri": "https://user:SECRETPART@app.example.com/cb"},
        {"endpoints": TikTokEndpoints(token="https://u:SECRETPART@x.example/")},
        {"store": "postgres://u:SECRETPART@x.example/"},
        {"store": "redis://u:SECRETPART@x.example:port/"},
        {"store": "redis://u:SECRETPART@"},
        {"store": "u:SECRETPART"},
    ],
    ids=range(15),
)
def test_fault_does_not_show_a_secret(changes):
    """A fault names the option that holds a secret and never shows it."""
    with pytest.raises(ConfigurationError) as refused:
        make(**changes)
    assert "SECRETPART" not in str(refused.value) + repr(refused.value)


# --- endpoints ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["authorize", "token", "revoke", "user_info"])
@pytest.mark.parametrize(
    "url",
    [
        "",
        "x",
        "/v2/oauth/token/",
        "http://tiktok.example/v2/",
        "http://localhost:80@attacker/v2/",
        "https://user@tiktok.example/v2/",
        "http://localhost.evil.example/v2/",
        "ftp://localhost/v2/",
        "https://tiktok.example/v2/?x=y",
        "https://tiktok.example/v2/#x",
        "https://tiktok.example:port/v2/",
        "https://[::1/v2/",
        "https://tiktok.example/v2 /",
        "https://tiktok.example/v2/\r\n",
    ],
)
def test_endpoint_that_is_not_safe_is_reported(name, url):
    """An endpoint must be https with a host, or loopback, without unusual parts."""
    report = faults(endpoints=TikTokEndpoints(**{name: url}))
    assert all(fault.startswith(f"endpoints.{name}") for fault in report)


@pytest.mark.parametrize("name", ["token", "revoke", "user_info"])
def test_endpoint_without_its_slash_is_reported(name):
    """TikTok answers 404 without the last slash, so a missing one is reported."""
    fault = only_fault(endpoints=TikTokEndpoints(**{name: "https://x.example/v2"}))
    assert "slash" in fault


@pytest.mark.parametrize(
    "start", ["http://127.0.0.1:9000", "http://localhost:9000", "http://[::1]:9000"]
)
def test_stand_in_on_loopback_is_taken(start):
    """Plain http is allowed for a stand-in on loopback."""
    endpoints = TikTokEndpoints(
        authorize=f"{start}/a/",
        token=f"{start}/t/",
        revoke=f"{start}/r/",
        user_info=f"{start}/u/",
    )
    assert make(endpoints=endpoints).endpoints == endpoints


@pytest.mark.parametrize("value", [None, 1, b"https://x.example/"])
def test_endpoint_of_a_wrong_type_is_reported(value):
    """An endpoint that is not a text is reported."""
    assert only_fault(endpoints=TikTokEndpoints(token=value)).startswith("endpoints")
