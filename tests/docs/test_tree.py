"""The repository has only sources and documents, no files that programs leave behind."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: The kinds of files in the repository. A new kind is added here.
KINDS = re.compile(
    r"(.*/)?([\w.-]+\.(py|md|html|css|js|sh|toml|yml|json|svg|png|pem|po|mo)"
    r"|py\.typed|LICENSE|Makefile|\.gitignore|\.ci/(run|packages|memory))"
)
LEFT_BEHIND = re.compile(
    r"(^|/)((crash|leak|timeout|oom|slow-unit)-|(found|screenshots|mutants|__pycache__|node_modules|dist|build)/"
    r"|\.(idea|vscode|venv|tox|hypothesis|DS_Store|#))"
    r"|\.(orig|rej|swp|swo|bak|tmp|log|pyc|sqlite3|gz|whl)$|~$"
)
MAY_BE_EMPTY = ("__init__.py", "py.typed")
#: In bytes. The largest file is a screenshot of 122 kB.
LARGEST = 1_000_000


def git(*arguments: str, standing: str = "") -> str:
    """Return what git prints; without git or a checkout of it, skip."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("git has no checkout here")
    done = subprocess.run(
        ["git", *arguments],
        cwd=ROOT,
        input=standing,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout


def does_not_belong(name: str) -> bool:
    """Return whether a path is neither a source nor a document."""
    return not KINDS.fullmatch(name) or bool(LEFT_BEHIND.search(name))


def test_every_file_is_of_a_known_kind():
    """Git holds no crash file, backup, reject, cache or file of an editor."""
    names = git("ls-files").splitlines()
    assert len(names) > 100
    assert [name for name in names if does_not_belong(name)] == []


def test_no_file_is_large_or_empty():
    """No file in git is larger than 1 MB; only markers of packages are empty."""
    paths = [ROOT / name for name in git("ls-files").splitlines()]
    sizes = {path: path.stat().st_size for path in paths if path.exists()}
    assert [path for path, size in sizes.items() if size > LARGEST] == []
    empty = [path for path, size in sizes.items() if not size]
    assert [path for path in empty if path.name not in MAY_BE_EMPTY] == []


EXCEPTION = re.compile(r"#\s*(ruff:\s*)?noqa\b(?P<rest>.*)", re.IGNORECASE)
#: A rule that has many exceptions is switched off for its files in pyproject.toml.
MOST_EXCEPTIONS = 45


def test_exceptions_from_the_linter_have_reasons():
    """Exceptions from ruff are few; each names its rules and says why."""
    names = git("ls-files", "*.py").splitlines()
    found = [
        (name, match["rest"])
        for name in names
        if (ROOT / name).exists()
        for line in (ROOT / name).read_text(encoding="utf-8").splitlines()
        if (match := EXCEPTION.search(line)) and name != "tests/docs/test_tree.py"
    ]
    reason = re.compile(r": [A-Z]+\d+(, [A-Z]+\d+)* - \S.*")
    assert [each for each in found if not reason.fullmatch(each[1])] == []
    assert 0 < len(found) <= MOST_EXCEPTIONS


ARTEFACTS = [
    "crash-0123456789abcdef",
    "hardening/fuzz/found/next-bcb6727c4eba",
    "oom-0123",
    "timeout-0123",
    "tests/conftest.py.orig",
    "Makefile.rej",
    "tests/__pycache__/conftest.cpython-311.pyc",
    ".README.md.swp",
    "README.md~",
    ".DS_Store",
    ".idea/workspace.xml",
    ".vscode/settings.json",
    ".hypothesis/examples/0123",
    "tokens.sqlite3",
    "dist/package.tar.gz",
    ".coverage",
    "screenshots/home.png",
    ".tox/py311/x.py",
    "mutants/x.py",
]


def test_artefacts_do_not_belong():
    """The rule above finds files that programs and editors leave behind."""
    assert [name for name in ARTEFACTS if not does_not_belong(name)] == []
    assert not does_not_belong("tiktok_oauth_middleware/asgi.py")


def test_artefacts_are_ignored():
    """Git ignores files that the project's programs and usual editors leave behind."""
    ignored = git(
        "check-ignore", "--no-index", "--stdin", standing="\n".join(ARTEFACTS)
    )
    assert sorted(ignored.splitlines()) == sorted(ARTEFACTS)


WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned(workflow):
    """A workflow names each action by its commit, and says which version that is."""
    lines = re.findall(r"uses: (.*)", workflow.read_text(encoding="utf-8"))
    assert lines
    for line in lines:
        assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


def test_workflow_runs_what_ci_runs():
    """The workflow of a change runs each program that .ci/run does."""
    program = re.compile(r"(?:make (?!PYTHON)[\w./-]+|\.ci/packages|pip install .*)")
    here = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    there = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    programs = set(program.findall(re.sub(r"#.*", "", here)))
    assert len(programs) == 7
    assert programs <= set(program.findall(there)), programs


def test_no_test_imports_from_another():
    """A helper that several test files use is in a module of its own."""
    found = [
        f"{path.relative_to(ROOT)}: {line}"
        for folder in ("tests", "hardening")
        for path in (ROOT / folder).rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.match(r"\s*from \.[\w.]*\btest_\w+ import ", line)
    ]
    assert found == []
