"""No sealed or signed value may be accepted with a flipped bit or truncated.

``python -m hardening.sealing`` tries every bit flip and every truncation of 10,000
sealed values and as many session cookies, and looks for a repeated nonce among 200,000.
``--scale 0.01`` does a hundredth of it. Keys and contents come from the seed, but
nonces and session secrets from the system, as in production.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterator

from tiktok_oauth_middleware._core.base64url import from_text, to_text
from tiktok_oauth_middleware._core.encryption import Box, derive
from tiktok_oauth_middleware._session.cookie import SessionCookies
from tiktok_oauth_middleware._session.record import record_id

from .reliability.figure import Result, Run

SEED = 20260101
_CLIENT_KEY = "awexampleclientkey"
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
#: The longest sealed content, in bytes; a record has about 400.
_LONGEST = 400


def run(args: Run) -> Iterator[Result]:
    """Yield results for sealed values, for session cookies, and for nonces."""
    chance = random.Random(args.seed)
    keys = ["".join(chance.choices(_ALPHABET.decode(), k=43)) for _ in range(2)]
    yield _sealed(args.times(10_000, 10), keys, chance)
    yield _login_cookies(args.times(500, 2), keys, chance)
    yield _session_cookies(args.times(10_000, 10), keys, chance)
    yield _nonces(args.times(200_000, 1000), keys)


def changed(value: bytes) -> Iterator[bytes]:
    """Yield a value with each bit flipped, and cut at each place from both ends."""
    for place in range(len(value)):
        for bit in range(8):
            flipped = bytearray(value)
            flipped[place] ^= 1 << bit
            yield bytes(flipped)
        yield value[:place]
        yield value[place + 1 :]


def _sealed(times: int, keys: list[str], chance: random.Random) -> Result:
    box = Box(keys, _CLIENT_KEY, "grant")
    tried = opened = 0
    for number in range(times):
        name = f"row-{number}"
        sealed = box.seal(chance.randbytes(chance.randrange(_LONGEST)), name)
        for other in changed(sealed):
            tried += 1
            opened += box.open(other, name) is not None
    return _result("sealed values", times, tried, opened)


def _login_cookies(times: int, keys: list[str], chance: random.Random) -> Result:
    box = Box(keys, _CLIENT_KEY, "login")
    tried = opened = 0
    for number in range(times):
        name = f"login-{number}"
        text = to_text(box.seal(chance.randbytes(chance.randrange(_LONGEST)), name))
        for other in changed(text.encode()):
            tried += 1
            opened += box.open(from_text(other), name) is not None
    return _result("login cookies", times, tried, opened)


def _session_cookies(times: int, keys: list[str], chance: random.Random) -> Result:
    signing = [derive(key, _CLIENT_KEY, "session") for key in keys]
    jar = SessionCookies("tiktok", signing, secure=True)
    tried = opened = 0
    for _ in range(times):
        value = jar.issue(record_id(_CLIENT_KEY, chance.randbytes(8).hex()))[0].encode()
        # Base64 leaves bits of the last character unused: only one spelling counts.
        spellings = (value[:-1] + bytes([char]) for char in _ALPHABET)
        for other in (*changed(value), *(s for s in spellings if s != value)):
            tried += 1
            opened += jar.read(other) is not None
    return _result("session cookies", times, tried, opened)


def _nonces(times: int, keys: list[str]) -> Result:
    box = Box(keys, _CLIENT_KEY, "grant")
    found = {box.seal(b"", "name")[5:17] for _ in range(times)}
    figures = {"values": times, "distinct": len(found)}
    return Result(name="nonces", passed=len(found) == times, figures=figures)


def _result(name: str, values: int, tried: int, opened: int) -> Result:
    figures = {"values": values, "tried": tried, "accepted": opened}
    return Result(name=name, passed=opened == 0, figures=figures)


def main() -> int:
    """Return 1 if a changed value was accepted, or a nonce repeated."""
    parser = argparse.ArgumentParser(prog="python -m hardening.sealing")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=SEED)
    args = parser.parse_args()
    passed, began = True, time.monotonic()
    for result in run(Run(scale=args.scale, seed=args.seed, stores=())):
        took = time.monotonic() - began
        print(f"{result.line(args.seed)} took={took:.1f}s", flush=True)
        passed, began = passed and result.passed, time.monotonic()
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
