"""The FastAPI app of docs/integrations/frameworks.md, read by strict type checkers."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from ..support.recipes import blocks

ROOT = Path(__file__).parents[2]
#: Kept between runs: without it mypy spends twenty seconds reading FastAPI.
CACHE = ROOT / ".mypy_cache" / "docs"


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "documented.py"
    path.write_text(blocks("integrations/frameworks.md")["fastapi"].lstrip())
    return path


def test_mypy(written):
    """mypy --strict finds nothing in it."""
    if find_spec("mypy") is None:
        pytest.skip("mypy is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(CACHE)]
        + ["--config-file", "/dev/null", str(written)],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout


def test_pyright(written):
    """pyright in its strictest mode finds nothing either."""
    pyright = shutil.which("pyright", path=str(Path(sys.executable).parent))
    if pyright is None:
        pytest.skip("pyright is not installed")
    config = written.parent / "pyrightconfig.json"
    config.write_text(
        json.dumps(
            {
                "typeCheckingMode": "strict",
                "venvPath": str(Path(sys.prefix).parent),
                "venv": Path(sys.prefix).name,
                "extraPaths": [str(ROOT)],
            }
        )
    )
    done = subprocess.run(
        [pyright, "--project", str(config), str(written)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
