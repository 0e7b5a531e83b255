"""An app with its own users: a cookie of the app names the signed-in user."""

from __future__ import annotations

from tiktok_oauth_middleware import TikTokTokens

CONNECT = "/auth/tiktok/connect"


def current_user(connection):
    """Return the user that the app's cookie names: of a scope or an environ."""
    header = connection.get("HTTP_COOKIE", "")
    if not header:
        found = [v for k, v in connection.get("headers", ()) if k == b"cookie"]
        header = b"; ".join(found).decode("latin-1")
    for part in header.split("; "):
        name, _, value = part.partition("=")
        if name == "app-user":
            return value or None
    return None


async def async_current_user(connection):
    """Return the same, as an async def."""
    return current_user(connection)


def connecting(world, **options):
    """Let an app connect accounts to its users; return its world."""
    world.further = {"current_user": current_user, **world.further}
    return world.with_settings(connect_path=CONNECT, **options)


def sign_in(browser, user_id):
    """Sign a browser in to the app itself, or out with None."""
    browser.client.cookies.delete("app-user") if "app-user" in browser.cookies() else 0
    if user_id is not None:
        browser.client.cookies.set("app-user", user_id)


def begin(browser, query="", **options):
    """Post to the connect path; return the address at TikTok."""
    response = browser.post(CONNECT + query, **options)
    assert response.status_code == 303, response.text
    return response.headers["location"]


def connect(browser, query="", **choice):
    """Connect an account: to TikTok and back; return the callback's response."""
    return browser.get(browser.consent(begin(browser, query), **choice))


def tokens_of(site):
    """Return the tokens that jobs of the app use."""
    made = TikTokTokens(
        site.settings,
        site.store,
        on_event=site.events.append,
        transport=site.tiktok.transport,
        clock=site.clock,
    )
    site.stack.callback(made.close)
    return made
