#!/usr/bin/env bash
# arq 0.28.0: installing it moves redis-py from 8.1 to 5.3, with which Celery 5.7.0 sends no task.
#
# arq asks for redis<6. Who adds it to a project that has Celery, to move over one task at a time,
# gets a redis-py of 2025 in place of the installed one. pip says nothing: Celery's need for redis-py is
# an extra (celery[redis]), and pip looks at extras only while it installs them; `pip check` finds
# no broken requirement. From then on each delay() of the web app raises VersionMismatch, "requires
# redis-py versions 6.1.0 or later". A build that installs both in one command has the other fate:
# pip goes back through years of Celery's versions, for minutes, to find one that fits. Caches and
# sessions in Redis run with the old client as well. This affects anyone who uses both, or puts arq
# beside a library that needs a present redis-py. Our extra for Redis needs redis-py 6 and says so
# to pip, which then refuses or warns; the page on jobs says which stores work beside arq.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip() { "$folder/venv/bin/pip" --disable-pip-version-check "$@"; }
version() { "$folder/venv/bin/python" -c "from importlib.metadata import version; print(version('$1'))"; }
pip install --quiet "celery[redis]==5.7.0" redis==8.1.0
echo "celery $(version celery), redis-py before: $(version redis)"
pip install arq==0.28.0 > "$folder/pip.log" 2>&1
after=$(version redis)
warnings=$(grep -ciE "conflict|incompatible" "$folder/pip.log" || true)
check=$(pip check)
sent=$("$folder/venv/bin/python" - <<'PYTHON'
from celery import Celery

queue = Celery("tasks", broker="redis://127.0.0.1:1")


@queue.task
def post():
    pass


try:
    post.apply_async(retry=False)
except Exception as error:
    print(type(error).__name__)
PYTHON
)
echo "redis-py after: $after; pip's warnings: $warnings; pip check: $check"
echo "sending a task: $sent"
case "$after $warnings $check $sent" in
    5.3.*" 0 No broken requirements found. VersionMismatch") ;;
    *) echo "the behaviour has changed" >&2; exit 1 ;;
esac
# Seen:
#   celery 5.7.0, redis-py before: 8.1.0
#   redis-py after: 5.3.1; pip's warnings: 0; pip check: No broken requirements found.
#   sending a task: VersionMismatch
