# SPDX-License-Identifier: Apache-2.0
import concurrent.futures
import datetime
import json
import time

import numpy as np
import pytest
import signed

import omnigen
from omnigen.safety.provenance import library, reading
from omnigen.safety.provenance.reading import State
from omnigen.safety.provenance.signing import MOST_BYTES, Action, Signer

c2pa = pytest.importorskip("c2pa")
IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMNIGEN_CACHE", str(tmp_path_factory.mktemp("cache")))
        return Signer.load()


def told(data: bytes, mime: str) -> tuple[dict, dict]:
    """What c2pa-python itself reads of a picture, set up as it comes: the whole, and the active."""
    import io

    with c2pa.Reader(mime, io.BytesIO(data)) as reader:
        whole = json.loads(reader.json())
    return whole, whole["manifests"][whole["active_manifest"]]


@pytest.mark.parametrize("mime", library.MIMES)
def test_a_created_picture_says_who_what_and_when(mime: str, signer: Signer) -> None:
    before = signed.encoded(signed.pixels(1), mime)
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    after = signer.sign(before, mime, model="omnigen-nano 0123456789ab")
    np.testing.assert_array_equal(signed.decoded(after), signed.decoded(before))
    whole, manifest = told(after, mime)
    assert whole["validation_state"] == "Valid"
    assert {each["code"] for each in whole["validation_status"]} == {"signingCredential.untrusted"}
    assert manifest["claim_generator_info"][0]["name"] == "omnigen"
    assert "thumbnail" not in manifest and "ingredients" not in manifest
    (assertion,) = manifest["assertions"]
    (action,) = assertion["data"]["actions"]
    assert assertion["label"] == "c2pa.actions.v2" and action["action"] == "c2pa.created"
    assert action["digitalSourceType"] == IPTC + "trainedAlgorithmicMedia"
    assert action["softwareAgent"] == {"name": "omnigen", "version": omnigen.__version__}
    assert action["parameters"] == {"omnigen_model": "omnigen-nano 0123456789ab"}
    assert now <= datetime.datetime.fromisoformat(action["when"]) <= now + datetime.timedelta(1)
    report = reading.check(after, mime)
    assert report == reading.Report(
        State.VALID,
        issuer="omnigen, self-made certificate",
        software=f"omnigen {omnigen.__version__}",
        model="omnigen-nano 0123456789ab",
        generated_at=datetime.datetime.fromisoformat(action["when"]),
        action="created",
        source="trainedAlgorithmicMedia",
    )


@pytest.mark.parametrize("mime", library.MIMES)
def test_a_picture_grows_by_three_kilobytes(mime: str, signer: Signer) -> None:
    for side in (32, 512):
        before = signed.encoded(signed.pixels(1, side), mime)
        grown = len(signer.sign(before, mime, model="0123456789ab")) - len(before)
        assert 2000 < grown < 3200


def test_texts_survive(signer: Signer) -> None:
    before = signed.encoded(signed.pixels(1), "image/png", prompt="Déjà vu", settings="{}")
    after = signer.sign(before, "image/png", model="m")
    rest = [piece for piece in signed.pieces(after, "image/png") if piece[0] != b"caBX"]
    assert rest == signed.pieces(before, "image/png")
    assert {b"iTXt"} < {name for name, _ in rest}


def test_an_edit_opens_its_picture_and_says_what_it_did(signer: Signer) -> None:
    one = signer.sign(signed.encoded(signed.pixels(1), "image/png"), "image/png", model="m")
    other = signed.encoded(signed.pixels(2), "image/jpeg")
    after = signer.sign(
        signed.encoded(signed.pixels(3), "image/webp"),
        "image/webp",
        model="m",
        action=Action.EDITED,
        ingredients=[one, other],
    )
    whole, manifest = told(after, "image/webp")
    assert whole["validation_state"] == "Valid" and len(whole["manifests"]) == 2
    assert sorted(each["relationship"] for each in manifest["ingredients"]) == [
        "componentOf", "parentOf"
    ]  # fmt: skip
    opened, placed, edited = manifest["assertions"][0]["data"]["actions"]
    assert [opened["action"], placed["action"]] == ["c2pa.opened", "c2pa.placed"]
    assert edited["action"] == "c2pa.edited"
    assert edited["digitalSourceType"] == IPTC + "compositeWithTrainedAlgorithmicMedia"
    report = reading.check(after, "image/webp")
    assert (report.action, report.turn, report.earlier) == ("edited", 1, 1)
    assert report.source == "compositeWithTrainedAlgorithmicMedia" and report.issues == ()


def test_a_chain_of_edits_stays_small_and_counts_on(signer: Signer) -> None:
    picture = signer.sign(signed.encoded(signed.pixels(0), "image/png"), "image/png", model="m")
    carried = []
    for turn in range(1, 9):
        before = signed.encoded(signed.pixels(turn), "image/png")
        picture = signer.sign(
            before, "image/png", model="m", action="edited", ingredients=[picture]
        )
        assert len(picture) - len(before) <= MOST_BYTES
        report = reading.check(picture, "image/png")
        assert (report.state, report.turn, report.issues) == (State.VALID, turn, ())
        carried.append(report.earlier)
    assert carried == [1, 2, 0, 1, 2, 0, 1, 2]


