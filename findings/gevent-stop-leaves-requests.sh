#!/usr/bin/env bash
# gevent 26.9.0: WSGIServer.stop() waits for no request, unless the server has a Pool.
#
# stop() takes a timeout, the seconds to wait for handlers; its default is one second. Without
# a pool, which is the default of WSGIServer, it keeps no list of its handlers, so it returns at
# once, also with a long timeout; a program that ends then loses the requests that have begun.
# With spawn=Pool(1000) the same call waits. This affects everyone who makes gevent's server with
# its defaults and stops it at a deployment. Our guide to servers shows the pool, with a
# sentence why, and the test suite ends such a server in the middle of a login.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet gevent==26.9.0
cd "$folder"
venv/bin/pip list 2>/dev/null | grep -iE '^gevent '
venv/bin/python - <<'PYTHON'
import gevent
from gevent import socket
from gevent.event import Event
from gevent.pool import Pool
from gevent.pywsgi import WSGIServer


def stop(spawn):
    """Return whether the request that had begun was finished when stop() returned."""
    begun, finished = Event(), Event()

    def app(environ, start_response):
        begun.set()
        gevent.sleep(1)
        finished.set()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"done"]

    server = WSGIServer(("127.0.0.1", 0), app, spawn=spawn, log=None)
    server.start()
    with socket.create_connection(("127.0.0.1", server.server_port)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        begun.wait()
        server.stop(timeout=30)
        return finished.is_set()


default, pool = stop("default"), stop(Pool(1000))
print("finished, default:", default)
print("finished, pool:", pool)
if (default, pool) != (False, True):
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   gevent         26.9.0
#   finished, default: False
#   finished, pool: True
