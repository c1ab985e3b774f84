# SPDX-License-Identifier: Apache-2.0
"""Captions of scenes: all is true, every word in the picture is quoted, the rest may be left out.

Captions speak in two voices. Most are in free wording (`omnigen.wording`), as people ask for
pictures. The rest, and all examples of evaluation, are in a grammar of their own, which is this.
There, a caption is a template whose slots the scene fills. Templates are drawn at random, mostly
such that every object is named; the first that the scene can fill within the byte limit is the
caption. Behind them stand ever terser ones, for crowded scenes.
"""

import dataclasses
import itertools
from collections.abc import Sequence

from omnigen.dice import Dice
from omnigen.scenes.caption_canvas import Canvas
from omnigen.scenes.caption_landscape import Outdoors
from omnigen.scenes.meaning import meaning
from omnigen.scenes.relations import is_nested
from omnigen.scenes.scene import Kind, Scene
from omnigen.wording import languages
from omnigen.wording.phrase import phrase

GRAMMAR = 0.34  # share of captions in the grammar
LOOSE = 0.2  # share of those that need not name every object
TRIES = 6  # templates drawn before falling back to the terse ones

SHAPES = (
    "{draw}{nothing}",
    "{draw}{listed}",
    "{draw}{listed} on {background}",
    "{draw}{placed}",
    "{draw}{placed} on {background}",
    "{draw}{sized}",
    "{draw}{sized} on {background}",
    "{draw}{detailed}",
    "{draw}{detailed} on {background}",
    "{draw}{pair}",
    "{draw}{pair} on {background}",
    "{draw}{listed}. {Relation}",
    "{draw}{placed}. {Ground}",
    "{draw}{listed}, with {relation_clause}",
    "{draw}{sized}. {Relation}. {Ground}",
    "{draw}{background} with {listed}",
    "{draw}{background} with {placed}",
    "{draw}{background} and {sized} on it",
    "{There} {listed} on {background}",
    "{There} {listed}. {Ground}",
    "on {background}, {detailed}",
    "{total}: {listed}",
    "{total}: {listed}, on {background}",
)
SHAPES_LOOSE = (
    "{draw}{some}",
    "{draw}{some} on {background}",
    "{draw}{background} with {some}",
    "{some}. {Ground}",
    "{draw}{some}. {Relation}",
    "a picture where {relation}",
)
WORDS = (
    "{draw}{listed}",
    "{draw}{listed} on {background}",
    "{draw}{placed}",
    "{draw}{placed} on {background}",
    "{draw}{listed}. {Ground}",
    "{draw}{background} with {listed}",
    "{draw}{background} with {placed}",
    "{draw}{pair}",
    "{draw}{pair} on {background}",
    "{There_quotes} on {background}",
    "{There_quotes}. {Ground}",
    "write {bare_quotes}",
    "write {placed}",
    "write {listed} on {background}",
    "{bare_quotes}",
    "{bare_quotes} on {background}",
    "a picture that says {bare_quotes}",
    "an image that reads {bare_quotes}. {Ground}",
    "text: {bare_quotes}",
    "{draw}text that says {bare_quotes}",
)
MIXED = (
    *SHAPES,
    "{draw}{shapes}, with {written}",
    "{draw}{shapes} and {written}",
    "{draw}{shapes}. {It_says}",
    "{draw}{shapes} on {background}. {It_says}",
    "{draw}{shapes} on {background}, with {written_placed}",
    "{draw}{written_placed} and {shapes_placed}",
    "{draw}{shapes_placed}. {It_says}",
    "{It_says}, with {shapes}",
)
MIXED_LOOSE = (
    "{draw}{some} and {written}",
    "{draw}{some} on {background}. {It_says}",
    "{draw}{written_placed} with {some}",
    "{some}, {bare_quotes}",
)
LANDSCAPES = (
    "{draw}{above} and {there} {below} down below{text}",
    "{draw}{above} and {there} {below} below{text}",
    "{draw}{above} and {below} down below{text}",
    "{draw}{above}, {below} below{text}",
    "{draw}{above} above {below}{text}",
    "{draw}{above} over {below}{text}",
    "{draw}{below} under {sky_with}{text}",
    "{draw}{below} beneath {sky_with}{text}",
    "{draw}{below} and {above}{text}",
    "{draw}{everything} {when}{text}",
    "{draw}{everything} under {sky}{text}",
    "{draw}a landscape with {everything}{text}",
    "{draw}a landscape with {everything} under {sky}{text}",
    "{draw}a scene {when} with {everything}{text}",
    "{Above}. {There} {below} down below{text}",
    "{everything}, {sky_name}{text}",
)
LANDSCAPES_LOOSE = (
    "{draw}{sky_with}{text}",
    "{draw}{below} {when}{text}",
    "{draw}{part} {when}{text}",
    "{draw}{part}{text}",
    "{draw}a landscape {when}{text}",
    "{draw}a landscape with {part}{text}",
    "a landscape under {sky}{text}",
    "{part} under {sky}{text}",
)
TERSE_CANVAS = ("{terse}", "{terse_shapes}", "{terse_count}", "{nothing}")
TERSE_LANDSCAPE = ("{everything}{text}", "{part}{text}", "{sky_name}{terse_text}", "{bare_quotes}")

