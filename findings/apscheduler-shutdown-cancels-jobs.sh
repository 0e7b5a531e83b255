#!/usr/bin/env bash
# APScheduler 3.11.3, asyncio: shutdown() waits for no coroutine; it cancels the jobs that run.
#
# By its documentation shutdown(wait=True), the default, waits until all jobs that are being
# executed have finished. The AsyncIOScheduler cancels those that are coroutines: the job gets
# CancelledError at its next await, whatever it was about to store, and the log shows it as a failed
# one. A job that is a plain function runs in a thread and is finished, though shutdown() does not
# wait for it either; a BackgroundScheduler does wait. An app that calls shutdown() at the end of
# its lifespan thus cuts off a job at each deployment, and development shows nothing, where jobs
# seldom run at that moment. This affects anyone whose job sends a mail and then notes that it was
# sent, or exchanges a token that is valid once and then stores the new one. Refreshes that our
# TikTokTokens has begun are finished and stored when their task is cancelled; the page on jobs says
# so of this scheduler.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet apscheduler==3.11.3
"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import logging
import time
from importlib.metadata import version

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.schedulers.background import BackgroundScheduler

print("apscheduler", version("apscheduler"))
logging.getLogger("apscheduler").setLevel(logging.CRITICAL)
done = []


async def job(name):
    await asyncio.sleep(1)
    done.append(name)


def plain_job(name):
    time.sleep(1)
    done.append(name)


async def stop_asyncio(function):
    scheduler = AsyncIOScheduler()
    scheduler.add_job(function, args=["asyncio"])
    scheduler.start()
    await asyncio.sleep(0.5)
    scheduler.shutdown(wait=True)
    at_once = bool(done)
    await asyncio.sleep(1)
    return at_once, bool(done)


def stop_background():
    scheduler = BackgroundScheduler()
    scheduler.add_job(plain_job, args=["background"])
    scheduler.start()
    time.sleep(0.5)
    scheduler.shutdown(wait=True)
    return bool(done), bool(done)


seen = {}
for name, stop in {
    "AsyncIOScheduler, a coroutine": lambda: asyncio.run(stop_asyncio(job)),
    "AsyncIOScheduler, a function": lambda: asyncio.run(stop_asyncio(plain_job)),
    "BackgroundScheduler, a function": stop_background,
}.items():
    done.clear()
    seen[name] = at_once, later = stop()
    print(f"{name}: done when shutdown(wait=True) returns {at_once}, a second later {later}")
right = [(False, False), (False, True), (True, True)]
if [*seen.values()] != right:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   apscheduler 3.11.3
#   AsyncIOScheduler, a coroutine: done when shutdown(wait=True) returns False, a second later False
#   AsyncIOScheduler, a function: done when shutdown(wait=True) returns False, a second later True
#   BackgroundScheduler, a function: done when shutdown(wait=True) returns True, a second later True
