"""The project's pages."""

from __future__ import annotations

from django.contrib import admin
from django.urls import path

from . import views

urlpatterns = [
    path("", views.home),
    path("profile", views.profile),
    path("videos", views.videos),
    path("api/me", views.me),
    path("admin/", admin.site.urls),
]
