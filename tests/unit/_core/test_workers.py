"""A memory store with several workers is reported when the app starts."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
import types
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from tiktok_oauth_middleware import (
    MemoryStore,
    NotSignedIn,
    SQLiteStore,
    TikTokOAuthMiddleware,
    TikTokOAuthWSGIMiddleware,
    TikTokTokens,
)
from tiktok_oauth_middleware._core.workers import several_workers
from tiktok_oauth_middleware.testing import FakeTikTok, login_as

from ...conftest import API, ORIGIN, make_settings
from ...support.ports import free_port

WARNING = "the memory store is not shared"
HINT = "memory store does not hold"


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """Hide the test process's own environment and command line."""
    for name in (*os.environ,):
        if "WORKERS" in name or name in {"WEB_CONCURRENCY", "GUNICORN_CMD_ARGS"}:
            monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "argv", ["pytest"])


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("WEB_CONCURRENCY", "2", True),
        ("WEB_CONCURRENCY", "1", False),
        ("WEB_CONCURRENCY", "many", False),
        ("UVICORN_WORKERS", "4", True),
        ("GRANIAN_WORKERS", "4", True),
        ("GUNICORN_CMD_ARGS", "--bind=:80 --workers=3", True),
        ("GUNICORN_CMD_ARGS", "-w 3", True),
        ("GUNICORN_CMD_ARGS", "--workers 1", False),
        ("AWS_LAMBDA_FUNCTION_NAME", "shop", True),
        ("FUNCTIONS_WORKER_RUNTIME", "python", True),
        ("FUNCTION_TARGET", "main", True),
        ("K_SERVICE", "shop", True),
        ("K_SERVICE", "", False),
    ],
)
def test_variables(name, value, expected):
    """The number of workers is read from the environment."""
    assert bool(several_workers({name: value})) is expected


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("/usr/bin/gunicorn app:app -w 4", True),
        ("/usr/bin/gunicorn -w4 app:app", True),
        ("/usr/bin/gunicorn --workers=4 app:app", True),
        ("/x/site-packages/uvicorn/__main__.py app:app --workers 2", True),
        ("/usr/bin/uvicorn app:app --workers 2 --reload", False),
        ("/usr/bin/uvicorn app:app", False),
        ("/usr/bin/granian --interface asgi app:app --workers 2", True),
        ("/usr/bin/hypercorn -w 2 app:app", True),
        ("/usr/bin/fastapi run main.py --workers 2", True),
        ("/usr/bin/uwsgi --processes 3", True),
        ("/home/me/manage.py --workers 4", False),
        ("", False),
    ],
)
def test_command_lines(monkeypatch, command, expected):
    """The number of workers is read from a server's command line, and not from other
    programs'.
    """
    monkeypatch.setattr(sys, "argv", command.split(" ") if command else [])
    assert bool(several_workers({})) is expected


@pytest.mark.parametrize(
    ("module", "name"), [("uwsgi", "numproc"), ("mod_wsgi", "maximum_processes")]
)
@pytest.mark.parametrize("count", [1, 3])
def test_modules_of_servers(monkeypatch, module, name, count):
    """The number of workers is read from uWSGI's and mod_wsgi's own modules."""
    made = types.ModuleType(module)
    setattr(made, name, count)
    monkeypatch.setitem(sys.modules, module, made)
    assert bool(several_workers({})) is (count > 1)


def test_frames_of_this_thread():
    """A server's configuration is found in the frames below the caller, and never in
    those of another thread, which runs on while they are read.
    """
    server = {"__name__": "uvicorn.server"}
    code = "def serve(config, app):\n    return app({})"
    exec(code, server)
    config = types.SimpleNamespace(workers=3)
    assert server["serve"](config, several_workers) == "uvicorn runs 3 workers"

    def in_another_thread(environ):
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(several_workers, environ).result()

    assert server["serve"](config, in_another_thread) is None


@pytest.mark.parametrize("build", [TikTokOAuthMiddleware, TikTokOAuthWSGIMiddleware])
@pytest.mark.parametrize("named", [True, False])
def test_reported_when_built(monkeypatch, caplog, build, named):
    """The warning is logged when the middleware is built, before any login."""
    monkeypatch.setenv("WEB_CONCURRENCY", "2")
    store = None if named else MemoryStore()
    build(lambda *_: None, make_settings(store="memory://"), store=store)
    assert WARNING in caplog.text
    assert "WEB_CONCURRENCY is 2" in caplog.text


def test_reported_for_a_job(monkeypatch, caplog):
    """A job with a memory store is also warned of several workers."""
    monkeypatch.setenv("WEB_CONCURRENCY", "2")
    with pytest.raises(NotSignedIn):
        TikTokTokens(make_settings(store="memory://")).get("open_id")
    assert WARNING in caplog.text


def test_one_worker(caplog):
    """With one worker there is no warning."""
    build = TikTokOAuthWSGIMiddleware
    build(lambda *_: None, make_settings(store="memory://"))
    assert WARNING not in caplog.text


def test_shared_store(monkeypatch, caplog, tmp_path):
    """With a store that all workers share there is no warning."""
    monkeypatch.setenv("WEB_CONCURRENCY", "2")
    store = SQLiteStore(tmp_path / "tokens.sqlite3")
    TikTokOAuthWSGIMiddleware(lambda *_: None, make_settings(), store=store)
    assert WARNING not in caplog.text


