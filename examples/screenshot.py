"""Take the pictures for the docs: ``make screenshot``, with Chromium installed.

For the README it starts the Starlette example with the stand-in, logs in in a window of
a phone's size, and puts the three steps next to each other. For the page about the
button it shows every look, on a light and a dark page; for the page about sessions, the
example's page.
"""

from __future__ import annotations

import base64
import itertools
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Literal
from wsgiref.util import setup_testing_defaults

from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from tiktok_oauth_middleware import (
    TikTokAuth,
    TikTokOAuthWSGIMiddleware,
    TikTokSettings,
)

TARGET = Path(__file__).parent.parent / "docs" / "images" / "demo.png"
SIZE: ViewportSize = {"width": 390, "height": 760}
SHEET = """
<style>body{{margin:0;padding:16px;display:flex;gap:16px;background:#d9dce3}}
img{{width:270px;border-radius:12px}}</style>{images}
"""
BUTTONS = TARGET.parent / "login-button.png"
SESSIONS = TARGET.parent / "sessions.png"
LABELS = (("ltr", "Log in with TikTok"), ("rtl", "المتابعة باستخدام TikTok"))
LOOKS: tuple[Literal["black", "white", "outline"], ...] = ("black", "white", "outline")
BUTTON_SHEET = """
<style>:root{{color-scheme:light dark;--page:#fff;--ground:#5a6072}}
@media(prefers-color-scheme:dark){{:root{{--page:#131417;--ground:#5a6072}}}}
body{{margin:0;display:grid;grid-template-columns:repeat(3,1fr);background:var(--page)}}
div{{padding:14px 20px}}div:nth-child(3n+2){{background:var(--ground)}}</style>{buttons}
"""


def walk(page: Page, url: str) -> list[bytes]:
    """Log in; return pictures of the steps."""
    page.goto(url)
    steps = [page.screenshot()]
    page.get_by_role("link", name="Log in with TikTok").click()
    steps.append(page.screenshot())
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("heading", name="Hello").wait_for()
    steps.append(page.screenshot())
    return steps


def take(port: int) -> None:
    """Take the picture of the example on this port."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("Chromium is not installed")
    with sync_playwright() as playwright:
        # The pages are our own; Chromium's sandbox does not work for root.
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        steps = walk(browser.new_page(viewport=SIZE), f"http://127.0.0.1:{port}/")
        images = [base64.b64encode(step).decode() for step in steps]
        sheet = browser.new_page(viewport={"width": 874, "height": 558})
        sheet.set_content(
            SHEET.format(
                images="".join(f'<img src="data:image/png;base64,{i}">' for i in images)
            )
        )
        sheet.wait_for_function("[...document.images].every(i => i.complete)")
        TARGET.parent.mkdir(exist_ok=True)
        sheet.screenshot(path=TARGET)
        take_buttons(browser)
        take_sessions(browser, f"http://127.0.0.1:{port}/")
        browser.close()


def take_sessions(browser: Browser, url: str) -> None:
    """Take the picture of a user's sessions, in the second of two browsers."""
    for _ in range(2):
        tab = browser.new_page(viewport={"width": 800, "height": 760})
        tab.goto(f"{url}sessions")
        tab.get_by_role("button", name="Continue").click()
        tab.get_by_text("you are here").wait_for()
    tab.screenshot(path=SESSIONS, full_page=True)


def an_auth() -> TikTokAuth:
    """Return the TikTokAuth of an anonymous request."""
    seen: list[TikTokAuth] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(environ["tiktok.auth"])
        start_response("200 OK", [])
        return []

    settings = TikTokSettings(
        client_key="awpictures",
        client_secret=secrets.token_urlsafe(32),
        redirect_uri="https://app.example.com/auth/tiktok/callback",
        secret_keys=[secrets.token_urlsafe(32)],
        store="memory://",
    )
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    middleware: Any = TikTokOAuthWSGIMiddleware(app, settings)
    list(middleware(environ, lambda *_: None))
    return seen[0]


def take_buttons(browser: Browser) -> None:
    """Take the picture of the button: its looks, in both colour schemes."""
    auth = an_auth()
    images = []
    for scheme in ("light", "dark"):
        tab = browser.new_page(
            viewport={"width": 960, "height": 150}, color_scheme=scheme
        )
        cells = [
            f'<div dir="{way}">{auth.login_button(look=look, label=label)}</div>'
            for (way, label), look in itertools.product(LABELS, LOOKS)
        ]
        tab.set_content(BUTTON_SHEET.format(buttons="".join(cells)))
        images.append(base64.b64encode(tab.screenshot()).decode())
    sheet = browser.new_page(viewport={"width": 960, "height": 300})
    pictures = "".join(
        f'<img style="display:block" src="data:image/png;base64,{image}">'
        for image in images
    )
    sheet.set_content(f"<style>body{{margin:0}}</style>{pictures}")
    sheet.wait_for_function("[...document.images].every(i => i.complete)")
    sheet.screenshot(path=BUTTONS)


def main() -> None:
    """Start the example, take the pictures, and stop it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TIKTOK_")}
    command = [sys.executable, "-m", "examples.starlette_app", "--port", str(port)]
    with subprocess.Popen(command, env=environment) as example:
        try:
            wait_for(port)
            take(port)
        finally:
            example.terminate()
    print(f"{TARGET}: {TARGET.stat().st_size} bytes")


def wait_for(port: int) -> None:
    """Wait until the example answers, for a limited time."""
    give_up = time.monotonic() + 30
    while time.monotonic() < give_up:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    sys.exit("the example does not answer")


if __name__ == "__main__":
    main()
