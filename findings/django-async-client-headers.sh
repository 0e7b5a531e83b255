#!/usr/bin/env bash
# Django 5.2.8: headers given to the constructor of AsyncClient arrive under another name.
#
# Client(headers=...) sends them with each request. AsyncClient turns the names into WSGI's and
# then treats them as names of headers: X-Token reaches the view as Http-X-Token, and
# request.headers.get("X-Token") is None. Headers given to a single call arrive as named. This
# affects tests of async views that set Authorization, Origin, Accept or X-Requested-With once for
# all calls: they test a request without it, and a check of the header that has stopped working
# stays unnoticed. Our tests of Django give an AsyncClient no headers in the constructor, and
# tiktok_login sets a cookie, which both clients send.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet django==5.2.8
cat > "$folder/headers.py" <<'PYTHON'
import asyncio

import django
from django.conf import settings

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="not a secret")
django.setup()

from django.http import JsonResponse
from django.test import AsyncClient, Client
from django.urls import path


def view(request):
    return JsonResponse({name: value for name, value in request.headers.items() if "Token" in name})


urlpatterns = [path("", view)]
headers = {"X-Token": "1"}


async def in_a_loop():
    by_constructor = await AsyncClient(headers=headers).get("/")
    by_call = await AsyncClient().get("/", headers=headers)
    return by_constructor.json(), by_call.json()


print("Django", django.__version__)
print("Client, constructor:     ", Client(headers=headers).get("/").json())
by_constructor, by_call = asyncio.run(in_a_loop())
print("AsyncClient, constructor:", by_constructor)
print("AsyncClient, call:       ", by_call)
if by_constructor != {"Http-X-Token": "1"} or by_call != headers:
    raise SystemExit("the behaviour has changed")
PYTHON
cd "$folder"
"$folder/venv/bin/python" headers.py
# Seen:
#   Django 5.2.8
#   Client, constructor:      {'X-Token': '1'}
#   AsyncClient, constructor: {'Http-X-Token': '1'}
#   AsyncClient, call:        {'X-Token': '1'}
