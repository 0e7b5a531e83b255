#!/usr/bin/env bash
# Tornado 6.6.1 and Varnish 7.1.1: a chunked answer with a trailer is an error, or has no body.
#
# A body in chunks may be followed by fields, such as Server-Timing or a checksum, and who does
# not want them must skip them (RFC 9112, 7.1.2). Tornado's AsyncHTTPClient reads the body to its
# end and then raises HTTPStreamClosedError, "Connection closed": all of the body is thrown away,
# and the message points at the network. Varnish sends the head of such an answer, status 200, and
# then closes the connection without the body. nginx 1.22, Apache 2.4, HAProxy 2.6 and Caddy 2.6,
# and requests, httpx2, aiohttp and curl give the body. This affects anyone who puts Varnish
# before a server of gRPC-Web or one that sends Server-Timing at its end, or calls it from
# Tornado; the server's own tests see nothing of it. Our middleware sends no trailers, and passes
# those of an app on.
# Needs Varnish on the machine (Debian: varnish).
set -euo pipefail
varnish=$(command -v varnishd || echo /usr/sbin/varnishd)
folder=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; wait 2>/dev/null; rm -rf "$folder"' EXIT
chmod 777 "$folder"
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet tornado==6.6.1 httpx2==2.16.2
read -r app behind < <(python3 - <<'PYTHON'
import socket

made = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(s.getsockname()[1] for s in made))
PYTHON
)
cat >"$folder/app.py" <<'PYTHON'
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class App(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Cache-Control", "no-store")
        trailer = b""
        if self.path == "/timed":
            self.send_header("Trailer", "Server-Timing")
            trailer = b"Server-Timing: db;dur=53\r\n"
        self.end_headers()
        self.wfile.write(b"7\r\nwelcome\r\n0\r\n" + trailer + b"\r\n")

    def log_message(self, *given):
        pass


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), App).serve_forever()
PYTHON
printf 'vcl 4.1;\nbackend app { .host = "127.0.0.1"; .port = "%s"; }\n' "$app" >"$folder/app.vcl"
"$varnish" -V 2>&1 | head -n 1
python3 "$folder/app.py" "$app" 2>/dev/null &
"$varnish" -F -a "127.0.0.1:$behind" -f "$folder/app.vcl" -n "$folder/varnish" \
    -s malloc,16m >"$folder/varnish.log" 2>&1 &
"$folder/venv/bin/python" - "$app" "$behind" <<'PYTHON'
import asyncio
import sys
import time
from importlib.metadata import version

import httpx2
from tornado.httpclient import AsyncHTTPClient

for name in ("tornado", "httpx2"):
    print(name, version(name))
APP, VARNISH = (f"http://127.0.0.1:{port}" for port in sys.argv[1:])
for address in (APP, VARNISH):
    for _ in range(200):
        try:
            httpx2.get(address)
            break
        except httpx2.TransportError:
            time.sleep(0.1)


def by_httpx2(url):
    try:
        return httpx2.get(url).text
    except httpx2.TransportError as error:
        return type(error).__name__


def by_tornado(url):
    async def fetch():
        return (await AsyncHTTPClient().fetch(url)).body.decode()

    try:
        return asyncio.run(fetch())
    except Exception as error:
        return f"{type(error).__name__}: {error}"


seen = {
    "httpx2": by_httpx2(APP + "/timed"),
    "Tornado, no trailer": by_tornado(APP + "/plain"),
    "Tornado": by_tornado(APP + "/timed"),
    "httpx2 behind Varnish, no trailer": by_httpx2(VARNISH + "/plain"),
    "httpx2 behind Varnish": by_httpx2(VARNISH + "/timed"),
}
for name, got in seen.items():
    print(f"{name}: {got}")
right = [name for name, got in seen.items() if got == "welcome"]
if right != ["httpx2", "Tornado, no trailer", "httpx2 behind Varnish, no trailer"]:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   varnishd (varnish-7.1.1 revision 7cee1c581bead20e88d101ab3d72afb29f14d87a)
#   tornado 6.6.1
#   httpx2 2.16.2
#   httpx2: welcome
#   Tornado, no trailer: welcome
#   Tornado: HTTPStreamClosedError: Connection closed
#   httpx2 behind Varnish, no trailer: welcome
#   httpx2 behind Varnish: RemoteProtocolError
