#!/usr/bin/env bash
# daphne 4.2.3 cuts off every request at SIGTERM; it has no time to finish them.
#
# A deployment ends a server with SIGTERM, and most servers answer the requests that have begun
# before they end. daphne closes their connections at once and cancels the app, also with
# --application-close-timeout 30: a client whose answer takes three seconds gets none. This affects
# everyone who deploys while users send forms, or while an app calls a service whose answer comes
# once, such as the exchange of a login's code. Our middleware finishes such a call also when its
# request is cancelled, and keeps the result, so that loading the page again ends the login.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet daphne==4.2.3
cd "$folder"
cat >slow.py <<'PYTHON'
import asyncio


async def app(scope, receive, send):
    if scope["path"] == "/slow":
        print("begun", flush=True)
        try:
            await asyncio.sleep(3)
        except asyncio.CancelledError:
            print("cancelled", flush=True)
            raise
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"done"})
PYTHON
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
venv/bin/pip list 2>/dev/null | grep -iE '^daphne '
venv/bin/python -m daphne --application-close-timeout 30 \
    --bind 127.0.0.1 --port "$port" slow:app >log 2>&1 &
server=$!
trap 'kill "$server" 2>/dev/null || :; wait 2>/dev/null; rm -rf "$folder"' EXIT
python3 - "$port" "$server" <<'PYTHON'
import os
import signal
import sys
import time
from http.client import HTTPConnection, RemoteDisconnected


def ask(path):
    connection = HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=30)
    connection.request("GET", path)
    return connection


for _ in range(100):
    try:
        assert ask("/").getresponse().read() == b"done"
        break
    except ConnectionRefusedError:
        time.sleep(0.1)
slow = ask("/slow")
for _ in range(100):
    if "begun" in open("log").read():
        break
    time.sleep(0.1)
os.kill(int(sys.argv[2]), signal.SIGTERM)
try:
    answer = slow.getresponse().read().decode()
except (RemoteDisconnected, ConnectionResetError):
    answer = "none"
print("answer:", answer)
if answer != "none":
    raise SystemExit("the behaviour has changed")
PYTHON
wait "$server" || :
grep -xE 'begun|cancelled' log
# Seen:
#   daphne            4.2.3
#   answer: none
#   begun
#   cancelled
