# SPDX-License-Identifier: Apache-2.0
"""Where the time of a run went, from its first start to now, over all its restarts.

Every second belongs to one activity. Names and meanings are those of ml-goodput-measurement, which
MaxText reports by, so that runs can be compared; here they are lines in `goodput.json`.
"""

import contextlib
import enum
import json
import math
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from omnigen import files

MOST_BYTES = 1 << 24  # of goodput.json: tens of thousands of starts


class Activity(enum.StrEnum):
    """What a second was spent on."""

    PRODUCTIVE = "productive"
    TPU_INITIALIZATION = "tpu_initialization"  # imports, devices, joining the other hosts
    TRAINING_PREP = "training_prep"  # weights, data, logs
    PROGRAM_STARTUP = "program_startup"  # compiling the step
    DATA_LOADING_SYNC = "data_loading_sync"  # the step waits for a batch
    CHECKPOINT_SAVE = "unproductive_checkpoint_save_time"  # the part that the step waits for
    CHECKPOINT_RESTORE = "unproductive_checkpoint_restore_time"
    WASTED = "wasted_progress_from_disruption"  # steps that had to be made again
    CUSTOM = "custom_badput_events"  # samples and evaluation
    RECOVERY = "infrastructure_recovery_from_disruption"  # from the end of one start to the next
    OTHER = "other"


class Ledger:
    """Counts the seconds of this start of a run, and remembers those of the starts before.

    Args:
        folder: Folder of the run; None keeps no file, as on all hosts but the first.
        began: Time when the process began, by `time.time()`.
        warn: Called with a line if the ledger of earlier starts cannot be read.
    """

    def __init__(
        self,
        folder: pathlib.Path | None,
        *,
        began: float,
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._path = None if folder is None else folder / "goodput.json"
        self._warn = warn
        self._starts = self._read()
        self._seconds = dict.fromkeys(Activity, 0.0)
        self._activity, self._since = Activity.TPU_INITIALIZATION, began
        self._began, self._first, self._step = began, 0, 0
        self.enter(Activity.TRAINING_PREP)

    def _read(self) -> list[dict[str, Any]]:
        if self._path is None or not self._path.exists():
            return []
        try:
            starts = json.loads(files.read(self._path, most=MOST_BYTES).decode("utf-8"))["starts"]
            sound = [start for start in starts if _is_start(start)]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            self._warn("goodput.json cannot be read: time is counted from this start on")
            return []
        if len(sound) < len(starts):
            self._warn(f"goodput.json: {len(starts) - len(sound)} starts cannot be read")
        return sound

    def enter(self, activity: Activity) -> Activity:
        """Counts time into `activity` from now on; returns the activity before it."""
        now, before = time.time(), self._activity
        self._seconds[before] += now - self._since
        self._activity, self._since = activity, now
        return before

    @contextlib.contextmanager
    def into(self, activity: Activity) -> Iterator[None]:
        """Counts the time of the block into `activity`."""
        before = self.enter(activity)
        try:
            yield
        finally:
            self.enter(before)

    def resume(self, step: int) -> None:
        """Sets the step that the run goes on from; later work of earlier starts was wasted."""
        self._first = self._step = step
        for start in self._starts:
            lost, done = start["last_step"] - step, start["last_step"] - start["first_step"]
            if lost > 0 and done > 0:
                share = min(1.0, lost / done) * start["seconds"][Activity.PRODUCTIVE]
                start["seconds"][Activity.PRODUCTIVE] -= share
                start["seconds"][Activity.WASTED] += share
                start["last_step"] = step

    def write(self, step: int) -> None:
        """Writes the ledger to disk; `step` is the last that was made."""
        self._step = step
        self.enter(self._activity)
        if self._path is None:
            return
        start = {
            "began": self._began,
            "ended": self._since,
            "first_step": self._first,
            "last_step": step,
            "seconds": self._seconds,
        }
        text = json.dumps({"total": self.total(), "starts": [*self._starts, start]}, indent=1)
        files.write(self._path, text + "\n")

    def total(self) -> dict[str, float]:
        """Returns the seconds in each activity since the first start; they sum to the wall time."""
        found = {activity.value: seconds for activity, seconds in self._seconds.items()}
        for start in self._starts:
            for activity, seconds in start["seconds"].items():
                found[activity] += seconds
        begins = [*(start["began"] for start in self._starts[1:]), self._began]
        for start, begin in zip(self._starts, begins, strict=False):
            found[Activity.RECOVERY] += max(0.0, begin - start["ended"])
        return found

    def line(self) -> str:
        """Formats the total: the productive share, then the rest, the largest first."""
        self.enter(self._activity)
        total = self.total()
        wall = sum(total.values())
        parts = sorted(total.items(), key=lambda pair: -pair[1])
        shown = [
            f"{activity.replace('_', ' ')} {100 * seconds / wall:.1f}%"
            for activity, seconds in parts
            if activity != Activity.PRODUCTIVE and seconds / wall > 0.0005
        ]
        share = 100 * total[Activity.PRODUCTIVE] / wall
        return f"goodput {share:.1f}% of {wall:.1f} s | {' '.join(shown)}"


def _is_start(value: Any) -> bool:
    """Returns whether a value is a start as `Ledger.write` writes it."""
    if not isinstance(value, dict) or not isinstance(value.get("seconds"), dict):
        return False
    numbers = [value.get(name) for name in ("began", "ended", "first_step", "last_step")]
    seconds = value["seconds"]
    named = (
        seconds.keys() <= set(Activity) and {Activity.PRODUCTIVE, Activity.WASTED} <= seconds.keys()
    )
    return named and all(map(_is_number, [*numbers, *seconds.values()]))


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
