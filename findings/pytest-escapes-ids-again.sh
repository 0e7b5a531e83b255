#!/usr/bin/env bash
# pytest 9.0.2: the second run in one process escapes the ids of parameters once more.
#
# Ids that come from a callable, with a backslash in them, are escaped at collection; what was
# computed is kept with the test function, and a second pytest.main() in the same process escapes
# it again. Node ids of the two runs differ, so whoever collects first and then asks for a test by
# its node id gets the error that there is no such test. This affects tools that call
# pytest.main() several times and hand node ids on, such as runners of mutants. Our own mutation
# program starts a process for each collection and hands no node ids on.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pytest==9.0.2
cat > "$folder/test_ids.py" <<'PYTHON'
import pytest


@pytest.mark.parametrize("text", ["a\\b"], ids=ascii)
def test_text(text):
    assert text
PYTHON
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import pytest

print("pytest", pytest.__version__)


class Names:
    def __init__(self):
        self.found = []

    def pytest_collection_modifyitems(self, items):
        self.found += [item.nodeid for item in items]


runs = []
for _ in range(2):
    names = Names()
    pytest.main(["--collect-only", "-qq", "-p", "no:cacheprovider", "."], plugins=[names])
    runs.append(names.found)
print("first: ", runs[0])
print("second:", runs[1])
if runs[0] == runs[1]:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   pytest 9.0.2
#   first:  ["test_ids.py::test_text['a\\\\\\\\b']"]
#   second: ["test_ids.py::test_text['a\\\\\\\\\\\\\\\\b']"]
