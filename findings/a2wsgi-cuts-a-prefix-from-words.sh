#!/usr/bin/env bash
# a2wsgi 1.10.10 on hypercorn 0.18.0: below /shop, /shopping-list becomes ping-list.
#
# Behind a proxy that takes a prefix off the path, a server gets the prefix as root_path, and the
# rest of the path. ASGI leaves to servers whether path contains the prefix; hypercorn passes the
# path as it came. a2wsgi's WSGIMiddleware cuts the prefix off wherever the path begins with the
# same letters, also in the middle of a word: the page /shop/shopping-list arrives as
# /shopping-list, and the WSGI app is asked for ping-list, without a slash, which is a 404 or
# another page. All other pages work, so it shows only for names that begin like the prefix.
# uvicorn puts the prefix in front, and is not affected. This affects anyone who serves a Flask or
# Django app by a2wsgi below a prefix. Our middleware cuts at a slash only, and also checks the
# path that a2wsgi produces.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet a2wsgi==1.10.10 hypercorn==0.18.0
cd "$folder"
cat >shop.py <<'PYTHON'
from a2wsgi import WSGIMiddleware


def show(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{environ['SCRIPT_NAME']} {environ['PATH_INFO']}".encode()]


app = WSGIMiddleware(show)
PYTHON
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
venv/bin/pip list 2>/dev/null | grep -iE '^(a2wsgi|hypercorn) '
venv/bin/python -m hypercorn --root-path /shop --bind "127.0.0.1:$port" shop:app >log 2>&1 &
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


basket, page = get("/basket"), get("/shopping-list")
print("/basket:", basket)
print("/shopping-list:", page)
if (basket, page) != ("/shop /basket", "/shop ping-list"):
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   a2wsgi            1.10.10
#   hypercorn         0.18.0
#   /basket: /shop /basket
#   /shopping-list: /shop ping-list
