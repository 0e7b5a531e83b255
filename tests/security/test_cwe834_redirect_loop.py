"""A failed login does not begin another by itself (CWE-834)."""

from __future__ import annotations

import pytest

from ..conftest import CALLBACK, LOGIN, PAGE, make_settings
from .conftest import memory_only


@memory_only
class TestNothingToLoop:
    """A failed login ends on a page; no answer redirects to TikTok again."""

    @pytest.fixture
    def settings(self):
        return make_settings(protect=["/"])

    @pytest.mark.parametrize(
        "query", [b"", b"error=access_denied", b"code=x&state=y", b"state=y", b"&&"]
    )
    def test_failed_callback(self, raw, query):
        """A failed callback shows a page even if every path is protected."""
        answer = raw.ask("GET", CALLBACK, query=query, headers=PAGE)
        assert 400 <= answer.status < 500
        assert answer.one("location") is None
        assert answer.one("refresh") is None
        assert "http-equiv" not in answer.text
        assert f'href="{LOGIN}"' in answer.text
