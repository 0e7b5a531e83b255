#!/usr/bin/env bash
# Django 5.2.19: after alogin() and alogout(), request.auser() is still the user from before.
#
# request.auser() is what request.user is in async code. alogin() and alogout() set request.user,
# and leave what auser() has kept from an earlier call: in the rest of that request a view, a
# template's context processor or a middleware that asks auser() finds the anonymous user after a
# login, and after a logout the one who has just left; request.user says the opposite. From the next
# request on both are right, so that it looks like a page that came too early. (Django's tickets
# 36540 and 37019.) This affects anyone who creates something for the new user,
# or writes who did it into a log, in the request that logs them in. Our Django app calls alogout()
# where the TikTok session behind a Django session has ended; it sets auser itself, and a test asks
# twice in one request.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet django==5.2.19
cd "$folder"
cat >pages.py <<'PYTHON'
import asyncio

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
)
django.setup()

from django.contrib.auth import alogin, alogout
from django.contrib.auth.models import User
from django.core.management import call_command
from django.http import JsonResponse
from django.test import AsyncClient
from django.urls import path


async def names(request):
    return [(await request.auser()).username, request.user.username]


async def login(request):
    await request.auser()  # as a view does that greets whoever is there already
    await alogin(request, await User.objects.aget(username="ada"))
    return JsonResponse(await names(request), safe=False)


async def logout(request):
    await request.auser()
    await alogout(request)
    return JsonResponse(await names(request), safe=False)


async def who(request):
    return JsonResponse([(await request.auser()).username], safe=False)


urlpatterns = [path("login", login), path("logout", logout), path("who", who)]


async def main():
    client = AsyncClient()
    seen = {}
    for page in ("login", "who", "logout"):
        seen[page] = (await client.get("/" + page)).json()
        print(f"{page}: {seen[page]}")
    return seen


if __name__ == "__main__":
    print("django", django.__version__)
    call_command("migrate", verbosity=0)
    User.objects.create_user("ada")
    if asyncio.run(main()) != {"login": ["", "ada"], "who": ["ada"], "logout": ["ada", ""]}:
        raise SystemExit("the behaviour has changed")
PYTHON
venv/bin/python pages.py
# Seen:
#   django 5.2.19
#   login: ['', 'ada']
#   who: ['ada']
#   logout: ['ada', '']
