# SPDX-License-Identifier: Apache-2.0
"""Says of a picture who made it, with which model and when, and whether that can be believed."""

import dataclasses
import json
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from absl import flags

from omnigen import cli, extras, files

if TYPE_CHECKING:
    from omnigen.safety.provenance.reading import Report

PROGRAM = "omnigen.provenance"
USAGE = """
Says who made a picture:   python -m omnigen.provenance FILE
Whom to trust:             add --anchors certificates.pem
For programs:              add --json

Reads PNG, JPEG and WebP. Exit codes: 0 if what the picture says holds, 3 if it says nothing, 4 if
it, or what it says, was changed after it was signed, or the certificate does not hold; 2 if FILE is
no such picture.
"""

ABSENT, TAMPERED = 3, 4  # exit codes
MOST_BYTES = files.MOST_PICTURE_BYTES
_MEANINGS = {
    "assertion.dataHash.mismatch": "the picture was changed after it was signed",
    "assertion.hashedURI.mismatch": "what it says was changed after it was signed",
    "claimSignature.mismatch": "the signature does not belong to what it says",
    "claimSignature.outsideValidity": "the certificate is not valid today",
    "signingCredential.expired": "the certificate is not valid today",
    "signingCredential.invalid": "the certificate is not for signing pictures",
    "manifest.unreadable": "what it says is damaged",
    "manifest.large": "what it says has over 8 MiB, and is not read",
    "manifest.padding": "something was written where nothing is signed",
    "manifest.remote": "what it says lies elsewhere, and is not fetched",
    "picture.damaged": "the file is damaged",
}
_SOURCES = {
    "trainedAlgorithmicMedia": "made by a model",
    "compositeWithTrainedAlgorithmicMedia": "made of another picture by a model",
}


@dataclasses.dataclass(frozen=True)
class Finding:
    """What is known of a picture.

    Attributes:
        report: What it says, and whether that holds.
        logged: Record of a picture of this user that looks like it, where it says nothing that
            holds.
    """

    report: "Report"
    logged: dict[str, str] | None

    @property
    def exit_code(self) -> int:
        """The exit code; see `USAGE`."""
        return {"not_present": ABSENT, "invalid": TAMPERED}.get(self.report.state, 0)

    def lines(self) -> Iterator[str]:
        """Yields lines for people, whose texts anyone may have written."""
        report = self.report
        yield {
            "trusted": "trusted: it is as it was signed, by a certificate that you trust",
            "valid": "valid: it is as it was signed; who signed it is not proven",
            "invalid": "tampered: what it says does not hold",
            "not_present": "absent: it does not say who made it",
        }[report.state]
        for code in report.issues:
            meaning = _MEANINGS.get(code.removeprefix("ingredient: "))
            yield f"  problem     {code}" + (f": {meaning}" if meaning else "")
        made = report.generated_at and f"{report.generated_at:%Y-%m-%d %H:%M:%S %Z}"
        what = report.source and f"{_SOURCES.get(report.source, '')} ({report.source})".strip()
        carried = f", of whose pictures {cli.counted(report.earlier, 'manifests')} came along"
        for name, text in (
            ("signed by", report.issuer),
            ("software", report.software),
            ("model", report.model),
            ("made", made),
            ("source", what),
            ("edits", report.turn and f"{report.turn}{carried}"),
        ):
            if text:
                yield f"  {name:<12}{text}"
        if self.logged is not None:
            told = ", ".join(f"{name} {text}" for name, text in self.logged.items())
            yield f"  log         a picture drawn here looks like it: {told}"

    def fields(self) -> dict[str, object]:
        """Returns it for programs, in the words of OpenAI's content provenance checks."""
        told = dataclasses.asdict(self.report)
        made = self.report.generated_at
        return {
            "outcome": "detected" if self.report.is_present else "not_detected",
            "validation_state": told.pop("state"),
            **told,
            "generated_at": made and made.isoformat(),
            "logged": self.logged,
        }


def find(path: pathlib.Path, *, anchors: bytes | None = None) -> Finding:
    """Reads what a picture says; where that does not hold, looks for it in the user's log.

    Args:
        path: File of anyone.
        anchors: Certificates in PEM that are trusted.

    Raises:
        MissingExtraError: If the extra is not installed.
        OSError: If it cannot be read.
        ValueError: If it is no picture of an allowed format, or is larger than `MOST_BYTES`.
    """
    from omnigen.safety.provenance import library, reading

    data = files.read(path, most=MOST_BYTES)
    try:
        report = reading.check(data, library.mime_of(data), anchors=anchors)
    except ValueError as error:
        raise type(error)(f"{path}: {error}") from None
    holds = report.state in (reading.State.VALID, reading.State.TRUSTED)
    return Finding(report, None if holds else _logged(data))


def _logged(data: bytes) -> dict[str, str] | None:
    import numpy as np

    from omnigen.data.corpus import pictures
    from omnigen.data.corpus.records import Rejected
    from omnigen.safety.provenance.hashes import HashLog

    log = HashLog.of_user()
    try:
        return log and log.find(np.asarray(pictures.decode(data).image))
    except Rejected:  # damaged, animated, or too large to decode
        return None


@cli.door(PROGRAM)
def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command; see `USAGE`."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    path = arguments.pop(0) if arguments and not arguments[0].startswith("-") else ""
    values = flags.FlagValues()
    text = "certificates in PEM that are trusted: of signers, or of those who vouch for them"
    cli.define_path(values, "anchors", None, text)
    flags.DEFINE_bool("json", False, "print one JSON object", flag_values=values)
    with cli.bad_input_exits(PROGRAM):
        cli.parse(values, usage=USAGE, argv=arguments)
        if not path:
            raise ValueError("name a picture; allowed: PNG, JPEG and WebP files")
        extras.require("provenance", "reading who made a picture")
        anchors = None
        if values.anchors:
            anchors = files.read(pathlib.Path(values.anchors), most=files.MOST_TEXT_BYTES)
        found = find(pathlib.Path(cli.expand(path)), anchors=anchors)
    if values.json:
        print(json.dumps(found.fields()))
    else:
        for line in found.lines():
            cli.say(line)
    raise SystemExit(found.exit_code)


if __name__ == "__main__":
    main()
