"""Languages of the pages by Accept-Language, through Starlette and Flask."""

from __future__ import annotations

import pytest

from tiktok_oauth_middleware import MemoryStore, TikTokOAuthMiddleware
from tiktok_oauth_middleware._web.messages import LANGUAGES, Messages
from tiktok_oauth_middleware._web.messages.translations import translated

from ..conftest import API, LOGIN, LOGOUT, PAGE, SAME_ORIGIN

RIGHT_TO_LEFT = ("ar",)


@pytest.fixture
def store(clock):
    """Return one store: which one it is does not change a page."""
    return MemoryStore(clock=clock)


def asking(header):
    return {**PAGE, "accept-language": header}


def language_of(response):
    """Return the language of a page, which its attribute and its header agree on."""
    language = response.headers["content-language"]
    direction = "rtl" if language in RIGHT_TO_LEFT else "ltr"
    assert f'<html lang="{language}" dir="{direction}">' in response.text
    assert response.headers["vary"] == "Accept-Language"
    assert response.headers["cache-control"] == "no-store"
    return language


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language(world, language):
    """The pages of a login, a guard and a logout are in the reader's language."""
    browser = world.start().browser()
    texts = translated(language)
    url = browser.consent(browser.begin(), deny=True)
    denied = browser.get(url, headers=asking(f"{language},en;q=0.5"))
    assert denied.status_code == 403
    assert language_of(denied) == language
    for text in (*texts["login_denied"], *texts["try_again"], *texts["back"]):
        assert f">{text}</" in denied.text
    posted = browser.post("/private", headers={**asking(language), **SAME_ORIGIN})
    assert posted.status_code == 401
    assert language_of(posted) == language
    assert f"<h1>{texts['login_required'][0]}</h1>" in posted.text
    question = browser.get(LOGOUT, headers=asking(language))
    assert language_of(question) == language
    assert f">{texts['log_out'][0]}</button>" in question.text


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("nl;q=1, fr-CH;q=0.7, de;q=0.8", "de"),
        ("de;q=0, fr;q=0.1", "fr"),
        ("nl, *", "en"),
        ("*;q=0", "en"),
        ("de," * 1000, "en"),
        ("d" * 10_000, "en"),
        (";;q=,,\tde;;", "en"),
        ("../de, de.mo, de/../fr", "en"),
    ],
)
def test_header(world, header, language):
    """The header decides as it is written; a malformed or huge one means English."""
    page = world.start().browser().get(LOGOUT, headers=asking(header))
    assert language_of(page) == language


def test_no_header(world):
    """Without the header a page is in English, and still varies by it."""
    page = world.start().browser().get(LOGOUT)
    assert language_of(page) == "en"


def test_programs(world):
    """Responses to programs are in English and vary by no language."""
    answer = world.start().browser().get("/private", {**API, "accept-language": "de"})
    assert answer.json()["error"] == "login_required"
    assert "content-language" not in answer.headers
    assert "Accept-Language" not in answer.headers.get("vary", "")


def test_redirects(world):
    """A redirect varies by no language."""
    answer = world.start().browser().get(LOGIN, headers=asking("de"))
    assert answer.status_code == 303
    assert "content-language" not in answer.headers


def test_app_wins(world):
    """The app's texts go before ours, which fill in what a language of it leaves out."""
    world.further = {
        "texts": {
            "de-CH": {"confirm_logout": ["Uuslogge?", "Würkli."]},
            "nl": {"confirm_logout": ["Uitloggen?", "Weet u het zeker?"]},
        }
    }
    browser = world.start().browser()
    swiss = browser.get(LOGOUT, headers=asking("de-CH"))
    assert language_of(swiss) == "de-CH"
    assert "<h1>Uuslogge?</h1>" in swiss.text
    assert ">Abmelden</button>" in swiss.text
    dutch = browser.get(LOGOUT, headers=asking("nl"))
    assert "<h1>Uitloggen?</h1>" in dutch.text
    assert ">Log out</button>" in dutch.text
    assert "<h1>Abmelden?" in browser.get(LOGOUT, headers=asking("de-AT")).text
    other = browser.get(LOGOUT, headers=asking("oc"))
    assert language_of(other) == "de-CH"


def test_own_page_in_every_language(world):
    """The app's page gets each language's texts; only the app knows its language."""
    problems = []

    def page(problem):
        problems.append(problem)
        return "<!doctype html><title>x</title>"

    world.further = {"page": page}
    browser = world.start().browser()
    for language in LANGUAGES:
        answer = browser.get(LOGOUT, headers=asking(language))
        assert answer.headers["vary"] == "Accept-Language"
        assert "content-language" not in answer.headers
        problem = problems.pop()
        assert problem.language == language
        assert (problem.title, *problem.texts) == translated(language)["confirm_logout"]
        assert problem.actions[0].label == translated(language)["log_out"][0]


def test_values_in_arabic(world):
    """A path stands apart from the Arabic text around it, slash first."""
    browser = world.start().browser()
    url = browser.consent(browser.begin("?next=/videos"))
    browser.client.cookies.clear()
    page = browser.get(url, headers=asking("ar"))
    assert language_of(page) == "ar"
    sentence = Messages().sentence("ar", "address", "https://app.example.com")
    assert f"<p>{sentence}</p>" in page.text
    assert "\u2068https://app.example.com\u2069" in page.text


def test_varies_once(anyio_backend, settings):
    """On a guard's page the app's own Vary and ours are one header."""
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.cors import CORSMiddleware
    from starlette.routing import Route
    from starlette.testclient import TestClient

    from tiktok_oauth_middleware.starlette import requires_tiktok

    @requires_tiktok
    async def private(request): ...

    cors = Middleware(
        CORSMiddleware,
        allow_origins=["https://other.example.com"],
        allow_credentials=True,
    )
    app = Starlette(
        routes=[Route("/private", private, methods=["POST"])], middleware=[cors]
    )
    wrapped = TikTokOAuthMiddleware(app, settings, store=MemoryStore())
    with TestClient(wrapped, settings.origin, backend=anyio_backend) as client:
        headers = {**asking("de"), "origin": "https://other.example.com"}
        page = client.post("/private", headers=headers)
    assert page.headers["access-control-allow-credentials"] == "true"
    vary = page.headers.get_list("vary")
    assert len(vary) == 1
    assert {*vary[0].split(", ")} == {"Accept-Language", "Origin", "Cookie"}
