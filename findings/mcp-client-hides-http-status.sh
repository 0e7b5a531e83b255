#!/usr/bin/env bash
# mcp 2.3.0, client: the exception does not contain the HTTP status of the error.
#
# A server that answers 401, 403, 429 or 503 leads to the same MCPError, "Server returned an error
# response", with the code of an internal error. The exception has neither the status nor
# Retry-After. This affects anyone who writes a client that has to log in again, to wait, or to
# report a fault, and cannot distinguish them. Our page about apps says what a client without a
# session gets.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet mcp==2.3.0
"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

from mcp import Client
from mcp.shared.exceptions import MCPError

print("mcp", version("mcp"))


class Refusing(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(int(self.path.rpartition("/")[2]))
        self.send_header("retry-after", "30")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_args):
        pass


def errors_in(error):
    if isinstance(error, BaseExceptionGroup):
        return [found for part in error.exceptions for found in errors_in(part)]
    return [error]


async def ask(url):
    try:
        async with Client(url):
            pass
    except BaseException as error:
        return [e for e in errors_in(error) if isinstance(e, MCPError)][0]


server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
threading.Thread(target=server.serve_forever, daemon=True).start()
seen = set()
for status in (401, 403, 429, 503):
    error = asyncio.run(ask(f"http://127.0.0.1:{server.server_port}/{status}"))
    print(f"{status}: {error} {error.error}")
    seen.add(str(error))
    assert str(status) not in f"{error} {error.error}", "changed"
assert len(seen) == 1, "changed"
PYTHON
# Seen:
#   mcp 2.3.0
#   401: Server returned an error response code=-32603 message='Server returned an error response' data=None
#   403: Server returned an error response code=-32603 message='Server returned an error response' data=None
#   429: Server returned an error response code=-32603 message='Server returned an error response' data=None
#   503: Server returned an error response code=-32603 message='Server returned an error response' data=None
