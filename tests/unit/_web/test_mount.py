"""Mount points, and the middleware's own paths below them."""

from __future__ import annotations

import pytest

from ...support.sample_records import a_mount_point

# --- MountPoint --------------------------------------------------------------------


def test_own_paths_include_the_mount_point():
    """The paths to which a login may not return include the mount point."""
    mount_point = a_mount_point(mount="/app")
    assert "/app/auth/tiktok/login" in mount_point.own_paths
    assert "/auth/tiktok/login" not in mount_point.own_paths


@pytest.mark.parametrize(
    ("mount", "home"), [("", "/"), ("/app", "/app/"), ("/a b/ü", "/a%20b/%C3%BC/")]
)
def test_site_begins_at_its_mount(mount, home):
    """The path of the front page is the mount point, percent-encoded."""
    assert a_mount_point(mount=mount).home == home


def test_site_logout_url_carries_a_target():
    """A logout URL can contain the address to go to afterwards."""
    assert (
        a_mount_point().logout_url("/bye?x=1")
        == "/auth/tiktok/logout?next=/bye%3Fx%3D1"
    )
