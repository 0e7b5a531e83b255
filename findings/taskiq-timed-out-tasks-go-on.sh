#!/usr/bin/env bash
# Taskiq 0.13.0: a plain function that has timed out runs on, beside its own retries.
#
# @broker.task(timeout=...) limits a task's time, and a retry middleware runs a failed task again.
# A task that is no async def runs in a thread, which asyncio.wait_for cannot end: the task's result
# is TimeoutError, and the function goes on to its end. With retries the next one begins beside it.
# The three tries of a post that takes two seconds, with a limit of half a second, run at the same
# time, and each posts; the result says that all failed. The threads stay in use, so that a worker
# whose API has become slow has none left for other tasks. An async def is cancelled, as one would
# expect of both. This affects anyone who gives a function that calls an API by a blocking client a
# timeout and retries; a timeout of the client's own helps. Tasks at once that call TikTokTokens for
# one user refresh that user's token once, under a lock; what the task does with it is done thrice,
# and the page on jobs says so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet taskiq==0.13.0
"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import logging
import time
from importlib.metadata import version

from taskiq import InMemoryBroker, SimpleRetryMiddleware

print("taskiq", version("taskiq"))
logging.disable()
broker = InMemoryBroker().with_middlewares(SimpleRetryMiddleware(default_retry_count=3))
running, most, done = set(), 0, []


def begin():
    global most
    mark = object()
    running.add(mark)
    most = max(most, len(running))
    return mark


@broker.task(timeout=0.5, retry_on_error=True)
def post():
    mark = begin()
    time.sleep(2)
    running.discard(mark)
    done.append("post")


@broker.task(timeout=0.5, retry_on_error=True)
async def post_async():
    mark = begin()
    try:
        await asyncio.sleep(2)
        done.append("post")
    finally:
        running.discard(mark)


async def run(task):
    global most
    most = 0
    done.clear()
    result = await (await task.kiq()).wait_result(timeout=30)
    await asyncio.sleep(3)
    return type(result.error).__name__, most, len(done)


async def main():
    return await run(post), await run(post_async)


seen = asyncio.run(main())
for name, (error, most, posts) in zip(("a function", "an async def"), seen, strict=True):
    print(f"{name}: result {error}, at most {most} at once, {posts} posts")
if seen != (("TimeoutError", 3, 3), ("TimeoutError", 1, 0)):
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   taskiq 0.13.0
#   a function: result TimeoutError, at most 3 at once, 3 posts
#   an async def: result TimeoutError, at most 1 at once, 0 posts
