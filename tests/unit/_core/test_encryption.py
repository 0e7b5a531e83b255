"""Sealed values can be opened only with their name, purpose and key."""

from __future__ import annotations

import random

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tiktok_oauth_middleware._core.encryption import Box, derive
from tiktok_oauth_middleware._core.secret import Secret

CLIENT_KEY = "awexampleclientkey"
OLD = "Zr4u7x0A3DfGhKjMnPqTsVwYbEeHiLkO"
MIDDLE = "q8R1tW5zC9vB2nM6kJ0hG4fD7sA3pLxE"
NEW = "mX2cV6bN0aS4dF8gH1jK5lP9oI3uY7tR"
PLAIN = b"act.exampleA1b2C3d4E5f6G7h8!5259.va"
PURPOSES = ["grant", "login", "session", "state", "Grant", "grant/id", "grant\x00", ""]


def a_box(*keys, purpose="grant", client_key=CLIENT_KEY):
    return Box(keys or [NEW], client_key, purpose)


@pytest.fixture
def box():
    return a_box()


# --- sealing and opening -----------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 1000, 70_000])
def test_sealed_value_opens(box, length):
    """Sealed bytes of any length can be opened."""
    plain = random.Random(f"plain {length}").randbytes(length)
    assert box.open(box.seal(plain, "name"), "name") == plain


@pytest.mark.parametrize("name", ["", "a", "grant:x", "ü 日本", "\x00", "n" * 5000])
def test_name_is_any_text(box, name):
    """A name can be any text."""
    assert box.open(box.seal(PLAIN, name), name) == PLAIN


def test_sealed_value_shows_nothing(box):
    """Neither the value nor its name can be read in the sealed form."""
    sealed = box.seal(PLAIN, "the-name")
    assert PLAIN not in sealed
    assert b"the-name" not in sealed


def test_sealed_value_is_a_little_longer(box):
    """Only a version, key id, nonce and tag are added."""
    assert len(box.seal(PLAIN, "name")) == len(PLAIN) + 1 + 4 + 12 + 16


def test_sealed_value_begins_with_its_version(box):
    """A sealed value begins with its format's version."""
    assert box.seal(PLAIN, "name")[:1] == b"\x01"


def test_other_box_of_the_same_keys_opens():
    """A value sealed in one process opens in another."""
    assert a_box().open(a_box().seal(PLAIN, "name"), "name") == PLAIN


def test_keys_may_be_secrets():
    """Keys may be Secret objects."""
    wrapped = a_box(Secret(NEW))
    assert wrapped.open(a_box(NEW).seal(PLAIN, "name"), "name") == PLAIN
    assert wrapped.open(a_box(Secret(OLD)).seal(PLAIN, "name"), "name") is None


def test_sealed_form_is_plain_aes_gcm(box):
    """The layout is the one that the module describes: AES-GCM alone can open it."""
    info = f"tiktok_oauth_middleware/1/grant/{CLIENT_KEY}".encode()
    key = HKDF(hashes.SHA256(), 32, salt=None, info=info).derive(NEW.encode())
    sealed = box.seal(PLAIN, "name")
    opened = AESGCM(key).decrypt(sealed[5:17], sealed[17:], b"\x01grant\x00name")
    assert opened == PLAIN


# --- tampering ---------------------------------------------------------------------


@pytest.mark.parametrize("place", range(len(PLAIN) + 33))
def test_every_bit_flip_is_refused(box, place):
    """A sealed value with one changed bit cannot be opened."""
    sealed = bytearray(box.seal(PLAIN, "name"))
    for bit in range(8):
        sealed[place] ^= 1 << bit
        assert box.open(bytes(sealed), "name") is None
        sealed[place] ^= 1 << bit
    assert box.open(bytes(sealed), "name") == PLAIN


@pytest.mark.parametrize("length", range(len(PLAIN) + 33))
def test_every_truncation_is_refused(box, length):
    """A sealed value that is cut at either end cannot be opened."""
    sealed = box.seal(PLAIN, "name")
    assert box.open(sealed[:length], "name") is None
    assert box.open(sealed[len(sealed) - length :], "name") is None


@pytest.mark.parametrize("more", [b"\x00", b"A", b"\x00" * 16, PLAIN], ids=range(4))
def test_longer_value_is_refused(box, more):
    """A sealed value with something before or after it cannot be opened."""
    sealed = box.seal(PLAIN, "name")
    assert box.open(sealed + more, "name") is None
    assert box.open(more + sealed, "name") is None


def test_halves_of_two_values_are_refused(box):
    """A value of parts of two sealed values cannot be opened."""
    one, other = box.seal(PLAIN, "name"), box.seal(PLAIN[::-1], "name")
    for cut in (6, 16, 17, 18, 30, len(one) - 16, len(one) - 1):
        assert box.open(one[:cut] + other[cut:], "name") is None


