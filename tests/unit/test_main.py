"""The command line: its output, its exit codes, and the secrets that it never shows."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys

import httpx2
import pytest

from tiktok_oauth_middleware import TikTokOAuthWSGIMiddleware, TikTokSettings
from tiktok_oauth_middleware.__main__ import main
from tiktok_oauth_middleware.testing import FakeTikTok, Person
from tiktok_oauth_middleware.testing.server import StandIn

CALLBACK = "http://127.0.0.1:8000/auth/tiktok/callback"


@pytest.fixture
def fake():
    return FakeTikTok()


@pytest.fixture
def dashed(fake, request):
    """Return an open_id that begins with a dash, whose user is signed in."""
    open_id = "-000Zk3vXq9LwR2tYb7NfH5cJd8GsPmA1eUo"
    fake.provider.people = (Person(open_id=open_id, display_name="Dash", username="d"),)
    request.getfixturevalue("environment")
    return open_id


@pytest.fixture
def environment(fake, tmp_path, monkeypatch):
    """Set an app's settings in the environment, with a stand-in and one
    signed-in user.
    """
    with StandIn(fake) as stand_in:
        given = {
            **stand_in.environment(CALLBACK),
            "TIKTOK_SECRET_KEYS": secrets.token_urlsafe(32),
            "TIKTOK_STORE": f"sqlite:///{tmp_path}/tokens.sqlite3",
        }
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        wrapped = TikTokOAuthWSGIMiddleware(lambda *_: [], TikTokSettings.from_env())
        transport = httpx2.WSGITransport(wrapped)
        with httpx2.Client(transport=transport, base_url=CALLBACK) as client:
            url = client.get("http://127.0.0.1:8000/auth/tiktok/login").headers[
                "location"
            ]
            assert client.get(fake.consent(url)).status_code == 303
        wrapped.close()
        yield fake


@pytest.fixture
def short_lived(fake, request):
    """Return a stand-in whose user's token expires at once."""
    fake.access_lifetime = 0
    return request.getfixturevalue("environment")


@pytest.fixture
def open_id(environment):
    return environment.people[0].open_id


