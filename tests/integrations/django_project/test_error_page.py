"""Django's error page, which shows settings, frames and cookies, shows no secret."""

from __future__ import annotations

import logging

import pytest
from django.views.debug import SafeExceptionReporterFilter

from tiktok_oauth_middleware._core.secret import reveal


@pytest.fixture
def secret_texts(project):
    """Return a function that lists all secrets: keys, tokens and cookies."""

    def collect(browser):
        from tiktok_oauth_middleware.django import installation

        core = installation()._cores[project.interface == "asgi"]
        texts = [project.options["client_secret"], *project.options["secret_keys"]]
        texts += [value for name, value in browser.client.cookies.items()]
        texts += [session[4] for session in core.live.values()]
        return [reveal(text) for text in texts]

    return collect


def test_no_secret_on_the_error_page(project, secret_texts):
    """The page of a view that raises names the view, and no key, token or cookie."""
    project.set(DEBUG=True)
    browser = project.browser()
    browser.log_in()
    assert browser.get("/who").json()["token"] is True
    response = browser.get("/broken")
    assert response.status_code == 500
    assert "RuntimeError" in response.text
    assert "TIKTOK_OAUTH" in response.text
    texts = secret_texts(browser)
    assert len(texts) >= 4
    for text in texts:
        assert text not in response.text


def test_the_setting_is_masked_as_a_whole(project):
    """Django's own filter hides the setting, whose name holds AUTH."""
    shown = SafeExceptionReporterFilter().get_safe_settings()
    assert shown["TIKTOK_OAUTH"] == SafeExceptionReporterFilter.cleansed_substitute
    assert (
        shown["TIKTOK_OAUTH_OPTIONS"] == SafeExceptionReporterFilter.cleansed_substitute
    )


def test_a_hook_that_raises_shows_no_secret(accounts, secret_texts, caplog):
    """An error of may_sign_up is a 500 whose page and log hold no token."""

    def may_sign_up(request, login):
        message = "the hook is broken"
        raise RuntimeError(message)

    fake = accounts.fake
    options = {"transport": fake.transport, "clock": fake.clock}
    accounts.set(
        DEBUG=True, TIKTOK_OAUTH_OPTIONS={**options, "may_sign_up": may_sign_up}
    )
    browser = accounts.browser()
    with caplog.at_level(logging.DEBUG):
        response = browser.log_in()
    assert response.status_code == 500
    assert "the hook is broken" in response.text
    assert browser.get("/user").json()["authenticated"] is False
    from tiktok_oauth_middleware.django.models import StoredRow

    assert not StoredRow.objects.filter(key__contains=":grant:").exists()
    for text in secret_texts(browser):
        assert text not in response.text
        assert text not in caplog.text
