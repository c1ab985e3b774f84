# SPDX-License-Identifier: Apache-2.0
"""What a compiled program moves between devices, read from its text.

The compiler's own totals count the body of a loop once. Here a computation counts as often as it is
called, loops by their trip count, which is the constant that the loop's condition compares with.
"""

import dataclasses
import re
from collections.abc import Mapping

KINDS: tuple[str, ...] = (
    "all-gather",
    "reduce-scatter",
    "all-reduce",
    "all-to-all",
    "collective-permute",
)
# An all-reduce is a reduce-scatter and an all-gather of the same array.
_TIMES = {"all-reduce": 2}

_BYTES = {"pred": 1, "s8": 1, "u8": 1, "f8e4m3fn": 1, "f8e5m2": 1, "bf16": 2, "f16": 2, "s16": 2}
_BYTES |= {"u16": 2, "f32": 4, "s32": 4, "u32": 4, "f64": 8, "s64": 8, "u64": 8}

_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_SHAPE = re.compile(r"\b(\w+)\[([\d,]*)\]")
_CALLED = re.compile(r"\b(?:calls|to_apply|true_computation|false_computation)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_WHILE = re.compile(r" while\(.*condition=%?([\w.\-]+), body=%?([\w.\-]+)")
_COLLECTIVE = re.compile(rf"= (.*?) ({'|'.join(KINDS)})(-start)?\(")
_OPERAND = re.compile(r"%([\w.\-]+)")
_CONSTANT = re.compile(r"\bs32\[\]\S* constant\((\d+)\)")


@dataclasses.dataclass(frozen=True)
class Collective:
    """One instruction that moves data between devices.

    Attributes:
        kind: Kind of the instruction, one of `KINDS`.
        nbytes: Number of bytes that a device sends, and that it receives, in one execution.
    """

    kind: str
    nbytes: int


@dataclasses.dataclass
class _Computation:
    lines: list[str]
    entry: bool


def computations(text: str) -> dict[str, _Computation]:
    """Returns the computations of a program by name."""
    found: dict[str, _Computation] = {}
    current: _Computation | None = None
    for line in text.splitlines():
        header = _HEADER.match(line)
        if header:
            current = found[header[2]] = _Computation([], entry=bool(header[1]))
        elif line.startswith("}"):
            current = None
        elif current is not None:
            current.lines.append(line)
    return found


def nbytes(shape: str) -> list[int]:
    """Returns the bytes of each array in a shape such as `(bf16[8,4], f32[])`."""
    sizes = []
    for kind, dims in _SHAPE.findall(shape):
        if kind in _BYTES:
            count = 1
            for dim in filter(None, dims.split(",")):
                count *= int(dim)
            sizes.append(count * _BYTES[kind])
    return sizes


def collective(line: str) -> Collective | None:
    """Parses one line of a program."""
    match = _COLLECTIVE.search(line)
    if match is None:
        return None
    shape, kind, started = match.groups()
    sizes = nbytes(shape)
    if not sizes:
        return None
    # A started collective has the operand and the result; the larger of them is what moves. The
    # others have results alone, and that of a reduce-scatter is one device's part of the operand.
    if kind == "reduce-scatter" and not started:
        sizes = nbytes(line.partition("replica_groups")[0].partition(f" {kind}(")[2]) or sizes
    if kind == "all-reduce" and not started:
        # Compiled with little effort, a TPU gathers by adding up parts in arrays of zeros.
        operands = _OPERAND.findall(line.partition(" all-reduce(")[2].partition(")")[0])
        placed = ["dynamic-update-slice" in operand for operand in operands]
        if all(placed):
            return Collective("all-gather", sum(sizes))
        if len(placed) == len(sizes):
            times = [1 if part else _TIMES[kind] for part in placed]
            return Collective(kind, sum(n * size for n, size in zip(times, sizes, strict=True)))
    total = max(sizes) if started else sum(sizes)
    return Collective(kind, _TIMES.get(kind, 1) * total)


def _trips(condition: _Computation | None) -> int:
    found = [
        int(n) for line in (condition.lines if condition else []) for n in _CONSTANT.findall(line)
    ]
    return max(found, default=1)


def traffic(text: str) -> Mapping[str, int]:
    """Returns the bytes that a device moves in one execution of a program, by kind."""
    parts = computations(text)
    known: dict[str, dict[str, int]] = {}

    def total(name: str) -> dict[str, int]:
        if name in known:
            return known[name]
        known[name] = found = dict.fromkeys(KINDS, 0)

        def add(other: str, times: int) -> None:
            if other in parts:
                for kind, amount in total(other).items():
                    found[kind] += times * amount

        scatters = name.startswith("all-reduce-scatter")  # how TPUs write a reduce-scatter
        for line in parts[name].lines:
            moved = collective(line)
            if moved is not None and scatters and moved.kind == "all-reduce":
                moved = Collective("reduce-scatter", moved.nbytes // _TIMES["all-reduce"])
            loop = _WHILE.search(line)
            if moved is not None:
                found[moved.kind] += moved.nbytes
            elif loop is not None:
                add(loop[2], _trips(parts.get(loop[1])))
            else:
                called = _CALLED.findall(line)
                for group in _BRANCHES.findall(line):
                    called += [branch.strip().lstrip("%") for branch in group.split(",")]
                for other in called:
                    add(other, 1)
        return found

    (entry,) = (name for name, part in parts.items() if part.entry)
    return total(entry)
