#!/usr/bin/env bash
# Litestar 2.25.0 on hypercorn 0.18.0: below /app, the page /docs/app/install is /install.
#
# A server gets the prefix that a proxy has taken off as root_path, and ASGI leaves to it whether
# path contains the prefix. hypercorn passes the path as it came. Litestar looks for the prefix
# anywhere in the path and removes all that stands before it, too, and it does not ask for a
# slash behind it: /docs/app/install becomes /install, and /apple becomes /le. Such a page is a
# 404, or another page with a 200. Starlette removes the prefix at the beginning only, and at a
# slash. This affects anyone who serves Litestar below a short prefix, such as /app or /api, if a
# path of the app has the same letters in it. Our path rules read a path in each form that the
# frameworks which they know make of it, Litestar's among them.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet litestar==2.25.0 hypercorn==0.18.0
cd "$folder"
cat >pages.py <<'PYTHON'
from litestar import Litestar, get


@get("/{page:path}", media_type="text/plain")
async def show(page: str) -> str:
    return page


app = Litestar([show])
PYTHON
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
venv/bin/pip list 2>/dev/null | grep -iE '^(litestar|hypercorn) '
venv/bin/hypercorn --root-path /app --bind "127.0.0.1:$port" pages:app >log 2>&1 &
trap 'kill "$!" 2>/dev/null; wait 2>/dev/null; rm -rf "$folder"' EXIT
python3 - "$port" <<'PYTHON'
import sys
import time
from urllib.error import URLError
from urllib.request import urlopen


def get(path):
    for _ in range(100):
        try:
            return urlopen(f"http://127.0.0.1:{sys.argv[1]}{path}").read().decode()
        except URLError:
            time.sleep(0.1)
    raise SystemExit("the server did not start")


paths = ("/docs/install", "/docs/app/install", "/apple")
seen = [get(path) for path in paths]
for path, page in zip(paths, seen):
    print(f"{path}: {page}")
if seen != ["/docs/install", "/install", "/le"]:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   Hypercorn         0.18.0
#   litestar          2.25.0
#   /docs/install: /docs/install
#   /docs/app/install: /install
#   /apple: /le
