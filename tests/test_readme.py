"""The README tells the truth: its code runs, and its table has every option."""

from __future__ import annotations

import re
import secrets
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest

import tiktok_oauth_middleware
from tiktok_oauth_middleware import TikTokEndpoints, TikTokSettings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
DOCUMENTS = [ROOT / "README.md", *ROOT.glob("[CS]*.md"), *(ROOT / "docs").glob("*.md")]
DOCUMENTS += (ROOT / "examples").glob("*/README.md")
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
ROW = re.compile(r"^\| `(\w+)` \| (?:`([^`]+)`|required)", re.MULTILINE)
SETTINGS = README.partition("\n## Settings\n")[2].partition("\n## ")[0]
LINK = re.compile(r"\]\(([^):]*?)(?:#([^)]*))?\)")


@pytest.fixture
def environment(monkeypatch) -> None:
    """The variables of the quick start, and a store that keeps nothing."""
    values = {
        "CLIENT_KEY": "awexampleclientkey",
        "CLIENT_SECRET": "the-client-secret-of-tests",
        "REDIRECT_URI": "https://app.example.com/auth/tiktok/callback",
        "SECRET_KEYS": secrets.token_urlsafe(32),
        "OPTIONAL_SCOPES": "video.list",
        "STORE": "memory://",
    }
    for name, value in values.items():
        monkeypatch.setenv(f"TIKTOK_{name}", value)


@pytest.fixture
def namespace(environment) -> dict[str, Any]:
    """What the README's blocks leave behind, run in order in one fresh namespace."""
    found: dict[str, Any] = {"__name__": "readme"}
    for match in BLOCK.finditer(README):
        line = README.count("\n", 0, match.start(1))
        code = compile("\n" * line + match[1], "README.md", "exec")
        exec(code, found)
    return found


def test_blocks_run(namespace):
    """Every block marked python runs as it stands, in order."""
    assert {"app", "api", "flask_app", "wsgi", "tokens", "client"} <= set(namespace)


def test_starlette(namespace):
    """The Starlette app greets whom its test logged in."""
    name = namespace["fake"].people[0].display_name
    assert namespace["client"].get("/").text == f"Hello, {name}"


def test_fastapi(namespace):
    """The FastAPI app tells a program that a login is missing, and shows it in OpenAPI."""
    from starlette.testclient import TestClient

    client = TestClient(namespace["api"], base_url="https://app.example.com")
    for path in ("/me", "/videos", "/drafts"):
        response = client.get(path, headers={"accept": "application/json"})
        assert response.status_code == 401
        assert response.json()["error"] == "login_required"
        assert client.get("/openapi.json").json()["paths"][path]["get"]["security"]


def test_flask(namespace):
    """The Flask app, around the stand-in, knows who logged in with a test client."""
    from tiktok_oauth_middleware import MemoryStore, TikTokOAuthWSGIMiddleware
    from tiktok_oauth_middleware.testing import login_as

    app, fake = namespace["flask_app"], namespace["fake"]
    app.wsgi_app = TikTokOAuthWSGIMiddleware(
        app.wsgi_app.app,
        namespace["settings"],
        store=MemoryStore(),
        transport=fake.transport,
    )
    client = app.test_client()
    login_as(client, fake)
    assert client.get("/me").get_json()["open_id"] == fake.people[0].open_id


def test_path_rules(namespace):
    """The bare WSGI app is closed by its rule, and open below the other one."""
    import httpx2

    transport = httpx2.WSGITransport(namespace["wsgi"])
    with httpx2.Client(
        transport=transport, base_url="https://app.example.com"
    ) as client:
        html = {"accept": "text/html"}
        closed = client.get("/x?y=1", headers=html)
        assert closed.status_code == 303
        assert closed.headers["location"] == "/auth/tiktok/login?next=/x%3Fy%3D1"
        assert client.get("/static/x", headers=html).status_code == 200


def test_job(namespace):
    """The job's function says None for somebody who never logged in."""
    assert namespace["access_token_of"]("nobody") is None


def test_every_option():
    """The table has every option, in order, with the default that it has."""
    said = {name: default or None for name, default in ROW.findall(SETTINGS)}
    options = fields(TikTokSettings)
    assert list(said) == [option.name for option in options]
    for option in options:
        default = option.default
        if option.default_factory is not MISSING:
            default = option.default_factory()
        if default is MISSING:
            assert said[option.name] is None, option.name
        else:
            names = {"TikTokEndpoints": TikTokEndpoints}
            assert eval(said[option.name], names) == default, option.name


def test_version_in_the_changelog():
    """The changelog has an entry for the version of the package."""
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert f"## [{tiktok_oauth_middleware.__version__}]" in changelog


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: str(d.relative_to(ROOT)))
def test_links(document):
    """Links between the documents lead to files and headings that are there."""
    for target, heading in LINK.findall(document.read_text()):
        found = (document.parent / target).resolve() if target else document
        assert found.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.+)$", found.read_text(), re.MULTILINE)
            slugs = [
                re.sub(r"[^\w -]", "", t.lower()).replace(" ", "-") for t in titles
            ]
            assert heading in slugs, heading


def test_authlib_as_it_comes():
    """What the comparison says of Authlib's client is so: each is why we override it."""
    import httpx2
    from authlib.integrations.base_client.errors import OAuthError
    from authlib.integrations.httpx_client import OAuth2Client

    asked = []

    def tiktok(request):
        asked.append(request)
        if len(asked) == 1:
            return httpx2.Response(200, json={"access_token": "a", "expires_in": 60})
        fault = {"error": "invalid_grant", "log_id": "LOG-1"}
        return httpx2.Response(200, json=fault)

    with OAuth2Client(
        "key",
        "secret",
        scope=["user.info.basic", "video.list"],
        code_challenge_method="S256",
        transport=httpx2.MockTransport(tiktok),
    ) as client:
        verifier = "gaeCq5mVvbhA8Ce6w5O9XBVIKMkySgv-_9A-rnhm9Ns"
        url, _ = client.create_authorization_url(
            "https://www.tiktok.com/v2/auth/authorize/", code_verifier=verifier
        )
        query = dict(httpx2.URL(url).params)
        assert query["client_id"] == "key"
        assert "client_key" not in query
        assert query["scope"] == "user.info.basic video.list"
        # TikTok's own test vector, in the form that TikTok does not take.
        assert query["code_challenge"] == "5qF4sSB0PQhQlQjyaWUrC9-R4pMykhvJ6XRP091Bv-8"
        token = "https://open.tiktokapis.com/v2/oauth/token/"
        client.fetch_token(token, code="c")
        assert asked[0].headers["authorization"].startswith("Basic ")
        assert asked[0].headers["content-type"].endswith(";charset=UTF-8")
        assert client.token["access_token"] == "a"
        with pytest.raises(OAuthError) as refused:
            client.fetch_token(token, code="c")
        assert "LOG-1" not in str(vars(refused.value))