class TestCheck:
    def test_good(self, environment, capsys):
        """For good settings the output says so, with the URI to register."""
        assert main(["check"]) == 0
        out = capsys.readouterr().out
        assert CALLBACK in out
        assert "Desktop tab" in out
        assert "store can be written" in out

    def test_stand_in(self, environment, capsys):
        """With the stand-in, check says so, and that only TikTok needs a registration."""
        main(["check"])
        out = capsys.readouterr().out
        assert "client_key is that of this package's stand-in" in out
        assert "production key" not in out
        assert "The stand-in needs no registration" in out

    def test_wrong(self, environment, capsys, monkeypatch):
        """Every fault is printed, and the exit code reports them."""
        monkeypatch.setenv("TIKTOK_REDIRECT_URI", "http://app.example.com/cb?x=1")
        monkeypatch.setenv("TIKTOK_TIMEOUT", "soon")
        assert main(["check"]) == 1
        out = capsys.readouterr().out
        assert out.count("wrong: ") >= 3
        assert "TIKTOK_TIMEOUT" in out

    def test_store(self, environment, capsys, monkeypatch, tmp_path):
        """A store that cannot be written is found."""
        monkeypatch.setenv("TIKTOK_STORE", f"sqlite:///{tmp_path}/missing/x.sqlite3")
        assert main(["check"]) == 1
        assert "wrong: store" in capsys.readouterr().out

    def test_json(self, environment, capsys):
        """With --json the output is one object: the findings, what to register, the
        exit code.
        """
        assert main(["check", "--json"]) == 0
        output = json.loads(capsys.readouterr().out)
        assert output["exit_code"] == 0
        assert output["register"] == {
            "tab": "Desktop",
            "redirect_uri": CALLBACK,
            "scopes": ["user.info.basic"],
            "webhook": None,
        }
        wanted = {"code", "level", "option", "message", "fix"}
        assert all(set(finding) == wanted for finding in output["findings"])

    def test_json_of_wrong_settings(self, environment, capsys, monkeypatch):
        """Settings that cannot be built are findings too, with nothing to register."""
        monkeypatch.setenv("TIKTOK_TIMEOUT", "soon")
        monkeypatch.setenv("TIKTOK_SCOPE", "video.list")
        monkeypatch.setenv("TIKTOK_ENDPOINTS_TOKENS", "http://127.0.0.1:1/")
        monkeypatch.setenv("TIKTOK_SECRET_KEYS", "short")
        monkeypatch.setenv("TIKTOK_ENDPOINTS_TOKEN", "nowhere")
        monkeypatch.delenv("TIKTOK_CLIENT_KEY")
        assert main(["check", "--json"]) == 1
        output = json.loads(capsys.readouterr().out)
        found = {(f["code"], f["option"]) for f in output["findings"]}
        assert found == {
            ("bad_timeout", "timeout"),
            ("unknown_variable", "scope"),
            ("unknown_variable", "endpoints"),
            ("bad_secret_keys", "secret_keys"),
            ("bad_endpoints", "endpoints"),
            ("bad_client_key", "client_key"),
        }
        assert output["register"] is None
        [keys] = [f for f in output["findings"] if f["option"] == "secret_keys"]
        assert "token_urlsafe" in keys["fix"]

    def test_strict(self, environment, capsys):
        """With --strict a note is enough to fail."""
        assert main(["check"]) == 0
        assert main(["check", "--strict"]) == 1
        out = capsys.readouterr().out
        assert "note: " in out
        assert re.search(r"^0 wrong, ([2-9]|\d\d) notes, \d+ good$", out, re.MULTILINE)

    def test_register(self, environment, capsys, monkeypatch):
        """The output also has the scopes that need approval, and the webhook's
        address.
        """
        monkeypatch.setenv("TIKTOK_SCOPES", "user.info.basic,video.list")
        monkeypatch.setenv("TIKTOK_OPTIONAL_SCOPES", "video.upload")
        monkeypatch.setenv("TIKTOK_WEBHOOK_PATH", "/hook")
        main(["check", "--mount", "auth/"])
        out = capsys.readouterr().out
        assert "  video.list video.upload\n" in out
        assert "  http://127.0.0.1:8000/auth/hook\n" in out

    @pytest.mark.parametrize("arguments", [["check", "--colour"], ["chek"], []])
    def test_usage(self, arguments, capsys):
        """An unknown command exits with 2."""
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2

    @pytest.mark.parametrize("online", [True, False])
    def test_online(self, environment, capsys, online):
        """TikTok is called only with --online, and is sent no credentials."""
        main(["check", *(["--online"] if online else [])])
        assert ("token endpoint answers" in capsys.readouterr().out) is online
        assert environment.count("token", grant_type="refresh_token") == 0

    def test_no_secret(self, environment, capsys, monkeypatch):
        """Neither format prints a key, the secret or the store's password."""
        key = TikTokSettings.from_env().secret_keys[0].reveal()
        monkeypatch.setenv("TIKTOK_STORE", "redis://:pass-of-the-store@127.0.0.1:1/0")
        main(["check"])
        main(["check", "--json"])
        monkeypatch.setenv("TIKTOK_SECRET_KEYS", f"{key},{key}")
        main(["check", "--json"])
        printed = "".join(capsys.readouterr())
        assert "store: Redis could not" in printed
        for secret in (key, environment.client_secret, "pass-of-the-store"):
            assert secret not in printed


APP = """
from tiktok_oauth_middleware import TikTokSettings

options = {
    "client_key": "awexample", "client_secret": "a-secret-of-the-tests",
    "redirect_uri": "https://app.example.com/cb", "store": "memory://",
    "secret_keys": ["Zk3vXq9LwR2tYb7NfH5cJd8GsPmA1eUo"],
}
settings = TikTokSettings(**options)
class config:
    settings = settings
def make(): return settings
def wrong(): return TikTokSettings(**{**options, "timeout": 0})
def broken(): raise KeyError("act.a-secret")
number = 7
print("printed by the app")
"""


