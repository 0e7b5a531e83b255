#!/usr/bin/env bash
# eventlet 0.41.3 with httpx2 2.16.2 where trio 0.35.0 is installed: no client can be made.
#
# httpcore2, below httpx2, imports trio if it is there, whether or not it is used. At its import
# trio reads the method sendmsg of the standard library's sockets, and eventlet.monkey_patch() has
# replaced these by sockets without it. So httpx2.Client() raises an AttributeError that names
# neither eventlet nor httpx2. It happens as soon as another package, such as a test runner's
# plugin, brings trio into the environment. This affects anyone who calls an API by httpx2 from an
# app under eventlet. Our page about servers says not to install trio there, and to move away from
# eventlet.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet eventlet==0.41.3 httpx2==2.16.2 httpcore2==2.16.2 trio==0.35.0
cat >"$folder/patched.py" <<'PYTHON'
import sys
import warnings
from importlib.metadata import version

warnings.simplefilter("ignore")
if sys.argv[1] == "hidden":
    sys.modules["trio"] = None  # as if it were not installed
try:
    import eventlet

    eventlet.monkey_patch()
    import httpx2

    with httpx2.Client():
        found = "a client was made"
except AttributeError as error:
    found = f"AttributeError: {error}"
print(f"trio is {sys.argv[1]}: {found}")
PYTHON
cd "$folder"
venv/bin/pip list 2>/dev/null | grep -E '^(eventlet|httpcore2|httpx2|trio) '
there=$(venv/bin/python patched.py installed 2>/dev/null | tail -1)
hidden=$(venv/bin/python patched.py hidden 2>/dev/null | tail -1)
printf '%s\n' "$there" "$hidden"
[[ $there == *"no attribute 'sendmsg'"* && $hidden == *"a client was made" ]]
# Seen:
#   eventlet         0.41.3
#   httpcore2        2.16.2
#   httpx2           2.16.2
#   trio             0.35.0
#   trio is installed: AttributeError: type object 'GreenSocket' has no attribute 'sendmsg'
#   trio is hidden: a client was made
