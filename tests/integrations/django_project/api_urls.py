"""The project's pages, and those of REST framework and Ninja."""

from __future__ import annotations

from .urls import api_patterns, urlpatterns

urlpatterns = [*urlpatterns, *api_patterns()]
