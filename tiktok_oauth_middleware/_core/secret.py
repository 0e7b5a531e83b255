"""A string type for secrets, which prints as asterisks."""

from __future__ import annotations

from typing import (
    NoReturn,
    Self,
    SupportsIndex,
)


class Secret(str):
    """A secret string: it prints as asterisks and cannot be pickled.

    Its value as a `str` is ``***``, so code that reads strings directly (``json``,
    ``csv``, ``str.join``, `html.escape`, reporters of exceptions) gets nothing else.
    It compares, hashes, encodes and has a length like the plain text. A slice of it,
    and a concatenation with other text, is a secret, too. `reveal` returns the plain
    text.
    """

    __slots__ = ("_text",)

    _text: str

    def __new__(cls, text: str) -> Self:
        """Wrap `text`, which may be a secret already."""
        plain = text.reveal() if isinstance(text, Secret) else str.__str__(text)
        secret = super().__new__(cls, "***" if plain else "")
        secret._text = plain
        return secret

    @classmethod
    def of(cls, text: str) -> Self:
        """Wrap a plain `str`, in half the time of `__new__`."""
        secret: Self = str.__new__(cls, "***" if text else "")
        secret._text = text
        return secret

    def reveal(self) -> str:
        """Return the secret itself, as a plain string."""
        return self._text

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """Return the bytes of the plain text, to be hashed, sealed or sent."""
        return self._text.encode(encoding, errors)

    def __eq__(self, other: object) -> bool:
        return self._text == (other._text if isinstance(other, Secret) else other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self._text)

    def __len__(self) -> int:
        return len(self._text)

    def __getitem__(self, key: SupportsIndex | slice) -> Secret:
        return Secret(self._text[key])

    def __add__(self, other: str) -> Secret:
        return Secret(self._text + reveal(other))

    def __radd__(self, other: str) -> Secret:
        return Secret(reveal(other) + self._text)

    def __repr__(self) -> str:
        return "Secret('***')"

    def __str__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return format("***", spec)

    def __html__(self) -> str:
        """Return asterisks for templates (MarkupSafe, Jinja, Django)."""
        return "***"

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        message = "a secret cannot be pickled"
        raise TypeError(message)


def reveal(text: str) -> str:
    """Return the plain text of a string that may be a `Secret`."""
    return text.reveal() if isinstance(text, Secret) else text
