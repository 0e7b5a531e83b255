#!/usr/bin/env bash
# respx 0.23.1 and pytest-httpx 0.36.2 with httpx2 2.16.2: a test's requests go out to the network.
#
# httpx2 goes on where httpx ended, with the same names, and libraries take the one that they find.
# respx and pytest-httpx replace the transports of httpx, and leave those of httpx2 alone. In a test
# with respx_mock or httpx_mock, whose purpose is that no request leaves the process, a client of
# httpx2 connects to the real address: a login exchanges its code at the provider, a logout revokes
# a token. By default both complain at the end of the test, of an answer that nobody asked for; by
# then the request is out. vcrpy 9.4.2 records both. This affects anyone whose dependency, or whose
# own code, has moved from httpx to httpx2 under older tests. Our middleware takes httpx2 where it
# is installed: the page on testing says to give it the stand-in's transport, which replaces either.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet respx==0.23.1 pytest-httpx==0.36.2 httpx==0.28.1 \
    httpx2==2.16.2 vcrpy==9.4.2 pytest==9.2.0
cd "$folder"
cat >test_client.py <<'PYTHON'
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import httpx2
import pytest
import respx
import vcr


class Provider(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "11")
        self.end_headers()
        self.wfile.write(b"the network")

    def log_message(self, *args):
        pass


@pytest.fixture
def address():
    server = HTTPServer(("127.0.0.1", 0), Provider)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


CLIENTS = pytest.mark.parametrize("client", [httpx, httpx2], ids=["httpx", "httpx2"])


@CLIENTS
@pytest.mark.respx(assert_all_called=False)
def test_respx(client, address, respx_mock):
    respx_mock.get(address).respond(text="respx")
    print("SEEN respx,", f"{client.__name__}:", client.get(address).text)


@CLIENTS
@pytest.mark.httpx_mock(assert_all_responses_were_requested=False)
def test_pytest_httpx(client, address, httpx_mock):
    httpx_mock.add_response(url=address, text="pytest-httpx")
    print("SEEN pytest-httpx,", f"{client.__name__}:", client.get(address).text)


@CLIENTS
def test_vcrpy(client, address, tmp_path):
    with vcr.use_cassette(tmp_path / "cassette.yaml") as cassette:
        client.get(address)
    print("SEEN vcrpy,", f"{client.__name__}:", len(cassette), "request recorded")
PYTHON
"$folder/venv/bin/pip" freeze | grep -E "^(respx|pytest-httpx|httpx2?|vcrpy)=" | tr "=" " " | tr -s " "
"$folder/venv/bin/python" -m pytest -q -s -p no:cacheprovider test_client.py | grep -o "SEEN.*" | cut -c6- | tee seen
diff - seen <<'SEEN' || { echo "the behaviour has changed"; exit 1; }
respx, httpx: respx
respx, httpx2: the network
pytest-httpx, httpx: pytest-httpx
pytest-httpx, httpx2: the network
vcrpy, httpx: 1 request recorded
vcrpy, httpx2: 1 request recorded
SEEN
# Seen:
#   httpx 0.28.1
#   httpx2 2.16.2
#   pytest-httpx 0.36.2
#   respx 0.23.1
#   vcrpy 9.4.2
#   respx, httpx: respx
#   respx, httpx2: the network
#   pytest-httpx, httpx: pytest-httpx
#   pytest-httpx, httpx2: the network
#   vcrpy, httpx: 1 request recorded
#   vcrpy, httpx2: 1 request recorded
