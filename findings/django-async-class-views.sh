#!/usr/bin/env bash
# Django 5.2.19: login_required on an async class-based view is a 500, for users and for visitors.
#
# Since Django 5.1 login_required works on async functions, and a class whose get() is async is an
# async view. The documented ways to guard a class, method_decorator(login_required,
# name="dispatch") and LoginRequiredMixin, fail on such a one: dispatch() is an ordinary function
# that returns a coroutine, so the decorator takes it for a view that is not async. A visitor's
# redirect is then awaited ("object HttpResponseRedirect can't be used in 'await' expression"), and
# for a user who is logged in request.user asks the database in the event loop
# (SynchronousOnlyOperation). The decorator on the method get() itself works, as does a function.
# (Django's tickets 37065 and 37124, open; django-guardian's issue 1022.) This affects anyone who
# makes the views of a class async one after another: the page is closed for all. Our guards for
# Django accept a class whose methods are async.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet django==5.2.19
cd "$folder"
cat >pages.py <<'PYTHON'
import asyncio
import warnings

import django
from django.conf import settings

settings.configure(
    SECRET_KEY="s",
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}},
    LOGIN_URL="/login",
)
django.setup()

from django.contrib.auth.decorators import login_required
from django.contrib.auth.mixins import LoginRequiredMixin
from django.contrib.auth.models import User
from django.core.management import call_command
from django.http import HttpResponse
from django.test import AsyncClient, Client
from django.urls import path
from django.utils.decorators import method_decorator
from django.views import View


class Page(View):
    async def get(self, request):
        return HttpResponse("page")


@method_decorator(login_required, name="dispatch")
class Decorated(Page):
    pass


class Mixed(LoginRequiredMixin, Page):
    pass


class OnGet(View):
    @method_decorator(login_required)
    async def get(self, request):
        return HttpResponse("page")


@login_required
async def function(request):
    return HttpResponse("page")


urlpatterns = [
    path("function", function),
    path("get", OnGet.as_view()),
    path("decorated", Decorated.as_view()),
    path("mixin", Mixed.as_view()),
]


async def outcome(path, cookies):
    client = AsyncClient()
    client.cookies.load(cookies)
    try:
        return str((await client.get("/" + path)).status_code)
    except Exception as error:
        return type(error).__name__


async def main(cookies):
    seen = {}
    for name in ("function", "get", "decorated", "mixin"):
        seen[name] = [await outcome(name, {}), await outcome(name, cookies)]
        print(f"{name}: anonymous {seen[name][0]}, logged in {seen[name][1]}")
    return seen


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print("django", django.__version__)
    call_command("migrate", verbosity=0)
    browser = Client()
    browser.force_login(User.objects.create_user("ada"))
    cookies = {name: morsel.value for name, morsel in browser.cookies.items()}
    seen = asyncio.run(main(cookies))
    works, fails = ["302", "200"], ["TypeError", "SynchronousOnlyOperation"]
    if seen != {"function": works, "get": works, "decorated": fails, "mixin": fails}:
        raise SystemExit("the behaviour has changed")
PYTHON
venv/bin/python pages.py
# Seen:
#   django 5.2.19
#   function: anonymous 302, logged in 200
#   get: anonymous 302, logged in 200
#   decorated: anonymous TypeError, logged in SynchronousOnlyOperation
#   mixin: anonymous TypeError, logged in SynchronousOnlyOperation
