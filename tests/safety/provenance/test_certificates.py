# SPDX-License-Identifier: Apache-2.0
import datetime
import os
import pathlib
import stat
import subprocess
import sys

import pytest
import signed

from omnigen import extras
from omnigen.safety.provenance import certificates
from omnigen.safety.provenance.signing import Signer

pytest.importorskip("c2pa")
x509 = pytest.importorskip("cryptography.x509")


@pytest.fixture
def cache(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.setenv("OMNIGEN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "provenance"


def test_the_self_made_one_says_what_it_is_and_is_kept_secret(cache: pathlib.Path) -> None:
    made = certificates.load()
    assert made.is_self_made and made.issuer == "omnigen, self-made certificate"
    assert made.algorithm == "ES256" and "PRIVATE" not in repr(made)
    both, public = cache / "identity.pem", cache / "certificate.pem"
    assert sorted(cache.iterdir()) == [public, both]
    assert stat.S_IMODE(both.stat().st_mode) == 0o600
    assert public.read_bytes() == made.chain and b"PRIVATE" not in made.chain
    leaf = x509.load_pem_x509_certificate(made.chain)
    assert leaf.issuer == leaf.subject and "omnigen" in leaf.subject.rfc4514_string()
    value = {extension.oid._name: extension.value for extension in leaf.extensions}
    assert [usage._name for usage in value["extendedKeyUsage"]] == ["emailProtection"]
    assert value["keyUsage"].digital_signature and not value["keyUsage"].key_cert_sign
    assert value["basicConstraints"].ca is False
    years = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    assert years == datetime.timedelta(days=3650)


def test_it_is_made_once(cache: pathlib.Path) -> None:
    first = certificates.load()
    before = (cache / "identity.pem").stat()
    assert certificates.load() == first
    assert (cache / "identity.pem").stat().st_mtime_ns == before.st_mtime_ns


def test_processes_that_start_together_agree(cache: pathlib.Path) -> None:
    probe = (
        "import sys; from omnigen.safety.provenance import certificates\n"
        "import cryptography.x509, cryptography.hazmat.primitives.asymmetric.ec\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "print(certificates.load().chain.hex())"
    )
    pipe = subprocess.PIPE
    started = [
        subprocess.Popen([sys.executable, "-c", probe], stdin=pipe, stdout=pipe, text=True)
        for _ in range(4)
    ]
    for process in started:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    chains = {process.communicate(timeout=60)[0] for process in started}
    assert {process.returncode for process in started} == {0}
    assert chains == {certificates.load().chain.hex() + "\n"}
    assert {path.name for path in cache.iterdir()} == {"identity.pem", "certificate.pem"}


def test_an_expired_one_is_made_anew(cache: pathlib.Path, monkeypatch) -> None:
    monkeypatch.setattr(certificates, "_VALID", datetime.timedelta(minutes=30))  # ended just now
    cache.mkdir(parents=True)
    (cache / "identity.pem").write_bytes(certificates._made())
    monkeypatch.undo()
    monkeypatch.setenv("OMNIGEN_CACHE", str(cache.parent))
    old = (cache / "identity.pem").read_bytes()
    made = certificates.load()
    assert made.chain not in old and made.chain in (cache / "identity.pem").read_bytes()
    assert (cache / "certificate.pem").read_bytes() == made.chain


@pytest.mark.parametrize("text", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nAA"])
def test_a_damaged_one_is_told(text: bytes, cache: pathlib.Path) -> None:
    certificates.load()
    (cache / "identity.pem").write_bytes(text)
    with pytest.raises(ValueError, match="identity.pem, which can be removed to make a new one"):
        certificates.load()


def test_without_a_folder_it_lasts_as_long_as_the_process(tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("OMNIGEN_CACHE", str(tmp_path / "file"))
    made = Signer.load()
    assert made.is_self_made and list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_the_environment_names_the_users(cache: pathlib.Path, tmp_path, monkeypatch) -> None:
    chain, key, _ = signed.made()
    for name, path in zip(
        ("OMNIGEN_CERTIFICATE", "OMNIGEN_KEY"), signed.written(tmp_path, chain, key), strict=True
    ):
        monkeypatch.setenv(name, str(path))
    found = certificates.load()
    assert (found.chain, found.issuer, found.is_self_made) == (chain, "Acme Drawings", False)
    assert not cache.exists()
    monkeypatch.delenv("OMNIGEN_KEY")
    with pytest.raises(ValueError, match="go together; only .*chain.pem given"):
        certificates.load()


def encrypted(key: bytes) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return serialization.load_pem_private_key(key, None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )


@pytest.mark.parametrize(
    ("chain", "key", "message"),
    [
        ("nonsense", "key", "chain.pem holds no certificates in PEM"),
        ("chain", "nonsense", "key.pem is no private key in PEM"),
        ("chain", "encrypted", "key.pem is encrypted; allowed: a key without a password"),
        ("chain", "other", "key.pem is not the key of the first certificate in .*chain.pem"),
        ("expired", "its key", r"chain.pem is valid from \d{4}-\d\d-\d\d to .*, and today is"),
        ("server", "its key", "chain.pem is not for signing pictures; extended key usages: email"),
        ("no purpose", "its key", "chain.pem is not for signing pictures"),
        ("K-256", "its key", "key.pem is of a kind that C2PA does not know; allowed: EC P-256,"),
        ("huge", "key", "chain.pem has 70000 bytes; allowed: up to 65536"),
    ],
)
def test_files_that_are_of_no_use_are_refused(
    chain: str, key: str, message: str, tmp_path: pathlib.Path
) -> None:
    good = signed.made()
    odd = {
        "expired": {"valid_for": -datetime.timedelta(days=1)},
        "server": {"purpose": "1.3.6.1.5.5.7.3.1"},
        "no purpose": {"purpose": None},
        "K-256": {"kind": "K-256"},
    }
    its = signed.made(**odd[chain]) if chain in odd else good
    texts = {"nonsense": b"x", "chain": good[0], "key": good[1], "other": signed.made()[1]}
    texts |= {"encrypted": encrypted(good[1]), "its key": its[1], "huge": b"x" * 70_000}
    paths = signed.written(tmp_path, texts.get(chain, its[0]), texts[key])
    with pytest.raises(ValueError, match=message) as raised:
        Signer.load(*paths)
    assert "PRIVATE" not in str(raised.value)


def test_files_that_are_not_there_are_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="absent.pem cannot be read: No such file"):
        Signer.load(tmp_path / "absent.pem", tmp_path / "key.pem")
    os.mkfifo(tmp_path / "pipe.pem")
    with pytest.raises(ValueError, match="pipe.pem is a pipe; allowed: regular files"):
        Signer.load(tmp_path / "pipe.pem", tmp_path / "key.pem")


def test_a_missing_extra_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "c2pa", None)
    with pytest.raises(extras.MissingExtraError, match=r"omnigen-jax\[provenance\]"):
        Signer.load()
