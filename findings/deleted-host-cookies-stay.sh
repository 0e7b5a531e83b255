#!/usr/bin/env bash
# Litestar 2.25.0, Falcon 4.4.0, BlackSheep 2.6.4, WebOb 1.8.11: a __Host- cookie cannot be deleted.
#
# Browsers ignore a Set-Cookie line whose name begins with __Host- or __Secure- and which lacks
# Secure, and with __Host- one that lacks Path=/ (RFC 6265bis, 4.1.3), also if the line is to
# delete the cookie. These four set such a cookie as one asks for it, and their functions that
# delete one (delete_cookie, and unset_cookie in Falcon and BlackSheep) write a line without
# Secure, and have no parameter for it. The logout page says goodbye, and the next request brings
# the session's cookie again. BlackSheep's function names no path either, so that from
# /account/logout it deletes no cookie of Path=/ at all. A test client that keeps cookies in a
# dictionary finds the cookie gone. Django adds Secure by itself; Starlette, Flask and aiohttp
# take it as a parameter. This affects anyone who gives a session's cookie one of these names, as
# guides on security advise. Setting the cookie again, empty, with Max-Age=0 and the attributes
# that it had works in all. Our middleware deletes its cookies with the attributes that they were
# set with.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet litestar==2.25.0 falcon==4.4.0 blacksheep==2.6.4 webob==1.8.11 \
    legacy-cgi==2.6.4 django==5.2.19
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version

import falcon.testing
from blacksheep import Response as BlackSheepResponse
from blacksheep.scribe import write_response_cookie
from django.conf import settings
from django.http import HttpResponse
from litestar.response import Response as LitestarResponse
from webob import Response as WebObResponse

for name in ("litestar", "falcon", "blacksheep", "webob", "django"):
    print(name, version(name))
NAME = "__Host-session"


def with_litestar():
    response = LitestarResponse("bye")
    response.delete_cookie(NAME)
    [cookie] = response.cookies
    return cookie.to_header(header="")


def with_falcon():
    class Logout:
        def on_get(self, request, response):
            response.unset_cookie(NAME, path="/")

    app = falcon.App()
    app.add_route("/logout", Logout())
    return falcon.testing.simulate_get(app, "/logout").headers["set-cookie"]


def with_blacksheep():
    response = BlackSheepResponse(200)
    response.unset_cookie(NAME)
    return response.get_first_header(b"set-cookie").decode()


def with_webob():
    response = WebObResponse("bye")
    response.delete_cookie(NAME)
    return response.headers["Set-Cookie"]


def with_django():
    settings.configure()
    response = HttpResponse("bye")
    response.delete_cookie(NAME)
    return response.cookies[NAME].OutputString()


seen = {
    "litestar": with_litestar(),
    "falcon": with_falcon(),
    "blacksheep": with_blacksheep(),
    "webob": with_webob(),
    "django": with_django(),
}
for name, line in seen.items():
    print(f"{name}: {line}")
secure = [name for name, line in seen.items() if "; secure" in line.lower()]
if secure != ["django"] or "path" in seen["blacksheep"].lower():
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   litestar 2.25.0
#   falcon 4.4.0
#   blacksheep 2.6.4
#   webob 1.8.11
#   django 5.2.19
#   litestar: __Host-session=""; expires=Sun, 29 Nov 2026 11:26:47 GMT; Max-Age=0; Path=/; SameSite=lax
#   falcon: __Host-session=""; expires=Sun, 29 Nov 2026 11:26:46 GMT; Path=/; SameSite=Lax
#   blacksheep: __Host-session=; Expires=Sat, 29 Nov 2025 11:26:47 GMT
#   webob: __Host-session=; Max-Age=0; Path=/; expires=Wed, 31-Dec-97 23:59:59 GMT
#   django: __Host-session=""; expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Path=/; Secure
