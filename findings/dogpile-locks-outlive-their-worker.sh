#!/usr/bin/env bash
# dogpile.cache 1.5.0, Redis and memcached: a worker that is killed leaves a lock that never ends.
#
# With distributed_lock=True one worker computes a missing value, and the others wait for it. The lock
# is a key without an end unless lock_timeout is given, and lock_timeout has no default. If the worker
# is killed meanwhile (out of memory, a deployment that does not wait, a crash), the key stays: each
# later get_or_create() of this value waits for ever, in every process and after each restart, until
# somebody deletes the key by hand. In a web app each request for that page takes a thread out of
# service. Anyone who uses the lock against a rush of requests is affected; give lock_timeout, longer
# than the longest computation. The locks of our stores end by themselves after seconds, and the
# others continue.
# Needs a Redis server and memcached (Debian: redis-server, memcached).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet dogpile.cache==1.5.0 redis==8.1.0 pymemcache==4.0.0
cd "$folder"
redis-server --port 0 --unixsocket "$folder/redis" --save "" >log &
redis=$!
memcached --unix-socket="$folder/memcached" --user="$(id -un)" &
memcached=$!
trap 'kill "$redis" "$memcached" 2>/dev/null; wait 2>/dev/null; rm -rf "$folder"' EXIT
until [ -S redis ] && [ -S memcached ]; do sleep 0.1; done
cat >worker.py <<'PYTHON'
import os
import signal
import sys
from pathlib import Path

from dogpile.cache import make_region

server, lock_timeout, act = sys.argv[1:]
here = Path.cwd()
arguments = {"distributed_lock": True}
if lock_timeout != "none":
    arguments["lock_timeout"] = int(lock_timeout)
if server == "redis":
    arguments |= {"url": f"unix://{here}/redis", "thread_local_lock": False}
else:
    arguments |= {"url": [f"unix:{here}/memcached"]}
backend = {"redis": "dogpile.cache.redis", "memcached": "dogpile.cache.pymemcache"}[server]
region = make_region().configure(backend, expiration_time=3600, arguments=arguments)


def compute():
    if act == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    return "value"


print(region.get_or_create(f"page-{lock_timeout}", compute))
PYTHON
venv/bin/python - <<'PYTHON'
import subprocess
import sys
from importlib.metadata import version


def run(*words):
    try:
        return subprocess.run(
            [sys.executable, "worker.py", *words], capture_output=True, text=True, timeout=15
        )
    except subprocess.TimeoutExpired:
        return None


print("dogpile.cache", version("dogpile.cache"))
seen = {}
for server in ("redis", "memcached"):
    for lock_timeout in ("none", "3"):
        assert run(server, lock_timeout, "dies").returncode == -9
        after = run(server, lock_timeout, "lives")
        seen[server, lock_timeout] = "waits" if after is None else after.stdout.strip()
        print(f"{server}, lock_timeout {lock_timeout}: the next worker", seen[server, lock_timeout])
if [*seen.values()] != ["waits", "value"] * 2:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   dogpile.cache 1.5.0
#   redis, lock_timeout none: the next worker waits
#   redis, lock_timeout 3: the next worker value
#   memcached, lock_timeout none: the next worker waits
#   memcached, lock_timeout 3: the next worker value
