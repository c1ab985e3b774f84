# SPDX-License-Identifier: Apache-2.0
"""The task `landscape` of the suite `exact`: every named element is there, and no forbidden one.

Forbidden is whatever is not named, except for what goes unsaid: clouds, stars, trees, birds and
hills. The strict reading fails those too, but for birds and hills, which the judge cannot see.
"""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from omnigen.data.corpus.split import Split
from omnigen.evals.judges import landscapes
from omnigen.scenes import grammar, splits
from omnigen.scenes.caption_landscape import NOUNS
from omnigen.scenes.compose import compose
from omnigen.scenes.scene import Element, Kind, Scene

TAG = "landscape"

_COUNT = 60
_UNSAID = ("cloud", "stars", "trees")
_SKIES = {
    "clear": "a blue sky",
    "sunset": "a sunset sky",
    "night": "a night sky",
    "overcast": "a gray sky",
}
_UNSEEN_TEMPLATE = "a painting of {} under {}"
_TEMPLATES = ("a landscape with {} under {}", "{} under {}", _UNSEEN_TEMPLATE)


@functools.cache
def prompts() -> tuple[dict[str, Any], ...]:
    """Returns the metadata of every prompt; every second one has a held-out set of elements."""
    chosen: list[dict[str, Any]] = []
    seed, asked = 0, set()
    while len(chosen) < _COUNT:
        seed += 1
        held_out = len(chosen) % 2 == 1
        scene = compose(seed, Kind.LANDSCAPES, held_out=held_out)
        metadata = _metadata(scene, seed, number=len(chosen))
        if metadata and metadata["held_out"] == held_out and metadata["prompt"] not in asked:
            asked.add(metadata["prompt"])
            chosen.append(metadata)
    return tuple(chosen)


def _metadata(scene: Scene, seed: int, *, number: int) -> dict[str, Any] | None:
    """Returns what a scene would be asked for by; None if the judge cannot see all of it."""
    assert scene.landscape is not None
    elements = list(dict.fromkeys(str(prop.element) for prop in scene.landscape.props))
    snowy_night = "snow" in elements and scene.landscape.sky == "night"
    if scene.texts or not set(elements) <= set(landscapes.ELEMENTS) or snowy_night:
        return None
    counts = {e: sum(p.element == e for p in scene.landscape.props) for e in elements}
    nouns = [NOUNS[Element(e)][0] if e != "cloud" or counts[e] == 1 else "clouds" for e in elements]
    template, sky = _TEMPLATES[number // 2 % len(_TEMPLATES)], str(scene.landscape.sky)
    free = {*elements, *_UNSAID}
    return {
        "tag": TAG,
        "sky": sky,
        "include": [{"class": e, "count": 1} for e in elements],
        "exclude": [{"class": e, "count": 1} for e in landscapes.ELEMENTS if e not in free],
        "prompt": template.format(grammar.listing(nouns), _SKIES[sky]),
        "held_out": splits.landscape_held_out(scene.landscape),
        "template_held_out": template == _UNSEEN_TEMPLATE,
        "seed": seed,
    }


def reference(metadata: Mapping[str, Any]) -> Scene:
    """Returns the scene that the prompt was made from."""
    split = Split.TEST if metadata["held_out"] else Split.TRAIN
    return compose(metadata["seed"], Kind.LANDSCAPES, held_out=split == Split.TEST)


def verdict(metadata: Mapping[str, Any], image: np.ndarray | None) -> dict[str, Any]:
    """Judges a picture; None is wrong in everything."""
    view = landscapes.View("", {}) if image is None else landscapes.look(image)
    there, sound = set(view.boxes), image is not None
    named = [wanted["class"] for wanted in metadata["include"]]
    forbidden = [unwanted["class"] for unwanted in metadata["exclude"]]
    asked = [(f"{metadata['sky']} sky", 1, view.sky == metadata["sky"])]
    asked += [(name, 1, name in there) for name in named]
    asked += [(f"no {name}", 0, name in there) for name in forbidden]
    atoms = [
        {"what": what, "wanted": n, "found": int(found), "met": sound and found == bool(n)}
        for what, n, found in asked
    ]
    wrong = [atom["what"] for atom in atoms if not atom["met"]]
    extra = sorted(there - set(named))
    boxes = [{"shape": name, "box": list(box)} for name, box in view.boxes.items()]
    return {
        "correct": not wrong,
        "strict": not wrong and not extra,
        "reasons": [f"not so: {what}" for what in wrong if sound],
        "atoms": atoms,
        "seen": [{"shape": f"{view.sky} sky", "box": None}, *boxes] if sound else None,
    }
