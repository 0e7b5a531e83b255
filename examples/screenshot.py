"""Take the picture in the README: ``make screenshot``, with Chromium installed.

It starts the Starlette example with the stand-in, walks through a login in a window of
a phone's size, and lays the three steps beside each other.
"""

from __future__ import annotations

import base64
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from playwright.sync_api import Page, ViewportSize, sync_playwright

TARGET = Path(__file__).parent.parent / "docs" / "images" / "demo.png"
SIZE: ViewportSize = {"width": 390, "height": 760}
SHEET = """
<style>body{{margin:0;padding:16px;display:flex;gap:16px;background:#d9dce3}}
img{{width:270px;border-radius:12px}}</style>{images}
"""


def walk(page: Page, url: str) -> list[bytes]:
    """Log in; return the pictures of what is seen on the way."""
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
        # The pages are our own; root can not have Chromium's sandbox.
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
        browser.close()


def main() -> None:
    """Start the example, take the picture, end it."""
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
    """Wait until the example answers, but not for ever."""
    give_up = time.monotonic() + 30
    while time.monotonic() < give_up:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    sys.exit("the example does not answer")


if __name__ == "__main__":
    main()
