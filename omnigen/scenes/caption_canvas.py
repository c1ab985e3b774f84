# SPDX-License-Identifier: Apache-2.0
"""What captions say of shapes and words on a background."""

import dataclasses
from collections.abc import Callable, Hashable, Sequence

from omnigen.dice import Dice
from omnigen.scenes import grammar
from omnigen.scenes.grammar import Box, Quote
from omnigen.scenes.scene import Color, Fill, Object, Scene, Shape, Size

MAX_PLACED = 5  # things that a caption gives places to
SEVERAL = 3
RELATION_TRIES = 4
INKED = 0.6  # share of quotations that tell the colour of the letters
STYLED = 0.1  # share that tell the font

QUOTE_FORMS = (
    "the {word} {quote}",
    "the {word} {quote}",
    "the text {quote}",
    "text saying {quote}",
    "the {phrase} {quote}",
    "{quote}",
)
INKED_FORMS = (
    "the {word} {quote} in {ink}",
    "the {word} {quote} in {ink}",
    "the {ink} {word} {quote}",
    "the text {quote} in {ink}",
    "the text {quote} in {ink} letters",
    "{quote} written in {ink}",
    "{quote} in {ink} letters",
    "{ink} text saying {quote}",
    "{ink} letters that say {quote}",
)
STYLED_FORMS = (
    "the {word} {quote} in {style} letters",
    "{quote} in {ink} {style} letters",
    "the {word} {quote} in {ink} {style} letters",
    "{ink} {style} text {quote}",
)


@dataclasses.dataclass(frozen=True)
class Group:
    """Objects that share what the caption says of them."""

    objects: tuple[Object, ...]
    size: Size | None = None
    color: Color | None = None
    shape: Shape | None = None

    @property
    def noun(self) -> str:
        """What one object of the group is called, such as `small red circle`."""
        return " ".join([*(p.value for p in (self.size, self.color) if p), self.shape or "shape"])

    @property
    def boxes(self) -> tuple[Box, ...]:
        """Where the objects of the group are."""
        return tuple(Box(o.x, o.y, o.radius, o.radius) for o in self.objects)

    @property
    def is_plural(self) -> bool:
        """Whether there are several objects."""
        return len(self.objects) > 1


