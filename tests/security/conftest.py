"""A mark that tests of weaknesses share."""

from __future__ import annotations

import pytest

#: For tests that do not depend on the kind of store.
memory_only = pytest.mark.parametrize("store", ["memory"], indirect=True)
