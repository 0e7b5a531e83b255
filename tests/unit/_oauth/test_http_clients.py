"""The HTTP clients for TikTok: one serves all users, and mixes none of them up."""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs

import httpx2
import pytest

from tiktok_oauth_middleware._core.backends.one_step import run
from tiktok_oauth_middleware._core.backends.threads import ThreadBackend
from tiktok_oauth_middleware._oauth.client import TikTokClient

from ...conftest import make_settings
from .conftest import client


def token_answer(code, **changes):
    answer = {
        "access_token": f"act.{code}",
        "refresh_token": f"rft.{code}",
        "open_id": f"user-{code}",
        "expires_in": 7200,
        "refresh_expires_in": 15552000,
        "scope": "user.info.basic",
        "token_type": "Bearer",
    }
    return {**answer, **changes}


def echo(request):
    """Answer each exchange with tokens that name its code."""
    code = parse_qs(request.content.decode())["code"][0]
    return httpx2.Response(200, json=token_answer(code))


class TestTokensAreNotShared:
    """Authlib's own parser would keep the last token on the shared client."""

    def test_threads(self):
        """8 threads make 1,000 exchanges with one client, and each gets its own
        token.
        """
        shared = client(echo)
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            with ThreadPoolExecutor(8) as pool:
                codes = [f"c{i}" for i in range(1000)]
                answers = pool.map(lambda c: run(shared.exchange(c, "v")), codes)
                mixed = [
                    c
                    for c, a in zip(codes, answers, strict=True)
                    if a.open_id != f"user-{c}" or a.access_token != f"act.{c}"
                ]
        finally:
            sys.setswitchinterval(interval)
            run(shared.aclose())
        assert mixed == []

    def test_tasks(self):
        """1,000 tasks make exchanges with one client, and each gets its own token."""

        async def slow_echo(request):
            await asyncio.sleep(0)
            return echo(request)

        async def main():
            shared = client(slow_echo, blocking=False)
            codes = [f"c{i}" for i in range(1000)]
            answers = await asyncio.gather(*(shared.exchange(c, "v") for c in codes))
            await shared.aclose()
            return [
                c
                for c, a in zip(codes, answers, strict=True)
                if a.open_id != f"user-{c}"
            ]

        assert asyncio.run(main()) == []

    def test_no_cookies(self):
        """A cookie that TikTok sets for one user is not sent for the next."""
        seen = []

        def handler(request):
            seen.append(request.headers.get("cookie"))
            return httpx2.Response(
                200, json=token_answer("x"), headers={"set-cookie": "sid=of-a; Path=/"}
            )

        shared = client(handler)
        run(shared.exchange("a", "v"))
        run(shared.exchange("b", "v"))
        run(shared.aclose())
        assert seen == [None, None]


def test_transport_of_another_library():
    """A transport of another HTTP library is refused when the client is built."""
    with pytest.raises(TypeError, match=f"Authlib uses {httpx2.__name__} here"):
        TikTokClient(make_settings(), ThreadBackend(), transport=object())
