#!/usr/bin/env bash
# django-valkey 0.4.1: incr() of a missing key is a TypeError; a number below zero becomes a float.
#
# By Django's documentation incr() and decr() raise ValueError for a key that is not there, and
# code that counts, such as a limiter of logins, catches it and begins at 1. Django's own backends
# and django-redis do so; django-valkey, a fork of django-redis, raises TypeError, "unsupported
# operand", so that the first request of each user is a 500. A whole number below zero comes back
# as a float, -4.0, since its encoder recognises digits only: a balance or an offset that is
# written to JSON, compared as text or used as an index is another one. This affects anyone who
# moves from Redis to Valkey by changing the backend's name. Our middleware counts in a store of
# its own.
# Needs a Redis server (Debian: redis-server), which speaks the same protocol.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet django==5.2.19 django-valkey==0.4.1 django-redis==7.0.0 \
    valkey==6.2.0 redis==8.1.0
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
redis-server --bind 127.0.0.1 --port "$port" --dir "$folder" --save "" >"$folder/log" &
trap 'kill "$!" 2>/dev/null; wait 2>/dev/null; rm -rf "$folder"' EXIT
"$folder/venv/bin/python" -W ignore - "$port" <<'PYTHON'
import socket
import sys
import time
from importlib.metadata import version

import django
from django.conf import settings

PORT = int(sys.argv[1])
for _ in range(100):
    try:
        socket.create_connection(("127.0.0.1", PORT)).close()
        break
    except ConnectionRefusedError:
        time.sleep(0.1)
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    "redis": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": f"redis://127.0.0.1:{PORT}/1",
    },
    "django-redis": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": f"redis://127.0.0.1:{PORT}/2",
    },
    "django-valkey": {
        "BACKEND": "django_valkey.cache.ValkeyCache",
        "LOCATION": f"valkey://127.0.0.1:{PORT}/3",
    },
}
settings.configure(CACHES=CACHES)
django.setup()
from django.core.cache import caches

for name in ("django", "django-redis", "django-valkey"):
    print(name, version(name))
seen = {}
for name in CACHES:
    cache = caches[name]
    try:
        cache.incr("tries")
        missing = "a number"
    except Exception as error:
        missing = type(error).__name__
    cache.set("balance", -4)
    seen[name] = missing, repr(cache.get("balance"))
    print(f"{name}: incr() of a missing key {missing}; -4 is {seen[name][1]}")
right = ("ValueError", "-4")
if seen != {**dict.fromkeys(CACHES, right), "django-valkey": ("TypeError", "-4.0")}:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   django 5.2.19
#   django-redis 7.0.0
#   django-valkey 0.4.1
#   default: incr() of a missing key ValueError; -4 is -4
#   redis: incr() of a missing key ValueError; -4 is -4
#   django-redis: incr() of a missing key ValueError; -4 is -4
#   django-valkey: incr() of a missing key TypeError; -4 is -4.0
