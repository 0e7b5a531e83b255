#!/usr/bin/env bash
# Authlib 1.9.10, AsyncOAuth2Client: with tokens of a minute, requests at once end the login.
#
# The client refreshes a token 60 seconds (leeway) before its end, under a lock, so that of several
# requests at once one refreshes and the others use the new token. A token that lives no longer than
# the leeway counts as expired as soon as it is there: the next request refreshes as well, with the
# refresh token that it read before it waited for the lock, and that is the one that has just been
# used. A provider that takes each refresh token once answers invalid_grant, and may revoke all
# tokens of the user (RFC 9700, 4.14.2). With one request at a time all works, at the price of a
# refresh for each. leeway=10 helps. This affects anyone who calls an API from two tasks, and whose
# provider keeps its tokens that short; the clients for threads have no lock at all. Our middleware
# refreshes under a lock in the store, and reads the record again after it has the lock.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet authlib==1.9.10 httpx2==2.16.2
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import asyncio
import itertools
import time
from importlib.metadata import version
from urllib.parse import parse_qs

import httpx2
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client

for name in ("authlib", "httpx2"):
    print(name, version(name))


class Provider(httpx2.AsyncBaseTransport):
    """A provider that takes each refresh token once, as RFC 9700 asks of public clients."""

    def __init__(self, lifetime):
        self.lifetime = lifetime
        self.numbers = itertools.count(1)
        self.valid = "refresh-0"
        self.refreshes = 0

    async def handle_async_request(self, request):
        await request.aread()
        await asyncio.sleep(0.01)
        if request.url.path == "/data":
            return httpx2.Response(200, json={})
        self.refreshes += 1
        form = parse_qs(request.content.decode())
        if form["refresh_token"] != [self.valid]:
            return httpx2.Response(400, json={"error": "invalid_grant"})
        number = next(self.numbers)
        self.valid = f"refresh-{number}"
        return httpx2.Response(200, json={
            "access_token": f"access-{number}", "token_type": "Bearer",
            "refresh_token": self.valid, "expires_in": self.lifetime,
        })


async def five_at_once(lifetime):
    provider = Provider(lifetime)

    async def save(token, refresh_token=None, access_token=None):
        await asyncio.sleep(0)

    client = AsyncOAuth2Client(
        "id", "secret", token_endpoint="https://p/token", transport=provider, update_token=save,
        token={"access_token": "access-0", "token_type": "Bearer", "refresh_token": "refresh-0",
               "expires_at": int(time.time()) - 1},
    )
    async with client:
        answers = await asyncio.gather(*(client.get("https://p/data") for _ in range(5)),
                                       return_exceptions=True)
    errors = [answer.error for answer in answers if isinstance(answer, OAuthError)]
    return provider.refreshes, len(errors), *{*errors}


seen = {lifetime: asyncio.run(five_at_once(lifetime)) for lifetime in (3600, 60)}
for lifetime, (refreshes, failed, *errors) in seen.items():
    print(f"tokens of {lifetime} s, five requests at once: {refreshes} refreshes, {failed} failed",
          *errors)
if seen != {3600: (1, 0), 60: (5, 4, "invalid_grant")}:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   authlib 1.9.10
#   httpx2 2.16.2
#   tokens of 3600 s, five requests at once: 1 refreshes, 0 failed
#   tokens of 60 s, five requests at once: 5 refreshes, 4 failed invalid_grant
