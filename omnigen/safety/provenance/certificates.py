# SPDX-License-Identifier: Apache-2.0
"""Whose name stands under a picture: the user's certificate, or one that omnigen makes itself.

A certificate that nobody issued proves nothing about who signed. It still shows whether a picture
was changed since, and its name says what it is.
"""

import contextlib
import dataclasses
import datetime
import fcntl
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from omnigen import cli, extras, files
from omnigen.safety.provenance import library

CERTIFICATE, KEY = "OMNIGEN_CERTIFICATE", "OMNIGEN_KEY"
"""Environment variables that name the user's two files."""

SELF_MADE = "omnigen, self-made certificate"
"""Organisation in a certificate that omnigen made; others may write the same in theirs."""

FOLDER = "provenance"  # in the user's cache folder
_BOTH, _PUBLIC = "identity.pem", "certificate.pem"
_VALID = datetime.timedelta(days=3650)
_MOST_BYTES = 1 << 16  # of a file of certificates, or of a key
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}


@dataclasses.dataclass(frozen=True)
class Identity:
    """A certificate and its key.

    Attributes:
        chain: Certificates in PEM, the signer's first.
        key: Private key in PEM, not encrypted.
        algorithm: Name of the signature's algorithm, such as "ES256".
        issuer: Organisation, or else the name, that the signer's certificate carries.
        is_self_made: Whether omnigen made it.
    """

    chain: bytes
    key: bytes = dataclasses.field(repr=False)
    algorithm: str
    issuer: str
    is_self_made: bool = False


def load(certificate: pathlib.Path | None = None, key: pathlib.Path | None = None) -> Identity:
    """Reads the user's certificate and key, or the self-made ones.

    Args:
        certificate: File of the signer's certificate and of those above it but the last, in PEM;
            that of `$OMNIGEN_CERTIFICATE` if not given.
        key: File of the private key, in PEM and not encrypted; that of `$OMNIGEN_KEY` if not given.

    Raises:
        MissingExtraError: If the extra is not installed.
        ValueError: If one is given without the other, or a file is not what it should be.
    """
    extras.require(library.EXTRA, "signing pictures")
    if certificate is None and key is None:
        certificate, key = (_from_environment(name) for name in (CERTIFICATE, KEY))
    if certificate is None and key is None:
        return self_made()
    if certificate is None or key is None:
        raise ValueError(f"a certificate and its key go together; only {certificate or key} given")
    chain, secret = (_read(path) for path in (certificate, key))
    return _identity(chain, secret, names=(certificate, key))


def _from_environment(name: str) -> pathlib.Path | None:
    value = os.environ.get(name)
    return pathlib.Path(cli.expand(value)) if value else None


def _read(path: pathlib.Path) -> bytes:
    try:
        return files.read(path, most=_MOST_BYTES)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None


def _identity(
    chain: bytes,
    key: bytes,
    *,
    names: tuple[pathlib.Path, pathlib.Path],
    is_self_made: bool = False,
) -> Identity:
    """Checks that a certificate and a key belong together, and are of use now.

    Args:
        chain: Text with certificates in PEM.
        key: Text with a private key in PEM.
        names: Files that they are from, for messages.
        is_self_made: Whether omnigen made them.

    Raises:
        ValueError: If they do not, or are not.
    """
    from cryptography.hazmat.primitives import serialization

    found, leaf = certificates(chain, names[0]), _first(chain, names[0])
    try:
        secret: Any = serialization.load_pem_private_key(key, password=None)
    except TypeError:
        raise ValueError(f"{names[1]} is encrypted; allowed: a key without a password") from None
    except Exception:  # of the backend, too
        raise ValueError(f"{names[1]} is no private key in PEM") from None
    if secret.public_key() != leaf.public_key():
        raise ValueError(f"{names[1]} is not the key of the first certificate in {names[0]}")
    now = datetime.datetime.now(datetime.UTC)
    if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
        times = f"{leaf.not_valid_before_utc:%Y-%m-%d} to {leaf.not_valid_after_utc:%Y-%m-%d}"
        raise ValueError(f"{names[0]} is valid from {times}, and today is {now:%Y-%m-%d}")
    _check_purpose(leaf, names[0])
    plain = secret.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return Identity(found, plain, _algorithm(secret, names[1]), _issuer(leaf), is_self_made)


