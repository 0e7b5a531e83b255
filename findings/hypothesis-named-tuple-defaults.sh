#!/usr/bin/env bash
# hypothesis 6.140.0: builds() draws the fields of a NamedTuple that have a default.
#
# For a function or a dataclass, builds() leaves parameters with a default alone, as documented.
# For a NamedTuple every field without a strategy is drawn by its annotation, also in a call that
# names the others. This affects anyone who adds a field with a default to a NamedTuple that
# property tests build: nothing fails to build, and the tests go on with other inputs than their
# authors chose, or fail far from the change. Our property tests name every field of the records
# that they draw.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet hypothesis==6.140.0
cat > "$folder/drawn.py" <<'PYTHON'
from dataclasses import dataclass
from typing import NamedTuple

import hypothesis
from hypothesis import given, settings
from hypothesis import strategies as st


class Tuple(NamedTuple):
    name: str
    size: int = 7


@dataclass
class Data:
    name: str
    size: int = 7


def sizes(kind):
    found = set()

    @settings(max_examples=200, database=None, derandomize=True)
    @given(st.builds(kind, name=st.text()))
    def collect(built):
        found.add(built.size)

    collect()
    return found


print("hypothesis", hypothesis.__version__)
dataclass_sizes, tuple_sizes = sizes(Data), sizes(Tuple)
print("dataclass: only the default:", dataclass_sizes == {7})
print("NamedTuple: only the default:", tuple_sizes == {7})
if dataclass_sizes != {7} or tuple_sizes == {7}:
    raise SystemExit("the behaviour has changed")
PYTHON
cd "$folder"
"$folder/venv/bin/python" drawn.py
# Seen:
#   hypothesis 6.140.0
#   dataclass: only the default: True
#   NamedTuple: only the default: False
