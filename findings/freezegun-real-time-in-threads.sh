#!/usr/bin/env bash
# freezegun 1.5.5: in an endpoint of FastAPI time.time() is the real time, datetime.now() the frozen.
#
# For time.time() freezegun looks at the last five frames of the stack, and gives the real time if
# one of them is in threading, so that locks and queues go on working. A function that a thread
# calls directly has such a frame: a thread's target, work in a ThreadPoolExecutor, and endpoints of
# FastAPI and Starlette that are no async def, which run in a thread. Called from two functions
# further in, the same line gives the frozen time; datetime.now() gives it always. So in a test that
# freezes the day after tomorrow, a session compared by datetime has ended, a token compared by time
# has not, and moving a line into a helper turns the test green. real_asyncio=True does not change
# it; time-machine 3.6.0 moves both everywhere. (freezegun's issue 307, open since 2019, has threads
# of one's own.) This affects anyone who tests an expiry behind an endpoint. Our middleware and its
# stand-in share a clock that a test moves; the page on testing names time-machine where the rest of
# an app needs its time moved too.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet freezegun==1.5.5 time-machine==3.6.0 fastapi==0.165.0 \
    httpx2==2.16.2
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import datetime
import time
from importlib.metadata import version

import time_machine
from fastapi import FastAPI
from fastapi.testclient import TestClient
from freezegun import freeze_time

for name in ("freezegun", "time-machine", "fastapi"):
    print(name, version(name))
app = FastAPI()
real = time.time()
later = datetime.datetime.fromtimestamp(real + 2 * 86400, datetime.timezone.utc)


def by_time():
    return "frozen" if time.time() > real + 86400 else "real"


def deeper():
    return by_time()


def by_datetime():
    now = datetime.datetime.now(datetime.timezone.utc)
    return "frozen" if now.timestamp() > real + 86400 else "real"


@app.get("/plain")
def plain():
    return [by_time(), deeper(), by_datetime()]


@app.get("/async")
async def in_the_loop():
    return [by_time(), deeper(), by_datetime()]


seen = {}
for name, frozen in {
    "freezegun": freeze_time(later),
    "freezegun, real_asyncio": freeze_time(later, real_asyncio=True),
    "time-machine": time_machine.travel(later),
}.items():
    with frozen, TestClient(app) as client:
        for path in ("/plain", "/async"):
            seen[name, path] = client.get(path).json()
            near, far, date = seen[name, path]
            print(f"{name}, {path}: time.time() {near}, from deeper {far}, datetime {date}")
odd, usual = ["real", "frozen", "frozen"], ["frozen"] * 3
if [*seen.values()] != [odd, usual, odd, usual, usual, usual]:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   freezegun 1.5.5
#   time-machine 3.6.0
#   fastapi 0.165.0
#   freezegun, /plain: time.time() real, from deeper frozen, datetime frozen
#   freezegun, /async: time.time() frozen, from deeper frozen, datetime frozen
#   freezegun, real_asyncio, /plain: time.time() real, from deeper frozen, datetime frozen
#   freezegun, real_asyncio, /async: time.time() frozen, from deeper frozen, datetime frozen
#   time-machine, /plain: time.time() frozen, from deeper frozen, datetime frozen
#   time-machine, /async: time.time() frozen, from deeper frozen, datetime frozen
