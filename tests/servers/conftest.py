"""Servers as processes: how each is started, called, and stopped."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.client import HTTPResponse as Answer
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from tiktok_oauth_middleware.testing import FakeTikTok
from tiktok_oauth_middleware.testing.people import Person
from tiktok_oauth_middleware.testing.server import StandIn

from ..conftest import CALLBACK, LOGIN, LOGOUT, PAGE, Gate
from ..support.ports import free_port
from ..support.quick_start import start as start_quickly
from ..support.recipes import blocks

ROOT = Path(__file__).parents[2]
#: Folders of programs: the environment's, then the system's.
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin:/sbin"
ASGI = "examples.starlette_app.app:app"
WSGI = "examples.flask_app.app:app"
WEBHOOK = "/auth/tiktok/webhook"
SECONDS = 120
#: The system's certificates, which take 50 ms, are not loaded: all URLs are http.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

WSGIREF = """
import sys
from wsgiref.simple_server import make_server
from examples.flask_app.app import app
make_server("127.0.0.1", int(sys.argv[1]), app).serve_forever()
"""

#: Arguments of commands that contain spaces.
SPACED = {
    "WSGIREF": WSGIREF,
    "GRACEFULLY": "unix_signal:15 gracefully_kill_them_all",
}


def _is_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # of a parent package
        return False


@dataclass(frozen=True)
class Kind:
    """One way to serve an example; `{port}` and `{url}` are replaced.

    ``-c PAGE:name`` runs a program of docs/operations/servers.md, with the example in place of the
    reader's app.
    """

    command: str
    #: What must be installed, the server first.
    needs: tuple[str, ...]
    workers: int = 1

    @property
    def is_patching(self) -> bool:
        """Whether it changes modules, which must not be imported before."""
        return bool({"gevent", "eventlet"} & {*self.needs})

    @property
    def missing(self) -> str | None:
        for name in self.needs:
            if not (_is_module(name) or shutil.which(name, path=PATH)):
                return name
        return None


UVICORN = f"-m uvicorn {ASGI} --port {{port}} --log-level warning --lifespan on"
HYPERCORN = f"-m hypercorn {ASGI} --bind {{url}}"
GRANIAN = "-m granian --port {port} --log-level warning --interface"
GUNICORN = "-m gunicorn --bind {url} --log-level warning --worker-class"

KINDS = {
    "uvicorn-h11": Kind(f"{UVICORN} --http h11", ("uvicorn",)),
    "uvicorn-httptools": Kind(f"{UVICORN} --http httptools", ("uvicorn", "httptools")),
    "uvicorn-workers": Kind(f"{UVICORN} --workers 2", ("uvicorn",), 2),
    "hypercorn-asyncio": Kind(f"{HYPERCORN} -k asyncio", ("hypercorn",)),
    "hypercorn-trio": Kind(f"{HYPERCORN} -k trio", ("hypercorn", "trio")),
    "granian-asgi": Kind(f"{GRANIAN} asgi {ASGI}", ("granian",)),
    "granian-wsgi": Kind(f"{GRANIAN} wsgi {WSGI}", ("granian",)),
    "daphne": Kind(f"-m daphne -b 127.0.0.1 -p {{port}} {ASGI}", ("daphne",)),
    "gunicorn-asgi": Kind(f"{GUNICORN} asgi {ASGI}", ("gunicorn",)),
    "gunicorn-sync": Kind(f"{GUNICORN} sync {WSGI}", ("gunicorn",)),
    "gunicorn-gthread": Kind(f"{GUNICORN} gthread --threads 4 {WSGI}", ("gunicorn",)),
    "gunicorn-preload": Kind(
        f"{GUNICORN} gthread --preload --workers 2 {WSGI}", ("gunicorn",), 2
    ),
    "gunicorn-workers": Kind(f"{GUNICORN} sync --workers 2 {WSGI}", ("gunicorn",), 2),
    "waitress": Kind(f"-m waitress --listen {{url}} {WSGI}", ("waitress",)),
    "cheroot": Kind(f"-m cheroot --bind {{url}} {WSGI}", ("cheroot",)),
    "uwsgi": Kind(
        f"uwsgi --http-socket {{url}} --module {WSGI} --virtualenv {sys.prefix}"
        " --master --processes 2 --worker-reload-mercy 30 --need-app"
        " --hook-master-start GRACEFULLY",
        ("uwsgi",),
        2,
    ),
    "wsgiref": Kind("-c WSGIREF {port}", ("wsgiref",)),
    "gevent": Kind("-c PAGE:gevent", ("gevent",)),
    "tornado": Kind("-c PAGE:tornado", ("tornado",)),
    "twisted": Kind(
        f"-m twisted --log-format text web --wsgi {WSGI.replace(':', '.')}"
        " --listen tcp:{port}:interface=127.0.0.1",
        ("twisted",),
    ),
}
#: Run by `make servers` only: built from source, from the system, or no longer
#: developed.
FURTHER = {
    "gunicorn-gevent": Kind(
        f"{GUNICORN} gevent --worker-connections 100 {WSGI}", ("gunicorn", "gevent")
    ),
    "eventlet": Kind("-c PAGE:eventlet", ("eventlet",)),
    "cherrypy": Kind("-c PAGE:cherrypy", ("cherrypy",)),
    "bjoern": Kind("-c PAGE:bjoern", ("bjoern",)),
    "mod_wsgi": Kind("apache2 -D FOREGROUND -f {folder}/apache.conf", ("apache2",)),
}
APACHE_CONF = """
ServerRoot {folder}
ServerName 127.0.0.1
Listen 127.0.0.1:{port}
PidFile {folder}/apache.pid
Mutex file:{folder}
ErrorLog {folder}/error.log
LogLevel error
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule wsgi_module /usr/lib/apache2/modules/mod_wsgi.so
WSGISocketPrefix {folder}/wsgi
{page}
"""
if os.environ.get("SERVERS") == "all":
    KINDS |= FURTHER


def configure_apache(folder: Path, port: int) -> None:
    """Write the configuration of docs/operations/servers.md for mod_wsgi, with a server around it."""
    page = blocks("operations/servers.md")["mod_wsgi"]
    for given, meant in (
        # Debian's module uses Debian's Python, which may differ from that of the tests.
        (
            "python-home=/srv/app/.venv",
            f"home={folder} python-path={ROOT}:{sysconfig.get_path('purelib')}",
        ),
        ("/srv/app", str(folder)),
    ):
        assert given in page, given
        page = page.replace(given, meant)
    if os.getuid() == 0:  # mod_wsgi refuses to run an app as root
        shutil.chown(folder, "nobody", "nogroup")
    (folder / "wsgi.py").write_text(
        "from examples.flask_app.app import app as application\n"
    )
    (folder / "apache.conf").write_text(
        APACHE_CONF.format(folder=folder, port=port, page=page)
    )


def program(name: str, port: int) -> str:
    """Return a program of docs/operations/servers.md that serves an example at a port."""
    text = blocks("operations/servers.md")[name]
    for given, meant in (
        ("from app import app", "from examples.flask_app.app import app"),
        ("8000", str(port)),
    ):
        assert given in text, (name, given)
        text = text.replace(given, meant)
    # For an environment without trio, as the page says.
    hidden = "import sys; sys.modules['trio'] = None\n" if name == "eventlet" else ""
    return hidden + text


def until(holds: Callable[[], Any], what: str) -> None:
    """Wait until a condition holds, for a limited time."""
    give_up = time.monotonic() + SECONDS
    while time.monotonic() < give_up:
        if holds():
            return
        time.sleep(0.02)
    pytest.fail(f"waited in vain for {what}")


@dataclass
class Server:
    """A server that can be restarted on the same port and store."""

    name: str
    kind: Kind
    folder: Path
    stand_in: StandIn
    port: int = field(default_factory=free_port)
    process: Any = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def tiktok(self) -> FakeTikTok:
        return self.stand_in.fake

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def command(self) -> list[str]:
        if self.name == "mod_wsgi":
            configure_apache(self.folder, self.port)
        words = self.kind.command.format(
            port=self.port, url=f"127.0.0.1:{self.port}", folder=self.folder
        ).split()
        words = [SPACED.get(word, word) for word in words]
        if words[1].startswith("PAGE:"):
            words[1] = program(words[1].removeprefix("PAGE:"), self.port)
        if words[0].startswith("-"):
            return [sys.executable, *words]
        if self.name == "mod_wsgi" and os.getuid() == 0:
            other = "setpriv --reuid nobody --regid nogroup --clear-groups"
            words = [*other.split(), *words]
        return [shutil.which(words[0], path=PATH) or words[0], *words[1:]]

    def make_environment(self) -> dict[str, str]:
        usual = {k: v for k, v in os.environ.items() if not k.startswith("TIKTOK_")}
        return {
            **usual,
            **self.stand_in.environment(self.url + CALLBACK),
            "TIKTOK_SECRET_KEYS": secrets.token_urlsafe(32),
            "TIKTOK_OPTIONAL_SCOPES": "video.list",
            "TIKTOK_PROTECT": "/members",
            "TIKTOK_WEBHOOK_PATH": WEBHOOK,
            "TIKTOK_STORE": f"sqlite:///{self.folder / 'tokens.sqlite3'}",
        }

    def __post_init__(self) -> None:
        self.environment = self.make_environment()

    def start(self) -> None:
        program, *arguments = self.command()
        options: Any = {"env": self.environment, "start_new_session": True}
        with self.log.open("ab") as log:
            if program == sys.executable and not self.kind.is_patching:
                self.process = start_quickly(arguments, stdout=log, **options)
            else:
                self.process = subprocess.Popen(
                    [program, *arguments],
                    cwd=ROOT,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    **options,
                )
        # A client for each question would take more processor time than the waiting.
        with httpx2.Client(verify=NO_TLS) as client:
            until(lambda: self.answers(client), f"{self.name} to answer")

    def answers(self, client: httpx2.Client) -> bool:
        if self.process.poll() is not None:
            pytest.fail(f"{self.name} did not start:\n{self.log.read_text()}")
        try:
            return client.get(self.url).status_code == 200
        except httpx2.HTTPError:
            return False

    def stop(self) -> None:
        """Stop it like a deployment, and check that no process is left."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(SECONDS)
            until(self.is_gone, f"the end of {self.name}'s workers")
        finally:
            if not self.is_gone():
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(SECONDS)

    def is_gone(self) -> bool:
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return True
        return False


