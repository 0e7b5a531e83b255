"""The stand-in as a server: real HTTP, a consent page, on this machine only.

It uses the standard library only, so that a demo needs nothing else. Programs control
it under ``/stand-in/``. Requests that change something there need a header that no web
page can send without a preflight. A request whose Host is not loopback is refused,
because a web page could avoid the preflight with a host name that resolves to this
machine (DNS rebinding).
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import socket
import sys
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self
from urllib.parse import parse_qs, quote, urlsplit

from tiktok_oauth_middleware.errors import ConfigurationError
from tiktok_oauth_middleware.settings.endpoints import TikTokEndpoints
from tiktok_oauth_middleware.settings.validate import SHORTEST_KEY

from . import pages
from .api import JSON_TYPE
from .authorize import ConsentRequest, Refused
from .fake import ConnectionLost, FakeTikTok
from .provider import NOT_ELIGIBLE, Person
from .wire import AUTHORIZE, REVOKE, TOKEN, USER_INFO

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["StandIn", "serve"]

_COOKIE = "stand-in-account"
_MOST_OPEN = 1000
_LONGEST_BODY = 1024 * 1024
_MOST_DIGITS = 9
_STEERING_HEADER = "x-stand-in"
_LOOPBACK_AUTHORITIES = ("127.0.0.1", "localhost", "[::1]")
_HTTP_PORT = 80
#: The choices on the page besides consent, and the callbacks that they lead to.
_REFUSALS = {
    "cancel": ("access_denied", "User cancelled"),
    "not_eligible": ("access_denied", NOT_ELIGIBLE),
    "server_error": ("server_error", "Internal error"),
    "temporarily_unavailable": ("temporarily_unavailable", "Try again later"),
}


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
        desk = _Desk(fake)
        handler = type("Handler", (_Handler,), {"desk": desk})
        self._server = (_Server6 if ":" in host else _Server)((host, port), handler)
        desk.names = _authorities(self._host, self._server.server_address[1])
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

    def __init__(self, address: tuple[str, int], handler: type[_Handler]) -> None:
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


class _Desk:
    """The stand-in, and the requests whose consent page is open."""

    def __init__(self, fake: FakeTikTok) -> None:
        self.fake = fake
        #: The valid Host headers: host and port, in lower case.
        self.names: frozenset[str] = frozenset()
        self._requests: dict[str, ConsentRequest] = {}
        self._lock = threading.Lock()

    def open(self, request: ConsentRequest) -> str:
        """Keep a request until its user decides; return its id."""
        name = secrets.token_urlsafe(16)
        with self._lock:
            while len(self._requests) >= _MOST_OPEN:
                del self._requests[next(iter(self._requests))]
            self._requests[name] = request
        return name

    def take(self, name: str) -> ConsentRequest | None:
        """Remove and return a request, on which its user has decided."""
        with self._lock:
            return self._requests.pop(name, None)

    def person(self, open_id: str | None) -> Person | None:
        for person in self.fake.people:
            if person.open_id == open_id:
                return person
        return None


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    desk: ClassVar[_Desk]
    body: bytes
    protocol_version = "HTTP/1.1"
    server_version = "stand-in"
    sys_version = ""
    # One segment for head and body: no wait for an acknowledgement between them.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Answer with pages, pictures, the journal, or the API."""
        if not self._admit():
            return
        path = urlsplit(self.path).path
        if path.rstrip("/") == AUTHORIZE.rstrip("/"):
            self._authorize()
        elif path.startswith("/stand-in/avatar/"):
            self._picture(path)
        elif path.startswith("/stand-in/face/"):
            self._face(path)
        elif path == "/stand-in/journal":
            self._journal()
        elif path == "/":
            text = "Log in from your app; there is nothing to do here."
            self._send(200, pages.headers(), pages.plain_page("Stand-in", text))
        else:
            self._api()

    def do_POST(self) -> None:
        """Answer decisions, control requests, and the API."""
        if not self._admit():
            return
        path = urlsplit(self.path).path
        if path == "/stand-in/decide":
            self._decide()
        elif path.startswith("/stand-in/"):
            self._steer(path)
        else:
            self._api()

    def do_HEAD(self) -> None:
        """Refuse every other method as TikTok's gateway does."""
        if self._admit():
            self._api()

    def log_message(self, *_: object, **_by_name: object) -> None:
        """Log nothing: requests hold codes and tokens."""

    def _admit(self) -> bool:
        """Read the body; refuse a request whose Host is not this server's.

        A browser that came by a foreign name (DNS rebinding) sends that name.
        """
        self.body = self._read()
        names = self.desk.names
        hosts = [host.strip().lower() for host in self.headers.get_all("host", [])]
        is_named = len(hosts) == 1 and hosts[0] in names
        if is_named and not self.path.startswith("/") and self.path != "*":
            # RFC 9112 section 3.2.2: a target in absolute form names a host, too.
            scheme, _, rest = self.path.partition("://")
            authority, slash, rest = rest.partition("/")
            is_named = scheme.lower() == "http" and authority.lower() in names
            self.path = f"/{rest}" if slash else "/"
        if is_named:
            return True
        self.close_connection = True
        text = f"This stand-in answers at {' and '.join(sorted(names))} only.\n"
        self._send(403, (("content-type", "text/plain"),), text.encode())
        return False

    # --- pages ---------------------------------------------------------------------

    def _authorize(self) -> None:
        fake = self.desk.fake
        try:
            request = fake.ask(urlsplit(self.path).query)
        except Refused as refused:
            page = pages.error_page(refused, secrets.token_hex(17).upper())
            self._send(200, pages.headers(), page)
            return
        person = self.desk.person(self._account())
        if person is not None and fake.provider.skips_consent(request, person):
            self._redirect(fake.provider.reconnect(request, person))
            return
        page = pages.consent_page(
            request,
            fake.people,
            self.desk.open(request),
            person.open_id if person else None,
        )
        self._send(200, pages.headers(request.redirect_uri), page)

    def _decide(self) -> None:
        form = parse_qs(self.body.decode("latin-1"))
        request = self.desk.take(form.get("request", [""])[0])
        person = self.desk.person(form.get("person", [""])[0])
        ticked = form.get("scope", [])
        known = request is not None and set(ticked) <= set(request.scopes)
        if request is None or person is None or not known:
            text = "This page was open for too long. Go back to your app and log in."
            self._send(400, pages.headers(), pages.plain_page("Too late", text))
            return
        provider = self.desk.fake.provider
        decision = form.get("decision", ["cancel"])[0]
        if decision != "continue":
            error, text = _REFUSALS.get(decision, _REFUSALS["cancel"])
            answer = {"error": error, "error_description": text}
            self._redirect(provider.refuse(request, answer))
            return
        # Next time, TikTok reconnects this account without its page.
        cookie = f"{_COOKIE}={person.open_id}; Path=/; HttpOnly; SameSite=Lax"
        location = provider.agree(request, person, ticked)
        self._redirect(location, ("set-cookie", cookie))

    def _redirect(self, location: str, *further: tuple[str, str]) -> None:
        self._send(
            302, (("location", location), ("cache-control", "no-store"), *further)
        )

    def _account(self) -> str | None:
        """Return the open_id of the account that decided last in this browser.

        Other apps of this machine have cookies at this host, too, whatever their port.
        `http.cookies` reads none behind one that is malformed, such as JSON.
        """
        for header in self.headers.get_all("cookie", []):
            for cookie in header.split(";"):
                name, _, value = cookie.strip(" \t").partition("=")
                if name == _COOKIE:
                    return value
        return None

    def _picture(self, path: str) -> None:
        """Draw an avatar or a video's cover, if the link is valid."""
        fake = self.desk.fake
        name = path.removeprefix("/stand-in/avatar/")
        if not fake.provider.links.is_good(self.path, fake.provider.clock()):
            self._send(403)
            return
        for person in fake.people:
            if name.startswith(f"{quote(person.username, safe='')}~"):
                self._send(200, _SVG, pages.avatar(person))
                return
        self._send(200, _SVG, pages.cover(name))

    def _face(self, path: str) -> None:
        """Draw an avatar for the consent page, by the person's place in the list."""
        number = path.removeprefix("/stand-in/face/").removesuffix(".svg")
        people = self.desk.fake.people
        if number.isascii() and number.isdigit() and int(number[:9]) < len(people):
            self._send(200, _SVG, pages.avatar(people[int(number[:9])]))
        else:
            self._send(404)

    # --- steering ------------------------------------------------------------------

    def _journal(self) -> None:
        """Return how often each endpoint was called."""
        fake = self.desk.fake
        counts = {
            "exchanges": fake.count("token", grant_type="authorization_code"),
            "refreshes": fake.count("token", grant_type="refresh_token"),
            "revokes": fake.count("revoke"),
            "profiles": fake.count("user_info"),
        }
        self._send(200, JSON_TYPE, json.dumps(counts).encode())

    def _steer(self, path: str) -> None:
        """Set a lifetime or a fault from the JSON of a program."""
        if self.headers.get(_STEERING_HEADER) != "1":
            self._send(403)
            return
        fake = self.desk.fake
        try:
            wanted = json.loads(self.body)
            if path == "/stand-in/fail":
                if "body" in wanted:
                    wanted["body"] = wanted["body"].encode()
                fake.fail(**wanted)
            elif path == "/stand-in/lose-answer":
                fake.lose_answer(**wanted)
            elif path == "/stand-in/refuse-next-login":
                fake.refuse_next_login(**wanted)
            elif path == "/stand-in/refuse-field":
                fake.refuse_field(**wanted)
            elif path == "/stand-in/clear_faults":
                fake.clear_faults()
            elif path == "/stand-in/settings":
                _set(fake, **wanted)
            else:
                self._send(404)
                return
        except (AttributeError, TypeError, ValueError) as error:
            self._send(400, JSON_TYPE, json.dumps({"error": str(error)}).encode())
            return
        self._send(200, JSON_TYPE, b"{}")

    # --- the API -------------------------------------------------------------------

    def _api(self) -> None:
        try:
            reply = self.desk.fake.handle(
                self.command,
                f"http://{self.headers.get('host', '')}{self.path}",
                dict(self.headers.items()),
                self.body,
            )
        except ConnectionLost:
            self.close_connection = True
            return
        self._send(reply.status, reply.headers, reply.body)

    def _read(self) -> bytes:
        """Return the body, so that it is not read as the next request.

        A body without a length, or with an absurd one, ends the connection.
        """
        length = self.headers.get("content-length", "0")
        is_number = length.isdecimal() and len(length) <= _MOST_DIGITS
        is_long = not is_number or int(length) > _LONGEST_BODY
        if is_long or "transfer-encoding" in self.headers:
            self.close_connection = True
            return b""
        return self.rfile.read(int(length))

    def _send(
        self,
        status: int,
        headers: tuple[tuple[str, str], ...] = (),
        body: bytes = b"",
    ) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()


