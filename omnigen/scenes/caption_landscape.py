# SPDX-License-Identifier: Apache-2.0
"""What captions say of landscapes and of the words in their clouds, signs and banners."""

import collections

from omnigen.dice import Dice
from omnigen.scenes import grammar
from omnigen.scenes.grammar import Box, Quote
from omnigen.scenes.scene import Element, Prop, Scene, Sky

NOUNS = {
    Element.SUN: ("the sun", "a sun"),
    Element.MOON: ("the moon", "a moon"),
    Element.STARS: ("stars",),
    Element.CLOUD: ("a cloud",),
    Element.MOUNTAINS: ("mountains",),
    Element.HILLS: ("hills",),
    Element.RIVER: ("a river",),
    Element.LAKE: ("a lake",),
    Element.SEA: ("the sea",),
    Element.TREES: ("trees", "some trees"),
    Element.HOUSE: ("a house",),
    Element.BOAT: ("a boat", "a boat on the water"),
    Element.BIRDS: ("birds", "some birds"),
    Element.SNOW: ("snow",),
    Element.SIGN: ("a sign",),
    Element.BANNER: ("a banner",),
}
PLURALS = frozenset({Element.STARS, Element.MOUNTAINS, Element.HILLS, Element.TREES, Element.BIRDS})
COUNTED = frozenset({Element.CLOUD, Element.HOUSE, Element.BOAT, Element.SIGN, Element.BANNER})
ALOFT = frozenset(
    {
        Element.SUN,
        Element.MOON,
        Element.STARS,
        Element.CLOUD,
        Element.BIRDS,
        Element.SNOW,
        Element.BANNER,
    }
)
PLACED = frozenset({Element.SUN, Element.MOON, Element.HOUSE, Element.BOAT, Element.SIGN})
DOING = {
    Element.SUN: ("shining",),
    Element.MOON: ("shining", "glowing"),
    Element.STARS: ("shining", "twinkling"),
    Element.CLOUD: ("floating", "drifting"),
    Element.BIRDS: ("flying",),
    Element.SNOW: ("falling",),
}
SKIES = {
    Sky.CLEAR: ("blue", "blue", "clear", "clear blue"),
    Sky.SUNSET: ("sunset", "evening"),
    Sky.NIGHT: ("night", "dark", "dark night"),
    Sky.OVERCAST: ("gray", "overcast", "gray overcast"),
}
MOMENTS = {
    Sky.CLEAR: ("on a clear day", "by day"),
    Sky.SUNSET: ("at sunset", "in the evening"),
    Sky.NIGHT: ("at night", "by night"),
    Sky.OVERCAST: ("on a gray day", "on an overcast day"),
}
HELD_FORMS = (
    "{holder} with the {word} {quote}",
    "{holder} that says {quote}",
    "{holder} saying {quote}",
    "{holder} with the text {quote}",
    "{holder} with {quote} written on it",
)
# How the words follow the rest: the first quotation, and what is added for each other one.
TAILS = (
    (". There {are} {the}{word} {quote} {where}", " and {quote} {where}"),
    (". There {are} the {word} {quote} {where}", " and {quote} {where}"),
    (". There {are} {the}{ink}{word} {quote} {where}", " and {quote} {where}"),
    (". {Holder} says {quote}", " and {holder} says {quote}"),
    (". {Holder} reads {quote}", " and {holder} reads {quote}"),
    (". {Holder} says {quote} in {letters}", " and {holder} says {quote}"),
    (", with the text {quote} written {where}", " and {quote} {where}"),
    (", with the {ink}{word} {quote} {where}", " and {quote} {where}"),
    (" with the {word} {quote} {where}", " and {quote} {where}"),
    (", and {holder} says {quote}", " and {holder} says {quote}"),
    (", {quote} written {where}", ", {quote} written {where}"),
)
EMBEDDED = 0.4  # share of captions that name words along with what holds them
DROPPED_ARTICLES = 0.2
UNCOUNTED = 0.5  # share of several clouds, houses or boats whose number is not told
VERB = 0.5
PLACE = 0.2


