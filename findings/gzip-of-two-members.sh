#!/usr/bin/env bash
# httpx 0.28.1, httpx2 2.16.2 and httplib2 0.32.1: a gzip body of two members loses the second.
#
# A gzip file may have several members one after another, which decompress to one text (RFC 1952,
# 2.2), and Content-Encoding: gzip is that format (RFC 9110, 8.4.1.3). Logs that are compressed
# each hour and joined, files of bgzip, and servers that compress each part of a stream by itself
# make such bodies. These three decompress the first member and drop the rest: status 200, no
# error, and a list that is too short, or a JSON text that ends in its middle. requests, urllib3,
# aiohttp, niquests and Tornado read all of it, and curl refuses it by name. This affects anyone
# who moves from requests to httpx or httpx2 and reads exports, logs or pages of a cache by it.
# Our middleware calls TikTok by httpx2: an answer that was cut off is no JSON, and is refused as
# one that cannot be read.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet httpx==0.28.1 httpx2==2.16.2 httplib2==0.32.1 requests==2.34.2 \
    aiohttp==3.14.5 tornado==6.6.1
"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

import aiohttp
import httplib2
import httpx
import httpx2
import requests
from tornado.httpclient import AsyncHTTPClient

NAMES = ("httpx", "httpx2", "httplib2", "requests", "aiohttp", "tornado")
BODY = gzip.compress(b"first hour\n") + gzip.compress(b"second hour\n")
assert gzip.decompress(BODY) == b"first hour\nsecond hour\n"


class Logs(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, *given):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Logs)
threading.Thread(target=server.serve_forever, daemon=True).start()
URL = f"http://127.0.0.1:{server.server_address[1]}/"


async def by_aiohttp():
    async with aiohttp.ClientSession() as client, client.get(URL) as answer:
        return await answer.read()


async def by_tornado():
    return (await AsyncHTTPClient().fetch(URL)).body


bodies = (
    httpx.get(URL).content,
    httpx2.get(URL).content,
    httplib2.Http().request(URL)[1],
    requests.get(URL, timeout=10).content,
    asyncio.run(by_aiohttp()),
    asyncio.run(by_tornado()),
)
for name, body in zip(NAMES, bodies):
    print(f"{name} {version(name)}: {body}")
if [len(body) for body in bodies] != [11, 11, 11, 23, 23, 23]:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   httpx 0.28.1: b'first hour\n'
#   httpx2 2.16.2: b'first hour\n'
#   httplib2 0.32.1: b'first hour\n'
#   requests 2.34.2: b'first hour\nsecond hour\n'
#   aiohttp 3.14.5: b'first hour\nsecond hour\n'
#   tornado 6.6.1: b'first hour\nsecond hour\n'
