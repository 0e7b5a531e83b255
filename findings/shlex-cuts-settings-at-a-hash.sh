#!/usr/bin/env bash
# Starlette 1.10.0, python-decouple 3.8, honcho 2.0.0: a setting ends at a #, without an error.
#
# Starlette's CommaSeparatedStrings and decouple's Csv split a list by Python's shlex, whose default
# takes # for the beginning of a comment, also in the middle of a word: of the keys "k1#a,k2" only
# "k1" is read, and of two addresses the second is gone if the first has a fragment. Backslashes go
# too, and an apostrophe is "No closing quotation". honcho reads whole lines of .env that way:
# PASSWORD=a#b is "a", "a b" is "ab", a line with export is left out, and one apostrophe anywhere
# ends the start. python-dotenv, and the list types of environs and django-environ, read "a#b".
# (decouple's issue 24, closed, asked for another way.) This affects anyone whose list has a
# generated key, a password, a colour or a link in it: it is shorter than written, and what needs
# the second key fails long after the deployment. from_env() of our middleware splits at commas and
# keeps all other marks; the page on settings says which keys every library reads alike.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet starlette==1.10.0 python-decouple==3.8 honcho==2.0.0 \
    python-dotenv==1.2.4 environs==15.2.0 django-environ==0.14.0
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import io
import os
from importlib.metadata import version

import environ
from decouple import Csv
from dotenv import dotenv_values
from environs import Env
from honcho.environ import parse
from starlette.datastructures import CommaSeparatedStrings

for name in ("starlette", "python-decouple", "honcho", "python-dotenv", "environs", "django-environ"):
    print(name, version(name))
text = "k1#a,k2"
os.environ["KEYS"] = text
lists = {
    "starlette": [*CommaSeparatedStrings(text)],
    "decouple": Csv()(text),
    "environs": Env().list("KEYS"),
    "django-environ": environ.Env().list("KEYS"),
}
print(f"{text} as a list: {lists}")
lines = "A=a#b\nB=a b\nexport C=c\nD=d\n"
files = {"honcho": parse(lines), "python-dotenv": dict(dotenv_values(stream=io.StringIO(lines)))}
print(f"four lines of .env: {files}")
errors = []
for read in (CommaSeparatedStrings, Csv(), parse):
    try:
        read("A=it's")
    except ValueError as error:
        errors.append(str(error))
print(f"an apostrophe: {errors}")
whole = ["k1#a", "k2"]
if (
    lists != {"starlette": ["k1"], "decouple": ["k1"], "environs": whole, "django-environ": whole}
    or files["honcho"] != {"A": "a", "B": "ab", "D": "d"}
    or files["python-dotenv"] != {"A": "a#b", "B": "a b", "C": "c", "D": "d"}
    or errors != ["No closing quotation"] * 3
):
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   starlette 1.10.0
#   python-decouple 3.8
#   honcho 2.0.0
#   python-dotenv 1.2.4
#   environs 15.2.0
#   django-environ 0.14.0
#   k1#a,k2 as a list: {'starlette': ['k1'], 'decouple': ['k1'], 'environs': ['k1#a', 'k2'], 'django-environ': ['k1#a', 'k2']}
#   four lines of .env: {'honcho': {'A': 'a', 'B': 'ab', 'D': 'd'}, 'python-dotenv': {'A': 'a#b', 'B': 'a b', 'C': 'c', 'D': 'd'}}
#   an apostrophe: ['No closing quotation', 'No closing quotation', 'No closing quotation']
