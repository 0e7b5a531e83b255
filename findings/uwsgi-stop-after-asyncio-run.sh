#!/usr/bin/env bash
# uWSGI 2.0.31: after one asyncio.run() in a view, `uwsgi --stop` no longer stops the worker.
#
# uWSGI catches SIGINT in C, after Python has put its own handler there, and Python is not told:
# signal.getsignal(SIGINT) still names default_int_handler. asyncio.run() sees that handler, sets
# its own for the time of the call and puts Python's back, as any code does that replaces a handler
# for a moment. uWSGI's is then gone. `uwsgi --stop` and Ctrl-C send SIGINT: the worker goes on, and
# its next request ends in KeyboardInterrupt, without an answer. With a master, the master waits for
# that worker, and in the end kills it. Code in a thread of its own, such as asgiref's
# async_to_sync in Flask's async views, sets no handler, and leaves uWSGI's there. This affects
# anyone who calls async code from a view in this way and has uWSGI stopped by a pidfile: a
# deployment waits, and visitors meet the error. SIGTERM with --die-on-term is caught in the same
# way, but asyncio.run() leaves it alone. Our middleware, which defers signals while it stores
# tokens, asks C first, and leaves those that Python does not catch. Needs a C compiler.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet uwsgi==2.0.31
cd "$folder"
cat >pages.py <<'PYTHON'
import asyncio
import signal


async def price():
    return 3


def app(environ, start_response):
    if environ["PATH_INFO"] == "/price":
        asyncio.run(price())
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [signal.getsignal(signal.SIGINT).__name__.encode()]
PYTHON
venv/bin/pip list 2>/dev/null | grep -iE '^uwsgi '
venv/bin/python - <<'PYTHON'
import signal
import socket
import subprocess
import time
from http.client import HTTPConnection, RemoteDisconnected


def get(port, path):
    for _ in range(300):
        try:
            client = HTTPConnection("127.0.0.1", port, timeout=30)
            client.request("GET", path)
            return client.getresponse().read().decode()
        except ConnectionRefusedError:
            time.sleep(0.1)
        except RemoteDisconnected:
            return "no answer"
    raise SystemExit("the server did not start")


def stopped(path, *options):
    """Return a page, whether --stop ends the server in ten seconds, and two later pages."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["venv/bin/uwsgi", "--module", "pages:app", "--pidfile", "pid", *options]
    command += ["--http-socket", f"127.0.0.1:{port}"]
    with open("log", "w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        page = get(port, path)
        subprocess.run(["venv/bin/uwsgi", "--stop", "pid"], check=True, capture_output=True)
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            return page, False, [get(port, "/"), get(port, "/")]
        return page, True, []
    finally:
        if server.poll() is None:
            server.send_signal(signal.SIGKILL if not options else signal.SIGQUIT)
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


# A shell makes programs that it starts in the background ignore SIGINT.
signal.signal(signal.SIGINT, signal.default_int_handler)
handler = "default_int_handler"
for options in [(), ("--master",)]:
    for path in ("/", "/price"):
        seen = stopped(path, *options)
        page, ends, later = seen
        print(*options, f"{path}: handler {page}; --stop ends it: {ends}; later: {later}")
        expected = (True, []) if path == "/" else (False, ["no answer", handler])
        if seen != (handler, *expected):
            raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   uWSGI      2.0.31
#   /: handler default_int_handler; --stop ends it: True; later: []
#   /price: handler default_int_handler; --stop ends it: False; later: ['no answer', 'default_int_handler']
#   --master /: handler default_int_handler; --stop ends it: True; later: []
#   --master /price: handler default_int_handler; --stop ends it: False; later: ['no answer', 'default_int_handler']
