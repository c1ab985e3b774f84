# SPDX-License-Identifier: Apache-2.0
"""Keeps decisions without the texts that they are about: one line of JSON each.

A line has a hash of what was judged, by which the same text is known again. The hash is keyed with
a secret of the installation, so that nobody without the secret can try which texts give it.
"""

import contextlib
import datetime
import hashlib
import hmac
import json
import os
import pathlib
import secrets
import tempfile
import threading
import unicodedata

from omnigen.safety import Decision

NAME, OLD, SECRET = "decisions.jsonl", "decisions.old.jsonl", "secret"
MOST_BYTES = 16 << 20  # of a file; then it becomes the old one, and the old one goes


class Journal:
    """Writes decisions to a folder; may be used by several threads."""

    def __init__(self, folder: str | os.PathLike[str], *, most_bytes: int = MOST_BYTES) -> None:
        """Opens the folder, and makes it and its secret if they do not exist.

        Args:
            folder: Folder for the decisions and the secret.
            most_bytes: Size from which a file is put aside; one such file is kept.

        Raises:
            OSError: If it cannot be written.
        """
        self._folder, self._most_bytes = pathlib.Path(folder), most_bytes
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._secret = self._own_secret()

    def write(
        self, decision: Decision, subject: str | bytes, *, level: str = "auto", who: str = ""
    ) -> str:
        """Writes a decision.

        Args:
            decision: What was decided.
            subject: Text that was judged, or the bytes of the pixels. Nothing of it is kept.
            level: Level that it was judged at.
            who: Who asked, as something that is no name, such as a digest; empty if unknown.

        Returns:
            The hash of the subject, as it is in the line.
        """
        code = self.code(subject)
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        line = {
            "time": now,
            "subject": code,
            "stage": decision.stage,
            "level": level,
            "allowed": decision.allowed,
            "categories": list(decision.categories),
            "policy": decision.policy,
            **({"who": who} if who else {}),
        }
        data = (json.dumps(line) + "\n").encode()
        path = self._folder / NAME
        with self._lock:
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_size + len(data) > self._most_bytes:
                    path.replace(self._folder / OLD)
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                os.write(file, data)  # at once, so that processes do not mix their lines
            finally:
                os.close(file)
        return code

    def code(self, subject: str | bytes) -> str:
        """Returns the hash of a text or of bytes: 24 hex digits.

        Texts that differ in case, spaces or compatibility forms alone have the same.
        """
        if isinstance(subject, str):
            plain = unicodedata.normalize("NFKC", subject).casefold()
            subject = " ".join(plain.split()).encode("utf-8", "surrogatepass")
        return hmac.new(self._secret, subject, hashlib.sha256).hexdigest()[:24]

    def _own_secret(self) -> bytes:
        path = self._folder / SECRET
        if not path.exists():
            # Linked into place whole: of processes that start together one wins.
            file, name = tempfile.mkstemp(dir=self._folder)
            with os.fdopen(file, "wb") as stream:
                stream.write(secrets.token_bytes(32))
            with contextlib.suppress(FileExistsError):
                os.link(name, path)
            os.unlink(name)
        return path.read_bytes()
