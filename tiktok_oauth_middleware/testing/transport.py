"""A transport that passes the requests of an HTTP client to the stand-in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .api import ConnectionLost, TimedOut

if TYPE_CHECKING:
    from .fake import FakeTikTok


def transport_to(fake: FakeTikTok) -> Any:
    """Return a transport for sync and async clients of httpx2, or else of httpx."""
    try:
        import httpx2 as httpx
    except ImportError:
        import httpx  # type: ignore[no-redef]

    def answer(request: Any) -> Any:
        try:
            reply = fake.handle(
                request.method, str(request.url), request.headers, request.content
            )
        except TimedOut:
            message = "the stand-in answers after any client's timeout"
            raise httpx.ReadTimeout(message, request=request) from None
        except ConnectionLost:
            message = "the stand-in dropped the connection"
            raise httpx.RemoteProtocolError(message, request=request) from None
        return httpx.Response(
            reply.status, headers=list(reply.headers), content=reply.body
        )

    class Transport(httpx.MockTransport):  # type: ignore[misc, unused-ignore]
        #: The stand-in, by which mistakes.py finds it.
        stand_in = fake

        async def handle_async_request(self, request: Any) -> Any:
            from anyio import to_thread

            # A delay must not block other requests.
            return await to_thread.run_sync(
                self.handle_request, request, abandon_on_cancel=True
            )

    return Transport(answer)
