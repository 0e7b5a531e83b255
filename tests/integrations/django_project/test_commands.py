"""manage.py tiktok: check, tokens, sweep."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from tiktok_oauth_middleware.django import installation
from tiktok_oauth_middleware.testing.server import StandIn

from ...support.patience import HANGS

ROOT = Path(__file__).parents[3]


@pytest.fixture
def interface():
    """Return one interface: the commands do not depend on it."""
    return "wsgi"


def run(*arguments):
    out = io.StringIO()
    call_command("tiktok", *arguments, stdout=out)
    return out.getvalue()


def test_check(project):
    """A good project passes the check, in text and as JSON."""
    assert "store can be written and read" in run("check")
    found = json.loads(run("check", "--json"))
    assert project.options["client_secret"] not in str(found)


def test_live(project):
    """With --live TikTok is asked about the credentials of the project, once."""
    with StandIn(project.fake) as stand_in:
        project.configure(endpoints=stand_in.endpoints)
        found = json.loads(run("check", "--live", "--json"))
        codes = {finding["code"] for finding in found["findings"]}
        assert {"live_request", "live_credentials"} <= codes
        run("check")
        assert [record.endpoint for record in project.fake.requests] == ["token"]


def test_check_finds_faults(project):
    """A fault ends with the exit code 1, and is named with its fix."""
    project.configure(secret_keys=["short"])
    out = io.StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("tiktok", "check", stdout=out)
    assert ended.value.code == 1
    assert "shorter than 32 characters" in out.getvalue()


def test_tokens(project):
    """Every stored user is a line, without any token."""
    project.browser().log_in()
    open_id = project.fake.people[0].open_id
    text = run("tokens")
    assert open_id in text
    assert "1 stored" in text
    assert installation().tokens.get(open_id).access_token not in text
    assert "0 stored" in run("tokens", "--ending", "1")


def test_sweep(project):
    """Tokens that end soon are refreshed; if one cannot be, the exit code is 1."""
    project.configure(keep_grants=True)
    project.browser().log_in()
    project.fake.advance(86400 - 100)
    assert "refreshed 1, failed 0, ended 0" in run("sweep")
    project.fake.advance(86400 - 100)
    project.fake.fail("token", status=503)
    with pytest.raises(SystemExit) as ended:
        run("sweep")
    assert ended.value.code == 1


@pytest.mark.parametrize(
    "arguments",
    [
        *(("tokens", f"--ending={days}") for days in ("nan", "-1", "1e300", "soon")),
        *(("sweep", f"--within={seconds}") for seconds in ("nan", "-1", "inf")),
    ],
)
def test_numbers(project, arguments):
    """A number that is none, or out of bounds, is a usage error."""
    with pytest.raises(CommandError, match="is not a number of"):
        run(*arguments)


def test_reader_that_has_enough(tmp_path):
    """A reader that closes the pipe early, such as head, causes no traceback."""
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("TIKTOK_")},
        "DJANGO_SETTINGS_MODULE": "examples.django_app.settings",
        "DJANGO_SECRET_KEY": "x" * 50,
        "DJANGO_DATABASE": str(tmp_path / "db.sqlite3"),
        "PYTHONUNBUFFERED": "1",
    }
    command = ("-m", "examples.django_app.manage", "tiktok", "check", "--json")
    reader, writer = os.pipe()
    os.close(reader)  # before anything can inherit it
    try:
        ended = subprocess.run(
            [sys.executable, *command],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=ROOT,
            timeout=HANGS,
            check=False,
        )
    finally:
        os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, "")


def test_wrong_settings(project):
    """The other commands report what is wrong with the settings."""
    project.configure(secret_keys=["short"])
    with pytest.raises(CommandError, match="shorter than 32"):
        run("tokens")


def test_store(project, tmp_path):
    """Users of a file of SQLite move into the project's database, and back."""
    browser = project.browser()
    browser.log_in()
    elsewhere = f"sqlite:///{tmp_path}/elsewhere.sqlite3"
    options = project.options["secret_keys"]
    output = run("store", "copy", "django://default", elsewhere)
    assert "1 users read: 1 copied" in output
    output = run("store", "copy", elsewhere, "django://other")
    assert "1 users read: 1 copied" in output
    assert options[0] not in output
    project.configure(store="django://other")
    moved = project.browser()
    moved.client.cookies = browser.client.cookies
    assert moved.api("/who").json()["open_id"] == project.fake.people[0].open_id
    assert "is there already" in run("store", "create")


def test_store_shows_no_password(project, capsys):
    """Django's messages about arguments repeat no URL."""
    for arguments in (
        ("store", "redis://:hunter2@h/0"),
        ("store", "copy", "redis://:hunter2@h/0"),
        ("store", "copy", "django://default", "mssql://:hunter2@h/0"),
    ):
        with pytest.raises(CommandError) as refused:
            run(*arguments)
        assert "hunter2" not in str(refused.value)
