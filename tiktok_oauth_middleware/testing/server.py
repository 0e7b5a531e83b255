"""The stand-in as a server: real HTTP, a consent page, on this machine only.

It uses the standard library only, so that a demo needs nothing else. `handler` answers
the requests.
"""

from __future__ import annotations

import socket
import sys
import threading
from contextlib import suppress
from http.server import ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

from tiktok_oauth_middleware.errors import ConfigurationError
from tiktok_oauth_middleware.settings.endpoints import TikTokEndpoints

from .handler import OpenConsents, StandInHandler, hosts_of
from .sandbox import settings_lines
from .wire import AUTHORIZE, REVOKE, TOKEN, USER_INFO

if TYPE_CHECKING:
    from types import TracebackType

    from .fake import FakeTikTok

__all__ = ["StandIn", "serve"]


class StandIn:
    """A stand-in for TikTok on a port of this machine, while it is open.

    >>> with StandIn(FakeTikTok()) as stand_in:  # doctest: +SKIP
    ...     settings = TikTokSettings(..., endpoints=stand_in.endpoints)
    """

    def __init__(
        self, fake: FakeTikTok, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        """Bind the port, 0 for any free one; `start` or `with` begins to answer."""
        self.fake = fake
        self._host = f"[{host}]" if ":" in host else host
        shared = {"fake": fake, "consents": OpenConsents(), "hosts": frozenset()}
        handler: type[StandInHandler] = type("Handler", (StandInHandler,), shared)
        self._server = (_Server6 if ":" in host else _Server)((host, port), handler)
        handler.hosts = hosts_of(self._host, self._server.server_address[1])
        fake.avatars = f"{self.url}/stand-in/avatar/"
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The address of the stand-in."""
        return f"http://{self._host}:{self._server.server_address[1]}"

    @property
    def endpoints(self) -> TikTokEndpoints:
        """The endpoints for an app's settings."""
        return TikTokEndpoints(
            authorize=self.url + AUTHORIZE,
            token=self.url + TOKEN,
            revoke=self.url + REVOKE,
            user_info=self.url + USER_INFO,
        )

    def environment(self, redirect_uri: str) -> dict[str, str]:
        """Return the variables with which `TikTokSettings.from_env` uses it."""
        endpoints = self.endpoints
        provider = self.fake.provider
        return {
            "TIKTOK_CLIENT_KEY": provider.client_key,
            "TIKTOK_CLIENT_SECRET": self.fake.client_secret,
            "TIKTOK_REDIRECT_URI": redirect_uri,
            "TIKTOK_ENDPOINTS_AUTHORIZE": endpoints.authorize,
            "TIKTOK_ENDPOINTS_TOKEN": endpoints.token,
            "TIKTOK_ENDPOINTS_REVOKE": endpoints.revoke,
            "TIKTOK_ENDPOINTS_USER_INFO": endpoints.user_info,
        }

    def start(self) -> Self:
        """Answer requests, in a thread."""
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.02},  # how long close() waits at most
            name="stand-in",
            daemon=True,
        )
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop answering, and free the port."""
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._thread = None
        self._server.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # A thousand tests may connect at once.
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], handler: type[StandInHandler]) -> None:
        self._open: set[Any] = set()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Also close open connections, whose threads would go on answering."""
        super().server_close()
        for request in list(self._open):
            with suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a browser that disconnected; print any other error, which is a bug."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Server6(_Server):
    address_family = socket.AF_INET6


def serve(fake: FakeTikTok, host: str, port: int, *, scopes: str = "") -> None:
    """Serve until Ctrl-C; `scopes` are printed among the settings, if given.

    Raises:
        ConfigurationError: the port cannot be used.
    """
    try:
        stand_in = StandIn(fake, host, port)
    except OSError as error:
        message = (
            f"port {port} of {host} cannot be used: {error.strerror}; take another,"
            " such as --port 9001"
        )
        raise ConfigurationError(message) from error
    _print(*settings_lines(stand_in, scopes))
    try:
        stand_in.start()
        threading.Event().wait()
    except KeyboardInterrupt:
        _print("")
    finally:
        stand_in.close()


def _print(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()
