# SPDX-License-Identifier: Apache-2.0
"""How the settings of a run differ from those that a checkpoint was made with.

Shapes of weights are compared elsewhere. Here are the settings that shapes do not show: some of
them give the same weights another meaning, which is refused; all others are told.
"""

import dataclasses
import json
import pathlib
from collections.abc import Collection, Mapping
from typing import Any

from omnigen import config
from omnigen.cli import printable

MOST_LINES = 50
MOST_LETTERS = 120  # of a value
_ABSENT = "absent"
_NEW_RUN = (
    "; to go on with another, start a new workdir with train.init_from and train.relearn={key}"
)
_NAMES = {"ar": "transformer"}  # of parts, for people
_WITHOUT_EFFECT = {"train.init_from", "train.frozen_from"}  # once there is a checkpoint


@dataclasses.dataclass(frozen=True)
class Schema:
    """What is known about settings by their keys, such as `model.encoder.local`.

    Attributes:
        defaults: Nested settings, used for keys that a checkpoint does not have yet.
        unseen: Keys whose value gives weights another meaning that shapes do not show, with the
            part of the model that has these weights.
    """

    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    unseen: Mapping[str, str] = dataclasses.field(default_factory=dict)


NOTHING_KNOWN = Schema()


class Past:
    """The settings that the checkpoint of a resumed run was made with.

    Attributes:
        lines: One line for each setting that has changed since.
    """

    def __init__(
        self, settings: Mapping[str, Any], schema: Schema, *, parts: Collection[str]
    ) -> None:
        """Takes the settings of the run, and the parts of the model that checkpoints have."""
        self._settings, self._schema, self._parts = settings, schema, parts
        self._stored: Mapping[str, Any] = {}
        self.lines: list[str] = []

    def accept(self, stored: Mapping[str, Any], folder: str) -> None:
        """Takes the settings stored in a checkpoint's folder.

        Raises:
            ValueError: If they give the weights another meaning.
        """
        changes = Changes(stored, self._settings, self._schema)
        changes.refuse(self._parts, path=folder, hint=_NEW_RUN)
        self._stored = stored
        self.lines = changes.lines(step=int(pathlib.PurePath(folder).name))

    def place(self, stored: bytes) -> bytes:
        """Returns a checkpoint's place in the data, completed from its settings."""
        from omnigen.checkpoints import data_position

        return data_position.with_size(stored, self._stored)


class Changes:
    """The differences between the settings in a checkpoint and those of a run.

    Args:
        stored: Nested settings, as JSON gave them. `digests` among them has, by key, digests of
            files that settings name, which tell whether a setting means another file.
        given: Settings of the run.
        schema: What is known about their keys.
    """

    def __init__(self, stored: Mapping[str, Any], given: Mapping[str, Any], schema: Schema) -> None:
        self._unseen = schema.unseen
        self._now = flat(json.loads(json.dumps(given)))
        then = flat(config.current(stored))
        missing = {k: v for k, v in flat(schema.defaults).items() if k in self._now}
        self._then = {**missing, **then}

    def _pair(self, key: str) -> tuple[Any, Any]:
        return self._then.get(key, _ABSENT), self._now.get(key, _ABSENT)

    def _means_another(self, key: str) -> bool:
        digests = self._pair(f"digests.{key}")
        was, now = self._pair(key) if _ABSENT in digests else digests
        return was != now

    def refuse(
        self, parts: Collection[str], *, path: str, learning: Collection[str] = (), hint: str = ""
    ) -> list[str]:
        """Refuses weights that would mean something else.

        Args:
            parts: Parts of the model whose weights are taken.
            path: Path of the checkpoint, for the message.
            learning: Keys that may differ, since the weights are to learn the new value.
            hint: What to do instead; `{key}` stands for the key.

        Returns:
            A line for each key of `learning` that does differ.

        Raises:
            ValueError: If a key differs; the message names it, its value and the one that was
                learnt with.
        """
        lines = []
        for key, part in sorted(self._unseen.items()):
            if part not in parts or not self._means_another(key):
                continue
            was, now = map(_shown, self._pair(key))
            other = ", another file of that name" if was == now else ""
            told = (
                f"{key} is {now}; the {_NAMES.get(part, part)} of {path} learnt with {was}{other}"
            )
            if key not in learning:
                raise ValueError(told + hint.format(key=key))
            lines.append(told)
        return lines

    def lines(self, *, step: int) -> list[str]:
        """Returns one line for each key that has another value than at that step, sorted by key."""
        keys = [k for k in sorted(self._then.keys() | self._now.keys()) if _is_setting(k)]
        pairs = [(key, *self._pair(key)) for key in keys]
        found = [
            f"changed since step {step}: {printable(key)} was {_shown(was)}, is {_shown(now)}"
            + (" (without effect: the weights are the checkpoint's)" * (key in _WITHOUT_EFFECT))
            for key, was, now in pairs
            if was != now
        ]
        if len(found) > MOST_LINES:
            more = len(found) - MOST_LINES
            found[MOST_LINES:] = [f"changed since step {step}: {more} keys more"]
        return found


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns nested settings as one dict by dotted keys; an empty group is a value."""
    found: dict[str, Any] = {}
    groups: list[tuple[str, Any]] = [("", values)]
    while groups:  # a stranger's may be nested deeper than Python can call itself
        key, value = groups.pop()
        if isinstance(value, Mapping) and (value or not key):
            groups += [(f"{key}.{name}" if key else str(name), v) for name, v in value.items()]
        else:
            found[key] = value
    return found


def _is_setting(key: str) -> bool:
    return not key.startswith("digests.")


def _shown(value: Any) -> str:
    return value if value is _ABSENT else printable(repr(value), most=MOST_LETTERS)
