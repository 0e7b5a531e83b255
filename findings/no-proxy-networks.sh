#!/usr/bin/env bash
# httpx 0.28.1, aiohttp 3.14.5, urllib: NO_PROXY=10.0.0.0/8 is ignored; with a port, others ignore it.
#
# NO_PROXY lists hosts that are called without the proxy, and clusters put their networks into it.
# requests 2.34.2, niquests 3.21.2, httpx2 2.16.2 and curl compare an address with the network;
# httpx, aiohttp (trust_env=True) and Python's urllib compare texts, and send the call to the proxy:
# a call between two services, whose plain http carries tokens, leaves the cluster, or fails. An
# address with a port (10.1.2.3:8080) is the other way round: httpx, httpx2 and urllib know it,
# requests, niquests, aiohttp and curl do not. No error says which was used. Anyone who moves from
# requests to httpx or aiohttp behind a company's proxy is affected. httpx2, which our package uses,
# knows both, and we call TikTok's public host only.
# Needs curl.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet httpx==0.28.1 httpx2==2.16.2 aiohttp==3.14.5 \
    requests==2.34.2 niquests==3.21.2
"$folder/venv/bin/python" - <<'PYTHON'
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = self.server.title.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def serve(title):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.title = title
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


PROXY, DIRECT = serve("proxy"), serve("direct")
URL = f"http://127.0.0.1:{DIRECT}/"
LINES = {name: f"import {name}; print({name}.get(URL).text)" for name in
         ("requests", "niquests", "httpx2", "httpx")}
LINES["urllib"] = "import urllib.request as u; print(u.urlopen(URL).read().decode())"
LINES["aiohttp"] = """
import asyncio, aiohttp
async def main():
    async with aiohttp.ClientSession(trust_env=True) as client:
        print(await (await client.get(URL)).text())
asyncio.run(main())
"""
COMMANDS = {
    name: [sys.executable, "-c", f"URL = {URL!r}\n{lines}"] for name, lines in LINES.items()
}
COMMANDS["curl"] = ["curl", "--silent", URL]


def called(command, no_proxy):
    proxy = f"http://127.0.0.1:{PROXY}"
    kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    env = kept | {"http_proxy": proxy, "no_proxy": no_proxy}
    run = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return run.stdout.strip()


for name in ("requests", "niquests", "httpx2", "httpx", "aiohttp"):
    print(name, version(name))
print("curl", subprocess.check_output(["curl", "--version"], text=True).split()[1])
RULES = {
    "another host": "db.example.com",
    "the address": "127.0.0.1",
    "its network": "127.0.0.0/8",
    "the address and port": f"127.0.0.1:{DIRECT}",
}
seen = {}
for title, rule in RULES.items():
    seen[title] = [n for n, command in COMMANDS.items() if called(command, rule) == "proxy"]
    print(f"no_proxy has {title}: through the proxy go", *seen[title] or ["none"])
if [set(names) for names in seen.values()] != [
    set(COMMANDS),
    set(),
    {"httpx", "urllib", "aiohttp"},
    {"requests", "niquests", "aiohttp", "curl"},
]:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   requests 2.34.2
#   niquests 3.21.2
#   httpx2 2.16.2
#   httpx 0.28.1
#   aiohttp 3.14.5
#   curl 7.88.1
#   no_proxy has another host: through the proxy go requests niquests httpx2 httpx urllib aiohttp curl
#   no_proxy has the address: through the proxy go none
#   no_proxy has its network: through the proxy go httpx urllib aiohttp
#   no_proxy has the address and port: through the proxy go requests niquests aiohttp curl
