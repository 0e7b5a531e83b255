#!/usr/bin/env bash
# Panel 1.9.4 with bokeh-fastapi 0.1.8: the decorator add_application ignores its options.
#
# panel.io.fastapi.add_application is documented to take location=, admin= and "additional keyword
# arguments to pass to the BokehFastAPI application", such as prefix= or the headers and cookies
# that a session may hold. It passes on the title only: the app is served without the prefix, and
# no option has any effect, without a warning. The function add_applications honours all of them.
# This affects anyone who uses the decorator behind a prefix, or to keep headers and cookies out
# of what Bokeh writes into the page. Our recipe calls add_applications.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet panel==1.9.4 bokeh-fastapi==0.1.8 "httpx<1"
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import panel
from fastapi import FastAPI
from fastapi.testclient import TestClient
from panel.io.fastapi import add_application, add_applications

print("panel", version("panel"), "bokeh-fastapi", version("bokeh-fastapi"))


def page():
    return panel.Column("hello")


decorated, called = FastAPI(), FastAPI()
add_application("/page", app=decorated, prefix="/site")(page)
add_applications({"/page": page}, app=called, prefix="/site")
seen = {}
for name, app in (("add_application", decorated), ("add_applications", called)):
    client = TestClient(app)
    seen[name] = [client.get(path).status_code for path in ("/site/page", "/page")]
    print(f"{name}: /site/page {seen[name][0]}, /page {seen[name][1]}")
assert seen == {"add_application": [404, 200], "add_applications": [200, 404]}, "changed"
PYTHON
# Seen:
#   panel 1.9.4 bokeh-fastapi 0.1.8
#   add_application: /site/page 404, /page 200
#   add_applications: /site/page 200, /page 404
