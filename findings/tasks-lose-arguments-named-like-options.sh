#!/usr/bin/env bash
# RQ 3.0.0, Huey 3.5.4, django-q2 1.11.1, SAQ 0.26.4: an argument named like an option is lost.
#
# To put a task into these queues one passes the task's arguments and the queue's own options in one
# call. A keyword that the queue knows is taken as its option, and the task runs without it, by its
# default: RQ takes description, meta, timeout and ttl, Huey id, priority, expires and timeout,
# django-q2 group, hook, save and cached, and SAQ key, meta, result and error, among many. So
# q.enqueue(post_video, user, description="My cat") posts a video without its text, and says that it
# has finished. Nothing is logged, the call without a queue is right, and each version may take
# further names. Each has a way around it: RQ's kwargs={...}, or arguments by position. Celery,
# Dramatiq, Taskiq and Procrastinate keep options apart in another call, and arq's begin with an
# underscore. This affects anyone who moves from Celery to one of the four, or gives a task a
# parameter with such a usual name. Our page on jobs gives a task one argument, the open_id, by
# position, and says why.
# Needs a Redis server (Debian: redis-server).
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet rq==3.0.0 huey==3.5.4 django-q2==1.11.1 django==5.2.19 \
    saq==0.26.4 redis==8.1.0 typing-extensions==4.16.0
redis-server --unixsocket "$folder/redis.sock" --port 0 --save "" --dir "$folder" > "$folder/log" &
server=$!
until [ -S "$folder/redis.sock" ]; do sleep 0.1; done
cat > "$folder/tasks.py" <<'PYTHON'
def post(user, description="", group="", key="", priority="", meta=""):
    given = {"description": description, "group": group, "key": key, "priority": priority}
    return {name: value for name, value in {**given, "meta": meta}.items() if value}


async def post_in_saq(context, *, user, **options):
    return post(user, **options)
PYTHON
cd "$folder"
"$folder/venv/bin/python" -W ignore - "$folder/redis.sock" <<'PYTHON'
import asyncio
import logging
import sys
from importlib.metadata import version

import django
import redis
import rq
import saq
from django.conf import settings
from django.core.management import call_command
from huey import MemoryHuey
from redis.asyncio import Redis
from saq.queue.redis import RedisQueue
from tasks import post, post_in_saq

for name in ("rq", "huey", "django-q2", "saq"):
    print(name, version(name))
logging.disable()
texts = {"description": "My cat", "group": "pets", "key": "k-7", "priority": 3, "meta": "cat"}
connection = redis.Redis(unix_socket_path=sys.argv[1])


def in_rq(**options):
    job = rq.Queue(connection=connection, is_async=False).enqueue(post, "user-1", **options)
    return job.return_value()


def in_huey(**options):
    return MemoryHuey(immediate=True).task()(post)("user-1", **options)()


settings.configure(
    INSTALLED_APPS=["django_q"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    SECRET_KEY="not-a-secret-in-this-script-0123456789",
    Q_CLUSTER={"orm": "default", "sync": True, "timeout": 60, "retry": 90},
)
django.setup()
call_command("migrate", verbosity=0)
from django_q.tasks import async_task, result


def in_django_q(**options):
    return result(async_task(post, "user-1", **options))


async def saq_job(options):
    queue = RedisQueue(Redis(unix_socket_path=sys.argv[1]))
    await queue.connect()
    worker = saq.Worker(queue, functions=[post_in_saq])
    running = asyncio.create_task(worker.start())
    job = await queue.enqueue("post_in_saq", user="user-1", **options)
    await job.refresh(until_complete=60)
    worker.event.set()
    await running
    return job.result


def in_saq(**options):
    return asyncio.run(saq_job(options))


lost = {}
for name, run in {"rq": in_rq, "huey": in_huey, "django-q2": in_django_q, "saq": in_saq}.items():
    got = {}
    for option, text in texts.items():
        value = {"cat": 1} if option == "meta" else text
        got |= run(**{option: value}) or {}
    lost[name] = sorted({*texts} - {*got})
    print(f"{name}: the task did not get {', '.join(lost[name])}")
if lost != {
    "rq": ["description", "meta"],
    "huey": ["priority"],
    "django-q2": ["group"],
    "saq": ["key", "meta", "priority"],
}:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   rq 3.0.0
#   huey 3.5.4
#   django-q2 1.11.1
#   saq 0.26.4
#   rq: the task did not get description, meta
#   huey: the task did not get priority
#   django-q2: the task did not get group
#   saq: the task did not get key, meta, priority