for _method in ("PUT", "DELETE", "PATCH", "OPTIONS"):
    setattr(_Handler, f"do_{_method}", _Handler.do_HEAD)

_SVG = (("content-type", "image/svg+xml"),)


def _authorities(host: str, port: int) -> frozenset[str]:
    """Return the valid Host headers: loopback, and the host of the server."""
    hosts = {*_LOOPBACK_AUTHORITIES, host.lower()}
    names = {f"{each}:{port}" for each in hosts}
    return frozenset(names | hosts if port == _HTTP_PORT else names)


def _set(
    fake: FakeTikTok,
    *,
    access_lifetime: int | None = None,
    refresh_lifetime: int | None = None,
    grace: float | None = None,
) -> None:
    if access_lifetime is not None:
        fake.access_lifetime = access_lifetime
    if refresh_lifetime is not None:
        fake.refresh_lifetime = refresh_lifetime
    if grace is not None:
        fake.grace = grace


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
    variables = stand_in.environment("http://127.0.0.1:8000/auth/tiktok/callback")
    if scopes:
        variables["TIKTOK_SCOPES"] = scopes
    variables["TIKTOK_SECRET_KEYS"], is_kept = _secret_key()
    lines = [
        f"Stand-in for TikTok on {stand_in.url}; Ctrl-C ends it.",
        "Point your app here with:",
        *(f"  export {name}={value}" for name, value in variables.items()),
    ]
    if not is_kept:
        lines.append(
            "(This key could not be kept. Each paste makes another key, which cannot"
            " read the tokens that were stored with this one.)"
        )
    lines += [
        "(If your app is on another port than 8000, write its port into"
        " TIKTOK_REDIRECT_URI. TIKTOK_OPTIONAL_SCOPES=video.list is for"
        " pages that need that scope.)",
        "and open it at http://127.0.0.1:8000/",
    ]
    _print(*lines)
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


def _secret_key() -> tuple[str, bool]:
    """Return a shell expression for the sandbox's key, and whether the key is kept.

    With a new key each time, records from the last run could not be read. So the key is
    made once for each user of the machine. The shell reads it from its file, so that it
    does not appear in the terminal's history.
    """
    state = os.environ.get("XDG_STATE_HOME", "")
    try:
        base = (
            Path(state) if Path(state).is_absolute() else Path.home() / ".local/state"
        )
        path = base / "tiktok-oauth-middleware" / "sandbox-key"
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(made, "w", encoding="ascii") as file:
                file.write(secrets.token_urlsafe(32))
        is_whole = len(path.read_text(encoding="ascii")) >= SHORTEST_KEY
    except (OSError, RuntimeError, ValueError):  # no home directory, or not writable
        return _NEW_KEY, False
    return (
        (f'"$(cat {shlex.quote(str(path))})"', True) if is_whole else (_NEW_KEY, False)
    )


#: Makes a key in the shell, if no file can keep it.
_NEW_KEY = '$(python -c "import secrets; print(secrets.token_urlsafe(32))")'