class TestSettings:
    @pytest.fixture(autouse=True)
    def app(self, tmp_path, monkeypatch):
        name = f"app_{secrets.token_hex(4)}"
        (tmp_path / f"{name}.py").write_text(APP)
        monkeypatch.syspath_prepend(tmp_path)
        return name

    @pytest.mark.parametrize("path", ["settings", "make", "config.settings"])
    def test_found(self, app, path, capsys):
        """Settings can be a module's attribute, an object's attribute, or a function's
        result.
        """
        assert main(["check", "--settings", f"{app}:{path}"]) == 0
        output = capsys.readouterr()
        assert "https://app.example.com/cb" in output.out
        assert "printed by the app" in output.err

    def test_json(self, app, capsys):
        """Output of the app's import does not get into the JSON."""
        main(["check", "--json", "--settings", f"{app}:settings"])
        assert json.loads(capsys.readouterr().out)["exit_code"] == 0

    def test_wrong(self, app, capsys):
        """Faults of settings in a module are printed as findings."""
        assert main(["check", "--settings", f"{app}:wrong"]) == 1
        assert "wrong: timeout is 0" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("named", "why"),
        [
            ("no_such_module:settings", "no module 'no_such_module' here"),
            ("{}:nothing", "no 'nothing' in it"),
            ("{}:number", "a int"),
            ("{}", "a module"),
            ("{}:broken", "KeyError at "),
            (":settings", "ValueError"),
        ],
    )
    def test_misused(self, app, named, why, capsys):
        """If the named object is not settings, the command exits with 2, without text
        of the app's.
        """
        assert main(["check", "--settings", named.format(app)]) == 2
        output = capsys.readouterr()
        assert why in output.err
        assert output.out == ""
        assert "act.a-secret" not in output.err


class TestColour:
    @pytest.mark.parametrize(
        ("is_terminal", "variables", "coloured"),
        [
            (True, {}, True),
            (True, {"NO_COLOR": "1"}, False),
            (True, {"NO_COLOR": ""}, True),
            (True, {"TERM": "dumb"}, False),
            (False, {}, False),
        ],
    )
    def test_terminal(self, is_terminal, variables, coloured, tmp_path):
        """Output to a terminal is coloured unless NO_COLOR or TERM forbids it; to a
        pipe it never is.
        """
        given = {
            "PATH": os.environ["PATH"],
            "TERM": "xterm",
            "TIKTOK_CLIENT_KEY": "awexample",
            **variables,
        }
        command = [sys.executable, "-m", "tiktok_oauth_middleware", "check"]
        if is_terminal:
            leader, follower = os.openpty()
            code = subprocess.call(command, env=given, stdout=follower, cwd=tmp_path)
            os.close(follower)
            out = os.read(leader, 65536)
            os.close(leader)
        else:
            done = subprocess.run(
                command, env=given, stdout=subprocess.PIPE, check=False, cwd=tmp_path
            )
            code, out = done.returncode, done.stdout
        assert code == 1
        assert b"TIKTOK_CLIENT_SECRET is not set" in out
        assert (b"\x1b[1;31mwrong\x1b[0m" in out) is coloured
        assert (b"\x1b" in out) is coloured


