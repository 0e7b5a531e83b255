#!/usr/bin/env bash
# fakeredis 2.40.0: Lua scripts that a Redis server refuses, or answers otherwise, pass in tests.
#
# fakeredis runs a script (EVAL) in a complete Lua, where Redis has one with few libraries and its
# own cjson. So os and io are there: a script that reads os.time() passes its tests and is an
# error on each server. cjson.encode() gives an empty table as [], which is {} on a server, and
# writes a number of 19 digits, such as an id of TikTok or of Twitter, as a whole number, where a
# server writes 7.3112345678901e+18. (Both are rounded; the second is no id at all.) The other way
# round bit and redis.sha1hex() are missing, so that a script that works on a server fails its
# test. This affects anyone who tests a lock, a limiter or a session's script by fakeredis alone.
# Our Redis store's scripts are tested on a real server.
# Needs a Redis server (Debian: redis-server).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "fakeredis[lua]==2.40.0" redis==8.1.0
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
redis-server --bind 127.0.0.1 --port "$port" --dir "$folder" --save "" >"$folder/log" &
trap 'kill "$!" 2>/dev/null; wait 2>/dev/null; rm -rf "$folder"' EXIT
"$folder/venv/bin/python" - "$port" <<'PYTHON'
import sys
import time
from importlib.metadata import version

import fakeredis
import redis

PORT = int(sys.argv[1])
server = redis.Redis(port=PORT, decode_responses=True)
for _ in range(100):
    try:
        print("Redis", server.info("server")["redis_version"])
        break
    except redis.ConnectionError:
        time.sleep(0.1)
fake = fakeredis.FakeRedis(decode_responses=True)
for name in ("fakeredis", "redis"):
    print(name, version(name))


def answer(client, script):
    try:
        return str(client.eval(script, 0))
    except redis.ResponseError:
        return "an error"


SCRIPTS = (
    "return os.time() > 0",
    "return cjson.encode({})",
    "return cjson.encode({id = 7311234567890123456})",
    "return bit.band(6, 3)",
    "return redis.sha1hex('')",
)
seen = [(answer(server, script), answer(fake, script)) for script in SCRIPTS]
for script, (real, faked) in zip(SCRIPTS, seen):
    print(f"{script}: Redis {real}, fakeredis {faked}")
if seen != [
    ("an error", "1"),
    ("{}", "[]"),
    ('{"id":7.3112345678901e+18}', '{"id":7311234567890123776}'),
    ("2", "an error"),
    ("da39a3ee5e6b4b0d3255bfef95601890afd80709", "an error"),
]:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   Redis 7.0.15
#   fakeredis 2.40.0
#   redis 8.1.0
#   return os.time() > 0: Redis an error, fakeredis 1
#   return cjson.encode({}): Redis {}, fakeredis []
#   return cjson.encode({id = 7311234567890123456}): Redis {"id":7.3112345678901e+18}, fakeredis {"id":7311234567890123776}
#   return bit.band(6, 3): Redis 2, fakeredis an error
#   return redis.sha1hex(''): Redis da39a3ee5e6b4b0d3255bfef95601890afd80709, fakeredis an error