FULL: dict[Kind, Sequence[str]] = {
    Kind.SHAPES: SHAPES,
    Kind.WORDS: WORDS,
    Kind.LANDSCAPES: LANDSCAPES,
    Kind.MIXED: MIXED,
}
LOOSELY: dict[Kind, Sequence[str]] = {
    Kind.SHAPES: SHAPES_LOOSE,
    Kind.WORDS: WORDS,
    Kind.LANDSCAPES: LANDSCAPES_LOOSE,
    Kind.MIXED: MIXED_LOOSE,
}


def is_colored(scene: Scene, seed: int, uncolored: float) -> bool:
    """Returns whether captions of this scene and seed may name the objects' colours.

    A share `uncolored` of the seeds names objects by their shapes alone, but for those inside
    others, which are told apart by their colours, too.
    """
    return is_nested(scene.objects) or not Dice("uncolored", seed).chance(uncolored)


def caption(
    scene: Scene, seed: int, max_bytes: int, *, uncolored: float = 0.0, foreign: float = 0.0
) -> str:
    """Describes a scene, in free wording or in the grammar.

    Args:
        scene: What is in the picture.
        seed: Decides between the true captions of the scene.
        max_bytes: Bytes of UTF-8 that the caption may have.
        uncolored: Share of the captions that do not tell colours of objects (`is_colored`); those
            in the grammar do so where they tell sizes.
        foreign: Share of the captions that are in other languages than English.

    Returns:
        A caption, at times of several lines. All words of the scene are in it verbatim, mostly in
        quotation marks of one kind or another.
    """
    dice = Dice("free", seed)
    if foreign and Dice("foreign", seed).chance(foreign):
        told = meaning(scene, dice, colored=is_colored(scene, seed, uncolored))
        told = dataclasses.replace(told, relations=told.relations[:1])
        text = languages.phrase(told, dice.pick(languages.LANGUAGES), dice, max_bytes)
        if text is not None:
            return text
    # The grammar has no words for what is inside what.
    if is_nested(scene.objects) or not dice.chance(GRAMMAR):
        told = meaning(scene, dice, colored=is_colored(scene, seed, uncolored))
        text = phrase(told, dice, max_bytes)
        if text is not None:
            return text
    return in_grammar(scene, seed, max_bytes, uncolored=uncolored)


def in_grammar(scene: Scene, seed: int, max_bytes: int, *, uncolored: float = 0.0) -> str:
    """Describes a scene in the grammar.

    Args:
        scene: What is in the picture.
        seed: Decides between the true captions of the scene.
        max_bytes: Bytes of UTF-8 that the caption may have.
        uncolored: Share of the captions that name objects by their shapes alone where they do not
            name sizes either, as in "a star left of a ring".

    Returns:
        A caption without line breaks. All words of the scene are in it verbatim, in double quotes.
    """
    dice = Dice("caption", seed)
    outdoors = scene.landscape is not None
    colored = is_colored(scene, seed, uncolored)
    slots = Outdoors(scene, dice) if outdoors else Canvas(scene, dice, colored=colored)
    kind = Kind.LANDSCAPES if outdoors else scene.kind
    templates = (LOOSELY if dice.chance(LOOSE) else FULL)[kind]
    terse = TERSE_LANDSCAPE if outdoors else TERSE_CANVAS
    drawn = (dice.pick(templates) for _ in range(TRIES))
    for template in itertools.chain(drawn, terse):
        text = slots.write(template)
        if text is not None and len(text.encode()) <= max_bytes:
            return text
    raise AssertionError(f"no caption of at most {max_bytes} bytes for {scene.to_json()}")
