#!/usr/bin/env bash
# Starlette 1.10.0: GZipMiddleware keeps a file's ETag, so that a resumed download is broken.
#
# A strong ETag names one sequence of bytes; compressed, the same file has another one, and needs
# another ETag or a weak one (RFC 9110, 8.8.3.3). GZipMiddleware compresses what StaticFiles and
# FileResponse send and leaves their strong ETag as it is; an answer of status 206 it does not
# compress. Where the download of a large CSV or JSON file breaks off, a browser asks for the rest
# by Range, with If-Range and that ETag. It gets the rest of the plain file, appends it to the
# compressed beginning, and has a file that cannot be decompressed, after two successes.
# brotli-asgi 1.7.0, which falls back to the same code, keeps the ETag too. Django's
# GZipMiddleware makes the ETag weak, with which If-Range never matches, and the client begins
# again. This affects anyone who serves large text files under such a middleware. Our middleware
# sends no ETag, and leaves those of an app as they are.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet starlette==1.10.0 uvicorn==0.54.0 brotli-asgi==1.7.0
cd "$folder"
cat >web.py <<'PYTHON'
from pathlib import Path

from brotli_asgi import BrotliMiddleware
from starlette.applications import Starlette
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import FileResponse
from starlette.routing import Mount, Route

table = Path("table.csv")
table.write_text("".join(f"{n},{n * n * 7919 % 1000003}\n" for n in range(100_000)))
files = Starlette(routes=[Route("/table.csv", lambda request: FileResponse(table))])
app = Starlette(
    routes=[
        Mount("/gzip", GZipMiddleware(files)),
        Mount("/brotli", BrotliMiddleware(files)),
    ]
)
PYTHON
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
venv/bin/uvicorn --port "$port" --log-level error web:app &
trap 'kill "$!" 2>/dev/null; wait 2>/dev/null; rm -rf "$folder"' EXIT
venv/bin/python - "$port" <<'PYTHON'
import gzip
import http.client
import socket
import sys
import time
import zlib
from importlib.metadata import version
from pathlib import Path

for name in ("starlette", "brotli-asgi"):
    print(name, version(name))
PORT = int(sys.argv[1])
for _ in range(100):
    try:
        socket.create_connection(("127.0.0.1", PORT)).close()
        break
    except ConnectionRefusedError:
        time.sleep(0.1)


def get(path, length=None, **headers):
    """Return a response and the first bytes of its body."""
    connection = http.client.HTTPConnection("127.0.0.1", PORT)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("GET", path, headers=names)
    response = connection.getresponse()
    body = response.read(length)
    connection.close()
    return response, body


first, begun = get("/gzip/table.csv", 100_000, Accept_Encoding="gzip")
rest, end = get(
    "/gzip/table.csv",
    Accept_Encoding="gzip",
    Range=f"bytes={len(begun)}-",
    If_Range=first.headers["ETag"],
)
print("first:", first.status, first.headers["Content-Encoding"], "ETag", first.headers["ETag"][:4] + "...")
print("rest: ", rest.status, rest.headers["Content-Encoding"])
try:
    file = gzip.decompress(begun + end)
    result = "right" if file == Path("table.csv").read_bytes() else "wrong"
except (EOFError, OSError, zlib.error) as error:
    result = f"{type(error).__name__}, no file"
print("together:", result)
plain, _ = get("/brotli/table.csv", 1)
brotli, _ = get("/brotli/table.csv", 1, Accept_Encoding="br")
same = plain.headers["ETag"] == brotli.headers["ETag"]
print("brotli-asgi:", brotli.headers["Content-Encoding"], "with the ETag of the plain file:", same)
if (first.status, rest.status, "no file" in result, same) != (200, 206, True, True):
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   starlette 1.10.0
#   brotli-asgi 1.7.0
#   first: 200 gzip ETag "d9c...
#   rest:  206 None
#   together: EOFError, no file
#   brotli-asgi: br with the ETag of the plain file: True