class Browser:
    """A client with its own cookies that follows no redirects."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.reopen(None)

    def reopen(self, cookies: Any) -> None:
        """Connect again, as a browser does after a restart of the server."""
        # With a new connection for each request, every worker gets some requests.
        kept = 5 if self.server.kind.workers == 1 else 0
        self.client = httpx2.Client(
            timeout=SECONDS,
            limits=httpx2.Limits(max_keepalive_connections=kept),
            verify=NO_TLS,
            cookies=cookies,
        )

    def request(self, method: str, url: str, **options: Any) -> httpx2.Response:
        target = self.server.url + url if url.startswith("/") else url
        return self.client.request(method, target, **options)

    def get(self, url: str, headers: Any = PAGE) -> httpx2.Response:
        return self.request("GET", url, headers=headers)

    def get_raw(self, path: str, headers: Any = PAGE) -> Answer:
        """GET a path literally; httpx2 would remove dots from it."""
        connection = HTTPConnection("127.0.0.1", self.server.port, timeout=SECONDS)
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            answer.read()
            return answer
        finally:
            connection.close()

    def post(self, url: str, **options: Any) -> httpx2.Response:
        """POST like a form on one of the app's pages."""
        return self.request("POST", url, headers=self.own, **options)

    @property
    def own(self) -> dict[str, str]:
        return {**PAGE, "origin": self.server.url, "sec-fetch-site": "same-origin"}

    def decide(self, authorize: str, **choice: Any) -> str:
        """Decide on TikTok's page; return the callback's address."""
        callback = self.server.tiktok.consent(authorize, **choice)
        assert callback.startswith(self.server.url + CALLBACK + "?")
        return callback

    def log_in(self, begun: str = LOGIN, **choice: Any) -> httpx2.Response:
        """Follow a login link to TikTok and back; return the callback's answer."""
        response = self.get(begun)
        assert response.status_code == 303, response.text
        return self.get(self.decide(response.headers["location"], **choice))

    def log_out(self) -> httpx2.Response:
        return self.post(LOGOUT)

    def me(self) -> httpx2.Response:
        return self.get("/api/me", headers={"accept": "application/json"})

    @property
    def person(self) -> Person:
        """Return the user who logs in by default."""
        return self.server.tiktok.people[0]

    @property
    def cookie(self) -> str | None:
        return self.client.cookies.get("tiktok")