class TestTokens:
    def test_list(self, environment, open_id, capsys):
        """The stored users are listed with scopes and expiry, without tokens."""
        assert main(["tokens", "list"]) == 0
        out = capsys.readouterr().out
        assert open_id in out
        assert "user.info.basic" in out
        assert re.search(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\dZ", out)
        assert "1 stored" in out

    def test_sessions(self, environment, open_id, capsys):
        """A user's browsers are listed by session id, and an unknown user has none."""
        assert main(["tokens", "sessions", open_id]) == 0
        out = capsys.readouterr().out
        assert re.search(r"^[0-9a-f]{32}  20\d\d-.*Z  20\d\d-.*Z$", out, re.MULTILINE)
        assert out.endswith("1 active\n")
        assert main(["tokens", "sessions", "nobody"]) == 0
        assert capsys.readouterr().out.endswith("0 active\n")

    def test_refresh(self, environment, open_id, capsys):
        """The refresh command renews a token."""
        assert main(["tokens", "refresh", open_id]) == 0
        assert environment.count("token", grant_type="refresh_token") == 1
        assert "refreshed" in capsys.readouterr().out

    def test_forget(self, environment, open_id, capsys):
        """A user is forgotten; the second time the user is unknown."""
        assert main(["tokens", "forget", open_id]) == 0
        assert main(["tokens", "forget", open_id]) == 1
        assert environment.count("revoke") == 0
        assert "not stored" in capsys.readouterr().err

    def test_disconnect(self, environment, open_id, capsys):
        """A user is also disconnected at TikTok."""
        assert main(["tokens", "disconnect", open_id]) == 0
        assert environment.count("revoke") == 1

    def test_disconnect_fails(self, environment, open_id, capsys):
        """If TikTok does not confirm the revoke, the command says so, and the user is
        still forgotten.
        """
        environment.fail("revoke", status=500)
        assert main(["tokens", "disconnect", open_id]) == 1
        assert "did not confirm" in capsys.readouterr().out
        assert main(["tokens", "forget", open_id]) == 1

    @pytest.mark.parametrize("as_option", [False, True], ids=["bare", "after --"])
    @pytest.mark.parametrize("action", ["refresh", "forget", "disconnect"])
    def test_dash(self, dashed, action, as_option):
        """An open_id that begins with a dash, as TikTok's may, is not read as an
        option.
        """
        marker = ["--"] if as_option else []
        assert main(["tokens", action, *marker, dashed]) == 0
        assert main(["tokens", "forget", *marker, dashed]) == int(action != "refresh")

    def test_dash_as_a_command(self, dashed):
        """Such an open_id also works on a real command line."""
        command = [sys.executable, "-m", "tiktok_oauth_middleware", "tokens"]
        for action in ("refresh", "forget"):
            done = subprocess.run(
                [*command, action, dashed], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
        again = subprocess.run(
            [*command, "forget", dashed], capture_output=True, text=True, check=False
        )
        assert again.returncode == 1
        assert "not stored" in again.stderr

    @pytest.mark.parametrize("help_", ["-h", "--help"])
    def test_help(self, help_, capsys):
        """-h and --help are still options."""
        with pytest.raises(SystemExit) as ended:
            main(["tokens", "refresh", help_])
        assert ended.value.code == 0
        assert "open_id" in capsys.readouterr().out

    @pytest.mark.parametrize(
        "arguments", [["--soon"], ["-000a", "-000b"], [], ["a", "--colour"]]
    )
    def test_usage(self, arguments, capsys):
        """More or less than one open_id exits with 2."""
        with pytest.raises(SystemExit) as ended:
            main(["tokens", "refresh", *arguments])
        assert ended.value.code == 2

    def test_ending(self, environment, open_id, capsys):
        """Users whose grant ends within some days are listed."""
        assert main(["tokens", "list", "--ending", "30"]) == 0
        out = capsys.readouterr().out
        assert open_id not in out
        assert "0 of 1 stored end within 30 days" in out
        assert main(["tokens", "list", "--ending", "400"]) == 0
        out = capsys.readouterr().out
        assert open_id in out
        assert "1 of 1 stored end within 400 days" in out

    @pytest.mark.parametrize("days", ["-1", "nan", "inf", "soon", "1e9"])
    def test_ending_usage(self, days, capsys):
        """A text that is not a number of days is refused."""
        with pytest.raises(SystemExit) as ended:
            main(["tokens", "list", f"--ending={days}"])
        assert ended.value.code == 2
        words = f"{days!r} is not a number of days; it must be 0 to 100000"
        assert words in capsys.readouterr().err

    def test_sweep(self, environment, open_id, capsys):
        """A sweep renews tokens that end soon, but not those just renewed."""
        assert main(["tokens", "sweep", "--within", "86400"]) == 0
        assert "refreshed 0, failed 0, ended 0" in capsys.readouterr().out
        assert environment.count("token", grant_type="refresh_token") == 0

    def test_sweep_failed(self, short_lived, open_id, capsys):
        """A token that TikTok does not renew is named, and the exit code says so."""
        short_lived.fail("token", status=500)
        assert main(["tokens", "sweep"]) == 1
        out = capsys.readouterr().out
        assert f"failed: {open_id} (tiktok_unavailable)" in out
        assert "refreshed 0, failed 1, ended 0" in out

    def test_sweep_ended(self, short_lived, open_id, capsys):
        """A user whose grant has ended is named, with the reason."""
        short_lived.fail("token", error="invalid_grant")
        assert main(["tokens", "sweep"]) == 0
        out = capsys.readouterr().out
        assert f"ended: {open_id} (invalid_grant)" in out
        assert "refreshed 0, failed 0, ended 1" in out
        assert main(["tokens", "list"]) == 0
        assert "0 stored" in capsys.readouterr().out

    @pytest.mark.parametrize("action", ["list", "sweep"])
    def test_unknown_key(self, environment, open_id, capsys, monkeypatch, action):
        """Records that were sealed with another key are counted and explained."""
        monkeypatch.setenv("TIKTOK_SECRET_KEYS", secrets.token_urlsafe(32))
        assert main(["tokens", action]) == 0
        out = capsys.readouterr().out
        assert "1 more cannot be opened" in out
        assert "TIKTOK_SECRET_KEYS" in out

    def test_known_key(self, environment, open_id, capsys):
        """If every record can be decrypted, keys are not mentioned."""
        for action in ("list", "sweep"):
            assert main(["tokens", action]) == 0
        assert "opened" not in capsys.readouterr().out

    @pytest.mark.parametrize(
        "action", ["list", "sweep", "refresh", "forget", "disconnect"]
    )
    def test_no_token_is_printed(self, environment, open_id, capsys, action):
        """No command prints a token, a key or the client secret."""
        main(["tokens", action, *([] if action in ("list", "sweep") else [open_id])])
        printed = "".join(capsys.readouterr())
        assert "act." not in printed
        assert "rft." not in printed
        assert environment.client_secret not in printed


def test_failing_import(tmp_path, monkeypatch, capsys):
    """The output says which import failed, and where, since it is seldom the named
    module.
    """
    name = f"app_{secrets.token_hex(4)}"
    (tmp_path / f"{name}.py").write_text("x = 1\nimport no_such_library_of_the_app\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["check", "--settings", f"{name}:settings"]) == 2
    output = capsys.readouterr().err
    assert "'no_such_library_of_the_app'" in output
    assert f"{name}.py:2" in output


def test_version(capsys):
    """--version prints the version."""
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert re.fullmatch(
        r"tiktok-oauth-middleware \d+\.\d+.*\n", capsys.readouterr().out
    )


def test_output_in_ascii(environment):
    """Letters that the output's encoding lacks are escaped."""
    variables = {"TIKTOK_PROTECT": "/caf\u00e9*", "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-m", "tiktok_oauth_middleware", "check"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **variables},
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert r"/caf\xe9" in done.stdout


@pytest.mark.parametrize("arguments", [["check", "--json"], ["check"]])
def test_reader_that_has_enough(arguments, tmp_path):
    """A reader that closes the pipe early, such as head, causes no traceback."""
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("TIKTOK_")},
        "TIKTOK_PROTECT": ",".join(f"/{'x' * 60}{n}" for n in range(1500)),
        "PYTHONUNBUFFERED": "1",
    }
    done = subprocess.Popen(
        [sys.executable, "-m", "tiktok_oauth_middleware", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )
    done.stdout.close()
    output = done.stderr.read().decode()
    done.stderr.close()
    assert done.wait(60) in (1, 141)
    assert "Traceback" not in output
    assert "BrokenPipe" not in output
