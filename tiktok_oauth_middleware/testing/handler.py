"""A stand-in's answers over HTTP: consent pages, pictures, the API, and its control.

A request that changes something under ``/stand-in/`` needs a header that no web page
can send without a preflight. A request whose Host is not loopback is refused, because a
web page could avoid the preflight with a host name that resolves to this machine (DNS
rebinding).
"""

from __future__ import annotations

import json
import secrets
import threading
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import parse_qs, quote, urlsplit

from tiktok_oauth_middleware._core.fork import register_after_fork

from . import pages
from .api import JSON_TYPE
from .authorize import Refused
from .control import CONTROL_HEADER, count_calls, run_command
from .fake import ConnectionLost
from .provider import NOT_ELIGIBLE
from .wire import AUTHORIZE

if TYPE_CHECKING:
    from .authorize import ConsentRequest
    from .fake import FakeTikTok
    from .people import Person

_COOKIE = "stand-in-account"
_MOST_OPEN = 1000
_LONGEST_BODY = 1024 * 1024
_MOST_DIGITS = 9
_LOOPBACK_AUTHORITIES = ("127.0.0.1", "localhost", "[::1]")
_HTTP_PORT = 80
_SVG = (("content-type", "image/svg+xml"),)
#: The choices on the page besides consent, and the callbacks that they lead to.
_REFUSALS = {
    "cancel": ("access_denied", "User cancelled"),
    "not_eligible": ("access_denied", NOT_ELIGIBLE),
    "server_error": ("server_error", "Internal error"),
    "temporarily_unavailable": ("temporarily_unavailable", "Try again later"),
}


class OpenConsents:
    """Requests whose consent page is open."""

    def __init__(self) -> None:
        self._requests: dict[str, ConsentRequest] = {}
        self.after_fork()
        register_after_fork(self)

    def after_fork(self) -> None:
        """Replace the lock, which another thread may have held during the fork."""
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


class StandInHandler(BaseHTTPRequestHandler):
    """One connection to a stand-in; each `StandIn` has a subclass with its parts."""

    fake: ClassVar[FakeTikTok]
    consents: ClassVar[OpenConsents]
    #: The valid Host headers: host and port, in lower case.
    hosts: ClassVar[frozenset[str]]
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
            self._send(200, JSON_TYPE, count_calls(self.fake))
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
            self._control(path)
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
        names = self.hosts
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
        fake = self.fake
        try:
            request = fake.ask(urlsplit(self.path).query)
        except Refused as refused:
            page = pages.error_page(refused, secrets.token_hex(17).upper())
            self._send(200, pages.headers(), page)
            return
        person = self._person(self._account())
        if person is not None and fake.provider.skips_consent(request, person):
            self._redirect(fake.provider.reconnect(request, person))
            return
        page = pages.consent_page(
            request,
            fake.people,
            self.consents.open(request),
            person.open_id if person else None,
        )
        self._send(200, pages.headers(request.redirect_uri), page)

    def _decide(self) -> None:
        form = parse_qs(self.body.decode("latin-1"))
        request = self.consents.take(form.get("request", [""])[0])
        person = self._person(form.get("person", [""])[0])
        ticked = form.get("scope", [])
        known = request is not None and set(ticked) <= set(request.scopes)
        if request is None or person is None or not known:
            text = "This page was open for too long. Go back to your app and log in."
            self._send(400, pages.headers(), pages.plain_page("Too late", text))
            return
        provider = self.fake.provider
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

    def _person(self, open_id: str | None) -> Person | None:
        for person in self.fake.people:
            if person.open_id == open_id:
                return person
        return None

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
        fake = self.fake
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
        people = self.fake.people
        if number.isascii() and number.isdigit() and int(number[:9]) < len(people):
            self._send(200, _SVG, pages.avatar(people[int(number[:9])]))
        else:
            self._send(404)

    # --- control -------------------------------------------------------------------

    def _control(self, path: str) -> None:
        """Carry out a program's command."""
        if self.headers.get(CONTROL_HEADER) != "1":
            self._send(403)
            return
        command = path.removeprefix("/stand-in/")
        try:
            is_known = run_command(self.fake, command, self.body)
        except (AttributeError, TypeError, ValueError) as error:
            self._send(400, JSON_TYPE, json.dumps({"error": str(error)}).encode())
            return
        if is_known:
            self._send(200, JSON_TYPE, b"{}")
        else:
            self._send(404)

    # --- the API -------------------------------------------------------------------

    def _api(self) -> None:
        try:
            reply = self.fake.handle(
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
    setattr(StandInHandler, f"do_{_method}", StandInHandler.do_HEAD)


def hosts_of(host: str, port: int) -> frozenset[str]:
    """Return the valid Host headers: loopback, and the host of the server."""
    hosts = {*_LOOPBACK_AUTHORITIES, host.lower()}
    names = {f"{each}:{port}" for each in hosts}
    return frozenset(names | hosts if port == _HTTP_PORT else names)
