#!/usr/bin/env bash
# Twisted 26.10.0: `twist web --wsgi` does not end, if SIGTERM comes during a WSGI request.
#
# Twisted runs a WSGI app in threads, and each thread hands the body of its answer to the main
# thread and waits until it has been taken. After SIGTERM the main thread takes nothing more, but
# waits for the threads, and these wait for it: 20 seconds after SIGTERM, although the app takes
# one second, the process is still there, and its port is closed. The client gets no answer. This
# affects everyone who stops such a server under load; what started it has to kill it, after 90
# seconds with systemd and 10 with Docker. Our guide to servers says so; a login that was under
# way is finished and kept, so that loading the page again ends it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet twisted==26.10.0
cd "$folder"
cat >slow.py <<'PYTHON'
import time


def app(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        print("begun", flush=True)
        time.sleep(1)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
PYTHON
venv/bin/pip list 2>/dev/null | grep -iE '^twisted '
venv/bin/python - <<'PYTHON'
import os
import signal
import socket
import subprocess
import time
from http.client import HTTPConnection, RemoteDisconnected

with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]


def ask(path):
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path)
    return connection


def ended_after(path):
    """Return whether the server ended within 20 seconds of a SIGTERM, during path if given."""
    with open("log", "w") as log:
        server = subprocess.Popen(
            ["venv/bin/twist", "web", "--wsgi", "slow.app"]
            + ["--listen", f"tcp:{port}:interface=127.0.0.1"],
            env={**os.environ, "PYTHONPATH": "."},
            stdout=log,
            stderr=log,
        )
    try:
        for _ in range(100):
            try:
                assert ask("/").getresponse().read() == b"done"
                break
            except ConnectionRefusedError:
                time.sleep(0.1)
        if path:
            slow = ask(path)
            while "begun" not in open("log").read():
                time.sleep(0.1)
        server.send_signal(signal.SIGTERM)
        if path:
            try:
                print("answer:", slow.getresponse().read().decode())
            except (RemoteDisconnected, ConnectionResetError):
                print("answer: none")
        server.wait(20)
        return True
    except subprocess.TimeoutExpired:
        return False
    finally:
        server.kill()
        server.wait()


idle, busy = ended_after(""), ended_after("/slow")
print("ended, no request:", idle)
print("ended, a request of one second:", busy)
if (idle, busy) != (True, False):
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   Twisted           26.10.0
#   answer: none
#   ended, no request: True
#   ended, a request of one second: False
