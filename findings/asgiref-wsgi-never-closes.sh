#!/usr/bin/env bash
# asgiref 3.13.0, WsgiToAsgi with Flask 3.1.3: what a response does on close is never done.
#
# A server calls close() of a WSGI app's result when the response is sent, or cannot be sent any
# more (PEP 3333). asgiref's bridge, which Flask's documentation recommends for ASGI servers, never
# calls it: not after a whole response, and not after an error. Flask's call_on_close, by which
# one removes a temporary file behind a download or releases a lock, does nothing there: the disk
# fills, one file a download, without an error. Generators are closed all the same, as CPython ends
# them once nothing refers to them. a2wsgi's bridge calls close(), and so does Flask's test client,
# so that no test shows it. This affects anyone who moves such an app to an ASGI server by asgiref.
# Our WSGI middleware passes close() on to the app, and our page on frameworks prefers a2wsgi.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet asgiref==3.13.0 a2wsgi==1.10.10 flask==3.1.3
cd "$folder"
venv/bin/python - <<'PYTHON'
import asyncio
import tempfile
from importlib.metadata import version
from pathlib import Path

from a2wsgi import WSGIMiddleware
from asgiref.wsgi import WsgiToAsgi
from flask import Flask, Response

for package in ("asgiref", "a2wsgi", "flask"):
    print(package, version(package))
app = Flask(__name__)
reports = Path(tempfile.mkdtemp(dir="."))


@app.get("/report")
def report():
    file = Path(tempfile.mkstemp(dir=reports)[1])
    file.write_text("a report")
    response = Response(file.read_text())
    response.call_on_close(file.unlink)
    return response


async def ask(asgi):
    """Return the body of a response."""
    sent = []

    async def receive():
        if sent:
            await asyncio.sleep(3600)
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "path": "/report",
        "raw_path": b"/report",
        "root_path": "",
        "query_string": b"",
        "scheme": "http",
        "headers": [(b"host", b"site.example")],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 80),
    }
    await asgi(scope, receive, send)
    return b"".join(message.get("body", b"") for message in sent).decode()


def left_by(asgi):
    """Return how many files five downloads leave."""
    bodies = {asyncio.run(ask(asgi)) for _ in range(5)}
    left = [*reports.iterdir()]
    for file in left:
        file.unlink()
    return bodies, len(left)


seen = {"asgiref": left_by(WsgiToAsgi(app)), "a2wsgi": left_by(WSGIMiddleware(app))}
with app.test_client() as client:
    with client.get("/report"):
        pass
seen["Flask's test client"] = {"a report"}, len([*reports.iterdir()])
for name, (bodies, left) in seen.items():
    print(f"{name}: {bodies}, files left: {left}")
if [left for _, left in seen.values()] != [5, 0, 0]:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   asgiref 3.13.0
#   a2wsgi 1.10.10
#   flask 3.1.3
#   asgiref: {'a report'}, files left: 5
#   a2wsgi: {'a report'}, files left: 0
#   Flask's test client: {'a report'}, files left: 0