class Outdoors(grammar.Slots):
    """Slots of landscapes."""

    def __init__(self, scene: Scene, dice: Dice) -> None:
        """Prepares to describe a scene, as in `Slots`."""
        super().__init__(scene, dice)
        assert scene.landscape is not None
        self.tone = scene.landscape.sky
        self.props: dict[Element, list[Prop]] = collections.defaultdict(list)
        for prop in scene.landscape.props:
            self.props[prop.element].append(prop)
        self.embedded = dice.chance(EMBEDDED)
        self.with_places = dice.chance(PLACE)
        self.high = [element for element in self.props if element in ALOFT]
        self.low = [element for element in self.props if element not in ALOFT]
        if dice.chance(0.5):
            self.low.reverse()

    def above(self) -> str | None:
        """Returns the sky with all that is in it, as `a cloud floating on the blue sky`."""
        if not self.high:
            return self.sky()
        verb = ""
        alone = len(self.high) == 1 and not (self.embedded and self.quotations)
        if alone and self.high[0] in DOING and self.dice.chance(VERB):
            verb = " " + self.dice.pick(DOING[self.high[0]])
        things = grammar.listing([self._phrase(element) for element in self.high])
        return f"{things}{verb} {self.dice.pick(('in', 'in', 'on'))} {self.sky()}"

    def sky_with(self) -> str | None:
        """Returns the sky with all that is in it, as `a blue sky with a cloud`."""
        if not self.high:
            return self.sky()
        return f"{self.sky()} with {grammar.listing([self._phrase(e) for e in self.high])}"

    def sky(self) -> str | None:
        """Returns the sky with its article."""
        name = self.sky_name()
        return f"the {name}" if self.dice.chance(0.5) else grammar.article(name)

    def sky_name(self) -> str:
        """Returns the sky without an article."""
        return f"{self.dice.pick(SKIES[self.tone])} sky"

    def when(self) -> str:
        """Returns the hour or the weather."""
        return self.dice.pick(MOMENTS[self.tone])

    def below(self) -> str | None:
        """Returns all that is not in the sky."""
        if not self.low:
            return None
        phrases = [self._phrase(element) for element in self.low]
        if self.low[0] in PLURALS and self.dice.chance(DROPPED_ARTICLES):
            phrases = [phrase.removeprefix("a ") for phrase in phrases]
        return grammar.listing(phrases)

    def there(self) -> str | None:
        """Returns `there is` or `there are`, as agrees with the first thing of `below`."""
        if not self.low:
            return None
        first = self.low[0]
        plural = first in PLURALS or (first in COUNTED and len(self.props[first]) > 1)
        return "there are" if plural else "there is"

    def everything(self) -> str | None:
        """Returns all elements but the sky."""
        elements = self.high + self.low if self.dice.chance(0.5) else self.low + self.high
        if not elements:
            return None
        return grammar.listing([self._phrase(element) for element in elements])

    def part(self) -> str | None:
        """Returns one or two of the elements."""
        elements = [*self.high, *self.low]
        if not elements:
            return None
        start = self.dice.integer(0, len(elements) - 1)
        chosen = elements[start : start + self.dice.integer(1, 2)]
        return grammar.listing([self._phrase(element) for element in chosen])

    def text(self) -> str:
        """Returns the words, or nothing if they were named with what holds them."""
        untold = [q for q in self.quotations if not (self.embedded and q.lines[0].holder)]
        if not untold:
            return ""
        first, more = self.dice.pick(TAILS)
        tail = "".join(
            (more if index else first).format_map(self._words(quote))
            for index, quote in enumerate(untold)
        )
        return tail

    def terse_text(self) -> str:
        """Returns the words in as few bytes as possible."""
        return f", {self.bare_quotes()}" if self.quotations else ""

    def _words(self, quote: Quote) -> dict[str, str]:
        holder = quote.lines[0].holder
        if holder is None:
            name, where = "the text", grammar.place(quote.boxes, self.dice) or "in the picture"
        else:
            several = len(self.props[holder]) > 1
            name = grammar.article(holder.value) if several else f"the {holder.value}"
            where = f"{'in' if holder == Element.CLOUD else 'on'} {name}"
        return {
            "holder": name,
            "Holder": grammar.capital(name),
            "where": where,
            "word": quote.word,
            "quote": quote.quoted,
            "are": "are" if quote.is_plural else "is",
            "the": "" if quote.is_plural else "the ",
            "ink": f"{quote.ink} " if quote.ink else "",
            "letters": f"{quote.ink} letters" if quote.ink else "letters",
        }

    def _phrase(self, element: Element) -> str:
        count = len(self.props[element])
        if element in COUNTED and count > 1:
            several = grammar.plural(element.value)
            if self.dice.chance(UNCOUNTED):
                return several
            return f"{grammar.number(count, digits=False)} {several}"
        phrase = self.dice.pick(NOUNS[element])
        quote = next((q for q in self.quotations if q.lines[0].holder == element), None)
        if self.embedded and quote is not None:
            words = {"holder": phrase, "word": quote.word, "quote": quote.quoted}
            return self.dice.pick(HELD_FORMS).format_map(words)
        if self.with_places and element in PLACED and count == 1:
            prop = self.props[element][0]
            place = grammar.column(
                [Box(prop.x, prop.y, prop.width / 2, prop.height / 2)], self.dice
            )
            return f"{phrase} {place}" if place else phrase
        return phrase
