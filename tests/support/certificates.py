"""Certificates for names of this machine, as PEM."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_PEM = serialization.Encoding.PEM


def self_signed(*names: str) -> tuple[bytes, bytes]:
    """Return a self-signed certificate for these names, and its key.

    Args:
        names: of hosts, or addresses.
    """
    key, name = _new_key(), _name(names[0])
    authority = x509.BasicConstraints(ca=True, path_length=None)
    made = _signed(name, key, name, key, (_names(names), False), (authority, True))
    return made.public_bytes(_PEM), _private(key)


def chained(*names: str) -> tuple[bytes, bytes]:
    """Return a certificate and that of its authority, and its key.

    Args:
        names: of hosts, or addresses.
    """
    root, key = _new_key(), _new_key()
    issuer = _name("An authority of its own")
    chain = x509.BasicConstraints(ca=True, path_length=0)
    authority = _signed(issuer, root, issuer, root, (chain, True))
    purposes = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH])
    made = _signed(
        _name(names[0]),
        key,
        issuer,
        root,
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_names(names), False),
        (purposes, False),
    )
    return made.public_bytes(_PEM) + authority.public_bytes(_PEM), _private(key)


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _names(names: tuple[str, ...]) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName(
        [
            x509.IPAddress(ip_address(n)) if n[0].isdigit() else x509.DNSName(n)
            for n in names
        ]
    )


def _signed(
    subject: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    by: ec.EllipticCurvePrivateKey,
    *extensions: tuple[Any, bool],
) -> x509.Certificate:
    """Return a certificate that began yesterday and lasts for a month.

    Args:
        subject: the certificate's.
        key: the subject's.
        issuer: of the certificate.
        by: the issuer's key.
        extensions: each with whether it is critical.
    """
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
    )
    for extension, is_critical in extensions:
        builder = builder.add_extension(extension, is_critical)
    return builder.sign(by, hashes.SHA256())


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        _PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def certificate(home, *names):
    """Write a self-signed certificate for these names; return its file."""
    path = home / "certificate.pem"
    path.write_bytes(b"".join(self_signed(*names)))
    return path
