#!/usr/bin/env bash
# Quart 0.23.1 on gunicorn 27.0.1 (asgi): each answered request stays, and SIGTERM takes 30 s.
#
# After a response ASGI's receive() must return http.disconnect. gunicorn's asgi worker lets it
# wait until the client closes the connection, and Quart 0.23 is the first framework that waits
# for it: the tasks of a request that was answered live on, with all that the request holds, until
# its keep-alive connection ends. Behind a proxy that keeps connections to the server, or with one
# browser tab, memory grows with each request, and at SIGTERM the worker waits for them until its
# graceful timeout. On uvicorn nothing stays. This affects anyone who moves Quart to that worker,
# and also a test client or middleware of one's own whose receive() never returns after the
# response: such a request never returns. Our middleware passes receive() on as it is, our test
# client says that it is gone, and the page of servers names the pair. Needs Python 3.12 or newer.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=
for name in python3 python3.15 python3.14 python3.13 python3.12; do
    "$name" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && python=$name && break
done
"${python:?needs Python 3.12 or newer}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet quart==0.23.1 gunicorn==27.0.1 uvicorn==0.54.0
cd "$folder"
cat >pages.py <<'PYTHON'
import asyncio

from quart import Quart

app = Quart(__name__)


@app.get("/tasks")
async def tasks():
    return str(len(asyncio.all_tasks()))
PYTHON
venv/bin/pip list 2>/dev/null | grep -iE '^(quart|gunicorn|uvicorn) '
export HOME="$folder"
venv/bin/python - <<'PYTHON'
import socket
import subprocess
import time
from http.client import HTTPConnection


def growth_on(*command):
    """Return by how many tasks ten requests grow, and whether SIGTERM took 20 seconds."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with open("log", "w") as log:
        command = [f"venv/bin/{word}".format(port=port) if n == 0 else word.format(port=port)
                   for n, word in enumerate(command)]
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        connection = HTTPConnection("127.0.0.1", port)
        for _ in range(200):
            try:
                connection.connect()
                break
            except ConnectionRefusedError:
                time.sleep(0.1)
        counts = []
        for _ in range(11):
            connection.request("GET", "/tasks")
            counts.append(int(connection.getresponse().read()))
            time.sleep(0.1)
        server.terminate()
        begun = time.monotonic()
        server.wait(60)
        return counts[-1] - counts[0], time.monotonic() - begun > 20
    finally:
        server.kill()
        server.wait()


gunicorn = growth_on("gunicorn", "-k", "asgi", "-b", "127.0.0.1:{port}", "pages:app")
uvicorn = growth_on("uvicorn", "--port", "{port}", "pages:app")
print("gunicorn: %d more tasks after ten requests; slow to stop: %s" % gunicorn)
print("uvicorn:  %d more tasks after ten requests; slow to stop: %s" % uvicorn)
if gunicorn[0] < 10 or not gunicorn[1] or uvicorn[0] > 2 or uvicorn[1]:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   gunicorn     27.0.1
#   Quart        0.23.1
#   uvicorn      0.54.0
#   gunicorn: 20 more tasks after ten requests; slow to stop: True
#   uvicorn:  0 more tasks after ten requests; slow to stop: False
