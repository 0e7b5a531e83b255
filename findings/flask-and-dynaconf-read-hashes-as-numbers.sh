#!/usr/bin/env bash
# Flask 3.1.3 and Dynaconf 3.3.5: the release "8e27134" from the environment is the number infinity.
#
# Flask's app.config.from_prefixed_env() reads each variable as JSON if it can, and Dynaconf as
# TOML, so that numbers and booleans need no conversion. Both do so for every variable, also for one
# that is a text to everybody else: a password of digits becomes an int, "null" None (Flask) and
# "3.10" the number 3.1. Git's short hashes have seven hexadecimal digits. One in twenty is all
# digits, or digits with one e between them, and becomes an int or a float; one in a hundred becomes
# infinity. A release that is a label in logs, in Sentry or in the address of a script is then
# "inf", its JSON is not JSON any more, and with the next deployment all is well. Quotes inside the
# value help, '"8e27134"', and so does loads=str for Flask. Both document the conversion; environs
# and pydantic-settings convert to the type that is asked for. This affects anyone who passes ids,
# hashes, versions or passwords by such variables. Our from_env() reads each variable by its
# option's type, and a text stays as it is.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet flask==3.1.3 dynaconf==3.3.5 environs==15.2.0
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import os
import random
from importlib.metadata import version

for name in ("flask", "dynaconf", "environs"):
    print(name, version(name))
texts = {"RELEASE": "8e27134", "PASSWORD": "20261130", "PYTHON": "3.10", "NICKNAME": "null"}
for name, text in texts.items():
    os.environ["FLASK_" + name] = os.environ["DYNACONF_" + name] = os.environ[name] = text

from dynaconf import Dynaconf
from environs import Env
from flask import Flask

app = Flask(__name__)
app.config.from_prefixed_env()
settings = Dynaconf()
seen = {
    "flask": [app.config[name] for name in texts],
    "dynaconf": [settings[name] for name in texts],
    "environs": [Env().str(name) for name in texts],
}
for name, values in seen.items():
    print(f"{name}: {values}")
numbers = random.Random("short hashes")
for number in range(10000):
    os.environ[f"FLASK_HASH{number}"] = f"{numbers.getrandbits(28):07x}"
app.config.from_prefixed_env()
changed = sum(not isinstance(app.config[f"HASH{number}"], str) for number in range(10000))
print(f"of 10000 short hashes {changed} are no text in Flask")
infinite = float("inf")
if seen != {
    "flask": [infinite, 20261130, 3.1, None],
    "dynaconf": [infinite, 20261130, 3.1, "null"],
    "environs": [*texts.values()],
} or not 300 < changed < 800:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   flask 3.1.3
#   dynaconf 3.3.5
#   environs 15.2.0
#   flask: [inf, 20261130, 3.1, None]
#   dynaconf: [inf, 20261130, 3.1, 'null']
#   environs: ['8e27134', '20261130', '3.10', 'null']
#   of 10000 short hashes 510 are no text in Flask
