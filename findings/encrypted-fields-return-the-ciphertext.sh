#!/usr/bin/env bash
# django-fernet-encrypted-fields 0.4.0, django-encrypted-model-fields 0.6.5: a wrong key is no error.
#
# Fields of these packages keep a token encrypted, and decrypt it as a row is read. If none of the
# keys fits, since SECRET_KEY was replaced without a fallback or a worker has other settings, they
# return the ciphertext as the value, "gAAAAA...". The app sends it to the API as the user's token,
# the answer is "invalid token", and the app takes that for a user who has withdrawn. save(), of any
# field of the row, encrypts the ciphertext once more with the new key: with the old key back, or
# with both, the field returns a ciphertext for good. Nothing is logged. sqlalchemy-utils 0.43.0
# (with Fernet) and advanced-alchemy 1.12.0 raise InvalidToken. This affects anyone who keeps tokens
# in such a field and rotates keys. Our middleware takes a record that no key opens for a user who
# is logged out, leaves it as it is, and counts it in each sweep; the old key brings it back.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet django==5.2.19 django-fernet-encrypted-fields==0.4.0 \
    django-encrypted-model-fields==0.6.5 sqlalchemy==2.1.9 sqlalchemy-utils==0.43.0 \
    advanced-alchemy==1.12.0 cryptography==50.0.2
cd "$folder"
cat >project.py <<'PYTHON'
"""project.py KEYS STEP: a process with these keys, the newest first."""
import base64
import sys

import django
from django.conf import settings

keys = [letter * 50 for letter in sys.argv[1]]
settings.configure(
    SECRET_KEY=keys[0],
    SECRET_KEY_FALLBACKS=keys[1:],
    SALT_KEY="a salt",
    FIELD_ENCRYPTION_KEY=[base64.urlsafe_b64encode(key[:32].encode()) for key in keys],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
)
django.setup()
from django.db import connection, models
from encrypted_fields.fields import EncryptedTextField
from encrypted_model_fields.fields import EncryptedTextField as OtherTextField


class Login(models.Model):
    name = models.TextField()
    token = EncryptedTextField()
    other = OtherTextField()

    class Meta:
        app_label = "project"


if sys.argv[2] == "create":
    with connection.schema_editor() as editor:
        editor.create_model(Login)
    Login.objects.create(name="Ada", token="a token", other="a token")
login = Login.objects.get()
print(*("the token" if value == "a token" else value[:6] for value in (login.token, login.other)), sep=", ")
if sys.argv[2] == "save":
    login.name = "Ada Lovelace"
    login.save()
PYTHON
cat >tables.py <<'PYTHON'
import sqlalchemy as sa
from advanced_alchemy.types import EncryptedString
from cryptography.fernet import InvalidToken
from sqlalchemy_utils import StringEncryptedType
from sqlalchemy_utils.types.encrypted.encrypted_type import FernetEngine

for name, kind in {
    "sqlalchemy-utils": lambda key: StringEncryptedType(sa.Unicode, key, FernetEngine),
    "advanced-alchemy": lambda key: EncryptedString(key=key),
}.items():
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    old, new = (
        sa.Table("login", sa.MetaData(), sa.Column("token", kind(letter * 32))) for letter in "AB"
    )
    with engine.begin() as connection:
        old.create(connection)
        connection.execute(old.insert(), {"token": "a token"})
        try:
            print(f"{name}, with another key:", connection.scalar(sa.select(new.c.token)))
        except InvalidToken:
            print(f"{name}, with another key: InvalidToken")
PYTHON
{
    venv/bin/pip freeze | grep -iE "^(django|django-.*|sqlalchemy.utils|advanced.alchemy)=" | tr -s "=" " "
    echo "with its key: $(venv/bin/python -W ignore project.py A create)"
    echo "with another key: $(venv/bin/python -W ignore project.py B save)"
    echo "with its key, after save(): $(venv/bin/python -W ignore project.py A read)"
    echo "with both, after save(): $(venv/bin/python -W ignore project.py BA read)"
    venv/bin/python -W ignore tables.py
} | tee seen
diff <(tail -n 6 seen) - <<'SEEN' || { echo "the behaviour has changed"; exit 1; }
with its key: the token, the token
with another key: gAAAAA, gAAAAA
with its key, after save(): gAAAAA, gAAAAA
with both, after save(): gAAAAA, gAAAAA
sqlalchemy-utils, with another key: InvalidToken
advanced-alchemy, with another key: InvalidToken
SEEN
# Seen:
#   advanced_alchemy 1.12.0
#   Django 5.2.19
#   django-encrypted-model-fields 0.6.5
#   django-fernet-encrypted-fields 0.4.0
#   SQLAlchemy-Utils 0.43.0
#   with its key: the token, the token
#   with another key: gAAAAA, gAAAAA
#   with its key, after save(): gAAAAA, gAAAAA
#   with both, after save(): gAAAAA, gAAAAA
#   sqlalchemy-utils, with another key: InvalidToken
#   advanced-alchemy, with another key: InvalidToken
