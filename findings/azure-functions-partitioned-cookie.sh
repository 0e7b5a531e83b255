#!/usr/bin/env bash
# azure-functions 1.26.0 on Python 3.11: a cookie with the attribute Partitioned is never set.
#
# The adapter to the host takes Set-Cookie lines apart with http.cookies.SimpleCookie. Up to
# Python 3.13 that class does not know Partitioned, and an attribute that it does not know makes
# it return no cookie at all, without an error: the host gets an empty list, and the browser no
# cookie. Partitioned is what browsers ask of cookies in embedded pages. This affects anyone who
# embeds an app in another site and moves it to Azure Functions: people log in, and are logged out
# at the next click, with nothing in any log. Our cookies have no such attribute.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet azure-functions==1.26.0
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import azure.functions as func
from azure.functions.http import HttpResponseConverter

print("azure-functions", version("azure-functions"))
print("Python before 3.14:", sys.version_info < (3, 14))


def names_that_reach_the_host(line):
    response = func.HttpResponse("hello", headers={"Set-Cookie": line})
    sent = HttpResponseConverter.encode(response, expected_type=None).value
    return [name for cookie in sent["cookies"] for name in cookie]


plain = names_that_reach_the_host("session=1; Path=/; Secure; SameSite=None")
partitioned = names_that_reach_the_host(
    "session=1; Path=/; Secure; SameSite=None; Partitioned"
)
print("without Partitioned:", plain)
print("with Partitioned:   ", partitioned)
if plain != ["session"] or partitioned != []:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   azure-functions 1.26.0
#   Python before 3.14: True
#   without Partitioned: ['session']
#   with Partitioned:    []
