#!/usr/bin/env bash
# hypercorn 0.18.0, ProxyFixMiddleware(mode="modern"): quotes and capitals of Forwarded are misread.
#
# A Forwarded header (RFC 7239, 4) has names in any case, and values that may be in quotes; a host
# with a port and an address of IPv6 must be, since they contain a colon. The middleware compares
# names with small letters, and keeps the quotes: host="app.example.com:8443" becomes a Host with
# quotation marks, at which Django answers 400 and redirects lead nowhere; the address of a client
# with IPv6 is "[2001:db8::1]:4711" with quotes, brackets and port, so that a limit per address counts
# per connection; and after Proto=https the app believes in http: its redirects leave TLS, and a
# login's redirect URI is another one than the provider knows. A plain
# for=192.0.2.1;proto=https works, so that it shows with the first port, the first client with IPv6,
# or another proxy. aiohttp 3.14.5 reads all of these. This affects anyone who serves an app on
# hypercorn behind a proxy that sends Forwarded; X-Forwarded-* with the default mode works. Our
# middleware takes the site's origin from its settings, and reads no forwarded header.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet hypercorn==0.18.0 aiohttp==3.14.5
"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
from importlib.metadata import version

from aiohttp.test_utils import make_mocked_request
from hypercorn.middleware import ProxyFixMiddleware

print("hypercorn", version("hypercorn"), "aiohttp", version("aiohttp"))
HEADERS = {
    "plain": "for=192.0.2.1;proto=https;host=app.example.com",
    "a port": 'for=192.0.2.1;proto=https;host="app.example.com:8443"',
    "IPv6": 'for="[2001:db8::1]:4711";proto=https;host=app.example.com',
    "capitals": "For=192.0.2.1;Proto=https;Host=app.example.com",
}


def with_hypercorn(value):
    seen = []

    async def app(scope, receive, send):
        seen.extend((scope["client"][0], scope["scheme"], dict(scope["headers"])[b"host"].decode()))

    scope = {
        "type": "http",
        "scheme": "http",
        "client": ("10.0.0.2", 80),
        "headers": [(b"host", b"10.0.0.3"), (b"forwarded", value.encode())],
    }
    asyncio.run(ProxyFixMiddleware(app, mode="modern")(scope, None, None))
    return seen


def with_aiohttp(value):
    [part] = make_mocked_request("GET", "/", headers={"Forwarded": value}).forwarded
    return [part["for"], part["proto"], part["host"]]


seen = {name: (with_hypercorn(value), with_aiohttp(value)) for name, value in HEADERS.items()}
for name, (hypercorn, aiohttp) in seen.items():
    print(f"{name}: hypercorn", *hypercorn, "- aiohttp", *aiohttp)
site = ["192.0.2.1", "https", "app.example.com"]
expected = {
    "plain": (site, site),
    "a port": ([*site[:2], '"app.example.com:8443"'], [*site[:2], "app.example.com:8443"]),
    "IPv6": (['"[2001:db8::1]:4711"', *site[1:]], ["[2001:db8::1]:4711", *site[1:]]),
    "capitals": (["10.0.0.2", "http", "10.0.0.3"], site),
}
if seen != expected:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   hypercorn 0.18.0 aiohttp 3.14.5
#   plain: hypercorn 192.0.2.1 https app.example.com - aiohttp 192.0.2.1 https app.example.com
#   a port: hypercorn 192.0.2.1 https "app.example.com:8443" - aiohttp 192.0.2.1 https app.example.com:8443
#   IPv6: hypercorn "[2001:db8::1]:4711" https app.example.com - aiohttp [2001:db8::1]:4711 https app.example.com
#   capitals: hypercorn 10.0.0.2 http 10.0.0.3 - aiohttp 192.0.2.1 https app.example.com
