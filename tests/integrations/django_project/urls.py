"""The project's pages."""

from __future__ import annotations

from django.contrib import admin
from django.http import FileResponse, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import render
from django.template import engines
from django.urls import path
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import cache_page
from django.views.decorators.csrf import csrf_exempt

from tiktok_oauth_middleware import ConfigurationError
from tiktok_oauth_middleware.django import TikTokRequiredMixin, requires_tiktok


def public(request):
    return HttpResponse("for everybody")


def invitation(request, code):
    return HttpResponse(request.tiktok.login_url("/member", carry={"invite": code}))


async def invitation_async(request, code):
    return invitation(request, code)


def invitation_in_a_stream(request):
    def stream():
        try:
            yield request.tiktok.login_url(carry={"invite": "x"})
        except ConfigurationError as error:
            yield str(error)

    return StreamingHttpResponse(stream())


def who(request):
    auth = request.tiktok
    return JsonResponse(
        {
            "open_id": auth.open_id,
            "scopes": sorted(auth.scopes),
            "token": auth.token is not None,
            "cookies": sorted(request.COOKIES),
        }
    )


async def who_async(request):
    return who(request)


@requires_tiktok
def member(request):
    return HttpResponse(f"member {request.tiktok.open_id}")


@requires_tiktok()
async def member_async(request):
    return HttpResponse(f"member {request.tiktok.open_id}")


@requires_tiktok("video.upload")
def uploads(request):
    return HttpResponse("uploads")


def django_user(request):
    user = request.user
    return JsonResponse(
        {"name": user.get_username(), "authenticated": user.is_authenticated}
    )


async def django_user_async(request):
    user = await request.auser()
    return JsonResponse(
        {"name": user.get_username(), "authenticated": user.is_authenticated}
    )


async def django_user_twice(request):
    await request.auser()
    return await django_user_async(request)


def django_login(request):
    from django.contrib.auth import authenticate, login

    user = authenticate(request, username=request.GET["name"], password="password")
    login(request, user)
    return HttpResponse("logged in")


def django_logout(request):
    from django.contrib.auth import logout

    logout(request)
    return HttpResponse("logged out")


async def django_logout_async(request):
    from django.contrib.auth import alogout

    await alogout(request)
    return HttpResponse("logged out")


class Members(TikTokRequiredMixin, View):
    def get(self, request, number):
        return HttpResponse(f"{number} {request.tiktok.open_id}")


class MembersAsync(TikTokRequiredMixin, View):
    required_scopes = ("video.list",)

    async def get(self, request):
        return HttpResponse(f"async {request.tiktok.open_id}")


class Decorated(View):
    @method_decorator(requires_tiktok("video.list"))
    def get(self, request):
        return HttpResponse(f"decorated {request.tiktok.open_id}")


@method_decorator(requires_tiktok, name="dispatch")
class DecoratedClass(View):
    def get(self, request):
        return HttpResponse(f"decorated {request.tiktok.open_id}")


class OpenAsync(View):
    async def get(self, request):
        return HttpResponse(f"decorated {request.tiktok.open_id}")


@method_decorator(requires_tiktok, name="dispatch")
class DecoratedClassAsync(OpenAsync):
    pass


@method_decorator([requires_tiktok, csrf_exempt], name="dispatch")
class DecoratedTwiceAsync(OpenAsync):
    pass


class CallableAsync:
    async def __call__(self, request):
        return HttpResponse(f"object {request.tiktok.open_id}")


def streaming(request):
    async def chunks():
        yield b"a"
        yield b"b"

    is_async = hasattr(request, "scope")
    return StreamingHttpResponse(chunks() if is_async else iter([b"a", b"b"]))


class AsyncFile(FileResponse):
    """A file that is read without a warning under ASGI."""

    def __aiter__(self):
        return self._read()

    async def _read(self):
        for chunk in self.streaming_content:
            yield chunk


def file(request):
    import io

    return AsyncFile(io.BytesIO(b"file"), filename="f.txt")


def broken(request):
    _ = request.tiktok.open_id
    message = "broken"
    raise RuntimeError(message)


def templated(request):
    template = engines["django"].from_string(
        "{% load tiktok %}{{ request.tiktok.user.display_name }}"
        "{% tiktok_login_button next='/x' %}"
    )
    return HttpResponse(template.render({}, request))


