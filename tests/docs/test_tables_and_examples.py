"""Single pages below docs/: their tables are complete, and their examples run."""

from __future__ import annotations

import inspect
import json
import logging
import re
import secrets
from dataclasses import MISSING, fields

import pytest
from starlette.applications import Starlette

from tiktok_oauth_middleware import (
    Event,
    MemoryStore,
    TikTokEndpoints,
    TikTokOAuthMiddleware,
    TikTokOAuthWSGIMiddleware,
    TikTokSettings,
    TikTokTokens,
)
from tiktok_oauth_middleware._core import log
from tiktok_oauth_middleware._core.backends import one_step, threads
from tiktok_oauth_middleware._core.leases import LEASE_SECONDS, RENEW_SECONDS
from tiktok_oauth_middleware._observe.emit import Emitter
from tiktok_oauth_middleware._observe.metrics import HISTOGRAMS
from tiktok_oauth_middleware._web.button import STYLE
from tiktok_oauth_middleware._web.messages import (
    ACTIONS,
    LANGUAGES,
    NOTES,
    Messages,
    accept_language,
)
from tiktok_oauth_middleware._web.pages import PROBLEMS
from tiktok_oauth_middleware.events import COUNTERS, EVENTS
from tiktok_oauth_middleware.settings.rows import rows_of
from tiktok_oauth_middleware.testing import FakeTikTok, login_as

from ..conftest import make_settings
from ..support.recipes import DOCS, programs
from ..support.recipes import run as run_named


@pytest.fixture
def environment(monkeypatch):
    values = {
        "CLIENT_KEY": "awexampleclientkey",
        "CLIENT_SECRET": "the-client-secret-of-tests",
        "REDIRECT_URI": "https://app.example.com/auth/tiktok/callback",
        "SECRET_KEYS": secrets.token_urlsafe(32),
        "STORE": "memory://",
    }
    for name, value in values.items():
        monkeypatch.setenv(f"TIKTOK_{name}", value)


def run(name):
    """Run the code blocks of a document in a new namespace, and return it."""
    found = {"__name__": "docs"}
    for program in programs(name):
        exec(program, found)
    return found


class TestSettings:
    @pytest.fixture
    def page(self):
        return (DOCS / "guide/settings.md").read_text(encoding="utf-8")

    def test_every_option(self, page):
        """The table has the name, default, limits and meaning of each option's row."""
        table = page.partition("\n## Options\n")[2].partition("\n## ")[0]
        lines = [line[1:-1] for line in table.splitlines() if line.startswith("| `")]
        cells = [[cell.strip() for cell in line.split(" |")] for line in lines]
        rows = rows_of(TikTokSettings)
        assert [name.strip("`") for name, *_ in cells] == list(rows)
        for option, (_, default, limits, meaning) in zip(
            fields(TikTokSettings), cells, strict=True
        ):
            row = rows[option.name]
            is_required = option.default is option.default_factory is MISSING
            assert (default == "required") is is_required, option.name
            if not is_required:
                names = {"TikTokEndpoints": TikTokEndpoints}
                assert eval(default.split("`")[1], names) == row.stand_in
            bounds = "" if row.least is None else f"{row.least} to {row.most}"
            assert limits.partition(" (")[0] == bounds, option.name
            linked = re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", meaning)
            assert linked == row.meaning, option.name

    @pytest.mark.parametrize("kind", [TikTokOAuthMiddleware, TikTokOAuthWSGIMiddleware])
    def test_every_argument(self, page, kind):
        """The keyword arguments of both middlewares are listed, and no others."""
        table = page.partition("\n## Arguments of the middlewares\n")[2]
        cells = "".join(re.findall(r"^\| (`.+?) \|", table, re.MULTILINE))
        parameters = inspect.signature(kind).parameters.values()
        names = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
        assert set(re.findall(r"`(\w+)=`", cells)) == names


