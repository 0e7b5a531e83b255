#!/usr/bin/env bash
# django-environ 0.14.0, environs 15.2.0, python-decouple 3.8: a secret from a file ends in "\n".
#
# Docker, Kubernetes and systemd hand a secret over as a file, and most files end with a line break:
# an editor adds it, and so does echo. FileAwareEnv of django-environ and environs (KEY_FILE in
# place of KEY) and decouple's RepositorySecret return it as a part of the value; pydantic-settings
# takes it off, and so does the shell's $(cat file). A token with it is no valid header, which clients
# refuse by an error about header values; a password is wrong at the database, whose log shows the
# right one. Worst is a key for signatures or encryption, of which any text will do: everything
# works, until another process, such as a worker whose settings come from a variable or a machine
# where the file was written by printf, has the key without the line break. It takes every session
# for forged, and opens no stored token. This affects anyone who moves keys into secrets of Docker.
# Our settings refuse a key that ends with a line break or a space, as they do a client secret;
# the page on settings says how to read a file.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet django-environ==0.14.0 environs==15.2.0 \
    python-decouple==3.8 pydantic-settings==2.16.3 itsdangerous==2.2.0
mkdir "$folder/secrets"
echo "correct-horse-battery-staple" > "$folder/secrets/key"
KEY_FILE="$folder/secrets/key" "$folder/venv/bin/python" - "$folder/secrets" <<'PYTHON'
import sys
from importlib.metadata import version

import environ
import environs
from decouple import Config, RepositorySecret
from itsdangerous import BadSignature, Signer
from pydantic_settings import BaseSettings

for name in ("django-environ", "environs", "python-decouple", "pydantic-settings", "itsdangerous"):
    print(name, version(name))


class Settings(BaseSettings):
    key: str


seen = {
    "django-environ": environ.FileAwareEnv()("KEY"),
    "environs": environs.FileAwareEnv().str("KEY"),
    "decouple": Config(RepositorySecret(sys.argv[1]))("key"),
    "pydantic-settings": Settings(_secrets_dir=sys.argv[1]).key,
}
for name, key in seen.items():
    print(f"{name}: {key!r}")
try:
    Signer("correct-horse-battery-staple").unsign(Signer(seen["environs"]).sign("user-1"))
    other = "valid"
except BadSignature:
    other = "forged"
print(f"to a process that has the key in a variable, a signed session is {other}")
plain = "correct-horse-battery-staple"
if ([*seen.values()], other) != ([plain + "\n"] * 3 + [plain], "forged"):
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   django-environ 0.14.0
#   environs 15.2.0
#   python-decouple 3.8
#   pydantic-settings 2.16.3
#   itsdangerous 2.2.0
#   django-environ: 'correct-horse-battery-staple\n'
#   environs: 'correct-horse-battery-staple\n'
#   decouple: 'correct-horse-battery-staple\n'
#   pydantic-settings: 'correct-horse-battery-staple'
#   to a process that has the key in a variable, a signed session is forged