def form(request):
    return render(request, "form.html")


@cache_page(60)
def cached(request):
    return HttpResponse(f"for {request.tiktok.open_id}")


def api_patterns():
    """Return the pages of REST framework and Ninja, which are loaded when asked for."""
    from django.contrib.auth import authenticate, login, logout
    from ninja import NinjaAPI
    from rest_framework.authentication import BasicAuthentication
    from rest_framework.decorators import (
        api_view,
        authentication_classes,
        permission_classes,
    )
    from rest_framework.permissions import BasePermission, IsAuthenticated
    from rest_framework.response import Response

    from tiktok_oauth_middleware.django.ninja import TikTokSession
    from tiktok_oauth_middleware.django.rest_framework import (
        TikTokAuthentication,
        TikTokPermission,
    )

    @api_view(["GET", "POST"])
    @authentication_classes([TikTokAuthentication])
    @permission_classes([TikTokPermission])
    def drf(request):
        user = request.user
        return Response({"user": str(user), "open_id": request.auth.open_id})

    @api_view(["GET"])
    @authentication_classes([BasicAuthentication])
    @permission_classes([TikTokPermission])
    def drf_permission(request):
        return Response({"user": str(request.user)})

    @api_view(["GET"])
    @authentication_classes([TikTokAuthentication])
    @permission_classes([IsAuthenticated])
    def drf_user(request):
        return Response({"user": str(request.user)})

    class HasKey(BasePermission):
        def has_permission(self, request, _view):
            return request.headers.get("x-key") == "right"

    @api_view(["GET"])
    @permission_classes([HasKey | TikTokPermission])
    def drf_key(_request):
        return Response({})

    @api_view(["POST"])
    @authentication_classes([])
    @permission_classes([])
    def drf_login(request):
        name = request.data["name"]
        login(request, authenticate(request, username=name, password="password"))
        return Response({})

    @api_view(["POST"])
    @authentication_classes([])
    @permission_classes([])
    def drf_logout(request):
        logout(request)
        return Response({})

    @api_view(["GET"])
    @authentication_classes([TikTokAuthentication])
    @permission_classes([TikTokPermission.requiring("video.upload")])
    def drf_uploads(request):
        return Response({})

    api = NinjaAPI(auth=TikTokSession(), urls_namespace="tiktok-tests")

    @api.get("/who")
    def ninja_who(request):
        return {"open_id": request.auth.open_id}

    @api.get("/who-async")
    async def ninja_who_async(request):
        return {"open_id": request.auth.open_id}

    @api.post("/write")
    def ninja_write(request):
        return {"open_id": request.auth.open_id}

    @api.get("/uploads", auth=TikTokSession("video.upload"))
    def ninja_uploads(request):
        return {}

    return [
        path("drf", drf),
        path("drf-permission", drf_permission),
        path("drf-uploads", drf_uploads),
        path("drf-user", drf_user),
        path("drf-key", drf_key),
        path("drf-login", drf_login),
        path("drf-logout", drf_logout),
        path("who", who),
        path("ninja/", api.urls),
    ]


urlpatterns = [
    path("invitation/<code>", invitation),
    path("invitation-async/<code>", invitation_async),
    path("invitation-in-a-stream", invitation_in_a_stream),
    path("", public),
    path("admin/", admin.site.urls),
    path("public", public),
    path("who", who),
    path("who-async", who_async),
    path("member", member),
    path("member-async", member_async),
    path("uploads", uploads),
    path("user", django_user),
    path("user-async", django_user_async),
    path("user-twice", django_user_twice),
    path("django-login", django_login),
    path("django-logout", django_logout),
    path("django-logout-async", django_logout_async),
    path("members/<int:number>", Members.as_view()),
    path("members-async", MembersAsync.as_view()),
    path("decorated", Decorated.as_view()),
    path("decorated-class", DecoratedClass.as_view()),
    path("decorated-class-async", DecoratedClassAsync.as_view()),
    path("decorated-twice-async", DecoratedTwiceAsync.as_view()),
    path("decorated-view-async", requires_tiktok(OpenAsync.as_view())),
    path("decorated-object-async", requires_tiktok(CallableAsync())),
    path("streaming", streaming),
    path("file", file),
    path("broken", broken),
    path("templated", templated),
    path("cached", cached),
    path("slashed/", public),
    path("app/secret", public),
]