class TestSecurity:
    def test_limits(self):
        """The limits of the lock and of the log are those of the code."""
        page = (DOCS / "guide/security.md").read_text(encoding="utf-8")
        lock = f"| {LEASE_SECONDS:g} s, renewed every {RENEW_SECONDS:g} s; with a store"
        assert f"| the store's lock for a refresh {lock}" in page
        assert log.QUIET_SECONDS == 60
        assert "| the same warning in the log | once a minute in each process |" in page


class TestPages:
    def test_blocks_run(self, environment):
        """The blocks run, and their page function handles every problem."""
        found = run("guide/pages.md")
        for problem in PROBLEMS.values():
            made = found["page"](problem)
            assert made is None or problem.title in made

    def test_names(self):
        """Every name and text is listed."""
        rows = (DOCS / "guide/pages.md").read_text().splitlines()
        for code, problem in PROBLEMS.items():
            text = f"**{problem.title}** {' '.join(problem.texts)}"
            assert f"| `{code}` | {problem.status} | {text} |" in rows
        for name, text in (*ACTIONS.items(), *NOTES.items()):
            assert f"| `{name}` | {text} |" in rows


class TestLanguages:
    def test_blocks_run(self, environment):
        """The block runs; it adds a language, and texts that it leaves out are English."""
        messages = Messages(run("guide/languages.md")["texts"])
        assert messages.texts("nl", "back") == ("Terug naar Example",)
        assert messages.texts("nl", "log_in") == ("Log in",)

    def test_every_language(self):
        """The table has every built-in language, in order, and no other."""
        page = (DOCS / "guide/languages.md").read_text(encoding="utf-8")
        assert tuple(re.findall(r"^\| `([\w-]+)` \|", page, re.MULTILINE)) == LANGUAGES

    def test_limits(self):
        """The limits of the header are those of the code."""
        page = (DOCS / "guide/languages.md").read_text(encoding="utf-8")
        limits = (
            accept_language._LONGEST_ACCEPT_LANGUAGE,
            accept_language._MOST_RANGES,
        )
        assert "longer than {:,} bytes or {} languages".format(*limits) in page


class TestButton:
    def test_blocks_run(self, environment):
        """The blocks run, and their texts are those of the button."""
        found = run("guide/button.md")
        messages = Messages(found["texts"])
        assert messages.texts("en", "log_in_with_tiktok") == ("Continue with TikTok",)

    def test_style(self):
        """The style sheet to put into a file is the button's own."""
        assert f"```css\n{STYLE}```" in (DOCS / "guide/button.md").read_text()


class TestMetrics:
    @pytest.fixture
    def rows(self):
        """Return the rows of the document's tables, as lists of cells."""
        lines = (DOCS / "operations/metrics.md").read_text().splitlines()
        return {
            cells[0].strip("`"): cells
            for line in lines
            if line.startswith("| ")
            for cells in [[cell.strip() for cell in line.strip("|").split(" | ")]]
        }

    def test_events(self, rows):
        """Every event is listed with its level and its reasons."""
        for name, kind in EVENTS.items():
            _, level, reasons = rows[name]
            assert level.startswith(logging.getLevelName(kind.level).lower())
            assert {*re.findall(r"`([\w.]+)`", reasons)} == kind.reasons

    def test_instruments(self, rows):
        """Every counter and histogram is listed."""
        assert {*COUNTERS, *HISTOGRAMS} <= set(rows)

    def test_fields(self, rows, caplog):
        """Every field of a record is listed, and no other."""
        event = Event(name="logout", open_id="someone")
        with caplog.at_level("INFO", "tiktok_oauth_middleware"):
            one_step.run(Emitter(threads.ThreadBackend(), b"key", None, None)(event))
        [record] = caplog.records
        fields = {name for name in vars(record) if name.startswith("tiktok_")}
        assert {row for row in rows if row.startswith("tiktok_")} - {
            row for row in rows if "." in row
        } == fields

    def test_dashboard(self):
        """The dashboard uses every metric, under its name in Prometheus."""
        board = json.loads((DOCS / "operations/grafana-dashboard.json").read_text())
        queries = [t["expr"] for panel in board["panels"] for t in panel["targets"]]
        asked = {name for q in queries for name in re.findall(r"tiktok_oauth\w+", q)}
        counters = {f"{name.replace('.', '_')}_total" for name in COUNTERS}
        histograms = {f"{name.replace('.', '_')}_seconds" for name in HISTOGRAMS}
        assert {re.sub("_(bucket|count)$", "", name) for name in asked} == (
            counters | histograms
        )
        document = (DOCS / "operations/metrics.md").read_text()
        for query in queries:
            assert f"`{query.replace('$__rate_interval', '5m')}`" in document

    def test_logging(self):
        """The lines that configure the logger run, and enable its INFO lines."""
        found = run_named("operations/metrics.md", "logging")
        logger = found["logging"].getLogger("tiktok_oauth_middleware")
        level = logger.level
        logger.setLevel(logging.NOTSET)
        assert level == logging.INFO


