# SPDX-License-Identifier: Apache-2.0
"""Many texts as two arrays, each as long as it is.

An array of NumPy's own strings gives every one the room of the longest, and cuts zeros off their
ends.
"""

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np


@dataclasses.dataclass(frozen=True)
class Texts:
    """Texts by number.

    Attributes:
        blob: All texts in UTF-8, uint8 `[bytes]`.
        ends: End of each text in the blob, int64 `[N]`.
    """

    blob: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Texts":
        """Packs texts; lone surrogates are kept."""
        each = [text.encode("utf-8", "surrogatepass") for text in texts]
        ends = np.cumsum([len(text) for text in each], dtype=np.int64)
        return cls(np.frombuffer(b"".join(each), np.uint8), ends)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, number: int) -> str:
        start = int(self.ends[number - 1]) if number else 0
        return self.blob[start : int(self.ends[number])].tobytes().decode("utf-8", "surrogatepass")

    def __iter__(self) -> Iterator[str]:
        return (self[number] for number in range(len(self)))
