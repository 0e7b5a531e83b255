"""Settings from environment variables: each fault is reported by the variable's name."""

from __future__ import annotations

import dataclasses
import re

import pytest

from tiktok_oauth_middleware.errors import ConfigurationError
from tiktok_oauth_middleware.settings import TikTokEndpoints, TikTokSettings

from ...conftest import make_settings
from ...support.options import ENVIRON, KEY, OLDER, make

# --- from the environment ----------------------------------------------------------


def from_env(**changes):
    return TikTokSettings.from_env(ENVIRON | changes)


def env_faults(environ):
    with pytest.raises(ConfigurationError) as refused:
        TikTokSettings.from_env(environ)
    return refused.value.faults


def test_environment_gives_the_same_settings():
    """Four variables give the same settings as four options."""
    assert from_env() == make()


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("TIKTOK_SECRET_KEYS", f"{KEY}, {OLDER}", "secret_keys", (KEY, OLDER)),
        ("TIKTOK_SCOPES", "a, b,,c ", "scopes", ("a", "b", "c")),
        ("TIKTOK_OPTIONAL_SCOPES", "", "optional_scopes", ()),
        ("TIKTOK_PROTECT", "/app,/api", "protect", ("/app", "/api")),
        ("TIKTOK_LOGIN_METHODS", "POST", "login_methods", ("POST",)),
        ("TIKTOK_LOGIN_PATH", "/login", "login_path", "/login"),
        ("TIKTOK_WEBHOOK_PATH", "/hook", "webhook_path", "/hook"),
        ("TIKTOK_CONNECT_PATH", "/connect", "connect_path", "/connect"),
        ("TIKTOK_WEBHOOK_PATH", "", "webhook_path", None),
        ("TIKTOK_DISCONNECT_PATH", "", "disconnect_path", None),
        ("TIKTOK_TIMEOUT", "2.5", "timeout", 2.5),
        ("TIKTOK_SESSION_IDLE", "60", "session_idle", 60),
        ("TIKTOK_PKCE", "false", "pkce", False),
        ("TIKTOK_PKCE", "False", "pkce", False),
        ("TIKTOK_PKCE", "0", "pkce", False),
        ("TIKTOK_PKCE", "no", "pkce", False),
        ("TIKTOK_KEEP_GRANTS", "true", "keep_grants", True),
        ("TIKTOK_KEEP_GRANTS", "1", "keep_grants", True),
        ("TIKTOK_KEEP_GRANTS", "YES", "keep_grants", True),
        ("TIKTOK_STORE", "memory://", "store", "memory://"),
        ("TIKTOK_COOKIE_NAME", "other", "cookie_name", "other"),
    ],
)
def test_variable_sets_its_option(variable, text, name, value):
    """An option's variable is its name in capitals, read by the option's type."""
    assert getattr(from_env(**{variable: text}), name) == value


@pytest.mark.parametrize("name", ["authorize", "token", "revoke", "user_info"])
def test_variable_sets_an_endpoint(name):
    """Each of TikTok's addresses has its variable."""
    settings = from_env(**{f"TIKTOK_ENDPOINTS_{name.upper()}": "http://127.0.0.1:9/x/"})
    assert getattr(settings.endpoints, name) == "http://127.0.0.1:9/x/"
    assert dataclasses.replace(
        settings.endpoints, **{name: getattr(TikTokEndpoints(), name)}
    ) == (TikTokEndpoints())


@pytest.mark.parametrize("variable", ENVIRON)
def test_missing_variable_is_reported(variable):
    """A required variable that is not set is reported, with what to do."""
    [fault] = env_faults({k: v for k, v in ENVIRON.items() if k != variable})
    message, _, fix = fault.partition("; ")
    assert message == f"{variable} is not set"
    assert re.match("copy it from|set the address|make one with", fix)


def test_all_missing_variables_are_reported_at_once():
    """An empty environment is reported as four faults at once."""
    assert [fault.split()[0] for fault in env_faults({})] == [*ENVIRON]


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("TIKTOK_SCOPE", "TIKTOK_SCOPES"),
        ("TIKTOK_SECRET_KEY", "TIKTOK_SECRET_KEYS"),
        ("TIKTOK_PROTECTS", "TIKTOK_PROTECT"),
        ("TIKTOK_REDIRECT_URL", "TIKTOK_REDIRECT_URI"),
        ("TIKTOK_LOGIN_LIFETIMES", "TIKTOK_LOGIN_LIFETIME"),
        ("TIKTOK_ENDPOINT_TOKEN", "TIKTOK_ENDPOINTS_TOKEN"),
        ("TIKTOK_WEBSOCKET_ORIGIN", "TIKTOK_WEBSOCKET_ORIGINS"),
    ],
)
def test_misspelt_variable_is_reported(misspelt, meant):
    """A misspelt variable is reported with the right name."""
    [fault] = env_faults(ENVIRON | {misspelt: "x"})
    assert misspelt in fault.split()
    assert meant in fault.split()