class SlowTikTok(FakeTikTok):
    """A stand-in that processes a token request, and sends the answer when the test
    lets it.
    """

    gate: Gate | None = None
    #: The grant types whose answers are held back.
    grant_type = "authorization_code"

    def handle(self, method: str, url: str, headers: Any, body: bytes) -> Any:
        reply = super().handle(method, url, headers, body)
        if self.gate is not None and f"grant_type={self.grant_type}".encode() in body:
            self.gate()
        return reply


def send(server: Server, target: str, cookies: Mapping[str, str]) -> socket.socket:
    """Send a GET without reading its answer."""
    sent = socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS)
    line = "; ".join(f"{n}={v}" for n, v in cookies.items())
    lines = [
        f"GET {target} HTTP/1.1",
        f"host: 127.0.0.1:{server.port}",
        *(f"{name}: {value}" for name, value in PAGE.items()),
        f"cookie: {line}",
        "",
        "",
    ]
    sent.sendall("\r\n".join(lines).encode())
    return sent


#: What eventlet logs at a start, if it cannot patch an object that it does not know.
PATCHING = re.compile(
    r"^An exception was thrown while monkey_patching for eventlet.*\n"
    r"Traceback.*\n(?: .*\n)*AttributeError: 'getset_descriptor'.*\n",
    re.MULTILINE,
)