def test_random_bytes_are_refused(box):
    """Random bytes cannot be opened, even after a right version and key id."""
    for length in range(200):
        noise = random.Random(f"noise {length}").randbytes(length)
        assert box.open(noise, "name") is None, length
        assert box.open(box.seal(b"", "name")[:5] + noise, "name") is None, length


@pytest.mark.parametrize("other", ["", "Name", "name ", "name\x00", "nam", "\x00name"])
def test_value_under_another_name_is_refused(box, other):
    """A value that is moved to another record's name cannot be opened."""
    assert box.open(box.seal(PLAIN, "name"), other) is None


@pytest.mark.parametrize("opens", PURPOSES, ids=repr)
@pytest.mark.parametrize("seals", PURPOSES, ids=repr)
def test_value_of_another_purpose_is_refused(seals, opens):
    """A value sealed for one purpose cannot be opened for any other."""
    sealed = a_box(purpose=seals).seal(PLAIN, "name")
    opened = a_box(purpose=opens).open(sealed, "name")
    assert opened == (PLAIN if seals == opens else None)


def test_purpose_and_name_do_not_run_together():
    """A purpose and a name are separated: moving a letter from one to the other
    matters.
    """
    sealed = a_box(purpose="ab").seal(PLAIN, "c")
    assert a_box(purpose="a").open(sealed, "bc") is None


def test_value_of_another_app_is_refused():
    """Two TikTok apps that share a key cannot open each other's values."""
    sealed = a_box(client_key="another").seal(PLAIN, "name")
    assert a_box().open(sealed, "name") is None


# --- rotation ----------------------------------------------------------------------


@pytest.mark.parametrize("key", [OLD, MIDDLE, NEW], ids=["oldest", "middle", "newest"])
def test_every_listed_key_opens(key):
    """A value of any listed key can be opened, even of the oldest."""
    sealed = a_box(key).seal(PLAIN, "name")
    assert a_box(NEW, MIDDLE, OLD).open(sealed, "name") == PLAIN


def test_newest_key_seals():
    """A new value can be opened only with the newest key."""
    sealed = a_box(NEW, MIDDLE, OLD).seal(PLAIN, "name")
    opened = [a_box(key).open(sealed, "name") for key in (NEW, MIDDLE, OLD)]
    assert opened == [PLAIN, None, None]


def test_removed_key_ends_its_values():
    """A value whose key was removed from the list gives None, without an error."""
    sealed = a_box(OLD).seal(PLAIN, "name")
    assert a_box(NEW, MIDDLE).open(sealed, "name") is None


# --- nonces and keys ---------------------------------------------------------------


def test_nonces_are_distinct(box):
    """Ten thousand values have ten thousand different nonces."""
    nonces = {box.seal(b"", "name")[5:17] for _ in range(10_000)}
    assert len(nonces) == 10_000


def test_equal_values_are_sealed_differently(box):
    """Equal values have different sealed forms."""
    assert box.seal(PLAIN, "name")[17:] != box.seal(PLAIN, "name")[17:]


def test_derived_key_is_always_the_same():
    """A key is derived only from its parts."""
    assert derive(NEW, CLIENT_KEY, "session") == derive(NEW, CLIENT_KEY, "session")
    assert len(derive(NEW, CLIENT_KEY, "session")) == 32
    assert len(derive(NEW, CLIENT_KEY, "session", 4)) == 4


def test_each_purpose_app_and_secret_has_its_own_key():
    """Keys differ if the secret, the app or the purpose does."""
    parts = [
        (secret, client_key, purpose)
        for secret in (OLD, NEW)
        for client_key in ("a", "b")
        for purpose in ("session", "grant", "login", "grant/id", "login/id")
    ]
    assert len({derive(*given) for given in parts}) == len(parts)


def test_key_id_is_not_a_part_of_the_key(box):
    """The visible key id is not a part of the sealing key."""
    key_id = box.seal(PLAIN, "name")[1:5]
    assert key_id not in derive(NEW, CLIENT_KEY, "grant")
    assert key_id != derive(NEW, CLIENT_KEY, "grant", 4)


def test_box_shows_no_key(box):
    """The repr of a box shows no key."""
    shown = repr(box) + str(box)
    assert NEW not in shown
    assert repr(derive(NEW, CLIENT_KEY, "grant"))[2:-1] not in shown


def test_many_values_open_as_each_does(box):
    """Values that are opened together give what each gives alone, forged ones too."""
    sealed = box.seal(b"text", "a")
    other = a_box(OLD).seal(b"text", "a")
    names = ["a", "b", "a", "a", "a", "\N{SNOWMAN}"]
    values = [sealed, sealed, sealed[:-1], b"", other, box.seal(b"x", "\N{SNOWMAN}")]
    rows = list(zip(names, values, strict=True))
    found = list(box.open_each(rows))
    assert found == [(name, each, box.open(each, name)) for name, each in rows]
    assert [opened for _, _, opened in found] == [b"text", None, None, None, None, b"x"]