@pytest.mark.parametrize(
    "variable", ["TIKTOK", "TIKTOK_", "TIKTOK_ADS_ID", "tiktok_scope"]
)
def test_variable_of_another_program_is_ignored(variable):
    """A variable whose name resembles no option is ignored."""
    assert from_env(**{variable: "x"}) == make()


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("TIKTOK_TIMEOUT", "ten"),
        ("TIKTOK_TIMEOUT", ""),
        ("TIKTOK_TIMEOUT", "10s"),
        ("TIKTOK_PKCE", "maybe"),
        ("TIKTOK_PKCE", ""),
        ("TIKTOK_KEEP_GRANTS", "2"),
    ],
)
def test_variable_that_can_not_be_read_is_reported(variable, text):
    """An unreadable number or boolean is reported by its variable."""
    [fault] = env_faults(ENVIRON | {variable: text})
    assert fault.startswith(variable)


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "1e300"])
def test_number_out_of_range_is_reported(text):
    """A number out of range is reported like any other fault."""
    [fault] = env_faults(ENVIRON | {"TIKTOK_TIMEOUT": text})
    assert fault.startswith("timeout")


def test_fault_of_the_environment_shows_no_secret():
    """Faults about variables show no secret either."""
    report = env_faults(
        ENVIRON
        | {"TIKTOK_CLIENT_SECRET": "SECRETPART x", "TIKTOK_SECRET_KEYS": "SECRETPART"}
        | {"TIKTOK_SECRET_KEY": "SECRETPART", "TIKTOK_PKCE": "SECRETPART"}
    )
    assert report
    assert "SECRETPART" not in " ".join(report)


def test_environment_of_the_process_is_the_usual_one(monkeypatch):
    """Without an argument the process's own environment is read."""
    for variable, text in ENVIRON.items():
        monkeypatch.setenv(variable, text)
    assert TikTokSettings.from_env() == make()


# --- damage by files, and other names ----------------------------------------------

SECRET = "Ab3dEf6hIj9lMn2pQr5tUv8xYz1bCd4f"


@pytest.mark.parametrize("option", ["client_key", "client_secret"])
@pytest.mark.parametrize(
    ("value", "why"),
    [
        (f'"{SECRET}"', "quote"),
        (f"'{SECRET}'", "quote"),
        (f'{SECRET}"', "quote"),
        (f"\u201c{SECRET}\u201d", "quote"),
        (f"{SECRET}\n", "line break"),
        (f" {SECRET}", "space"),
        (f"{SECRET}\r", "line break"),
        (f"TIKTOK_CLIENT_SECRET={SECRET}", "its own name"),
        (f"{SECRET[:9]} {SECRET[9:]}", "holds a space"),
        ("", "is empty"),
    ],
)
def test_secret_damaged_by_a_file(option, value, why):
    """Damage to a secret by a file or by copying is named, without the value."""
    with pytest.raises(ConfigurationError) as refused:
        make_settings(**{option: value})
    [fault] = [f for f in refused.value.faults if f.startswith(option)]
    assert why in fault
    assert SECRET[:9] not in str(refused.value)


@pytest.mark.parametrize("quote", ['"', "'"])
def test_quoted_secret_key(quote):
    """Quotes around a secret key are reported; a quote inside of one is allowed."""
    with pytest.raises(ConfigurationError, match="in quotes"):
        make_settings(secret_keys=[f"{quote}{SECRET}{quote}"])
    assert make_settings(secret_keys=[f"{quote}{SECRET}"])


def environment(**changes):
    given = {
        "TIKTOK_CLIENT_KEY": "awexampleclientkey",
        "TIKTOK_CLIENT_SECRET": SECRET,
        "TIKTOK_REDIRECT_URI": "https://app.example.com/auth/tiktok/callback",
        "TIKTOK_SECRET_KEYS": SECRET[::-1],
    }
    merged = {**given, **changes}
    return {name: value for name, value in merged.items() if value is not None}


@pytest.mark.parametrize(
    ("option", "other", "words"),
    [
        ("CLIENT_KEY", "CLIENT_ID", "TIKTOK_CLIENT_ID is, which is not an option"),
        ("CLIENT_KEY", "APP_ID", "developers.tiktok.com"),
        ("CLIENT_KEY", "APP_KEY", "business and shop portals"),
        ("CLIENT_SECRET", "APP_SECRET", "developers.tiktok.com"),
        ("CLIENT_SECRET", "SECRET", "TIKTOK_SECRET is"),
        ("REDIRECT_URI", "REDIRECT_URL", "TIKTOK_REDIRECT_URL is"),
        ("REDIRECT_URI", "CALLBACK_URL", "TIKTOK_CALLBACK_URL is"),
        ("SECRET_KEYS", "SECRET_KEY", "TIKTOK_SECRET_KEY is"),
    ],
)
def test_other_names(option, other, words):
    """If an option is missing, a variable with another usual name for it is
    reported.
    """
    changes = {f"TIKTOK_{option}": None, f"TIKTOK_{other}": "the-value-of-this"}
    with pytest.raises(ConfigurationError) as refused:
        TikTokSettings.from_env(environment(**changes))
    text = str(refused.value)
    assert f"TIKTOK_{option} is" in text or f"TIKTOK_{other} is not an option" in text
    assert words in text or f"TIKTOK_{option} is" in text.partition("; ")[2]
    assert "the-value-of-this" not in text


