#!/usr/bin/env bash
# uvicorn 0.54.0 on a unix socket: nginx's X-Forwarded-Proto is ignored, so that links are http://.
#
# uvicorn believes the headers of a proxy on 127.0.0.1 by default, and --forwarded-allow-ips takes,
# by its documentation, addresses, networks, or literals such as the path of a unix socket. A
# connection over a unix socket has no address, and one without an address is never trusted, by
# default or with that path; "*" alone works, which trusts everybody if the same setting, as the
# variable FORWARDED_ALLOW_IPS, meets a port later. So the app takes https for http: redirects and
# url_for() lead to http://, the redirect_uri that an OAuth library makes from the request is
# refused by the provider, Secure cookies are left out where a framework asks for the scheme, and
# each visitor has the same address, none. With a port on loopback it works. gunicorn's asgi worker
# trusts a unix socket. This affects anyone who serves an app by --uds, as uvicorn's page on
# deployment shows. Our middleware takes its addresses from its settings, and finishes logins there;
# the page on deploying says what the rest of the app needs.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet uvicorn==0.54.0 gunicorn==27.0.1
cd "$folder"
cat >app.py <<'PYTHON'
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        for kind in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{kind}.complete"})
        return
    body = scope["scheme"].encode()
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
PYTHON
venv/bin/python - <<'PYTHON'
import socket
import subprocess
import sys
import time
from http.client import HTTPConnection
from importlib.metadata import version
from pathlib import Path

for name in ("uvicorn", "gunicorn"):
    print(name, version(name))
PATH = str(Path("server.sock").absolute())
with socket.create_server(("127.0.0.1", 0)) as free:
    PORT = free.getsockname()[1]


class Connection(HTTPConnection):
    def connect(self):
        if self.is_unix:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.connect(PATH)
        else:
            super().connect()


def scheme(command, *, is_unix):
    server = subprocess.Popen([sys.executable, "-m", *command], stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            connection = Connection("127.0.0.1", PORT)
            connection.is_unix = is_unix
            try:
                connection.request("GET", "/", headers={"X-Forwarded-Proto": "https"})
                return connection.getresponse().read().decode()
            except OSError:
                time.sleep(0.1)
    finally:
        server.terminate()
        server.wait()
        Path(PATH).unlink(missing_ok=True)


UVICORN = ["uvicorn", "app:app", "--log-level", "critical"]
UNIX = [*UVICORN, "--uds", PATH]
seen = {
    "uvicorn, a port": scheme([*UVICORN, "--port", str(PORT)], is_unix=False),
    "uvicorn, a unix socket": scheme(UNIX, is_unix=True),
    "the same, its path trusted": scheme([*UNIX, "--forwarded-allow-ips", PATH], is_unix=True),
    "the same, * trusted": scheme([*UNIX, "--forwarded-allow-ips", "*"], is_unix=True),
    "gunicorn, a unix socket": scheme(
        ["gunicorn", "app:app", "--worker-class", "asgi", "--bind", f"unix:{PATH}"], is_unix=True
    ),
}
for name, found in seen.items():
    print(f"{name}: {found}")
if [*seen.values()] != ["https", "http", "http", "https", "https"]:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   uvicorn 0.54.0
#   gunicorn 27.0.1
#   uvicorn, a port: https
#   uvicorn, a unix socket: http
#   the same, its path trusted: http
#   the same, * trusted: https
#   gunicorn, a unix socket: https
