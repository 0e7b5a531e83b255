#!/usr/bin/env bash
# waitress 3.0.2 and gevent 26.9.0 with Django 5.2.19: HEAD breaks the connection's next answer.
#
# The answer to HEAD has no body (RFC 9110, 9.3.2). A WSGI app may return one all the same, and
# Django's views do, since they answer HEAD as they answer GET; servers send the head alone.
# waitress, and gevent's WSGIServer, send the body too, behind a head that announces its length, and
# keep the connection. A client reads no body after HEAD, so the page stands where the next answer
# should begin: that request fails with a bad status line, or its connection is closed. gunicorn sends
# the head alone. Flask, Bottle and Pyramid remove the body themselves. It shows only where a
# connection is used again: behind a proxy or a load balancer that keeps connections to the server,
# and with programs that ask with HEAD whether a file has changed and then fetch it, where every
# second request fails. This affects anyone who serves Django by one of the two. The pages of our
# middleware have no body for HEAD, and the page of servers says what other apps need.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet waitress==3.0.2 gevent==26.9.0 gunicorn==27.0.1 django==5.2.19
cd "$folder"
export PYTHONPATH="$folder"
cat >site_django.py <<'PYTHON'
from django.conf import settings

settings.configure(
    ROOT_URLCONF="site_django",
    ALLOWED_HOSTS=["*"],
    SECRET_KEY="s",
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
)

from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path


def page(request):
    return HttpResponse("the page")


urlpatterns = [path("", page)]
app = get_wsgi_application()
PYTHON
cat >with_gevent.py <<'PYTHON'
import sys

from gevent.pywsgi import WSGIServer

from site_django import app

WSGIServer(("127.0.0.1", int(sys.argv[1])), app, log=None).serve_forever()
PYTHON
venv/bin/python - <<'PYTHON'
import socket
import subprocess
import time
from importlib.metadata import version

for package in ("waitress", "gevent", "gunicorn", "django"):
    print(package, version(package))
SERVERS = {
    "waitress": ["waitress-serve", "--listen", "127.0.0.1:{port}", "site_django:app"],
    "gevent": ["python", "with_gevent.py", "{port}"],
    "gunicorn": ["gunicorn", "--threads", "2", "-b", "127.0.0.1:{port}", "site_django:app"],
}


def behind_the_head(command):
    """Return what a server sends behind the head of its answer to HEAD."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [word.format(port=port) for word in ["venv/bin/" + command[0], *command[1:]]]
    with open("log", "a") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        for _ in range(600):
            try:
                client = socket.create_connection(("127.0.0.1", port))
                break
            except ConnectionRefusedError:
                time.sleep(0.1)
        client.sendall(b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        client.settimeout(10)
        answer = client.recv(9999)
        client.settimeout(2)
        try:
            while chunk := client.recv(9999):
                answer += chunk
        except TimeoutError:
            answer += b", and the connection is kept"
        return answer.partition(b"\r\n\r\n")[2].decode()
    finally:
        server.kill()
        server.wait()


seen = {name: behind_the_head(command) for name, command in SERVERS.items()}
for name, text in seen.items():
    print(f"{name}: behind the head: {text or 'nothing'}")
kept = "the page, and the connection is kept"
if (seen["waitress"], seen["gevent"]) != (kept, kept) or "page" in seen["gunicorn"]:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   waitress 3.0.2
#   gevent 26.9.0
#   gunicorn 27.0.1
#   django 5.2.19
#   waitress: behind the head: the page, and the connection is kept
#   gevent: behind the head: the page, and the connection is kept
#   gunicorn: behind the head: , and the connection is kept
