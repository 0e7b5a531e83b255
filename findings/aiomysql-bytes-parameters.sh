#!/usr/bin/env bash
# aiomysql 0.3.2 with PyMySQL 1.2.4: a parameter of type bytes is a TypeError.
#
# aiomysql imports escape_bytes_prefixed from PyMySQL's converters. PyMySQL 1.2 has put a text in
# its place, so every statement with a parameter of bytes fails with "'str' object is not
# callable", before anything is sent. aiomysql asks for any PyMySQL from 1.0 on, so a fresh
# installation of both has it. This affects anyone who keeps binary values in MySQL or MariaDB
# from asyncio, also through SQLAlchemy's mysql+aiomysql. Our SQL store writes encrypted bytes:
# its documentation names asyncmy, and PyMySQL in threads, instead.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet aiomysql==0.3.2 PyMySQL==1.2.4
"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import aiomysql

print("aiomysql", version("aiomysql"), "PyMySQL", version("PyMySQL"))
connection = aiomysql.Connection()  # connects to nothing yet
try:
    print("bytes:", connection.escape(b"value"))
except TypeError as error:
    print("bytes: TypeError:", error)
    assert "not callable" in str(error)
else:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   aiomysql 0.3.2 PyMySQL 1.2.4
#   bytes: TypeError: 'str' object is not callable