class Canvas(grammar.Slots):
    """Slots of shapes and words."""

    def __init__(self, scene: Scene, dice: Dice, *, colored: bool = True) -> None:
        """Prepares to describe a scene, as in `Slots`; without colours, by shapes alone."""
        super().__init__(scene, dice)
        self.colored = colored
        self.digits = self.dice.chance(0.3)
        self.digit_one = self.digits and self.dice.chance(0.3)
        self.quotes_first = self.dice.chance(0.3)

    def listed(self) -> str | None:
        """Returns every object by count, colour and shape, and the words."""
        return self._list(self._things(self._named()))

    def sized(self) -> str | None:
        """Returns every object by count, size, colour and shape, and the words."""
        return self._list(self._things(self._sized())) if self.scene.objects else None

    def placed(self) -> str | None:
        """Returns what `listed` does, with places."""
        return self._list_placed(self._things(self._named()))

    def detailed(self) -> str | None:
        """Returns what `sized` does, with places."""
        return self._list_placed(self._things(self._sized())) if self.scene.objects else None

    def shapes(self) -> str | None:
        """Returns every object, without the words."""
        return self._list(self._named())

    def shapes_placed(self) -> str | None:
        """Returns what `shapes` does, with places."""
        return self._list_placed(self._named())

    def written(self) -> str | None:
        """Returns the words alone."""
        return self._list(self.quotations)

    def written_placed(self) -> str | None:
        """Returns what `written` does, with places."""
        return self._list_placed(self.quotations)

    def it_says(self) -> str | None:
        """Returns the words as a sentence."""
        if not self.quotations:
            return None
        subject = self.dice.pick(("it says", "the text says", "the text reads", "it reads"))
        return f"{subject} {self.bare_quotes()}"

    def there(self) -> str | None:
        """Returns `there is` or `there are`, as agrees with the first thing of `listed`."""
        things = self._things(self._named())
        if not things or isinstance(things[0], Quote):
            return None
        return "there are" if things[0].is_plural else "there is"

    def there_quotes(self) -> str | None:
        """Returns `there are the words` and so on, with the quotations."""
        if not self.quotations:
            return None
        first = self.quotations[0]
        article = self.dice.pick(("the ", "")) if first.is_plural else "the "
        verb = "are" if first.is_plural else "is"
        return f"there {verb} {article}{first.word} {self.bare_quotes()}"

    def pair(self) -> str | None:
        """Returns the two things of a scene of two, and how they stand to each other."""
        things = self._things(self._named())
        if len(things) != 2:
            return None
        side = grammar.side(things[0].boxes, things[1].boxes)
        if side is None:
            return None
        words = self.dice.pick(grammar.SIDES[side])
        return f"{self._phrase(things[0])} {words} {self._phrase(things[1])}"

    def relation(self) -> str | None:
        """Returns how two things stand to each other, as a sentence."""
        return self._relation(sentence=True)

    def relation_clause(self) -> str | None:
        """Returns how two things stand to each other, as a clause."""
        return self._relation(sentence=False)

    def background(self) -> str | None:
        """Returns the background as a noun."""
        background = self.scene.background
        if background is None:
            return None
        first, second = self._shade(background.color), self._shade(background.second)
        if background.fill == Fill.PLAIN:
            forms = [f"{first} background", f"{first} background", f"plain {first} background"]
        elif background.fill == Fill.GRADIENT:
            forms = [
                f"gradient of {first} and {second}",
                f"{first} and {second} gradient",
                f"{first} and {second} gradient background",
            ]
        else:
            forms = [
                f"{first} texture",
                f"textured {first} background",
                f"{first} background with a texture",
            ]
        return grammar.article(self.dice.pick(forms))

    def ground(self) -> str | None:
        """Returns the background as a sentence."""
        background = self.scene.background
        if background is None:
            return None
        first, second = self._shade(background.color), self._shade(background.second)
        if background.fill == Fill.PLAIN:
            return self.dice.pick((f"the background is {first}", f"plain {first} background"))
        if background.fill == Fill.GRADIENT:
            return f"the background is a gradient of {first} and {second}"
        return self.dice.pick(
            (f"the background is {first} and textured", f"textured {first} background")
        )

    def nothing(self) -> str | None:
        """Returns the background, if that is all there is."""
        return None if self.scene.objects or self.quotations else self.background()

    def total(self) -> str | None:
        """Returns the number of shapes, in scenes of shapes alone."""
        if len(self._named()) < 2 or self.quotations:
            return None
        return f"{self._number(len(self.scene.objects))} shapes"

    def some(self) -> str | None:
        """Returns the objects in loose words."""
        objects = self.scene.objects
        if not objects:
            return None
        forms = [
            self._list(self._groups(lambda o: (None, None, None))),
            self._list(self._groups(lambda o: (None, None, o.shape))),
            self._list(self._groups(lambda o: (None, o.color, None))),
        ]
        if len(objects) >= SEVERAL:
            forms += ["several shapes", "some shapes"]
            if len({o.color for o in objects}) >= SEVERAL:
                forms += ["colorful shapes", "shapes in many colors"]
        named = self._named()
        if len(named) > 1:
            group = self.dice.pick(named)
            rest = len(objects) - len(group.objects)
            other = self.dice.pick(("other shapes", f"{self._number(rest)} other shapes"))
            forms.append(f"{self._phrase(group)} and {other if rest > 1 else 'another shape'}")
        return self.dice.pick(forms)

    def terse(self) -> str | None:
        """Returns what `listed` does, in as few bytes as possible."""
        return self._tersely(self._named())

    def terse_shapes(self) -> str | None:
        """Returns the counts of shapes in as few bytes as possible."""
        return self._tersely(self._groups(lambda o: (None, None, o.shape)))

    def terse_count(self) -> str | None:
        """Returns the count of all in as few bytes as possible."""
        return self._tersely(self._groups(lambda o: (None, None, None)))

    def _named(self) -> list[Group]:
        return self._groups(lambda o: (None, o.color if self.colored else None, o.shape))

    def _sized(self) -> list[Group]:
        return self._groups(lambda o: (o.size, o.color, o.shape))

    def _groups(
        self, key: Callable[[Object], tuple[Size | None, Color | None, Shape | None]]
    ) -> list[Group]:
        members: dict[Hashable, list[Object]] = {}
        for thing in self.scene.objects:
            members.setdefault(key(thing), []).append(thing)
        return [Group(tuple(found), *key(found[0])) for found in members.values()]

    def _things(self, groups: list[Group]) -> list[Group | Quote]:
        if self.quotes_first:
            return [*self.quotations, *groups]
        return [*groups, *self.quotations]

    def _list(self, things: Sequence[Group | Quote]) -> str | None:
        return grammar.listing([self._phrase(thing) for thing in things]) if things else None

    def _list_placed(self, things: Sequence[Group | Quote]) -> str | None:
        if not things or len(things) > MAX_PLACED:
            return None
        places = [grammar.place(thing.boxes, self.dice) for thing in things]
        if not any(places):
            return None
        phrases = [self._phrase(thing) for thing in things]
        pairs = zip(phrases, places, strict=True)
        return grammar.listing([f"{a} {b}" if b else a for a, b in pairs])

    def _tersely(self, groups: list[Group]) -> str | None:
        nouns = [
            f"{len(group.objects)} {grammar.plural(group.noun)}" if group.is_plural else group.noun
            for group in groups
        ]
        return ", ".join([*nouns, *(quote.quoted for quote in self.quotations)]) or None

    def _phrase(self, thing: Group | Quote) -> str:
        if isinstance(thing, Quote):
            return self._quote_phrase(thing)
        if thing.is_plural:
            return f"{self._number(len(thing.objects))} {grammar.plural(thing.noun)}"
        return f"1 {thing.noun}" if self.digit_one else grammar.article(thing.noun)

    def _quote_phrase(self, quote: Quote) -> str:
        if quote.style and quote.ink and self.dice.chance(STYLED):
            forms = STYLED_FORMS
        elif quote.ink and self.dice.chance(INKED):
            forms = INKED_FORMS
        else:
            forms = QUOTE_FORMS
        words = {
            "word": quote.word,
            "phrase": "phrase" if quote.is_plural else "word",
            "quote": quote.quoted,
            "ink": quote.ink,
            "style": quote.style,
        }
        return self.dice.pick(forms).format_map(words)

    def _relation(self, *, sentence: bool) -> str | None:
        anchors = [
            (f"the {grammar.plural(g.noun)}", "are ", g.boxes)
            if g.is_plural
            else (f"the {g.noun}", "is ", g.boxes)
            for g in self._named()
        ]
        if len(self.quotations) == 1:
            anchors.append(("the text", "is ", self.quotations[0].boxes))
        if len(anchors) < 2:
            return None
        for _ in range(RELATION_TRIES):
            one = self.dice.pick(anchors)
            subject, verb, its_boxes = one
            reference, _, other_boxes = self.dice.pick([a for a in anchors if a is not one])
            side = grammar.side(its_boxes, other_boxes)
            if side is not None:
                said = f"{verb if sentence else ''}{self.dice.pick(grammar.SIDES[side])}"
                return f"{subject} {said} {reference}"
        return None

    def _number(self, count: int) -> str:
        return grammar.number(count, digits=self.digits)

    def _shade(self, name: str) -> str:
        return name if name != "grey" or self.dice.chance(0.5) else "gray"
