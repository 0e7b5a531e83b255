#!/usr/bin/env bash
# gunicorn 27.0.1: of two servers of one user, gunicornc reaches the last, and then none.
#
# gunicorn opens a socket for its command gunicornc, at one path for each user of the system. A
# second server takes the path over without a word: a `worker remove` or `shutdown` that is meant
# for the first site goes to the second. Whichever ends removes the file, and the other one runs on
# without a socket: gunicornc says that it cannot connect, as if nothing ran. After an upgrade by
# SIGUSR2 this is always so, since the old server ends after the new one has begun. All logs say
# that the control socket listens. This affects anyone who runs several sites as one user, as a
# container does, and scripts that change the number of workers. Several sites need a
# --control-socket each, and gunicornc the same with -s; after an upgrade this does not help. Our
# middleware uses no control socket; the page on servers says what several gunicorns need.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet gunicorn==27.0.1
cd "$folder"
cat >site_app.py <<'PYTHON'
def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
PYTHON
venv/bin/python - <<'PYTHON'
import os
import signal
import socket
import subprocess
import time
from importlib.metadata import version
from pathlib import Path

print("gunicorn", version("gunicorn"))
BIN = Path("venv/bin").absolute()
HOME = Path("home").absolute()
HOME.mkdir()
ENV = {k: v for k, v in os.environ.items() if k != "XDG_RUNTIME_DIR"} | {"HOME": str(HOME)}


def start(name, *options):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = Path(f"{name}.log")
    command = [BIN / "gunicorn", "--bind", f"127.0.0.1:{port}", *options, "site_app:app"]
    server = subprocess.Popen(command, env=ENV, stderr=log.open("w"))
    while "Control socket listening" not in log.read_text() or not answers(port):
        time.sleep(0.1)
    return server, port


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True


def reached(servers, *options):
    """Return the name of the server that gunicornc talks to."""
    run = subprocess.run(
        [BIN / "gunicornc", *options, "-c", "show stats"], env=ENV, capture_output=True, text=True
    )
    pids = {str(server.pid): name for name, (server, _) in servers.items()}
    words = run.stdout.split()
    return pids[words[words.index("PID:") + 1]] if "PID:" in words else "none"


def stop(server):
    server.send_signal(signal.SIGTERM)
    server.wait()


servers = {"first": start("first")}
seen = [reached(servers)]
servers["second"] = start("second")
seen.append(reached(servers))
stop(servers["second"][0])
seen.append(reached(servers))
runs = answers(servers["first"][1])
stop(servers["first"][0])
print("gunicornc reaches: at first {}, then {}, and then {}".format(*seen))
print("at the end the first server answers requests:", runs)

sockets = {name: str(Path(f"{name}.ctl").absolute()) for name in servers}
servers = {name: start(name, "--control-socket", path) for name, path in sockets.items()}
apart = [reached(servers, "-s", path) for path in sockets.values()]
for server, _ in servers.values():
    stop(server)
print("with a --control-socket each:", *apart)

old, port = start("old", "--pid", "server.pid")
old.send_signal(signal.SIGUSR2)
upgraded = Path("server.pid.2")
while not upgraded.exists() or Path("old.log").read_text().count("Control socket listening") < 3:
    time.sleep(0.1)
new = int(upgraded.read_text())
old.send_signal(signal.SIGQUIT)
old.wait()
after = reached({"old": (old, port)}), answers(port)
os.kill(new, signal.SIGTERM)
print("after an upgrade gunicornc reaches {}; the site answers: {}".format(*after))
if seen != ["first", "second", "none"] or not runs or apart != ["first", "second"]:
    raise SystemExit("the behaviour has changed")
if after != ("none", True):
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   gunicorn 27.0.1
#   gunicornc reaches: at first first, then second, and then none
#   at the end the first server answers requests: True
#   with a --control-socket each: first second
#   after an upgrade gunicornc reaches none; the site answers: True
