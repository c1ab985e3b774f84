# SPDX-License-Identifier: Apache-2.0
import io
import math

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from omnigen.data.corpus import pictures
from omnigen.data.prepare import duplicates
from omnigen.scenes import fonts


def one_by_one(digests, bits, colors, distance, compare):
    """What `find` should do, by comparing everything with everything that stays."""
    of, differences, stays = [], {}, []
    for number in range(len(digests)):
        equal = [k for k in range(number) if bytes(digests[k]) == bytes(digests[number])]
        near = [
            k
            for k in stays
            if int(bits[number] ^ bits[k]).bit_count() <= distance
            and np.abs(colors[number].astype(int) - colors[k]).mean() <= 8
            and compare(k, number) <= duplicates.MOST_DIFFERENT
        ]
        if equal:
            of.append(of[equal[0]])
            differences |= {number: differences[equal[0]]} if equal[0] in differences else {}
        elif near:
            near.sort(key=lambda k: (int(bits[number] ^ bits[k]).bit_count(), k))
            of.append(near[0])
            differences[number] = compare(near[0], number)
        else:
            of.append(number)
            stays.append(number)
    return of, differences


@pytest.mark.parametrize("distance", range(-1, 16))
def test_the_same_as_comparing_all_with_all(distance, monkeypatch):
    monkeypatch.setattr(duplicates, "MOST_COMPARED", 1000)
    rng = np.random.default_rng(distance + 1)
    digests = np.repeat(rng.integers(0, 256, (300, 1), np.uint8), 16, axis=1)
    bits = rng.integers(0, 1 << 63, 40, np.uint64)[rng.integers(0, 40, 300)]
    for _ in range(6):
        flips = rng.integers(0, 2, 300).astype(np.uint64)
        bits ^= flips << rng.integers(0, 64, 300).astype(np.uint64)
    colors = rng.integers(0, 2, (300, 1), np.uint8) * np.full((1, 48), 200, np.uint8)
    fine = rng.integers(0, 2, 300)

    def compare(one, other):
        return 4.0 if fine[one] == fine[other] else 40.0

    found = duplicates.find(digests, bits, colors, distance=distance, compare=compare)
    of, differences = one_by_one(digests, bits, colors, distance, compare)
    assert found.of.tolist() == of and found.differences == differences
    assert (found.of != np.arange(300)).any() and (differences or distance < 1)


@pytest.mark.parametrize("distance", [0, 4, 11, 15])
def test_few_are_compared(distance, monkeypatch):
    """Bands of no bits would be shared by all."""
    compared, most_alike = [], duplicates._most_alike

    def counted(number, others, *rest):
        compared.append(len(others))
        return most_alike(number, others, *rest)

    monkeypatch.setattr(duplicates, "_most_alike", counted)
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 1 << 64, 400, np.uint64, endpoint=False)
    digests = rng.integers(0, 256, (400, 16), np.uint8)
    colors = np.zeros((400, 48), np.uint8)
    duplicates.find(digests, bits, colors, distance=distance, compare=lambda *_: 99.0)
    assert sum(compared) / 400 < 150


def test_as_many_lookalikes_as_there_are_cost_little_each():
    """All have one hash, and a closer look tells all of them apart."""
    calls, count = [], 200
    same = np.zeros(count, np.uint64), np.zeros((count, 48), np.uint8)
    digests = np.arange(count * 2, dtype=np.uint64).view(np.uint8).reshape(count, 16)
    compare = lambda *pair: calls.append(pair) or 99.0  # noqa: E731
    found = duplicates.find(digests, *same, distance=4, compare=compare)
    assert found.stays.all() and len(calls) <= duplicates.MOST_COMPARED * count


def test_no_pictures_at_all():
    nothing = np.zeros(0, np.uint64)
    found = duplicates.find(
        np.zeros((0, 16), np.uint8), nothing, nothing.reshape(0, 48), distance=4, compare=max
    )
    assert not len(found.of) and not found.differences


SIDES = (128, 512)


def font(pixels):
    return ImageFont.truetype(str(fonts.FAMILIES["Open Sans"].path), pixels)


def canvas(color="white"):
    image = Image.new("RGB", (1024, 1024), color)
    return image, ImageDraw.Draw(image)


def page(*lines):
    image, draw = canvas("#fafaf5")
    for number, line in enumerate(lines):
        draw.text((60, 60 + 90 * number), line, fill="#141414", font=font(56))
    return image


