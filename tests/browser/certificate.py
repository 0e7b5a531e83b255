"""A certificate for localhost, signed by an authority of its own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


def certificate(folder: Path) -> tuple[Path, Path]:
    """Write a certificate with its chain, and its key; return both paths."""
    now = datetime.now(UTC)

    def make(subject: str, issuer: str, public, private, *further):
        builder = (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name(issuer))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=30))
        )
        for extension, is_critical in further:
            builder = builder.add_extension(extension, is_critical)
        return builder.sign(private, hashes.SHA256())

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    root, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = "An authority of its own"
    chain = x509.BasicConstraints(ca=True, path_length=0)
    names = [x509.DNSName("localhost"), x509.IPAddress(IPv4Address("127.0.0.1"))]
    authority = make(issuer, issuer, root.public_key(), root, (chain, True))
    made = make(
        "localhost",
        issuer,
        key.public_key(),
        root,
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (x509.SubjectAlternativeName(names), False),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
    )
    pem = serialization.Encoding.PEM
    written = folder / "cert.pem", folder / "cert.key"
    written[0].write_bytes(made.public_bytes(pem) + authority.public_bytes(pem))
    written[1].write_bytes(
        key.private_bytes(
            pem,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return written
