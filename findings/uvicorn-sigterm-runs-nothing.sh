#!/usr/bin/env bash
# uvicorn 0.54.0: at SIGTERM no task is cancelled, and neither finally nor atexit runs.
#
# When the requests are answered and the lifespan has ended, uvicorn puts the earlier handlers of
# signals back and raises the signal that stopped it once more. For SIGINT that is an exception:
# asyncio.run() cancels the tasks that are left, each runs its finally, and atexit follows. SIGTERM
# has no handler in Python, so the process is dead in that moment, inside the event loop. Every
# Ctrl-C in development tidies up, and no deployment does. What a request has left running, such as
# a step under asyncio.shield whose request ran out of time, ends between two lines; metrics,
# traces and logs that are sent by atexit are not sent. hypercorn runs both for both. uvicorn's
# settings do not mention it. This affects anyone who tidies up in finally or by atexit; the end of
# the lifespan is run in either case. Our middleware waits there for refreshes that have lost their
# request.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet uvicorn==0.54.0 hypercorn==0.18.0
cd "$folder"
cat >pages.py <<'PYTHON'
import asyncio
import atexit

atexit.register(print, "atexit", flush=True)


async def store_new_token():
    try:
        await asyncio.sleep(60)
    finally:
        print("cancelled", flush=True)


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    try:
        async with asyncio.timeout(0.5):
            await asyncio.shield(store_new_token())
    except TimeoutError:
        await send({"type": "http.response.start", "status": 504, "headers": []})
        await send({"type": "http.response.body"})
PYTHON
venv/bin/python - <<'PYTHON'
import signal
import socket
import subprocess
import time
from http.client import HTTPConnection
from importlib.metadata import version

for package in ("uvicorn", "hypercorn"):
    print(package, version(package))
SERVERS = {
    "uvicorn": ["venv/bin/uvicorn", "--port", "{port}", "--log-level", "critical", "pages:app"],
    "hypercorn": ["venv/bin/hypercorn", "--workers", "0", "-b", "127.0.0.1:{port}", "pages:app"],
}


def what_runs_at(sent, command):
    """Return what a server prints after a signal that follows an answer."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [word.format(port=port) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.1)
        client = HTTPConnection("127.0.0.1", port, timeout=60)
        client.request("GET", "/")
        assert client.getresponse().status == 504
        client.close()
        server.send_signal(sent)
        return server.communicate(timeout=60)[0].split()
    finally:
        server.kill()


seen = {}
for name, command in SERVERS.items():
    for sent in (signal.SIGINT, signal.SIGTERM):
        seen[name, sent.name] = what_runs_at(sent, command)
        print(f"{name}, {sent.name}:", *seen[name, sent.name] or ["nothing"])
both = ["cancelled", "atexit"]
if [*seen.values()] != [both, [], both, both]:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   uvicorn 0.54.0
#   hypercorn 0.18.0
#   uvicorn, SIGINT: cancelled atexit
#   uvicorn, SIGTERM: nothing
#   hypercorn, SIGINT: cancelled atexit
#   hypercorn, SIGTERM: cancelled atexit
