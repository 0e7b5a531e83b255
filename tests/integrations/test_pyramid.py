"""Pyramid, wrapped from outside."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from .contract import WSGIContract, who

pytestmark = [
    pytest.mark.skipif(find_spec("pyramid") is None, reason="pyramid is not installed"),
    # WebOb imports the standard library's cgi up to Python 3.12.
    pytest.mark.filterwarnings("ignore:'cgi' is deprecated:DeprecationWarning"),
]


class TestPyramid(WSGIContract):
    """A Pyramid app, wrapped."""

    @pytest.fixture
    def app(self):
        from pyramid.config import Configurator
        from pyramid.response import Response

        def show(request):
            return who(request.environ["tiktok.auth"])

        def members(request):
            return Response(request.environ["tiktok.auth"].open_id)

        def echo(request):
            # `request.body` makes a file of it, which WebOb leaves open.
            return Response(body=request.body_file.read())

        with Configurator() as config:
            config.add_route("who", "/who")
            config.add_view(show, route_name="who", renderer="json")
            config.add_route("members", "/members/list")
            config.add_view(members, route_name="members")
            config.add_route("echo", "/echo", request_method="POST")
            config.add_view(echo, route_name="echo")
            return config.make_wsgi_app()
