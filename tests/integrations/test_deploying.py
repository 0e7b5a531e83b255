"""The recipes of docs/operations/deploying.md and docs/integrations/websockets.md: real nginx, real servers."""

from __future__ import annotations

import os
import re
import secrets
import ssl
import subprocess
from contextlib import ExitStack, contextmanager

import httpx2
import pytest
from starlette.testclient import TestClient, WebSocketDenialResponse

from tiktok_oauth_middleware.testing import FakeTikTok, login_as
from tiktok_oauth_middleware.testing.server import StandIn

from ..conftest import CALLBACK, LOGIN, LOGOUT, ORIGIN
from ..servers.conftest import until
from ..support.certificates import self_signed
from ..support.ports import free_port
from ..support.proxies import AROUND_NGINX, NGINX
from ..support.quick_start import start
from ..support.recipes import DOCS, blocks, run

needs_nginx = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
UVICORN = "-m uvicorn app:app --log-level warning --port {port}"
GUNICORN = "-m gunicorn app:app --log-level warning --bind 127.0.0.1:{port}"


@pytest.fixture
def fake():
    return FakeTikTok()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """Return a self-signed certificate for localhost."""
    folder = tmp_path_factory.mktemp("tls")
    made, key = self_signed("localhost")
    (folder / "cert.pem").write_bytes(made)
    (folder / "cert.key").write_bytes(key)
    return folder


@contextmanager
def running(process):
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


class Site:
    """nginx with the page's configuration, in front of one of the page's apps."""

    def __init__(self, folder, certificate):
        self.folder = folder
        self.certificate = certificate
        self.port = free_port()
        self.inner_port = free_port()
        self.origin = f"https://localhost:{self.port}"
        self.trust = ssl.create_default_context(cafile=certificate / "cert.pem")

    def configure(self, location=None):
        conf = blocks("operations/deploying.md")["site"]
        if location is not None:
            inner = blocks("operations/deploying.md")[location]
            conf = re.sub(
                r"    location / \{.*?\n    \}\n",
                lambda _: inner,
                conf,
                flags=re.DOTALL,
            )
        changes = {
            "listen 443 ssl": f"listen 127.0.0.1:{self.port} ssl",
            "app.example.com;": "localhost;",
            "/etc/ssl/app.example.com.pem": str(self.certificate / "cert.pem"),
            "/etc/ssl/app.example.com.key": str(self.certificate / "cert.key"),
            "/var/log/nginx/app.log": str(self.folder / "access.log"),
            "http://127.0.0.1:8000": f"http://127.0.0.1:{self.inner_port}",
        }
        for documented, meant in changes.items():
            assert documented in conf, documented
            conf = conf.replace(documented, meant)
        (self.folder / "site.conf").write_text(conf)
        page = f"include {self.folder}/site.conf;"
        (self.folder / "nginx.conf").write_text(
            AROUND_NGINX.format(folder=self.folder, page=page)
        )

    @contextmanager
    def serve(self, app, command, fake, prefix="", **variables):
        (self.folder / "app.py").write_text(app)
        with ExitStack() as stack:
            stand_in = stack.enter_context(StandIn(fake))
            environment = {
                **os.environ,
                **stand_in.environment(self.origin + prefix + CALLBACK),
                "TIKTOK_SECRET_KEYS": secrets.token_urlsafe(32),
                "TIKTOK_STORE": f"sqlite:///{self.folder}/tokens.sqlite3",
                **variables,
            }
            words = command.format(port=self.inner_port).split()
            server = start(words, cwd=self.folder, env=environment)
            stack.enter_context(running(server))
            nginx = [NGINX, "-p", self.folder, "-c", self.folder / "nginx.conf"]
            front = subprocess.Popen(nginx, stderr=subprocess.DEVNULL)
            stack.enter_context(running(front))
            client = stack.enter_context(
                httpx2.Client(base_url=self.origin, verify=self.trust)
            )
            until(lambda: self._answers(client, prefix), "the app behind nginx")
            yield client

    @staticmethod
    def _answers(client, prefix):
        try:
            return client.get(f"{prefix}/who").status_code == 200
        except httpx2.TransportError:
            return False


