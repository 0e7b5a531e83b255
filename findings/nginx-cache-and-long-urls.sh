#!/usr/bin/env bash
# nginx 1.22.1: with proxy_cache on, a long URL turns a response into a 502.
#
# The head of an answer must fit into proxy_buffer_size, 4 kB by default. If a cache is on, nginx
# writes the cache's own header and the key, which contains the whole URL, into the same buffer
# first, whether or not that answer will be stored. So the room for the head shrinks by 350 bytes
# and the length of the URL: an answer of 3,000 bytes of headers (a session cookie, a
# Content-Security-Policy) works for short addresses, and is a 502 "upstream sent too big header"
# for one of 1,200 bytes, such as a search or a link back from a login. The description of
# proxy_buffer_size does not mention it. This affects anyone who switches a cache on before an app
# that sets cookies. Our page on proxies raises proxy_buffer_size in its recipe with a cache.
# Needs nginx on the machine (Debian: nginx-light).
set -euo pipefail
server=$(command -v nginx || echo /usr/sbin/nginx)
folder=$(mktemp -d)
read -r with without behind < <(python3 - <<'PYTHON'
import socket

made = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
print(*(s.getsockname()[1] for s in made))
PYTHON
)
trap 'kill $(jobs -p) 2>/dev/null; wait 2>/dev/null; rm -rf "$folder"' EXIT
chmod 777 "$folder"
cat >"$folder/app.py" <<'PYTHON'
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


class App(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Set-Cookie", "session=" + "x" * 3000)
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *given):
        pass


HTTPServer(("127.0.0.1", int(sys.argv[1])), App).serve_forever()
PYTHON
cat >"$folder/nginx.conf" <<NGINX
daemon off;
pid $folder/pid;
error_log $folder/error.log;
events {}
http {
    access_log off;
    client_body_temp_path $folder/body;
    proxy_temp_path $folder/proxy;
    fastcgi_temp_path $folder/fastcgi;
    uwsgi_temp_path $folder/uwsgi;
    scgi_temp_path $folder/scgi;
    proxy_cache_path $folder/cache keys_zone=app:1m;
    server {
        listen 127.0.0.1:$with;
        location / { proxy_pass http://127.0.0.1:$behind; proxy_cache app; }
    }
    server {
        listen 127.0.0.1:$without;
        location / { proxy_pass http://127.0.0.1:$behind; }
    }
}
NGINX
python3 "$folder/app.py" "$behind" 2>/dev/null &
"$server" -v 2>&1
"$server" -p "$folder" -c "$folder/nginx.conf" 2>/dev/null &
python3 - "$with" "$without" <<'PYTHON'
import sys
import time
from urllib.error import HTTPError, URLError
from urllib.request import urlopen


def status(port, length):
    for _ in range(100):
        try:
            return urlopen(f"http://127.0.0.1:{port}/?{'q' * length}").status
        except HTTPError as error:
            return error.code
        except URLError:
            time.sleep(0.1)
    raise SystemExit("nginx did not start")


time.sleep(1)
cached, plain = sys.argv[1:]
seen = {
    "without a cache, short URL": status(plain, 10),
    "without a cache, long URL": status(plain, 1200),
    "with a cache, short URL": status(cached, 10),
    "with a cache, long URL": status(cached, 1200),
}
for name, found in seen.items():
    print(f"{name}: {found}")
if [*seen.values()] != [200, 200, 200, 502]:
    raise SystemExit("the behaviour has changed")
PYTHON
grep -m1 -o "upstream sent too big header" "$folder/error.log"
# Seen:
#   nginx version: nginx/1.22.1
#   without a cache, short URL: 200
#   without a cache, long URL: 200
#   with a cache, short URL: 200
#   with a cache, long URL: 502
#   upstream sent too big header
