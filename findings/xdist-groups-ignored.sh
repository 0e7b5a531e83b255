#!/usr/bin/env bash
# pytest 9.2.0 with pytest-xdist 3.8.0: --dist loadgroup ignores every xdist_group mark.
#
# Tests with the same mark are meant to run one after another in one worker, because they share a
# port, a database or a file. pytest-xdist writes the group into item._nodeid, and pytest 9.2 no
# longer reads that field when it reports an item's id, so the scheduler sees no group and spreads
# the tests over all workers. Nothing warns. This affects anyone who protects a shared server by a
# group: tests that passed fail at times, or each worker starts the server once more. Our
# conftest.py forms the groups in a scheduler of its own, by names of tests.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
PIP="$folder/venv/bin/pip install --quiet"
cat > "$folder/test_group.py" <<'PYTHON'
import os
import pathlib
import time

import pytest


@pytest.mark.xdist_group("one")
@pytest.mark.parametrize("number", range(8))
def test_shared(number):
    time.sleep(0.1)
    worker = os.environ["PYTEST_XDIST_WORKER"]
    (pathlib.Path(os.environ["SEEN"]) / worker).touch()
PYTHON
cd "$folder"
workers() {
    $PIP "pytest==$1" pytest-xdist==3.8.0
    mkdir "seen-$1"
    SEEN="$folder/seen-$1" "$folder/venv/bin/python" -m pytest -q -p no:cacheprovider \
        -n 2 --dist loadgroup test_group.py > /dev/null
    find "seen-$1" -type f | wc -l
}
before=$(workers 9.0.2)
now=$(workers 9.2.0)
echo "pytest 9.0.2: workers that ran the group: $before"
echo "pytest 9.2.0: workers that ran the group: $now"
if [ "$before" -ne 1 ] || [ "$now" -ne 2 ]; then
    echo "the behaviour has changed"
    exit 1
fi
# Seen:
#   pytest 9.0.2: workers that ran the group: 1
#   pytest 9.2.0: workers that ran the group: 2