@pytest.fixture
def site(tmp_path, certificate):
    return Site(tmp_path, certificate)


def walk(client, fake, site, prefix=""):
    """Log in, check the user, open a guarded page, and log out."""
    person = fake.people[1]
    assert client.get(f"{prefix}/who").json()["open_id"] is None
    page = f"{prefix}/members/list?q=1"
    headers = {"accept": "text/html"}
    begin = client.get(page, headers=headers).headers["location"]
    assert begin.startswith(f"{prefix}{LOGIN}?next=")
    back = login_as(client, fake, login_path=begin, person=person)
    assert back.headers["location"] == page
    cookie = back.headers.get_list("set-cookie")[-1]
    assert cookie.startswith("__Host-tiktok=")
    assert "Secure" in cookie
    assert client.get(page).text == person.open_id
    assert client.get(f"{prefix}/who").json()["name"] == person.display_name
    client.post(prefix + LOGOUT, headers={"origin": site.origin})
    assert client.get(f"{prefix}/who").json()["open_id"] is None
    # The log is as the page says.
    logged = (site.folder / "access.log").read_text()
    assert f"GET {prefix}{CALLBACK}" in logged
    assert "code=" not in logged
    assert "state=" not in logged


@needs_nginx
@pytest.mark.parametrize(
    ("app", "command"), [("starlette", UVICORN), ("flask", GUNICORN)]
)
def test_nginx(site, fake, app, command):
    """A login works behind nginx, and the log contains no code."""
    site.configure()
    with site.serve(blocks("integrations/frameworks.md")[app], command, fake) as client:
        walk(client, fake, site)


@needs_nginx
@pytest.mark.parametrize(
    ("app", "command", "location", "variables"),
    [
        ("starlette", f"{UVICORN} --root-path /shop", "prefix_asgi", {}),
        ("flask", GUNICORN, "prefix_wsgi", {"SCRIPT_NAME": "/shop"}),
    ],
)
def test_nginx_and_a_prefix(site, fake, app, command, location, variables):
    """A login works below a prefix, and paths outside of it are not served."""
    site.configure(location)
    recipe = blocks("integrations/frameworks.md")[app]
    with site.serve(recipe, command, fake, "/shop", **variables) as client:
        walk(client, fake, site, "/shop")
        # nginx's own 404.
        assert client.get(LOGIN).status_code in (403, 404)