def test_sixteen_pictures_are_told_in_sixteen_kilobytes(signer: Signer) -> None:
    pictures = [
        signer.sign(signed.encoded(signed.pixels(i), "image/png"), "image/png", model="m")
        for i in range(16)
    ]
    before = signed.encoded(signed.pixels(16), "image/png")
    after = signer.sign(before, "image/png", model="m", action="edited", ingredients=pictures)
    assert len(after) - len(before) <= MOST_BYTES
    whole, manifest = told(after, "image/png")
    assert whole["validation_state"] == "Valid" and len(manifest["ingredients"]) == 16


def test_what_does_not_hold_is_not_carried_on(signer: Signer) -> None:
    """An edit of a picture that was tampered with does not make it good."""
    original = signer.sign(signed.encoded(signed.pixels(1), "image/png"), "image/png", model="m")
    before = signed.encoded(signed.pixels(2), "image/png")
    bad = signed.png_flipped(original, 5000)
    after = signer.sign(before, "image/png", model="m", action="edited", ingredients=[bad])
    report = reading.check(after, "image/png")
    assert (report.state, report.turn, report.earlier) == (State.VALID, 1, 0)
    assert len(told(after, "image/png")[1]["ingredients"]) == 1


@pytest.mark.parametrize(
    ("data", "mime", "more", "message"),
    [
        (b"hello", "image/png", {}, "the file is no picture of an allowed format"),
        (b"", "image/png", {}, "the file is no picture"),
        (None, "image/gif", {}, "format 'image/gif' cannot be signed; allowed: image/png,"),
        (None, "image/jpeg", {}, "the picture is image/png, and was said to be image/jpeg"),
        (b"\x89PNG\r\n\x1a\n", "image/png", {}, "the picture is damaged"),
        (None, "image/png", {"action": "edited"}, "action is 'edited' with 0 ingredients"),
        (None, "image/png", {"ingredients": [b"x"]}, "action is 'created' with 1 ingredients"),
        (None, "image/png", {"action": "edited", "ingredients": [b"x"]}, "no picture"),
        (None, "image/png", {"action": "painted"}, "painted"),
    ],
)
def test_bad_input(data: bytes | None, mime: str, more: dict, message: str, signer: Signer) -> None:
    picture = signed.encoded(signed.pixels(1), "image/png") if data is None else data
    with pytest.raises(ValueError, match=message):
        signer.sign(picture, mime, model="m", **more)


@pytest.mark.parametrize(
    ("kind", "purpose"),
    [
        ("P-256", "1.3.6.1.5.5.7.3.4"),
        ("P-384", "1.3.6.1.5.5.7.3.36"),
        ("RSA", "1.3.6.1.4.1.62558.2.1"),
        ("Ed25519", "1.3.6.1.5.5.7.3.4"),
    ],
)
def test_certificates_of_users_sign_and_are_trusted_by_their_root(
    kind: str, purpose: str, tmp_path
) -> None:
    chain, key, root = signed.made(kind=kind, purpose=purpose)
    signer = Signer.load(*signed.written(tmp_path, chain, key))
    assert signer.issuer == "Acme Drawings" and not signer.is_self_made
    picture = signer.sign(signed.encoded(signed.pixels(1), "image/png"), "image/png", model="m")
    assert reading.check(picture, "image/png").state is State.VALID
    report = reading.check(picture, "image/png", anchors=root)
    assert (report.state, report.issuer) == (State.TRUSTED, "Acme Drawings")
    stranger = signed.made()[2]
    assert reading.check(picture, "image/png", anchors=stranger).state is State.VALID


def test_threads_sign_and_check_side_by_side(signer: Signer) -> None:
    def one(seed: int) -> tuple[State, str | None]:
        mime = library.MIMES[seed % 3]
        picture = signer.sign(signed.encoded(signed.pixels(seed), mime), mime, model=f"m{seed}")
        report = reading.check(picture, mime)
        return report.state, report.model

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = list(pool.map(one, range(120)))
    assert found == [(State.VALID, f"m{seed}") for seed in range(120)]


@pytest.mark.slow
def test_how_long_it_takes(signer: Signer) -> None:
    """Prints milliseconds to sign and to check, and the bytes added; takes 2 s.

    `pytest -m slow -s -k how_long tests/safety/provenance/test_signing.py`
    """
    for side in (128, 1024):
        for mime in library.MIMES:
            before, times = signed.encoded(signed.pixels(1, side), mime), []
            for _ in range(50):
                since = time.perf_counter()
                after = signer.sign(before, mime, model="0123456789ab")
                middle = time.perf_counter()
                assert reading.check(after, mime).state is State.VALID
                times.append((middle - since, time.perf_counter() - middle))
            sign, check = np.median(times, axis=0) * 1000
            grown = len(after) - len(before)
            print(f"{side} {mime}: sign {sign:.1f} ms, check {check:.1f} ms, {grown} bytes more")
            assert sign < 100 and check < 100