@pytest.fixture(scope="session")
def stand_in() -> Iterator[StandIn]:
    with StandIn(SlowTikTok()) as stand_in:
        yield stand_in


@pytest.fixture(scope="module", params=list(KINDS))
def server(
    request: pytest.FixtureRequest,
    stand_in: StandIn,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    kind = KINDS[request.param]
    if kind.missing:
        pytest.skip(f"{kind.missing} is not installed")
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "mod_wsgi":  # its user cannot enter pytest's folders
        folder = Path(tempfile.mkdtemp())
    server = Server(request.param, kind, folder, stand_in)
    # Longer than any test needs, so that a slow machine does not fail.
    server.environment["TIKTOK_TIMEOUT"] = "60"
    try:
        server.start()
        yield server
    finally:
        if server.process:
            server.stop()
    log = server.log.read_text()
    if request.param == "mod_wsgi":
        shutil.rmtree(folder)
    log = PATCHING.sub("", log)
    assert not re.search(r"Traceback|Error\b|never awaited", log), log


@pytest.fixture
def new_browser(server: Server) -> Iterator[Callable[[], Browser]]:
    """Return a function that opens another browser."""
    opened: list[Browser] = []

    def open_one() -> Browser:
        opened.append(Browser(server))
        return opened[-1]

    yield open_one
    for browser in opened:
        browser.client.close()


@pytest.fixture
def browser(new_browser: Callable[[], Browser]) -> Browser:
    return new_browser()


def local(url: str) -> str:
    """Return the path and query of a URL, as they are sent."""
    parts = urlsplit(url)
    return parts.path + (f"?{parts.query}" if parts.query else "")
