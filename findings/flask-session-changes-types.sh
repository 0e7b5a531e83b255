#!/usr/bin/env bash
# Flask-Session 0.8.0 with Flask 3.1.3: a UUID or a time in the session comes back as text.
#
# Flask's own session, in a cookie, brings a UUID, a time, a tuple and Markup back as what they were
# (times in UTC, without fractions of a second). Flask-Session keeps the session in Redis, memcached
# or a database, and writes it by msgspec, which has no mark for types: a UUID and a time without a
# zone come back as text, a tuple and a set as lists, without an error. In the request that stores it
# the value is still what it was, so that the difference begins with the next one: session["user_id"]
# == user.id is False, so that users do not own their own posts; "logged in less than five minutes
# ago" is a TypeError. flash(Markup("... <a>log in</a>")) is a 500 at the end of its request. Up to
# 0.5 sessions were pickled, and all of this worked. This affects anyone who moves Flask's sessions to
# a server, as guides advise for logouts and large sessions, or updates Flask-Session. Our
# middleware's session is a record of its own, and auth.open_id and auth.session_id are always text.
# Needs a Redis server (Debian: redis-server).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet flask-session==0.8.0 msgspec==0.23.0 flask==3.1.3 redis==8.1.0
redis-server --port 0 --unixsocket "$folder/socket" --dir "$folder" --save "" >"$folder/log" &
trap 'kill "$!" 2>/dev/null; wait 2>/dev/null; rm -rf "$folder"' EXIT
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import logging
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from uuid import UUID

from flask import Flask, flash, get_flashed_messages, session
from flask_session import Session
from markupsafe import Markup
from redis import Redis

SOCKET = Path(sys.argv[1]) / "socket"
VALUES = {
    "a UUID": UUID(int=5),
    "a time without a zone": datetime(2030, 1, 1, 12),
    "a time in UTC": datetime(2030, 1, 1, 12, tzinfo=UTC),
    "a tuple": ("video.list",),
}
logging.disable()
print("Flask", version("flask"), "Flask-Session", version("flask-session"))
while not SOCKET.exists():
    time.sleep(0.1)


def seen_in(app):
    types, status = {}, []

    @app.get("/store")
    def store():
        session.update(VALUES)
        return "stored"

    @app.get("/read")
    def read():
        types.update({name: type(session[name]).__name__ for name in VALUES})
        return "read"

    @app.get("/flash")
    def notice():
        flash(Markup("<a href=/login>log in</a>"))
        return "flashed"

    @app.get("/flashed")
    def notices():
        return "".join(get_flashed_messages())

    client = app.test_client()
    for path in ("/store", "/read", "/flash", "/flashed"):
        status.append(client.get(path).status_code)
    return types, status[2]


plain = Flask("plain")
plain.secret_key = "a key of a test"
server = Flask("server")
server.config |= {"SESSION_TYPE": "redis", "SESSION_REDIS": Redis(unix_socket_path=str(SOCKET))}
Session(server)
seen = {"Flask": seen_in(plain), "Flask-Session": seen_in(server)}
for name, (types, status) in seen.items():
    print(f"{name}:", ", ".join(f"{value} is {kind}" for value, kind in types.items()) + f"; flash {status}")
expected = {
    "Flask": (["UUID", "datetime", "datetime", "tuple"], 200),
    "Flask-Session": (["str", "str", "datetime", "list"], 500),
}
if {name: ([*types.values()], status) for name, (types, status) in seen.items()} != expected:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   Flask 3.1.3 Flask-Session 0.8.0
#   Flask: a UUID is UUID, a time without a zone is datetime, a time in UTC is datetime, a tuple is tuple; flash 200
#   Flask-Session: a UUID is str, a time without a zone is str, a time in UTC is datetime, a tuple is list; flash 500
