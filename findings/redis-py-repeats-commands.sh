#!/usr/bin/env bash
# redis-py 8.1.0: if Redis stands still for a moment, INCR counts twice and a lock is lost.
#
# redis-py waits 5 seconds for an answer, and then sends the command again, up to ten times, on a
# new connection. A server that stood still, as a frozen or moved virtual machine does, has the
# first one in its buffer and runs both. So one INCR adds 2; LPOP returns the second job, and the
# first is lost; GETDEL, by which a login takes its state or code once, returns None, though it was
# there; SET with NX, the usual lock, returns None to the process that holds the lock, so that
# nobody has it until it ends. None of these raises. valkey-py 6.2.0, made from an older redis-py,
# waits without a limit and sends once. This affects anyone who counts, takes or locks by such
# commands, and came to redis-py 8 from version 5, which did not repeat them.
# retry=Retry(NoBackoff(), 0) turns it off; then a TimeoutError tells of the doubt. Our Redis
# store's writes carry a random mark, by which one that runs twice recognises itself.
# Needs a Redis server (Debian: redis-server).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet redis==8.1.0 valkey==6.2.0
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
redis-server --bind 127.0.0.1 --port "$port" --dir "$folder" --save "" >"$folder/log" &
server=$!
trap 'kill -CONT "$server"; kill "$server"; wait || true; rm -rf "$folder"' EXIT
"$folder/venv/bin/python" - "$port" "$server" <<'PYTHON'
import os
import signal
import sys
import threading
import time
from importlib.metadata import version
from pathlib import Path

import redis
import valkey
from redis.backoff import NoBackoff
from redis.retry import Retry

PORT, SERVER = map(int, sys.argv[1:])
for name in ("redis", "valkey"):
    print(name, version(name))
watch = redis.Redis(port=PORT, decode_responses=True)
for _ in range(100):
    try:
        print("Redis", watch.info("server")["redis_version"])
        break
    except redis.ConnectionError:
        time.sleep(0.1)


def stop_server():
    os.kill(SERVER, signal.SIGSTOP)
    threads = list(Path(f"/proc/{SERVER}/task").iterdir())
    while any("State:\tT" not in (thread / "status").read_text() for thread in threads):
        time.sleep(0.01)


def story(client):
    """Let the server stand still for seven seconds during each command."""
    watch.flushall()
    watch.set("state", "of a login")
    watch.rpush("jobs", "first", "second")
    seen = []
    for command in (
        lambda: client.incr("logins"),
        lambda: client.set("lock", "mine", nx=True, ex=600),
        lambda: client.getdel("state"),
        lambda: client.lpop("jobs"),
    ):
        client.ping()
        stop_server()
        threading.Timer(7, os.kill, (SERVER, signal.SIGCONT)).start()
        try:
            seen.append(command())
        except (redis.TimeoutError, valkey.TimeoutError) as error:
            seen.append(type(error).__name__)
        time.sleep(3)
    return seen, watch.get("lock"), watch.lrange("jobs", 0, -1)


clients = {
    "redis-py": redis.Redis(port=PORT, decode_responses=True),
    "valkey-py": valkey.Valkey(port=PORT, decode_responses=True),
    "redis-py without retries": redis.Redis(
        port=PORT, decode_responses=True, retry=Retry(NoBackoff(), 0)
    ),
}
seen = {}
for name, client in clients.items():
    seen[name] = answers, lock, jobs = story(client)
    print(f"{name}: INCR {answers[0]}; SET NX {answers[1]}, the lock is {lock}; "
          f"GETDEL {answers[2]}; LPOP {answers[3]}, left are {jobs}")
once = ([1, True, "of a login", "first"], "mine", ["second"])
if seen != {
    "redis-py": ([2, None, None, "second"], "mine", []),
    "valkey-py": once,
    "redis-py without retries": (["TimeoutError"] * 4, *once[1:]),
}:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   redis 8.1.0
#   valkey 6.2.0
#   Redis 7.0.15
#   redis-py: INCR 2; SET NX None, the lock is mine; GETDEL None; LPOP second, left are []
#   valkey-py: INCR 1; SET NX True, the lock is mine; GETDEL of a login; LPOP first, left are ['second']
#   redis-py without retries: INCR TimeoutError; SET NX TimeoutError, the lock is mine; GETDEL TimeoutError; LPOP TimeoutError, left are ['second']
