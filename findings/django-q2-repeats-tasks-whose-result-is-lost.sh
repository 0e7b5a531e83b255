#!/usr/bin/env bash
# django-q2 1.11.1: a task whose result cannot be pickled is done again and again, for ever.
#
# A worker hands a task's result to another process, by pickle. A result that cannot be pickled,
# such as a generator, a lock, a database cursor or an object that holds one, never gets there: the
# task has done its work, but no row says so, neither as a success nor as a failure, and the broker,
# which hears nothing of it either, gives the task out once more after `retry` seconds. max_attempts,
# which is to end that, counts recorded failures, and there are none. A task that posts a video or
# sends a mail and ends in `return client.post(...)` does so every minute until somebody reads the
# worker's standard error, where multiprocessing prints a traceback that names no task. A task that
# raises is recorded as a failure. With sync=True, as in tests, everything is right: the result stays
# in one process. This affects anyone whose task returns more than plain data; a last line of
# `return None` helps. Our Token refuses to be pickled, so that none gets into a queue's database;
# the page on jobs says what a task may return.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet django-q2==1.11.1 django==5.2.19
cat > "$folder/site_settings.py" <<'PYTHON'
SECRET_KEY = "not-a-secret-in-this-script-0123456789"
INSTALLED_APPS = ["django_q"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": "site.sqlite3",
        "OPTIONS": {"timeout": 20},
    }
}
Q_CLUSTER = {
    "orm": "default", "workers": 1, "timeout": 5, "retry": 8, "poll": 0.2, "max_attempts": 1,
}
PYTHON
cat > "$folder/tasks.py" <<'PYTHON'
def post(name):
    with open(f"{name}.log", "a") as log:
        print("posted", file=log)
    if name == "raises":
        raise ValueError(name)
    return {"plain": [1, 2], "generator": (number for number in (1, 2))}[name]
PYTHON
cd "$folder"
export DJANGO_SETTINGS_MODULE=site_settings PYTHONPATH="$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import subprocess
import sys
import time
from importlib.metadata import version

import django
from django.core.management import call_command

django.setup()
call_command("migrate", verbosity=0)
from django_q.models import Failure, Success
from django_q.tasks import async_task

print("django-q2", version("django-q2"))
names = ("plain", "raises", "generator")
for name in names:
    async_task("tasks.post", name, task_name=name)
with open("errors", "w") as errors:
    cluster = subprocess.Popen([sys.executable, "-m", "django", "qcluster"], stderr=errors)
    for _ in range(120):
        time.sleep(1)
        try:
            done = len(open("generator.log").readlines())
        except FileNotFoundError:
            done = 0
        if done >= 4:
            break
    cluster.terminate()
    cluster.wait()
seen = {}
for name in names:
    posts = len(open(f"{name}.log").readlines())
    rows = Success.objects.filter(name=name).count(), Failure.objects.filter(name=name).count()
    seen[name] = ("more than three" if posts > 3 else posts), *rows
    print(f"{name}: posted {seen[name][0]} times, successes {rows[0]}, failures {rows[1]}")
if seen != {
    "plain": (1, 1, 0),
    "raises": (1, 0, 1),
    "generator": ("more than three", 0, 0),
}:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   django-q2 1.11.1
#   plain: posted 1 times, successes 1, failures 0
#   raises: posted 1 times, successes 0, failures 1
#   generator: posted more than three times, successes 0, failures 0
