"""Calls of the app's code, which cannot delay a flow without limit."""

from __future__ import annotations

import contextvars
import sys

import anyio
import pytest

from tiktok_oauth_middleware._core.backends.event_loop import AsyncBackend
from tiktok_oauth_middleware._core.backends.one_step import run
from tiktok_oauth_middleware._core.backends.threads import ThreadBackend


class TestOutside:
    """An app's code is called where no frame of a flow is on the stack."""

    @staticmethod
    def names():
        frame, found = sys._getframe(1), []
        while frame is not None:
            found.append(frame.f_code.co_name)
            frame = frame.f_back
        return found

    def test_wsgi(self):
        """Under WSGI the flow is suspended meanwhile, and continues with the result."""
        backend = ThreadBackend()

        async def a_flow():
            return await inner_flow()

        async def inner_flow():
            return [
                await backend.call_app_code(self.names),
                await backend.call_app_code(lambda: 2),
            ]

        names, two = run(a_flow())
        assert two == 2
        assert "test_wsgi" in names
        assert not {"a_flow", "inner_flow"} & {*names}

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
    def test_wsgi_raises(self, error):
        """Its exceptions are raised in the flow, which may catch them."""
        backend = ThreadBackend()

        def fail():
            raise error

        async def catches():
            try:
                await backend.call_app_code(fail)
            except error:
                return await backend.call_app_code(lambda: "caught")

        async def does_not():
            await backend.call_app_code(fail)

        assert run(catches()) == "caught"
        with pytest.raises(error):
            run(does_not())

    def test_wsgi_within(self):
        """The app's code may run another flow."""
        backend = ThreadBackend()

        async def inner():
            return await backend.call_app_code(lambda: "within")

        async def outer():
            return await backend.call_app_code(lambda: run(inner()))

        assert run(outer()) == "within"

    @pytest.mark.parametrize("is_async", [False, True])
    @pytest.mark.parametrize("loop", ["asyncio", "trio"])
    def test_asgi(self, loop, is_async):
        """Under ASGI it is a task's of its own; plain and async alike, with context."""
        backend = AsyncBackend()
        seen = contextvars.ContextVar("seen")

        async def later():
            return self.names(), seen.get()

        def now():
            return self.names(), seen.get()

        async def a_flow():
            seen.set("by the callback")
            return await backend.call_app_code(later if is_async else now)

        names, value = anyio.run(a_flow, backend=loop)
        assert value == "by the callback"
        assert "a_flow" not in names

    @pytest.mark.parametrize("loop", ["asyncio", "trio"])
    def test_asgi_raises(self, loop):
        """Its exceptions are raised as they are, in no group."""

        def fail():
            raise ValueError("as it is")

        async def a_flow():
            with pytest.raises(ValueError, match="as it is"):
                await AsyncBackend().call_app_code(fail)

        anyio.run(a_flow, backend=loop)