@needs_nginx
@pytest.mark.parametrize(
    ("app", "command"), [("starlette", UVICORN), ("flask", GUNICORN)]
)
def test_nginx_and_long_addresses(site, fake, app, command):
    """A redirect to the login from a long guarded address passes nginx."""
    site.configure()
    with site.serve(blocks("integrations/frameworks.md")[app], command, fake) as client:
        for length in (1500, 1990, 2300, 3100, 3900):
            for unit in ("x", "%C3%BC", "a=b&"):
                query = (unit * length)[: length // 6 * 6]
                headers = {"accept": "text/html"}
                answer = client.get(f"/members/list?{query}", headers=headers)
                assert answer.status_code == 303, (length, unit)
                begin = answer.headers["location"]
                assert client.get(begin, headers=headers).status_code == 303, begin
                client.cookies.clear()


@needs_nginx
def test_nginx_and_a_websocket(site, fake):
    """A WebSocket through nginx has the session of the page that opened it."""
    from websockets.sync.client import connect

    site.configure()
    # The app of the other page, with a view that shows that it is running.
    app = blocks("integrations/websockets.md")["live"] + (
        "\nfrom starlette.responses import JSONResponse\n"
        "app.app.add_route('/who', lambda request: JSONResponse({}))\n"
    )
    with site.serve(app, UVICORN, fake) as client:
        login_as(client, fake)
        cookie = "; ".join(f"{c.name}={c.value}" for c in client.cookies.jar)
        with connect(
            f"wss://localhost:{site.port}/live",
            ssl=site.trust,
            origin=site.origin,
            additional_headers={"cookie": cookie},
        ) as socket:
            socket.send("hello")
            assert socket.recv() == f"{fake.people[0].open_id}: hello"


class TestTwoApps:
    """Two TikTok apps in one site."""

    @pytest.fixture
    def fakes(self):
        return {
            name: FakeTikTok(client_key=f"aw{name}clientkey")
            for name in ("shop", "studio")
        }

    @pytest.fixture
    def client(self, fakes, monkeypatch, tmp_path):
        with ExitStack() as stack:
            for name, fake in fakes.items():
                stand_in = stack.enter_context(StandIn(fake))
                values = {
                    **stand_in.environment(f"{ORIGIN}/{name}{CALLBACK}"),
                    "TIKTOK_SECRET_KEYS": secrets.token_urlsafe(32),
                    "TIKTOK_COOKIE_NAME": name,
                    "TIKTOK_STORE": f"sqlite:///{tmp_path}/tokens.sqlite3",
                }
                for variable, value in values.items():
                    monkeypatch.setenv(f"{name.upper()}_{variable}", value)
            left = run("operations/deploying.md", "two_apps")
            client = stack.enter_context(TestClient(left["app"], base_url=ORIGIN))
            yield client
            for name in fakes:
                client.portal.call(left[name].aclose)

    def test_apart(self, client, fakes):
        """A user of one app is anonymous in the other, and can be signed in to both."""
        who = {}
        for number, (name, fake) in enumerate(fakes.items()):
            assert client.get(f"/{name}/who").json() == {"open_id": None}
            person = fake.people[number]
            login_as(client, fake, person, login_path=f"/{name}{LOGIN}")
            who[name] = person.open_id
        for name, open_id in who.items():
            assert client.get(f"/{name}/who").json() == {"open_id": open_id}
        client.post(f"/shop{LOGOUT}", headers={"origin": ORIGIN})
        assert client.get("/shop/who").json() == {"open_id": None}
        assert client.get("/studio/who").json() == {"open_id": who["studio"]}


def test_new_key_worker_by_worker(browser, world):
    """A new key that all workers know before one uses it ends no session."""
    old = list(world.settings.secret_keys)
    new = secrets.token_urlsafe(32)
    browser.log_in()
    kept = browser.cookies()
    assert world.with_settings(secret_keys=[*old, new]).browser(**kept).signed_in
    restarted = world.with_settings(secret_keys=[new, *old]).browser()
    restarted.log_in()
    kept = restarted.cookies()
    assert world.with_settings(secret_keys=[*old, new]).browser(**kept).signed_in
    assert not world.with_settings(secret_keys=old).browser(**kept).signed_in


class TestWebSockets:
    """The app of docs/integrations/websockets.md."""

    @pytest.fixture
    def left(self, fake, monkeypatch, tmp_path):
        with StandIn(fake) as stand_in:
            values = {
                **stand_in.environment(ORIGIN + CALLBACK),
                "TIKTOK_SECRET_KEYS": secrets.token_urlsafe(32),
                "TIKTOK_STORE": f"sqlite:///{tmp_path}/tokens.sqlite3",
            }
            for name, value in values.items():
                monkeypatch.setenv(name, value)
            left = run("integrations/websockets.md", "live")
            yield left
            left["tokens"].close()

    @pytest.fixture
    def client(self, left):
        with TestClient(left["app"], base_url=ORIGIN) as client:
            yield client
            client.portal.call(left["tokens"].aclose)

    def connect(self, client):
        url = ORIGIN.replace("https", "wss") + "/live"
        return client.websocket_connect(url, headers={"origin": ORIGIN})

    def test_anonymous(self, client):
        """An anonymous handshake is refused before the socket is accepted."""
        with pytest.raises(WebSocketDenialResponse) as refused, self.connect(client):
            pass
        assert refused.value.status_code == 401

    def test_signed_in_user(self, client, fake):
        """A signed-in user is answered."""
        login_as(client, fake)
        with self.connect(client) as socket:
            socket.send_text("hello")
            assert socket.receive_text() == f"{fake.people[0].open_id}: hello"

    def test_withdrawn(self, client, fake, left):
        """After a withdrawal the socket is closed at the next message."""
        login_as(client, fake)
        with self.connect(client) as socket:
            assert left["tokens"].forget(fake.people[0].open_id)
            socket.send_text("hello")
            assert socket.receive() == {
                "type": "websocket.close",
                "code": 4401,
                "reason": "",
            }

    def test_end(self, client, fake, left):
        """A socket that is open for too long is closed, and can be opened again."""
        login_as(client, fake)
        left["LIFE"] = 0.05
        with self.connect(client) as socket:
            assert socket.receive()["code"] == 4401
        left["LIFE"] = 60
        with self.connect(client) as socket:
            socket.send_text("again")
            assert socket.receive_text().endswith(": again")


ASGI_APP = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})
"""
FLASK_APP = """
from flask import Flask
app = Flask(__name__)
@app.get("/callback")
def callback():
    return ""
