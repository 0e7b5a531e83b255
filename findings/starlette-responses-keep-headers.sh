#!/usr/bin/env bash
# Starlette 1.10.0: a response that serves several requests keeps what middlewares added.
#
# A Response is an ASGI app, and can be a route's endpoint or be mounted: a fixed page, a
# robots.txt, a redirect. It sends its own list of headers, and Starlette's middlewares change the
# list that they get. So after the first request with Accept-Encoding: gzip the page says
# Content-Encoding: gzip, with the compressed length, to every client, while the body for a client
# that asked for none is plain: uvicorn ends that connection, and a client that gets the body
# cannot decode it. Vary says Accept-Encoding twice. This affects anyone who
# mounts a Response under GZipMiddleware, and any middleware that adds to the list. Making the
# response in a function helps. Our middleware sends a new list where it changes headers.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet starlette==1.10.0 uvicorn==0.54.0
cd "$folder"
cat >pages.py <<'PYTHON'
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route

TEXT = "Disallow: /private\n" * 100


async def made(request):
    return PlainTextResponse(TEXT)


app = Starlette(
    routes=[Route("/fixed", PlainTextResponse(TEXT)), Route("/made", made)],
    middleware=[Middleware(GZipMiddleware)],
)
PYTHON
venv/bin/pip list 2>/dev/null | grep -iE '^(starlette|uvicorn) '
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
venv/bin/uvicorn --port "$port" pages:app >log 2>&1 &
trap 'kill "$!" 2>/dev/null; wait 2>/dev/null; rm -rf "$folder"' EXIT
python3 - "$port" <<'PYTHON'
import sys
import time
from http.client import HTTPConnection, IncompleteRead


def request(path, encoding):
    for _ in range(100):
        try:
            connection = HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=30)
            connection.request("GET", path, headers={"Accept-Encoding": encoding})
            answer = connection.getresponse()
        except ConnectionRefusedError:
            time.sleep(0.1)
        else:
            try:
                answer.read()
                ending = "whole"
            except IncompleteRead:
                ending = "cut off"
            headers = answer.headers
            return headers["Content-Encoding"], headers["Vary"].count("Accept-Encoding"), ending
    raise SystemExit("the server did not start")


found = {}
for path in ("/made", "/fixed"):
    found[path] = [request(path, encoding) for encoding in ("identity", "gzip", "identity")]
    print(path, found[path])
made = [(None, 1, "whole"), ("gzip", 1, "whole"), (None, 1, "whole")]
fixed = [(None, 1, "whole"), ("gzip", 2, "whole"), ("gzip", 2, "cut off")]
if found != {"/made": made, "/fixed": fixed}:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   starlette         1.10.0
#   uvicorn           0.54.0
#   /made [(None, 1, 'whole'), ('gzip', 1, 'whole'), (None, 1, 'whole')]
#   /fixed [(None, 1, 'whole'), ('gzip', 2, 'whole'), ('gzip', 2, 'cut off')]