@pytest.mark.parametrize("several", [False, True])
def test_flag_of_the_environ(caplog, several):
    """Under WSGI the server's own flag is read at the first request."""

    def app(environ, start_response):
        start_response("200 OK", [])
        return [b""]

    wrapped = TikTokOAuthWSGIMiddleware(app, make_settings(), store=MemoryStore())

    def served(environ, start_response):
        return wrapped({**environ, "wsgi.multiprocess": several}, start_response)

    with httpx2.Client(
        transport=httpx2.WSGITransport(served), base_url=ORIGIN
    ) as client:
        client.get("/")
    assert (WARNING in caplog.text) is several


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_hint_at_a_genuine_cookie(caplog, tmp_path, kind):
    """With a memory store, a cookie of another process's session logs a hint once a
    minute.
    """
    settings = make_settings()
    fake = FakeTikTok.for_settings(settings)

    def app(environ, start_response):
        text = str(environ["tiktok.auth"].open_id)
        start_response("200 OK", [])
        return [text.encode()]

    def worker(number):
        if kind == "memory":
            store = MemoryStore()
        else:
            store = SQLiteStore(tmp_path / f"{number}.sqlite3")
        wrapped = TikTokOAuthWSGIMiddleware(
            app, settings, store=store, transport=fake.transport
        )
        return httpx2.Client(transport=httpx2.WSGITransport(wrapped), base_url=ORIGIN)

    with caplog.at_level(logging.WARNING), worker(1) as first, worker(2) as second:
        login_as(first, fake)
        assert first.get("/").text == fake.people[0].open_id
        assert second.get("/", headers={"cookie": "__Host-tiktok=no"}).text == "None"
        assert HINT not in caplog.text
        cookies = "; ".join(f"{c.name}={c.value}" for c in first.cookies.jar)
        for _ in range(3):
            assert second.get("/", headers={"cookie": cookies}).text == "None"
    assert caplog.text.count(HINT) == (1 if kind == "memory" else 0)


SETTINGS = """
settings = TikTokSettings(
    client_key="awexampleclientkey", client_secret="the-client-secret-of-tests",
    redirect_uri="https://app.example.com/auth/tiktok/callback",
    secret_keys=["Zk3vXq9LwR2tYb7NfH5cJd8GsPmA1eUo"], store="memory://",
)
"""
ASGI = f"""
from tiktok_oauth_middleware import TikTokOAuthMiddleware, TikTokSettings
{SETTINGS}
async def plain(scope, receive, send):
    if scope["type"] == "http":
        await send(dict(type="http.response.start", status=200, headers=[]))
        await send(dict(type="http.response.body", body=b"home"))

asgi = TikTokOAuthMiddleware(plain, settings)
"""
WSGI = f"""
from tiktok_oauth_middleware import TikTokOAuthWSGIMiddleware, TikTokSettings
{SETTINGS}
def plain(environ, start_response):
    start_response("200 OK", [])
    return [b"home"]

wsgi = TikTokOAuthWSGIMiddleware(plain, settings)
"""
RUN = """
import uvicorn
if __name__ == "__main__":
    uvicorn.run("site_:asgi", port={port}, workers={workers})
"""
CONFIG = "workers = {workers}\n"


SERVERS = {
    "uvicorn": "-m uvicorn site_:asgi --port {port} --workers {workers}",
    "uvicorn.run": "run.py",
    "gunicorn": "-m gunicorn wsgi_:wsgi -b 127.0.0.1:{port} -w {workers}",
    "gunicorn, by its file": "-m gunicorn wsgi_:wsgi -b 127.0.0.1:{port} -c conf.py",
    "gunicorn, preloaded": (
        "-m gunicorn wsgi_:wsgi -b 127.0.0.1:{port} -c conf.py --preload"
    ),
    "hypercorn": "-m hypercorn site_:asgi -b 127.0.0.1:{port} -w {workers}",
    "granian": "-m granian --interface asgi --port {port} site_:asgi --workers {workers}",
}


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("workers", [1, 2])
def test_real_servers(tmp_path, server, workers):
    """With each real server, several workers cause a warning, and a single one does
    not.
    """
    package = server.partition(",")[0].partition(".")[0]
    pytest.importorskip(package, reason=f"{package} is not installed")
    port = free_port()
    (tmp_path / "site_.py").write_text(ASGI)
    (tmp_path / "wsgi_.py").write_text(WSGI)
    (tmp_path / "conf.py").write_text(CONFIG.format(workers=workers))
    (tmp_path / "run.py").write_text(RUN.format(port=port, workers=workers))
    command = SERVERS[server].format(port=port, workers=workers).split()
    log = tmp_path / "log"
    environ = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=tmp_path,
            env=environ,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        give_up = time.monotonic() + 120  # only so that the test ends
        while True:
            assert process.poll() is None, log.read_text()
            try:
                url = f"http://127.0.0.1:{port}/"
                request = urllib.request.Request(url, headers=API)
                with urllib.request.urlopen(request, timeout=60) as response:
                    assert response.read() == b"home"
                break
            except OSError:
                assert time.monotonic() < give_up, log.read_text()
                time.sleep(0.2)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(5)  # granian may not end if all get the signal at once
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert (WARNING in log.read_text()) is (workers > 1), log.read_text()