class TestJobs:
    def test_token(self, environment):
        """The first example returns None for a user who never logged in."""
        found = run_named("guide/jobs.md", "token")
        assert found["access_token_of"]("unknown") is None

    def test_renew(self):
        """A token that TikTok's API refuses is replaced, and the call is repeated."""
        import httpx2
        from starlette.testclient import TestClient

        fake = FakeTikTok.for_settings(settings := make_settings())
        options = {"store": MemoryStore(), "transport": fake.transport}
        app = TikTokOAuthMiddleware(Starlette(), settings, **options)
        with TestClient(app, base_url=settings.origin) as client:
            login_as(client, fake)
        used = []

        def call_tiktok(access_token):
            used.append(access_token)
            code = "access_token_invalid" if access_token == used[0] else "ok"
            return httpx2.Response(200, json={"error": {"code": code}})

        with TikTokTokens(settings, **options) as tokens:
            open_id = fake.people[0].open_id
            found = run_named("guide/jobs.md", "renew")
            answer = found["videos_of"](tokens, open_id, call_tiktok)
            assert answer.json()["error"]["code"] == "ok"
            assert used == [*dict.fromkeys(used)]
            assert used[1] == tokens.get(open_id).access_token
        assert fake.count("token", grant_type="refresh_token") == 1


class TestCheck:
    def test_codes(self):
        """Exactly the codes of findings in the source are listed."""
        package = DOCS.parent / "tiktok_oauth_middleware"
        modules = [
            *(package / "_check").glob("*.py"),
            *(package / "stores").glob("*.py"),
        ]
        source = "".join(path.read_text() for path in modules)
        made = set(re.findall(r'(?:good|note|wrong|level)\(\s*"([a-z_]+)"', source)) | {
            "unknown_variable"
        }
        table = (
            (DOCS / "operations/check.md").read_text().partition("\n## Findings\n")[2]
        )
        cells = re.findall(r"^\| (`.+?) \|", table, re.MULTILINE)
        listed = {code for cell in cells for code in re.findall(r"`([a-z_]+)`", cell)}
        assert listed == made
        assert len(made) > 40


class TestComparison:
    def test_authlib_without_changes(self):
        """Authlib's client behaves as docs/guide/comparison.md says, which is why it is
        overridden.
        """
        import httpx2
        from authlib.integrations.base_client.errors import OAuthError
        from authlib.integrations.httpx_client import OAuth2Client

        asked = []

        def tiktok(request):
            asked.append(request)
            if len(asked) == 1:
                return httpx2.Response(
                    200, json={"access_token": "a", "expires_in": 60}
                )
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
            # TikTok's own example, in the form that TikTok does not accept.
            assert (
                query["code_challenge"] == "5qF4sSB0PQhQlQjyaWUrC9-R4pMykhvJ6XRP091Bv-8"
            )
            token = "https://open.tiktokapis.com/v2/oauth/token/"
            client.fetch_token(token, code="c")
            assert asked[0].headers["authorization"].startswith("Basic ")
            assert asked[0].headers["content-type"].endswith(";charset=UTF-8")
            assert client.token["access_token"] == "a"
            with pytest.raises(OAuthError) as refused:
                client.fetch_token(token, code="c")
            assert "LOG-1" not in str(vars(refused.value))