def clock(minutes):
    image, draw = canvas()
    draw.ellipse((60, 60, 964, 964), outline="black", width=16)
    for turns, length, width in ((minutes / 720, 230, 22), (minutes / 60, 380, 12)):
        angle = 2 * math.pi * turns
        tip = 512 + length * math.sin(angle), 512 - length * math.cos(angle)
        draw.line((512, 512, *tip), fill="black", width=width)
    return image


def figure(degrees):
    image, draw = canvas("#dfe8f0")
    draw.ellipse((452, 200, 572, 320), fill="#333")
    draw.rectangle((482, 320, 542, 860), fill="#333")
    angle = math.radians(degrees)
    tip = 534 + 220 * math.cos(angle), 380 + 220 * math.sin(angle)
    draw.line((534, 380, *tip), fill="#333", width=32)
    return image


def letter(text):
    image, draw = canvas()
    draw.text((512, 512), text, font=font(600), fill="black", anchor="mm")
    return image


def dot(color):
    image, draw = canvas("#888")
    draw.rectangle((600, 500, 800, 700), fill="#4a4")
    draw.ellipse((300, 300, 400, 400), fill=color)
    return image


LINES = ["the old house", "by the river", "has a red door", "and two windows", "facing south"] * 2
DIFFERENT = {
    "words": (page("a cat sleeps"), page("a dog sleeps")),
    "a word in ten lines": (page(*LINES), page(*LINES[:6], "by the garden", *LINES[7:])),
    "minutes": (clock(190), clock(192)),
    "hours": (clock(180), clock(240)),
    "arms": (figure(0), figure(15)),
    "letters": (letter("O"), letter("Q")),
    "letters of one form": (letter("E"), letter("F")),
    "red, blue": (dot("#c03030"), dot("#3050d0")),
    "gone": (dot("#c03030"), dot("#888")),
}


def photograph():
    rng = np.random.default_rng(0)
    waves = [
        np.asarray(
            Image.fromarray(rng.normal(0, 1, (side, side)).astype(np.float32)).resize((1024, 1024))
        )
        / side**0.8
        for side in (4, 8, 16, 32, 64, 128, 256, 512)
        for _ in range(3)
    ]
    sums = np.stack([sum(waves[k::3]) for k in range(3)], -1)
    return Image.fromarray((sums / sums.std() * 50 + 120).clip(0, 255).astype(np.uint8))


def again(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return pictures.decode(file.getvalue()).image


def scaled(image, factor):
    return image.resize((round(image.width * factor),) * 2, Image.Resampling.BICUBIC)


SAME = {
    "quality 95": (128, lambda image: again(image, "JPEG", quality=95)),
    "quality 75": (128, lambda image: again(image, "JPEG", quality=75)),
    "quality 50": (256, lambda image: again(image, "JPEG", quality=50)),
    "quality 30": (256, lambda image: again(image, "JPEG", quality=30)),
    "WebP": (256, lambda image: again(image, "WEBP", quality=60)),
    "half as large": (512, lambda image: scaled(image, 0.5)),
    "three quarters": (512, lambda image: scaled(image, 0.75)),
    "twice as large": (128, lambda image: scaled(image, 2)),
    "brighter": (128, lambda image: image.point(lambda value: min(255, int(value * 0.95 + 8)))),
    "half as large, quality 60": (512, lambda image: again(scaled(image, 0.5), "JPEG", quality=60)),
}
ONES = {"photograph": photograph(), **{name: pair[0] for name, pair in DIFFERENT.items()}}


def difference(one, other):
    looks = pictures.look(one), pictures.look(other)
    assert all(look.fine.shape == (pictures.LOOK_BYTES,) for look in looks)
    return duplicates.difference(*(look.fine for look in looks))


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", DIFFERENT)
def test_what_differs_in_what_matters_is_not_the_same(name, side):
    one, other = (image.resize((side, side), Image.Resampling.LANCZOS) for image in DIFFERENT[name])
    assert difference(one, other) > duplicates.MOST_DIFFERENT
    assert difference(one, again(other, "JPEG", quality=60)) > duplicates.MOST_DIFFERENT


@pytest.mark.parametrize("change", SAME)
@pytest.mark.parametrize("name", ONES)
def test_the_same_picture_again_is_found(name, change):
    least, changed = SAME[change]
    for side in {least, 512}:
        image = ONES[name].resize((side, side), Image.Resampling.LANCZOS)
        other = changed(image)
        assert difference(image, other) <= duplicates.MOST_DIFFERENT, side
        looks = pictures.look(image), pictures.look(other)
        assert (looks[0].bits ^ looks[1].bits).bit_count() <= 4
