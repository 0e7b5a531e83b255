#!/usr/bin/env bash
# Litestar 2.25.0: server-side sessions store an entry for each request without a cookie.
#
# With ServerSideSessionConfig a session is written to the store at the end of each request, also
# an empty one, under a new id if the request has no cookie, for fourteen days by default; and
# each response sets the cookie. A browser brings its id back; a load balancer's health check, a
# monitor, a crawler or a client of an API does not, so that each of its requests leaves one more
# entry: a check each second makes 1.2 million in Redis. No page can be cached by a proxy, as each
# sets a cookie. Flask-Session, starsessions and Django store nothing for a session that was not
# used. This affects anyone who switches these sessions on for a whole app; `exclude` keeps paths
# out. Our middleware stores nothing before a login.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet litestar==2.25.0
cd "$folder"
venv/bin/python -W ignore - <<'PYTHON'
import asyncio
from importlib.metadata import version
from pathlib import Path

from litestar import Litestar, get
from litestar.middleware.session.server_side import ServerSideSessionConfig
from litestar.stores.file import FileStore

print("litestar", version("litestar"))
STORE = Path("sessions")
STORE.mkdir()


@get("/health")
async def health() -> str:
    return "ok"


app = Litestar(
    [health],
    middleware=[ServerSideSessionConfig().middleware],
    stores={"sessions": FileStore(STORE)},
)


async def ask():
    """Return the headers of a response to GET /health without cookies."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "path": "/health",
        "raw_path": b"/health",
        "root_path": "",
        "query_string": b"",
        "scheme": "http",
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 80),
    }
    await app(scope, receive, send)
    return dict(sent[0]["headers"])


async def main():
    return [await ask() for _ in range(50)]


answers = asyncio.run(main())
entries = len([path for path in STORE.iterdir() if path.is_file()])
cookies = sum(b"set-cookie" in headers for headers in answers)
print("health checks:", len(answers), "entries in the store:", entries, "cookies set:", cookies)
if (entries, cookies) != (50, 50):
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   litestar 2.25.0
#   health checks: 50 entries in the store: 50 cookies set: 50
