#!/usr/bin/env bash
# uvicorn 0.54.0 with httptools 0.9.0: a client of HTTP/1.0 gets chunks, and reads them as text.
#
# Chunked encoding came with HTTP/1.1, and a server must not send it to a client of 1.0 (RFC 9112,
# 6.1). With h11 uvicorn sends the body as it is and closes the connection. With httptools, which
# uvicorn uses as soon as it is installed (uvicorn[standard] does), a response without a
# Content-Length goes out in chunks: a client of 1.0 finds the sizes in its data, as in
# "6\r\npart 1". This affects streams and compressed responses as seen by old monitors, scripts and
# devices; a JSON file that was fine yesterday does not parse
# after an installation that changes no version of uvicorn. Our middleware gives each response of
# its own a Content-Length, and leaves those of an app as they are.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet uvicorn==0.54.0 h11==0.16.0
cd "$folder"
cat >pages.py <<'PYTHON'
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b'{"a":', "more_body": True})
    await send({"type": "http.response.body", "body": b" 1}"})
PYTHON
cat >ask.py <<'PYTHON'
import socket
import subprocess
import sys
import time

with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
command = [sys.executable, "-m", "uvicorn", "--log-level", "warning"]
server = subprocess.Popen([*command, "--port", str(port), "pages:app"])
try:
    for _ in range(200):
        try:
            connection = socket.create_connection(("127.0.0.1", port))
            break
        except ConnectionRefusedError:
            time.sleep(0.1)
    connection.sendall(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
    answer = b""
    while data := connection.recv(4096):
        answer += data
    print(answer.partition(b"\r\n\r\n")[2])
finally:
    server.terminate()
    server.wait()
PYTHON
without=$(venv/bin/python ask.py)
venv/bin/pip install --quiet httptools==0.9.0
with=$(venv/bin/python ask.py)
venv/bin/pip list 2>/dev/null | grep -iE '^(uvicorn|h11|httptools) '
echo "h11:       $without"
echo "httptools: $with"
[ "$without" = "b'{\"a\": 1}'" ] && [ "$with" != "$without" ] && [ "${with#*5\\r\\n}" != "$with" ]
# Seen:
#   h11        0.16.0
#   httptools  0.9.0
#   uvicorn    0.54.0
#   h11:       b'{"a": 1}'
#   httptools: b'5\r\n{"a":\r\n3\r\n 1}\r\n0\r\n\r\n'
