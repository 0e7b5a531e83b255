"""Pictures of the pages that tests open, for people: SCREENSHOTS=yes takes them.

No test reads them, and each takes as long as loading its page does.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "screenshots"


def shoot(page: Any, name: str, *, full_page: bool = True) -> None:
    """Write a picture of a page of Playwright's, if pictures are wanted."""
    if os.environ.get("SCREENSHOTS"):
        FOLDER.mkdir(exist_ok=True)
        page.screenshot(path=FOLDER / f"{name}.png", full_page=full_page)
