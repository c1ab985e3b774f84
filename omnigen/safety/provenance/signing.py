# SPDX-License-Identifier: Apache-2.0
"""Signs pictures as C2PA says: a manifest in the file tells that a model made it, which, and when.

A signature holds for the bytes of a file, so that signing comes last. The prompt is not told.
"""

import datetime
import enum
import hashlib
import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import omnigen
from omnigen.safety.provenance import certificates, library, reading
from omnigen.safety.provenance.reading import MODEL, SOFTWARE, TURN, State

MOST_BYTES = 1 << 14
"""Most bytes that a manifest adds to a picture, if need be without those of what it was made of."""

_SOURCES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_DOT = bytes.fromhex(  # a PNG of one pixel, on which a certificate is tried
    "89504e470d0a1a0a0000000d4948445200000001000000010800000000"
    "3a7e9b550000000a49444154789c6360000000020001e527ded0"
    "0000000049454e44ae426082"
)


class Action(enum.StrEnum):
    """How a picture came about."""

    CREATED = "created"
    EDITED = "edited"


class Signer:
    """Signs pictures with one certificate; several threads may use it."""

    def __init__(self, identity: certificates.Identity) -> None:
        """Tries the certificate on a picture of one pixel.

        Args:
            identity: Certificate and key.

        Raises:
            ValueError: If C2PA refuses the certificate.
        """
        c2pa = library.c2pa()
        self.issuer, self.is_self_made = identity.issuer, identity.is_self_made
        algorithm = c2pa.C2paSigningAlg[identity.algorithm]
        info = c2pa.C2paSignerInfo(algorithm, identity.chain, identity.key, None)
        try:
            self._signer = c2pa.Signer.from_info(info)
            self.sign(_DOT, library.PNG, model="none")
        except c2pa.C2paError as error:
            raise ValueError(f"the certificate of {identity.issuer!r}: {error}") from None

    @classmethod
    def load(
        cls, certificate: pathlib.Path | None = None, key: pathlib.Path | None = None
    ) -> "Signer":
        """Reads the user's certificate and key, or the self-made ones; see `certificates.load`.

        Args:
            certificate: File of the certificate and of those above it, in PEM.
            key: File of its private key, in PEM.

        Raises:
            MissingExtraError: If the extra is not installed.
            ValueError: If a file is not what it should be, or C2PA refuses the certificate.
        """
        return cls(certificates.load(certificate, key))

    def sign(
        self,
        data: bytes,
        mime: str,
        *,
        model: str,
        action: Action | str = Action.CREATED,
        ingredients: Sequence[bytes] = (),
    ) -> bytes:
        """Returns the file with a manifest in it; pixels and texts stay as they are.

        Args:
            data: Bytes of a PNG, JPEG or WebP.
            mime: Format of it, one of `library.MIMES`.
            model: Name or version of the model.
            action: Whether the picture was created from text, or made of other pictures.
            ingredients: Files of those pictures: first the one that was edited, then others that
                were used. Their manifests are carried along where they hold, the first ones first,
                as long as `MOST_BYTES` are enough.

        Raises:
            ValueError: If a file is no picture of an allowed format or is damaged, or pictures are
                given that were not edited, or none that was.
        """
        library.check_mime(data, mime)
        if (Action(action) is Action.EDITED) != bool(ingredients):
            raise ValueError(
                f"action is {str(action)!r} with {len(ingredients)} ingredients; "
                "edited pictures have some, created ones none"
            )
        mimes = [library.mime_of(each) for each in ingredients]
        reports = [reading.check(*each) for each in zip(ingredients, mimes, strict=True)]
        turn = 1 + (reports[0].turn or 0) if ingredients else None
        manifest = _manifest(ingredients, _actions(model, len(ingredients), turn))
        holds = (State.VALID, State.TRUSTED)
        carried = [i for i, report in enumerate(reports) if report.state in holds]
        while True:
            given = {i: (mimes[i], ingredients[i]) for i in carried}
            signed = self._signed(data, mime, manifest, given)
            if len(signed) - len(data) <= MOST_BYTES or not carried:
                return signed
            carried.pop()

    def _signed(
        self,
        data: bytes,
        mime: str,
        manifest: Mapping[str, Any],
        carried: Mapping[int, tuple[str, bytes]],
    ) -> bytes:
        """Signs once.

        Args:
            data: Bytes of the picture.
            mime: Format of it.
            manifest: What is told, with all ingredients.
            carried: Formats and bytes of ingredients whose manifests come along, by number.
        """
        c2pa, signed = library.c2pa(), io.BytesIO()
        told = manifest["ingredients"]
        without = [each for i, each in enumerate(told) if i not in carried]
        with c2pa.Builder({**manifest, "ingredients": without}, library.context()) as builder:
            for i, (kind, picture) in carried.items():
                builder.add_ingredient(told[i], kind, io.BytesIO(picture))
            try:
                builder.sign(self._signer, mime, io.BytesIO(data), signed)
            except c2pa.C2paError as error:
                if "could not be parsed" in str(error):
                    raise ValueError(f"the picture is damaged: {error}") from None
                raise
        return signed.getvalue()


def _manifest(ingredients: Sequence[bytes], actions: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns what a manifest says, as c2pa-python takes it."""
    return {
        "claim_generator_info": [{"name": SOFTWARE, "version": omnigen.__version__}],
        "ingredients": [
            {
                "label": _label(i),
                "format": library.mime_of(data),
                "instance_id": f"sha256:{hashlib.sha256(data).hexdigest()}",
                "relationship": "componentOf" if i else "parentOf",
            }
            for i, data in enumerate(ingredients)
        ],
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": actions}}],
    }


def _label(number: int) -> str:
    return f"ingredient-{number}"


def _actions(model: str, count: int, turn: int | None) -> list[dict[str, Any]]:
    """Returns the actions: created, or the first ingredient opened, others placed, edited."""
    source = "compositeWithTrainedAlgorithmicMedia" if count else "trainedAlgorithmicMedia"
    done = {
        "action": f"c2pa.{Action.EDITED if count else Action.CREATED}",
        "when": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}",
        "softwareAgent": {"name": SOFTWARE, "version": omnigen.__version__},
        "digitalSourceType": _SOURCES + source,
        "parameters": {MODEL: model} | ({TURN: turn} if turn else {}),
    }
    uses = [
        {
            "action": "c2pa.placed" if i else "c2pa.opened",
            "parameters": {"ingredientIds": [_label(i)]},
        }
        for i in range(count)
    ]
    return [*uses, done]
