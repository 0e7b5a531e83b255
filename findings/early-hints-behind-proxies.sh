#!/usr/bin/env bash
# gunicorn 27.0.1 behind nginx 1.22.1 or Varnish 7.1.1: a page with early hints is late, or a 503.
#
# gunicorn gives a WSGI app wsgi.early_hints, which sends 103 Early Hints before the page, so that
# a browser fetches the style sheet meanwhile. A proxy must read past interim responses, or pass
# them on (RFC 9110, 15.2). Varnish 7.1 answers 503, "Backend fetch failed". nginx 1.22 takes the
# 103 for the answer and the page for its body, which has no length: what it sends on happens to
# be right, but the page comes only when gunicorn closes the idle connection, after --keep-alive
# seconds: hints that should make a page faster make it slower by seconds. Apache 2.4, HAProxy 2.6
# and Caddy 2.6 pass on both at once; nginx knows hints since 1.29. This affects anyone who adds
# hints to an app that works on gunicorn alone: the callable is there whatever stands in front.
# Our middleware sends no hints, and passes an app's environ on as it is.
# Needs nginx and Varnish on the machine (Debian: nginx-light, varnish).
set -euo pipefail
nginx=$(command -v nginx || echo /usr/sbin/nginx)
varnish=$(command -v varnishd || echo /usr/sbin/varnishd)
folder=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; wait 2>/dev/null; rm -rf "$folder"' EXIT
chmod 777 "$folder"
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet gunicorn==27.0.1
read -r app behind_nginx behind_varnish < <(python3 - <<'PYTHON'
import socket

made = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
print(*(s.getsockname()[1] for s in made))
PYTHON
)
cat >"$folder/web.py" <<'PYTHON'
def app(environ, start_response):
    if environ["PATH_INFO"] == "/hints":
        environ["wsgi.early_hints"]([("Link", "</style.css>; rel=preload; as=style")])
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "7")])
    return [b"welcome"]
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
    server {
        listen 127.0.0.1:$behind_nginx;
        location / {
            proxy_pass http://127.0.0.1:$app;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }
    }
}
NGINX
printf 'vcl 4.1;\nbackend app { .host = "127.0.0.1"; .port = "%s"; }\n' "$app" >"$folder/app.vcl"
"$nginx" -v 2>&1
"$varnish" -V 2>&1 | head -n 1
"$folder/venv/bin/gunicorn" --version
"$folder/venv/bin/gunicorn" --chdir "$folder" --worker-class gthread --threads 4 --keep-alive 4 \
    --bind "127.0.0.1:$app" --log-level error web:app &
"$nginx" -p "$folder" -c "$folder/nginx.conf" 2>/dev/null &
"$varnish" -F -a "127.0.0.1:$behind_varnish" -f "$folder/app.vcl" -n "$folder/varnish" \
    -s malloc,16m >"$folder/varnish.log" 2>&1 &
python3 - "$app" "$behind_nginx" "$behind_varnish" <<'PYTHON'
import socket
import sys
import time


def answer(port, path):
    """Return the first lines of the responses, and whether they took seconds."""
    begun = time.monotonic()
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"
    connection.sendall(request.encode())
    got = b""
    while not got.endswith((b"welcome", b"</html>\n")):
        got += connection.recv(65536)
    lines = [line for line in got.decode().split("\r\n") if line.startswith("HTTP/1.1")]
    late = ", after seconds" if time.monotonic() - begun > 2 else ""
    return ", ".join(line.partition(" ")[2] for line in lines) + late


ports = dict(zip(("gunicorn", "nginx", "Varnish"), map(int, sys.argv[1:])))
for port in ports.values():
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except ConnectionRefusedError:
            time.sleep(0.1)
seen = {name: (answer(port, "/"), answer(port, "/hints")) for name, port in ports.items()}
for name, (plain, hints) in seen.items():
    print(f"{name}: without hints {plain}; with hints {hints}")
expected = {
    "gunicorn": ("200 OK", "103 Early Hints, 200 OK"),
    "nginx": ("200 OK", "103 Early Hints, 200 OK, after seconds"),
    "Varnish": ("200 OK", "503 Backend fetch failed"),
}
if seen != expected:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   nginx version: nginx/1.22.1
#   varnishd (varnish-7.1.1 revision 7cee1c581bead20e88d101ab3d72afb29f14d87a)
#   gunicorn (version 27.0.1)
#   gunicorn: without hints 200 OK; with hints 103 Early Hints, 200 OK
#   nginx: without hints 200 OK; with hints 103 Early Hints, 200 OK, after seconds
#   Varnish: without hints 200 OK; with hints 503 Backend fetch failed