"""
DJANGO_APP = """
from django.http import HttpResponse
from django.urls import path
ALLOWED_HOSTS = ["*"]
DEBUG = True
ROOT_URLCONF = "app"
SECRET_KEY = "of a test"
USE_TZ = True
urlpatterns = [path("callback", lambda request: HttpResponse(""))]
"""
LOGGED = {
    "uvicorn": (ASGI_APP, "-m uvicorn app:app --port {port}"),
    "flask": (FLASK_APP, "-m flask run --port {port}"),
    "django": (DJANGO_APP, "-m django runserver --noreload 127.0.0.1:{port}"),
}
FORMATTED = {
    "gunicorn": (FLASK_APP, "-m gunicorn app:app --bind 127.0.0.1:{port}"),
    "hypercorn": (ASGI_APP, "-m hypercorn app:app --bind 127.0.0.1:{port}"),
}


def access_log(folder, app, command):
    """Serve an app, ask for a callback, and return what the server printed."""
    port = free_port()
    (folder / "app.py").write_text(app)
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "app"}
    words = [word.format(port=port) for word in command]

    def answers():
        try:
            page = f"http://127.0.0.1:{port}/callback?code=secret-code&state=secret"
            return httpx2.get(page).status_code == 200
        except httpx2.TransportError:
            return False

    with (
        (folder / "printed").open("wb") as printed,
        running(start(words, stdout=printed, cwd=folder, env=environment)),
    ):
        until(answers, "an answer")
    return (folder / "printed").read_text(encoding="utf-8")


class TestAccessLogs:
    @pytest.mark.parametrize("server", sorted(LOGGED))
    def test_filter(self, tmp_path, server):
        """The page's filter logs the path of a callback, and no code."""
        pytest.importorskip(server, reason=f"{server} is not installed")
        app, command = LOGGED[server]
        code = blocks("operations/deploying.md")["logs"].strip()
        printed = access_log(tmp_path, code + app, command.split())
        assert '"GET /callback HTTP/1.1" 200' in re.sub(r"\x1b\[\d*m", "", printed)
        assert "secret" not in printed

    @pytest.mark.parametrize("server", sorted(FORMATTED))
    def test_format(self, tmp_path, server):
        """The page's format logs the path of a callback, and no code."""
        pytest.importorskip(server, reason=f"{server} is not installed")
        app, command = FORMATTED[server]
        text = (DOCS / "operations/deploying.md").read_text(encoding="utf-8")
        [row] = re.findall(rf"^\| {server} \|.*$", text, re.MULTILINE)
        [written] = re.findall(r"--access-logformat '(.+?)'", row)
        words = [*command.split(), "--access-logfile", "-", "--access-logformat"]
        printed = access_log(tmp_path, app, [*words, written])
        assert re.search('"GET /callback" 200', printed)
        assert "secret" not in printed
