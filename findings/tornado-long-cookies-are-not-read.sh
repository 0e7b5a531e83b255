#!/usr/bin/env bash
# Tornado 6.6.1: a signed cookie that is set for 90 days is not read from the 32nd day on.
#
# set_signed_cookie(name, value, expires_days=90) tells the browser to keep the cookie for 90 days,
# and get_signed_cookie(name) has a limit of its own, max_age_days, of 31 by default: an older cookie
# is None, as if it were not there. So "stay signed in for a year" lasts a month, for users who are
# active every day too, unless each visit sets the cookie again. Nothing is logged, the browser still
# shows the cookie with its date, and it takes a month to see. get_current_user, as Tornado's guide
# writes it, has the short form; max_age_days must be given at each reading. Anyone who gives
# expires_days above 31 is affected. Our middleware has one option, session_lifetime, for the
# cookie, the session in it and the record.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet tornado==6.6.1
"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import time
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from unittest.mock import patch

from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

DAY = 86400
now = time.time


class Login(RequestHandler):
    def get(self):
        self.set_signed_cookie("user", "ada", expires_days=90)


class Who(RequestHandler):
    def get(self):
        days = self.get_argument("max_age_days", None)
        given = {} if days is None else {"max_age_days": int(days)}
        user = self.get_signed_cookie("user", **given)
        self.write(user or b"nobody")


async def main():
    app = Application([("/login", Login), ("/who", Who)], cookie_secret="a secret of this folder")
    server = HTTPServer(app)
    listening, port = bind_unused_port()
    server.add_sockets([listening])
    client, site = AsyncHTTPClient(), f"http://127.0.0.1:{port}"
    line = (await client.fetch(f"{site}/login")).headers["Set-Cookie"]
    pair, *rest = line.split("; ")
    ends = next(part.removeprefix("expires=") for part in rest if part.startswith("expires="))
    kept = parsedate_to_datetime(ends) - datetime.now(timezone.utc)
    print("the browser keeps the cookie for", round(kept / timedelta(days=1)), "days")

    async def who(days, query=""):
        with patch("tornado.web.time.time", lambda: now() + days * DAY):
            answer = await client.fetch(f"{site}/who{query}", headers={"Cookie": pair})
        return answer.body.decode()

    found = [await who(30), await who(32), await who(32, "?max_age_days=90")]
    server.stop()
    return found


print("Tornado", version("tornado"))
seen = asyncio.run(main())
print("after 30 days: {}; after 32: {}; with max_age_days=90: {}".format(*seen))
if seen != ["ada", "nobody", "ada"]:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   Tornado 6.6.1
#   the browser keeps the cookie for 90 days
#   after 30 days: ada; after 32: nobody; with max_age_days=90: ada