def test_other_names_beside():
    """If no option is missing, variables with other names are ignored."""
    others = {"TIKTOK_APP_ID": "7", "TIKTOK_CLIENT_ID": "x", "TIKTOK_APP_SECRET": "y"}
    assert TikTokSettings.from_env(environment(**others))


@pytest.mark.parametrize("blank", ["\r", "\n", " "])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STORE", "sqlite:///x.sqlite3"),
        ("REDIRECT_URI", "https://app.example.com/cb"),
        ("WEBHOOK_PATH", "/hook"),
        ("PKCE", "true"),
        ("ENDPOINTS_TOKEN", "https://open.tiktokapis.com/v2/oauth/token/"),
        ("CLIENT_KEY", "awexampleclientkey"),
    ],
)
def test_blank_at_an_end(name, value, blank):
    """A blank at an end, as lines of files from Windows have, is reported."""
    with pytest.raises(ConfigurationError) as refused:
        TikTokSettings.from_env(environment(**{f"TIKTOK_{name}": value + blank}))
    assert any(
        "begins or ends with a space or line break" in fault
        for fault in refused.value.faults
    )


@pytest.mark.parametrize(
    "name", ["SCOPES", "PROTECT", "TIMEOUT", "REMEMBERED_SESSIONS", "SECRET_KEYS"]
)
def test_harmless_blank(name):
    """Lists and numbers are read without blanks."""
    values = {"SCOPES": "video.list", "PROTECT": "/x", "TIMEOUT": "5"}
    values["REMEMBERED_SESSIONS"] = "100"
    value = values.get(name, SECRET[::-1])
    changes = {f"TIKTOK_{name}": f" {value}\r"}
    assert TikTokSettings.from_env(environment(**changes))


def test_key_that_is_no_utf_8():
    """A key with bytes that are no UTF-8 is refused, because none can be made of it."""
    broken = (SECRET[:-1].encode() + b"\xff").decode("utf-8", "surrogateescape")
    with pytest.raises(ConfigurationError, match="is not UTF-8") as refused:
        TikTokSettings.from_env(environment(TIKTOK_SECRET_KEYS=broken))
    assert SECRET[:9] not in str(refused.value)


@pytest.mark.parametrize("name", ["REDIRECT_URI", "STORE", "SCOPES", "PROTECT"])
def test_quoted_variable(name):
    """Quotes around the value of any variable are reported."""
    value = {"REDIRECT_URI": "https://app.example.com/cb", "STORE": "memory://"}
    given = {f"TIKTOK_{name}": f'"{value.get(name, "video.list")}"'}
    with pytest.raises(ConfigurationError, match=f"TIKTOK_{name} begins with a quote"):
        TikTokSettings.from_env(environment(**given))


@pytest.mark.parametrize("name", ["SECRET_KEYS", "SCOPES", "PROTECT"])
@pytest.mark.parametrize("form", ['["{}"]', "['{}', '{}x']", ' [ "{}" ]\n'])
def test_list_in_brackets(name, form):
    """A list in brackets, as JSON has it, is reported by its variable."""
    item = {"SECRET_KEYS": SECRET[::-1], "SCOPES": "video.list", "PROTECT": "/x"}[name]
    text = form.replace("{}", item)
    with pytest.raises(ConfigurationError) as refused:
        TikTokSettings.from_env(environment(**{f"TIKTOK_{name}": text}))
    assert refused.value.faults[0].startswith(f"TIKTOK_{name} is a list in brackets")
    assert SECRET[::-1][:9] not in str(refused.value)


@pytest.mark.parametrize("name", ["CLIENT_SECRET", "SECRET_KEYS", "STORE"])
def test_variable_that_names_a_file(name):
    """A variable that says in which file a value is has no effect, and is reported."""
    given = environment(**{f"TIKTOK_{name}": None, f"TIKTOK_{name}_FILE": "/run/x"})
    with pytest.raises(ConfigurationError) as refused:
        TikTokSettings.from_env(given)
    assert refused.value.faults[0].startswith(f"TIKTOK_{name}_FILE is not an option")


def test_file_that_a_script_has_read():
    """The variable of a file is ignored where the value is there as well."""
    assert TikTokSettings.from_env(environment(TIKTOK_SECRET_KEYS_FILE="/run/x"))
