# SPDX-License-Identifier: Apache-2.0
from omnigen.serve.api.kept import Kept


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_each_tenant_sees_its_own() -> None:
    kept = Kept("x_", most=100, seconds=10)
    name = kept.put("a", "value", 1)
    assert name.startswith("x_") and len(name) == 34
    assert kept.get("a", name) == "value" and kept.get("b", name) is None
    assert not kept.drop("b", name) and kept.drop("a", name) and kept.get("a", name) is None
    assert kept.size == 0


def test_what_is_old_is_forgotten() -> None:
    clock = Clock()
    kept = Kept("", most=100, seconds=10, now=clock)
    first = kept.put("a", 1, 1)
    clock.now = 6
    second = kept.put("a", 2, 1)
    clock.now = 10
    assert (kept.get("a", first), kept.get("a", second), kept.size) == (None, 2, 1)


def test_who_keeps_most_makes_room() -> None:
    kept = Kept("", most=100, seconds=10)
    small = kept.put("small", 0, 30)
    names = [kept.put("large", i, 30) for i in range(4)]
    assert kept.get("small", small) == 0
    assert [kept.get("large", name) for name in names] == [None, None, 2, 3]
    assert kept.size == 90
    assert kept.get("small", kept.put("small", 9, 101)) is None and kept.size <= 100
