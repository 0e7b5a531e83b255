#!/usr/bin/env bash
# brotli-asgi 1.7.0 on granian 2.8.9 with Starlette 1.10.0: each file is a 500.
#
# granian offers the extension http.response.pathsend, by which an app names a file and the server
# sends it; Starlette's FileResponse and StaticFiles use it wherever it is offered. brotli-asgi
# keeps the response's head until the first message with a body, and drops messages that it does
# not know, so that neither the head nor the file is sent, and granian answers 500. Pages that are
# not files work, and so does everything on uvicorn, hypercorn and daphne, which do not offer the
# extension. Starlette's own GZipMiddleware knows it. This affects anyone who moves an app with
# that middleware to granian: the site has no style sheets and no downloads. Our middleware passes
# messages that it does not know on as they are, with the head before them.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet brotli-asgi==1.7.0 granian==2.8.9 starlette==1.10.0 uvicorn==0.54.0
cd "$folder"
echo "body { color: black; }" >style.css
cat >web.py <<'PYTHON'
from brotli_asgi import BrotliMiddleware
from starlette.applications import Starlette
from starlette.responses import FileResponse, PlainTextResponse
from starlette.routing import Route

routes = [
    Route("/page", lambda request: PlainTextResponse("welcome " * 100)),
    Route("/style.css", lambda request: FileResponse("style.css")),
]
app = BrotliMiddleware(Starlette(routes=routes))
PYTHON
venv/bin/pip list 2>/dev/null | grep -iE '^(brotli-asgi|granian|starlette|uvicorn) '
venv/bin/python - <<'PYTHON'
import http.client
import socket
import subprocess
import time


def ask(*command):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with open("log", "w") as log:
        words = [word.format(port=port) for word in command]
        server = subprocess.Popen([f"venv/bin/{words[0]}", *words[1:]], stdout=log, stderr=log)
    try:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.1)
        found = []
        for path in ("/page", "/style.css"):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", path, headers={"Accept-Encoding": "br"})
            try:
                response = connection.getresponse()
                found.append(response.status)
            except (TimeoutError, http.client.HTTPException) as error:
                found.append(type(error).__name__)
            connection.close()
        return tuple(found)
    finally:
        server.terminate()
        server.wait()


seen = {
    "granian": ask("granian", "--interface", "asgi", "--port", "{port}", "web:app"),
    "uvicorn": ask("uvicorn", "--port", "{port}", "web:app"),
}
for name, (page, file) in seen.items():
    print(f"{name}: the page {page}, the file {file}")
if seen != {"granian": (200, 500), "uvicorn": (200, 200)}:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   brotli-asgi       1.7.0
#   granian           2.8.9
#   starlette         1.10.0
#   uvicorn           0.54.0
#   granian: the page 200, the file 500
#   uvicorn: the page 200, the file 200
