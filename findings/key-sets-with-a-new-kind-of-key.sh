#!/usr/bin/env bash
# joserfc 1.8.0 and python-jose 3.5.0: one key of a new kind ends all logins.
#
# A provider publishes its public keys as a JWK Set, and adds keys as it likes. Whoever reads a
# set should ignore a key whose type or curve it does not know, and "use" may have other values
# than sig and enc (RFC 7517, 4.2 and 5). joserfc ignores an unknown type since 1.8, but raises
# KeyError for an unknown curve of a known type, and KeyParameterError for another "use".
# python-jose raises as soon as a key of another type, such as an EC key beside the RSA one,
# stands before the one that the token names. Each time the key of the token is in the set and is
# right. PyJWT and jwcrypto read all of these sets. This affects anyone who checks ID tokens or
# access tokens with one of the two: on the day on which the provider adds a key nobody can log
# in, though nothing was deployed. Our middleware reads no ID token: TikTok's tokens are opaque.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet joserfc==1.8.0 python-jose==3.5.0 jwcrypto==1.6.1 pyjwt==2.15.1 \
    cryptography==50.0.2
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import base64
import json
import time
from importlib.metadata import version

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import KeySet
from jose import jwt as jose_jwt
from jwcrypto.jwk import JWKSet
from jwcrypto.jwt import JWT

for name in ("joserfc", "python-jose", "jwcrypto", "pyjwt"):
    print(name, version(name))
private = rsa.generate_private_key(65537, 2048)
numbers = private.public_key().public_numbers()
token = jwt.encode(
    {"sub": "ada", "aud": "app", "exp": time.time() + 60}, private, "RS256", headers={"kid": "a"}
)


def encode(number, length):
    return base64.urlsafe_b64encode(number.to_bytes(length, "big")).rstrip(b"=").decode()


KEY = {"kty": "RSA", "kid": "a", "n": encode(numbers.n, 256), "e": encode(numbers.e, 3)}
POINT = {"x": encode(numbers.n >> 1800, 32), "y": encode(numbers.n >> 1700 & 2**256 - 1, 32)}
SETS = {
    "that key alone": [KEY],
    "a type that is new": [{"kty": "AKP", "kid": "b", "alg": "ML-DSA-44", "pub": "eA"}, KEY],
    "a curve that is new": [{"kty": "EC", "kid": "b", "crv": "P-999", **POINT}, KEY],
    "a use that is new": [{**KEY, "kid": "b", "use": "attestation"}, KEY],
}


def by_joserfc(keys):
    return joserfc_jwt.decode(token, KeySet.import_key_set(keys), algorithms=["RS256"]).claims


def by_python_jose(keys):
    return jose_jwt.decode(token, keys, algorithms=["RS256"], audience="app")


def by_jwcrypto(keys):
    return json.loads(JWT(jwt=token, key=JWKSet.from_json(json.dumps(keys)), algs=["RS256"]).claims)


def by_pyjwt(keys):
    return jwt.decode(token, jwt.PyJWKSet.from_dict(keys)["a"], ["RS256"], audience="app")


seen = {}
for name, keys in SETS.items():
    for read in (by_joserfc, by_python_jose, by_jwcrypto, by_pyjwt):
        try:
            found = read({"keys": keys})["sub"]
        except Exception as error:
            found = type(error).__name__
        seen[name, read.__name__] = found
        print(f"{name}, {read.__name__}: {found}")
wrong = {(name, read) for (name, read), found in seen.items() if found != "ada"}
if wrong != {
    ("a type that is new", "by_python_jose"),
    ("a curve that is new", "by_joserfc"),
    ("a curve that is new", "by_python_jose"),
    ("a use that is new", "by_joserfc"),
}:
    raise SystemExit("the behaviour has changed")
PYTHON
# Seen:
#   joserfc 1.8.0
#   python-jose 3.5.0
#   jwcrypto 1.6.1
#   pyjwt 2.15.1
#   that key alone, by_joserfc: ada
#   that key alone, by_python_jose: ada
#   that key alone, by_jwcrypto: ada
#   that key alone, by_pyjwt: ada
#   a type that is new, by_joserfc: ada
#   a type that is new, by_python_jose: JWKError
#   a type that is new, by_jwcrypto: ada
#   a type that is new, by_pyjwt: ada
#   a curve that is new, by_joserfc: KeyError
#   a curve that is new, by_python_jose: JWKError
#   a curve that is new, by_jwcrypto: ada
#   a curve that is new, by_pyjwt: ada
#   a use that is new, by_joserfc: KeyParameterError
#   a use that is new, by_python_jose: ada
#   a use that is new, by_jwcrypto: ada
#   a use that is new, by_pyjwt: ada