def certificates(text: bytes, name: pathlib.Path | str) -> bytes:
    """Returns the certificates of a text in PEM and nothing else that it holds.

    Args:
        text: Text in PEM.
        name: Where the text is from, for the message.

    Raises:
        ValueError: If it holds none, or a damaged one.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        found = x509.load_pem_x509_certificates(text)
    except Exception:  # of the backend, too
        raise ValueError(f"{name} holds no certificates in PEM, or damaged ones") from None
    return b"".join(each.public_bytes(Encoding.PEM) for each in found)


def _first(text: bytes, name: pathlib.Path) -> Any:
    from cryptography import x509

    return x509.load_pem_x509_certificate(certificates(text, name))


def _check_purpose(leaf: Any, name: pathlib.Path) -> None:
    from cryptography import x509

    try:
        usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except Exception:  # none, or not readable
        usage = ()
    if not {each.dotted_string for each in usage} & library.PURPOSES.keys():
        allowed = ", ".join(f"{text} ({oid})" for oid, text in library.PURPOSES.items())
        raise ValueError(f"{name} is not for signing pictures; extended key usages: {allowed}")


def _algorithm(key: Any, name: pathlib.Path) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, rsa.RSAPrivateKey):
        return "PS256"
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ED25519"
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return _CURVES[key.curve.name]
    raise ValueError(f"{name} is of a kind that C2PA does not know; allowed: EC P-256, P-384, "
                     "P-521, RSA, Ed25519")  # fmt: skip


def _issuer(leaf: Any) -> str:
    from cryptography.x509.oid import NameOID

    for oid in (NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME):
        if names := leaf.subject.get_attributes_for_oid(oid):
            return str(names[0].value)
    return "a certificate without a name"


def self_made() -> Identity:
    """Returns the certificate of this user that omnigen made; makes it if there is none.

    It is kept in `$OMNIGEN_CACHE/provenance` or `~/.cache/omnigen/provenance`, and only its owner
    may read the key. Processes that start together agree on one. Without such a folder, each
    process has its own.

    Raises:
        MissingExtraError: If the extra is not installed.
        OSError: If it cannot be written.
        ValueError: If the file that is there is damaged.
    """
    extras.require(library.EXTRA, "signing pictures")
    folder = cli.cache_folder(FOLDER)
    if folder is None:
        both = _made()
        return _identity(
            both, both, names=(pathlib.Path(_BOTH), pathlib.Path(_BOTH)), is_self_made=True
        )
    path = folder / _BOTH
    with _alone(folder):
        if path.exists() and not _is_expired(path):
            both = _read(path)
        else:
            both = _made()
            with files.replacing(path) as partial:
                _write_secret(partial, both)
        public = certificates(both, f"{path}, which can be removed to make a new one,")
        if files.stamp(folder / _PUBLIC) is None:
            files.write(folder / _PUBLIC, public.decode("ascii"))
    return _identity(both, both, names=(path, path), is_self_made=True)


@contextlib.contextmanager
def _alone(folder: pathlib.Path) -> Iterator[None]:
    """Waits for other processes that look for the certificate; where the disk cannot lock, not."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _is_expired(path: pathlib.Path) -> bool:
    name = pathlib.Path(f"{path}, which can be removed to make a new one,")
    return _first(_read(path), name).not_valid_after_utc <= datetime.datetime.now(datetime.UTC)


def _write_secret(path: pathlib.Path, text: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)


def _made() -> bytes:
    """Makes a key and a certificate that says what it is; both in PEM, the certificate first."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key, number = ec.generate_private_key(ec.SECP256R1()), x509.random_serial_number()
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, SELF_MADE),
            x509.NameAttribute(NameOID.COMMON_NAME, f"omnigen {number % 16**8:08x}"),
        ]
    )
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
        + ("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
        False,
    )
    itself = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    above = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(itself)
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)  # clocks differ
    builder = x509.CertificateBuilder(name, name, key.public_key(), number, start, start + _VALID)
    for extension, is_critical in (
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (x509.KeyUsage(digital_signature=True, **usage), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False),
        (itself, False),
        (above, False),
    ):
        builder = builder.add_extension(extension, critical=is_critical)
    return builder.sign(key, hashes.SHA256()).public_bytes(
        serialization.Encoding.PEM
    ) + key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
