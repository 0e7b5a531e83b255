"""Programs that `quick_start` starts behave like those of a new interpreter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from .quick_start import run, start

SHOW = """
import atexit, json, os, signal, sys
atexit.register(print, "the end")
print(json.dumps([__name__, sys.argv[1:], sys.path, os.getcwd(), dict(os.environ)]))
print([signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)])
opened = [os.path.realpath(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")]
# Some builds of libffi keep the file of their library open, once ctypes has used it.
print(len([path for path in opened if "libffi" not in path]), signal.set_wakeup_fd(-1))
print("to stderr", file=sys.stderr)
sys.exit(int(sys.argv[1]))
"""


@pytest.fixture
def folder(tmp_path):
    """Return a folder with the program as a module and as a file."""
    (tmp_path / "show.py").write_text(SHOW)
    return tmp_path


@pytest.mark.parametrize("how", [["-c", SHOW], ["-m", "show"], ["show.py"]])
def test_like_a_new_interpreter(folder, how):
    """Arguments, path, folder, environment, output, signals, open files, status and
    `atexit` are the same.
    """
    given = {
        "PYTHONPATH": str(folder / "more"),
        "LC_ALL": "C.UTF-8",
        "A_NAME": "a value",
    }
    options = {"cwd": folder, "env": given}
    usual = subprocess.run(
        [sys.executable, *how, "3", "b c"],
        capture_output=True,
        text=True,
        check=False,
        **options,
    )
    quick = run([*how, "3", "b c"], **options)
    assert quick.returncode == usual.returncode == 3
    assert quick.stderr == usual.stderr == "to stderr\n"
    assert quick.stdout == usual.stdout
    assert quick.stdout.endswith("the end\n")


def test_exception():
    """An exception of the program is printed, and its status is 1."""
    done = run(["-c", "import sys; print('before'); 1 / 0"])
    assert (done.returncode, done.stdout) == (1, "before\n")
    assert done.stderr.endswith("ZeroDivisionError: division by zero\n")


def test_signal(tmp_path):
    """A program in a session of its own ends with its group, by a signal."""
    with (tmp_path / "out").open("w") as out:
        program = start(
            ["-c", "import time; time.sleep(600)"], stdout=out, start_new_session=True
        )
    assert os.getpgid(program.pid) == program.pid
    assert program.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        program.wait(0.01)
    os.killpg(program.pid, signal.SIGTERM)
    assert program.wait(60) == program.poll() == -signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(program.pid, 0)
