# SPDX-License-Identifier: Apache-2.0
"""Pictures, certificates and changed files that the tests of provenance share."""

import datetime
import io
import pathlib
import struct
import zlib

import numpy as np
from PIL import Image, PngImagePlugin

FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP"}


def pixels(seed: int, side: int = 128) -> np.ndarray:
    """A picture of a few boxes, no cleaner than drawn ones, uint8 `[side, side, 3]`."""
    rng = np.random.default_rng(seed)
    image = np.full((side, side, 3), rng.integers(150, 255, 3), np.uint8)
    for _ in range(6):
        top, left, high, wide = rng.integers(8, side // 2, 4)
        image[top : top + high, left : left + wide] = rng.integers(0, 255, 3)
    noise = rng.integers(-1, 2, image.shape)
    return (image.astype(int) + noise).clip(0, 255).astype(np.uint8)


def encoded(image: np.ndarray, mime: str, **texts: str) -> bytes:
    """A file of a picture; a PNG carries texts, too."""
    info, file = PngImagePlugin.PngInfo(), io.BytesIO()
    for name, text in texts.items():
        info.add_itxt(name, text)
    more = {"pnginfo": info} if texts else {}
    Image.fromarray(image).save(file, FORMATS[mime], **more)
    return file.getvalue()


def decoded(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def pieces(data: bytes, mime: str) -> list[tuple[bytes, bytes]]:
    """The chunks or segments of a file, whole: each with its name, in the order of the file."""
    found, start = [], {"image/png": 8, "image/jpeg": 2, "image/webp": 12}[mime]
    while start < len(data):
        if mime == "image/png":
            length, name = struct.unpack_from(">I4s", data, start)
            length += 12
        elif mime == "image/webp":
            name, length = struct.unpack_from("<4sI", data, start)
            length += 8 + length % 2
        else:
            name = data[start : start + 2]
            scan = name == b"\xff\xda"  # all that follows is one piece
            length = len(data) if scan else 2 + struct.unpack_from(">H", data, start + 2)[0]
        found.append((name, data[start : start + length]))
        start += length
    return found


MANIFEST = {"image/png": b"caBX", "image/jpeg": b"\xff\xeb", "image/webp": b"C2PA"}
PICTURE = {
    "image/png": (b"IDAT",),
    "image/jpeg": (b"\xff\xda",),
    "image/webp": (b"VP8 ", b"VP8L"),
}


def joined(found: list[tuple[bytes, bytes]], mime: str) -> bytes:
    """The inverse of `pieces`."""
    body = b"".join(piece for _, piece in found)
    if mime == "image/webp":
        return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body
    return {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8"}[mime] + body


def swapped(data: bytes, other: bytes, mime: str) -> bytes:
    """A picture with the manifest of another in the place of its own."""
    name = MANIFEST[mime]
    theirs = iter([piece for piece in pieces(other, mime) if piece[0] == name])
    found = [next(theirs) if piece[0] == name else piece for piece in pieces(data, mime)]
    return joined(found, mime)


def stripped(data: bytes, mime: str) -> bytes:
    """A picture without its manifest."""
    found = [piece for piece in pieces(data, mime) if piece[0] != MANIFEST[mime]]
    return joined(found, mime)


def picture_span(data: bytes, mime: str) -> tuple[int, int]:
    """Where the encoded pixels begin and end: without headers, check sums and the end mark."""
    start = {"image/png": 8, "image/jpeg": 2, "image/webp": 12}[mime]
    for name, piece in pieces(data, mime):
        if name in PICTURE[mime]:
            head, tail = {
                "image/png": (8, 4),
                "image/jpeg": (2 + int.from_bytes(piece[2:4]), 2),
                "image/webp": (8, int.from_bytes(piece[4:8], "little") % 2),
            }[mime]
            return start + head, start + len(piece) - tail
        start += len(piece)
    raise AssertionError(f"{mime}: no pixels")


def png_flipped(data: bytes, offset: int) -> bytes:
    """A PNG one bit of whose pixels is another, compressed anew: sums are as they should be."""
    found = pieces(data, "image/png")
    rows = bytearray(zlib.decompress(b"".join(p[8:-4] for n, p in found if n == b"IDAT")))
    rows[offset % len(rows)] ^= 1
    body = b"IDAT" + zlib.compress(bytes(rows))
    piece = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    first = next(i for i, (name, _) in enumerate(found) if name == b"IDAT")
    rest = [pair for pair in found if pair[0] != b"IDAT"]
    return joined([*rest[:first], (b"IDAT", piece), *rest[first:]], "image/png")


def made(
    *,
    valid_for: datetime.timedelta = datetime.timedelta(days=1),
    purpose: str | None = "1.3.6.1.5.5.7.3.4",
    kind: str = "P-256",
    name: str = "Acme Drawings",
) -> tuple[bytes, bytes, bytes]:
    """A chain of two certificates, the key of the first, and the root that issued the second."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.x509.oid import NameOID

    now = datetime.datetime.now(datetime.UTC)

    def certificate(name, issuer, key, signing, *, ca, until):
        itself = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        above = x509.SubjectKeyIdentifier.from_public_key(signing.public_key())
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=2))
            .not_valid_after(until)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(
                x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False), True
            )
            .add_extension(itself, critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(above), False
            )
        )
        if purpose and not ca:
            usage = x509.ExtendedKeyUsage([x509.ObjectIdentifier(purpose)])
            builder = builder.add_extension(usage, critical=False)
        return builder.sign(signing, hashes.SHA256())

    root_key, key = ec.generate_private_key(ec.SECP256R1()), None
    if kind == "RSA":
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    elif kind == "Ed25519":
        key = ed25519.Ed25519PrivateKey.generate()
    else:
        curves = {"P-256": ec.SECP256R1, "P-384": ec.SECP384R1, "K-256": ec.SECP256K1}
        key = ec.generate_private_key(curves[kind]())
    later = now + datetime.timedelta(days=30)
    root = certificate("Acme Root", "Acme Root", root_key, root_key, ca=True, until=later)
    leaf = certificate(name, "Acme Root", key, root_key, ca=False, until=now + valid_for)
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return leaf.public_bytes(pem), secret, root.public_bytes(pem)


def written(folder: pathlib.Path, chain: bytes, key: bytes) -> tuple[pathlib.Path, pathlib.Path]:
    """Files of a certificate and of its key."""
    paths = folder / "chain.pem", folder / "key.pem"
    for path, text in zip(paths, (chain, key), strict=True):
        path.write_bytes(text)
    return paths
