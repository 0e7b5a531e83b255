#!/usr/bin/env bash
# httpx 0.28.1, httpx2 2.16.2, HTTP/2, with nginx 1.22.1: each thousandth request is an error.
#
# nginx ends a connection after 1,000 requests (keepalive_requests), and all of them when it is
# reloaded: it sends GOAWAY, and still answers the requests that it has taken (RFC 9113, 6.8). With
# http2=True the client takes the connection for closed as soon as it reads GOAWAY: the requests under
# way end in LocalProtocolError or RemoteProtocolError, with states of h2 in the text. The server has
# carried them out: a payment that is repeated is paid twice, and a refresh whose answer is lost ends
# a login, where a provider takes a refresh token once. Of requests one after another it is each
# thousandth; of twenty tasks at once a dozen fail together. niquests 3.21.2 loses none, and httpx
# over HTTP/1.1, its default, loses none either. (httpx2's issue 304 is closed as fixed.) Anyone who
# turns HTTP/2 on for an API behind nginx is affected. Our calls to TikTok use HTTP/1.1, and the page
# on calling TikTok's API advises the same.
# Needs nginx and openssl on the machine (Debian: nginx-light).
set -euo pipefail
nginx=$(command -v nginx || echo /usr/sbin/nginx)
folder=$(mktemp -d)
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
trap 'kill "${running:-}" 2>/dev/null; wait 2>/dev/null; rm -rf "$folder"' EXIT
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost -keyout "$folder/key.pem" -out "$folder/cert.pem" 2>"$folder/log"
{
    [ "$(id -u)" -ne 0 ] || echo "user root;"
    cat <<NGINX
pid $folder/pid;
daemon off;
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
        listen 127.0.0.1:$port ssl http2;
        ssl_certificate $folder/cert.pem;
        ssl_certificate_key $folder/key.pem;
        location / { proxy_pass http://unix:$folder/socket; }
    }
}
NGINX
} >"$folder/nginx.conf"
"$nginx" -e "$folder/error.log" -c "$folder/nginx.conf" &
running=$!
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "httpx[http2]==0.28.1" "httpx2[http2]==2.16.2" h2==4.4.1 niquests==3.21.2
"$nginx" -v 2>&1 | sed 's/.*nginx/nginx/'
"$folder/venv/bin/python" - "$port" "$folder" <<'PYTHON'
import asyncio
import ssl
import sys
from collections import Counter
from pathlib import Path

import httpx
import httpx2
import niquests

URL, FOLDER = f"https://localhost:{sys.argv[1]}", Path(sys.argv[2])
CERTIFICATE = str(FOLDER / "cert.pem")
REQUESTS, TASKS = 1100, 20
print(*(f"{library.__name__} {library.__version__}" for library in (httpx, httpx2, niquests)))


reached = []  # the paths of requests that the app has got


async def answer(reader, writer):
    path = (await reader.readuntil(b"\r\n\r\n")).split()[1]
    reached.append(path)
    if path == b"/slow":
        await asyncio.sleep(0.05)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\ndone")
    await writer.drain()
    writer.close()


async def lost(post, path, tasks):
    """Return how many of the requests were errors."""
    seen = Counter()

    async def some(number):
        for _ in range(number):
            try:
                seen[(await post(URL + path, data={"code": "1"})).status_code] += 1
            except Exception as error:
                seen[type(error).__name__] += 1

    await asyncio.gather(*(some(REQUESTS // tasks) for _ in range(tasks)))
    return REQUESTS - seen.pop(200, 0), seen


async def main():
    await asyncio.start_unix_server(answer, FOLDER / "socket")
    trusted = ssl.create_default_context(cafile=CERTIFICATE)
    good = True
    for library in (httpx, httpx2):
        for path, tasks in {"/": 1, "/slow": TASKS}.items():
            reached.clear()
            async with library.AsyncClient(http2=True, verify=trusted, timeout=60) as client:
                errors, seen = await lost(client.post, path, tasks)
            found = "one" if errors == 1 else "several" if errors > 1 else "none"
            carried_out = errors - (REQUESTS - len(reached))
            done = "carried out" if carried_out == errors else "some of them carried out"
            print(f"{library.__name__}, HTTP/2, {tasks} at once: {found} of {REQUESTS} lost, {done}")
            good &= carried_out > 0
            good &= found == ("one" if tasks == 1 else "several")
            good &= all(kind.endswith("ProtocolError") for kind in seen)
        async with library.AsyncClient(verify=trusted, timeout=60) as client:
            errors, _ = await lost(client.post, "/slow", TASKS)
        print(f"{library.__name__}, HTTP/1.1, {TASKS} at once: {errors} lost")
        good &= errors == 0
    async with niquests.AsyncSession(disable_http3=True) as client:

        async def post(url, data):
            return await client.post(url, data=data, verify=CERTIFICATE)

        errors, _ = await lost(post, "/slow", TASKS)
    print(f"niquests, HTTP/2, {TASKS} at once: {errors} lost")
    if not good or errors:
        raise SystemExit("the behaviour has changed")


asyncio.run(main())
PYTHON
# Seen:
#   nginx/1.22.1
#   httpx 0.28.1 httpx2 2.16.2 niquests 3.21.2
#   httpx, HTTP/2, 1 at once: one of 1100 lost, carried out
#   httpx, HTTP/2, 20 at once: several of 1100 lost, some of them carried out
#   httpx, HTTP/1.1, 20 at once: 0 lost
#   httpx2, HTTP/2, 1 at once: one of 1100 lost, carried out
#   httpx2, HTTP/2, 20 at once: several of 1100 lost, some of them carried out
#   httpx2, HTTP/1.1, 20 at once: 0 lost
#   niquests, HTTP/2, 20 at once: 0 lost
