"""The command `sandbox`: the stand-in as a server, and settings that point an app there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from tiktok_oauth_middleware.__main__ import main
from tiktok_oauth_middleware._oauth import protocol

from ..support.patience import HANGS
from ..support.ports import free_port
from ..support.processes import ends_at_ctrl_c


def sandbox(tmp_path, *arguments, **environment):
    """Run the sandbox command until its output is complete; return the output."""
    port = free_port()
    command = ["-u", "-m", "tiktok_oauth_middleware", "sandbox", "--port", str(port)]
    process = subprocess.Popen(
        ends_at_ctrl_c(*command, *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={
            **os.environ,
            "PYTHONUNBUFFERED": "1",
            "XDG_STATE_HOME": str(tmp_path / "a state's folder"),
            **environment,
        },
    )
    lines = []
    # If the last line never comes, the process ends, and reading with it.
    patience = threading.Timer(HANGS, process.kill)
    patience.start()
    try:
        while not lines or not lines[-1].startswith("Then start your app"):
            lines.append(process.stdout.readline())
            assert lines[-1], lines
        reply = httpx2.get(
            f"http://127.0.0.1:{port}{urlsplit(protocol.TOKEN).path}", trust_env=False
        )
        assert reply.status_code == 404
    finally:
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=HANGS)
        patience.cancel()
    assert process.returncode == 0, rest
    assert "Traceback" not in rest
    assert f"http://127.0.0.1:{port}" in lines[0]
    return "".join(lines), port


def pasted(printed, code):
    """Paste the printed lines into a shell and run Python there; return its output."""
    exports = "\n".join(
        line for line in printed.splitlines() if line.startswith("  export")
    )
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-c", f"{exports}\n{sys.executable} -c '{code}'"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PATH": path},
    )
    return done.stdout


SETTINGS = "from tiktok_oauth_middleware import TikTokSettings as S; s = S.from_env(); "


class TestCommand:
    def test_all_that_is_needed(self, tmp_path):
        """The printed lines set all that the settings need."""
        printed, port = sandbox(tmp_path)
        token = f"http://127.0.0.1:{port}/v2/oauth/token/"
        assert f"TIKTOK_ENDPOINTS_TOKEN={token}\n" in printed
        assert "write its port into TIKTOK_REDIRECT_URI" in printed
        assert pasted(printed, SETTINGS + "print(s.endpoints.token)") == f"{token}\n"

    def test_same_key(self, tmp_path):
        """Each paste and each sandbox uses the same key, which is not printed."""
        reveal = SETTINGS + "print(s.secret_keys[0].reveal())"
        one, two = (sandbox(tmp_path)[0] for _ in range(2))
        keys = {pasted(printed, reveal) for printed in (one, one, two)}
        assert len(keys) == 1
        key = keys.pop().strip()
        assert len(key) >= 32
        assert key not in one
        [file] = tmp_path.rglob("sandbox-key")
        assert file.read_text() == key
        assert file.stat().st_mode & 0o777 == 0o600

    def test_no_place_for_a_key(self, tmp_path):
        """If no key can be stored, each paste makes a new one, and the command
        says so.
        """
        blocked = tmp_path / "file"
        blocked.write_text("")
        printed, _ = sandbox(tmp_path, XDG_STATE_HOME=str(blocked))
        assert "could not be kept" in printed
        reveal = SETTINGS + "print(s.secret_keys[0].reveal())"
        assert len({pasted(printed, reveal) for _ in range(2)}) == 2

    @pytest.mark.parametrize(
        "arguments",
        [
            ["user.info.basic,portability.all.single"],
            ["user.info.basic", "portability.all.single"],
            ["user.info.basic", "--scopes", "portability.all.single"],
            ["user.info.basic, portability.all.single, user.info.basic"],
        ],
    )
    def test_scopes(self, tmp_path, arguments):
        """The scopes of the command line are what the app is approved for."""
        printed, _ = sandbox(tmp_path, "--scopes", *arguments)
        scopes = pasted(printed, SETTINGS + 'print(",".join(s.scopes))')
        assert scopes == "user.info.basic,portability.all.single\n"

    def test_port_is_taken(self, stand_in, capsys):
        """A port that is taken is reported in one line."""
        port = str(urlsplit(stand_in.url).port)
        assert main(["sandbox", "--port", port]) == 1
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith(f"wrong: port {port} of 127.0.0.1 cannot be used: ")
        assert "--port" in line

    @pytest.mark.parametrize("port", ["65536", "-1", "http", "1e3", "\u0663"])
    def test_no_port(self, capsys, port):
        """A number that cannot be a port is a usage error."""
        with pytest.raises(SystemExit) as ended:
            main(["sandbox", "--port", port])
        assert ended.value.code == 2
        assert "is not a port; it must be 0 to 65535" in capsys.readouterr().err

    @pytest.mark.parametrize("scopes", ["", ",", "user info;basic", "a\x1bb"])
    def test_no_scopes(self, capsys, scopes):
        """A text that cannot be a scope is a usage error."""
        with pytest.raises(SystemExit) as ended:
            main(["sandbox", "--scopes", scopes])
        assert ended.value.code == 2
        assert "\x1b" not in capsys.readouterr().err
