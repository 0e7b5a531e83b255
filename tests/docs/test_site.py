"""The documentation's site: it builds without a warning, and nothing is missing in it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ..support.public_names import MODULES, exported, full_name

pytest.importorskip("sphinx", reason="sphinx is not installed")

from sphinx.util.inventory import InventoryFile

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
pytestmark = pytest.mark.xdist_group("site")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site, built as `make docs` does."""
    target = tmp_path_factory.mktemp("site")
    flags = ["-q", "-E", "-W", "--keep-going", "-b", "html", "-d", target / "doctrees"]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *flags, DOCS, target / "html"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return target / "html"


def test_every_page_is_built(site):
    """Every page below docs/ is a page of the site."""
    pages = {path.relative_to(DOCS).with_suffix("") for path in DOCS.rglob("*.md")}
    built = {path.relative_to(site).with_suffix("") for path in site.rglob("*.html")}
    assert len(pages) > 40
    assert pages <= built


@pytest.mark.parametrize("module", MODULES)
def test_reference_has_every_public_name(site, module):
    """Each public name has an entry in the reference, under the name apps import."""
    inventory = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="")
    entries = {name for found in inventory.data.values() for name in found}
    shared = {"SignedInAuth": full_name("starlette", "SignedInAuth")}
    missing = [
        name
        for name in exported(module)
        if shared.get(name, full_name(module, name)) not in entries
    ]
    assert missing == []
