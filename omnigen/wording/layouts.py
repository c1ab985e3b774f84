# SPDX-License-Identifier: Apache-2.0
"""How a whole caption is laid out: as one sentence, as several, as tags, or as keys and values."""

import functools
from collections.abc import Callable, Sequence

from omnigen.dice import Dice
from omnigen.wording import lexicon, rules
from omnigen.wording.clauses import Clauses, Said, listing
from omnigen.wording.lexicon import Entry
from omnigen.wording.meaning import Meaning, Relation
from omnigen.wording.nouns import Article
from omnigen.wording.outdoors import Outdoors
from omnigen.wording.units import Units

LAYOUTS = {"sentence": 46.0, "sentences": 27.0, "tags": 20.0, "keys": 4.0}
SPREAD = {"sentence": 0.25, "sentences": 0.75}  # share of what has a sentence of its own
INLINE = 0.75  # share of relations that are told along with their things
CONTEXT = 0.1  # share of captions that say something besides, before and after each
ONLY = 0.4  # share that say that nothing else is there, where they may
HELD_OUT = ("photo", "painting", "poster")  # media of evaluation's prompts alone


def write(meaning: Meaning, dice: Dice, *, terse: bool) -> str:
    """Returns a caption with marks for quotations, not yet tidied.

    Args:
        meaning: What is told.
        dice: Choose between the wordings.
        terse: Whether to say it in few words.
    """
    layout = "tags" if terse else dice.weigh(LAYOUTS)
    article = Article.BARE if layout in ("tags", "keys") else Article.INDEFINITE
    draft = Draft(Clauses(meaning, dice, article=article), terse=terse)
    if layout in SPREAD:
        return draft.sentences(SPREAD[layout])
    return draft.tags() if layout == "tags" else draft.keys()


class Draft:
    """A caption that is being written: what is still to be told, and ways to tell it."""

    def __init__(self, clauses: Clauses, *, terse: bool) -> None:
        """Begins a caption."""
        self.clauses, self.meaning, self.dice = clauses, clauses.meaning, clauses.dice
        self.terse, self.units = terse, Units(clauses)
        self.outdoors = Outdoors(clauses) if self.meaning.domain == "landscapes" else None
        self.later = list(self.meaning.relations)
        self.says_only = self.meaning.only and self.dice.chance(ONLY)

    def sentences(self, spread: float) -> str:
        """Returns one sentence or several.

        Args:
            spread: Share of words, background, what is absent and so on that has one of its own.
        """
        apart = [i for i in range(len(self.meaning.words)) if self.dice.chance(spread * 0.7)]
        if not self.meaning.things and self.outdoors is None:
            apart = apart[1:] if len(apart) == len(self.meaning.words) else apart
        spoken = self._body(apart)
        first, queue = spoken if spoken else ("", [])
        first = self._asked(first, spread, is_clause=bool(spoken) and self._is_clause)
        written = [self.clauses.words(self.meaning.words[i], Said.SENTENCE) for i in apart]
        rest = [*self._owed]
        self._shuffle(rest)
        told = [
            text for text in (first, *queue, *written, *self._relations("rel.later"), *rest) if text
        ]
        return self._with_context(self._joined(told))

    def tags(self) -> str:
        """Returns bare phrases in a row or below each other."""
        parts = self.outdoors.tags() if self.outdoors else self._parts()
        absent = self.outdoors.absent if self.outdoors else self.meaning.absent
        parts += self._relations("rel.later.tag")
        more = [self.units.ground("ground.tag"), self.units.absent("absent.tag", absent)]
        for text in filter(None, more):
            parts.insert(0 if self.dice.chance(0.2) else len(parts), text)
        if self.says_only:
            parts.append(self.units.only("only.sentence") or "")
        elif not self.terse and self.dice.chance(0.12):
            parts.insert(0, rules.write("medium", self.dice, {}) or "")
        parts = [part.replace("~", "") for part in parts if part]
        mark = ", " if self.terse else self._separator(parts)
        if mark == "\n" and self.dice.chance(0.5):
            bullet = self.dice.pick(("- ", "- ", "* ", "• ", "{}. ", "{}) "))
            parts = [f"{bullet.format(i)}{part}" for i, part in enumerate(parts, 1)]
        return mark.join(parts)

    def keys(self) -> str:
        """Returns keys with values, as a form or a program has them."""
        found: list[tuple[str, str]] = []
        things = self.meaning.things
        if len(things) == 1 and self.outdoors is None and self.dice.chance(0.6):
            found += self._attributes()
        elif things or self.outdoors:
            key = "things" if len(things) > 1 else "thing"
            parts = self.outdoors.tags() if self.outdoors else self._parts(things_only=True)
            text = ", ".join(parts).replace("~", "")
            found.append(("landscape" if self.outdoors else key, text))
        found += [("relation", text) for text in self._relations("rel.later.tag")]
        if not self.outdoors:
            found += self._word_keys()
        found += [("background", self._shade())] if self.meaning.background else []
        absent = self.outdoors.absent if self.outdoors else self.meaning.absent
        if absent:
            found.append(("absent", (self.units.absent("absent.tag", absent) or "")))
        mark = rules.write("key.mark", self.dice, {}) or ": "
        lines = []
        for key, value in found:
            bare = key == "absent"
            name = rules.write(f"key.{key}", self.dice, {}) or key
            lines.append(value if bare else f"{name}{mark}{value}")
        return self.dice.pick(("\n", "\n", "; ", ", ", " / ", " | ", ". ")).join(lines)

    def _shade(self) -> str:
        return self.units.ground("shade") or ""

    def _attributes(self) -> list[tuple[str, str]]:
        names, thing = self.clauses.names, self.meaning.things[0]
        noun = "shape" if self.meaning.domain in ("shapes", "mixed") else "noun"
        found = [(noun, names.noun(0).text)]
        if thing.color:
            found.append(("color", names.color(thing.color)))
        if thing.count != 1:
            found.append(("count", names.number(thing.count) if thing.count else "several"))
        if thing.size:
            found.append(("size", names.word("sizes", thing.size, "adjective").text))
        if thing.place:
            found.append(("place", names.label(thing.place)))
        if self.dice.chance(0.5):
            self._shuffle(found)
        return found

    def _word_keys(self) -> list[tuple[str, str]]:
        found = []
        for index, words in enumerate(self.meaning.words):
            found.append(("words", self.clauses.mark(index)))
            if words.ink:
                found.append(("ink", self.clauses.names.color(words.ink)))
            if words.place:
                found.append(("place", self.clauses.names.label(words.place)))
        return found

    def _body(self, apart: Sequence[int]) -> tuple[str, list[str]] | None:
        """Returns what the first sentence is about, and sentences that must follow it."""
        self._is_clause, self._owed = False, []
        self._first_verb: str | None = None
        self._is_split = bool(apart)
        if self.outdoors:
            held = [i for i in range(len(self.meaning.words)) if i not in apart]
            text = self.outdoors.body(held)
            self.later = self.outdoors.later
            return (text, []) if text else None
        count = len(self.meaning.things)
        said = [
            *range(count),
            *(count + i for i in range(len(self.meaning.words)) if i not in apart),
        ]
        if not said:
            return None
        if len(said) == 2 and len(self.later) == 1 and not apart:
            found = self._pair(self.later[0])
            if found:
                self.later = []
                self._is_split |= bool(found[1])
                return found
        split = len(said) > 2 and self.dice.chance(0.2)
        self._is_split |= split
        kept = said[: self.dice.integer(1, 2)] if split else said
        if len(kept) == 1 and self.dice.chance(0.35):
            text = self.clauses.fronted(kept[0])
            if text:
                return f"~{text}", [self._also(index) for index in said[1:]]
        parts = self._parts(kept)
        more = [self._also(index) for index in said if index not in kept]
        return self._listed(parts), [text.replace("~", "") for text in more]

    def _pair(self, one: Relation) -> tuple[str, list[str]] | None:
        """Returns two things and how they stand as a clause, or as two sentences."""
        if not self._is_free(one) or len(one.others) != 1:
            return None
        kind = self.dice.weigh({"clause": 0.18, "front": 0.1, "next": 0.2, "": 0.52})
        if kind == "next":
            text = self.clauses.relation("rel.next", one)
            return (self.clauses.first(one.others[0]), [text]) if text else None
        text = self.clauses.relation(f"rel.{kind}", one) if kind else None
        if text is None:
            return None
        self._is_clause = True
        return text, []

    def _is_free(self, one: Relation) -> bool:
        """Returns whether a relation can be told along with its things, which have no places."""
        held = (one.one, *one.others)
        return one.name not in ("row", "column") and not any(
            self.clauses.has_place(i) for i in held
        )

    def _parts(self, said: Sequence[int] | None = None, *, things_only: bool = False) -> list[str]:
        """Returns noun phrases of things and words, those that stand to each other as one."""
        total = len(self.meaning.things) + (0 if things_only else len(self.meaning.words))
        left = list(range(total) if said is None else said)
        found: list[str] = []
        first: int | None = None
        share = 1.0 if self.clauses.is_bare else INLINE
        for one in list(self.later):
            held = {one.one, *one.others}
            placed = any(self.clauses.has_place(index) for index in held)
            if held <= {*left} and not placed and self.dice.chance(share):
                text = self.clauses.inline(one)
                if text:
                    self.later.remove(one)
                    found.append(text)
                    left = [index for index in left if index not in held]
        if not found and left:
            first = left[0]
            self._first_verb = "are" if self.clauses.is_plural(first) else "is"
        if self.dice.chance(0.25) and first is None:
            self._shuffle(left)
        self._has_relation = bool(found)
        return found + [self.clauses.placed(index) for index in left]

    def _listed(self, parts: Sequence[str]) -> str:
        if not self._has_relation or len(parts) < 2:
            return listing(parts, self.dice)
        parts = [parts[0], *(part.replace("~", "") for part in parts[1:])]
        joint = self.dice.pick((", plus ", "; ", " and also ", ", as well as ", ", and also "))
        return f"{parts[0]}{joint}{listing(parts[1:], self.dice)}"

    def _also(self, index: int) -> str:
        if self.dice.chance(0.3):
            text = self.clauses.fronted(index)
            if text:
                return text
        verb = "are" if self.clauses.is_plural(index) else "is"
        slots = {"a": self.clauses.placed(index), "is_a": verb}
        return rules.write("also", self.dice, slots) or ""

    def _asked(self, body: str, spread: float, *, is_clause: bool) -> str:
        """Returns the first sentence; what does not fit into it is owed in later ones."""
        before, after = "", []
        is_fronted = body.startswith("~")
        body = body.replace("~", "")
        is_clause |= is_fronted
        if self.later and body and not is_clause and not self._is_split and self.dice.chance(0.3):
            text = self.clauses.relation("rel.later.with", self.later[0])
            if text and self.later[0].name not in ("row", "column"):
                self.later = self.later[1:]
                body = f"{body}, {text}"
        if self.says_only:
            where = self.dice.weigh({"before": 0.35, "after": 0.35, "sentence": 0.3})
            where = "sentence" if self._is_split else where
            if where == "before" and body and not is_clause:
                body = f"{self.units.only('only.before')} {body}"
            elif where == "after" and body:
                after.append(self.units.only("only.after"))
            else:
                self._owed.append(self.units.only("only.sentence"))
        if self.meaning.background and not body and not self.meaning.words:
            body = self.units.ground("ground.a") or ""
        elif self.meaning.background:
            if not body or self.dice.chance(spread):
                self._owed.append(self.units.ground("ground.sentence"))
            elif self.dice.chance(0.25) and not is_clause:
                before = self.units.ground("ground.front", first=self._first_verb) or ""
            else:
                after.insert(0, self.units.ground("ground.pp"))
        absent = self.outdoors.absent if self.outdoors else self.meaning.absent
        if absent:
            if not body or self.dice.chance(spread):
                self._owed.append(self.units.absent("absent.sentence", absent))
            else:
                after.append(self.units.absent("absent.pp", absent))
        if not body:
            return ""
        whole = " ".join([body, *filter(None, after)])
        if before:
            if before.endswith(",") and self.dice.chance(0.4):
                return f"{before} {rules.write('verb.plain', self.dice, {})} {whole}"
            return f"{before} {whole}"
        rule = "request.front" if is_fronted else "request.clause" if is_clause else "request"
        slots = self._request_slots(whole)
        words = self.meaning.words
        bare = not self.meaning.things and self.outdoors is None and not is_clause
        if bare and words and self.dice.chance(0.5):
            word = "words" if " " in words[0].text else "word"
            rule = "words.request"
            slots = {**slots, "np": whole, "q_ink": None, "word": word}
            if len(words) == 1 and not (words[0].place or words[0].style or before):
                slots["q_ink"] = " ".join([self.clauses.quoted(words[0]), *filter(None, after)])
        return rules.write(rule, self.dice, slots) or whole

    def _request_slots(self, body: str) -> rules.Slots:
        def drawn(meaning: str, form: str, allow: Callable[[Entry], bool]) -> str:
            return lexicon.draw(_requests(meaning, form, allow), self.dice).text

        return {
            "body": body,
            "is_first": self._first_verb,
            "lex.verb": lambda: drawn("verb", "request", _is_statement),
            "lex.ask": lambda: drawn("verb", "request", _is_question),
            "lex.medium.a": lambda: f"a {drawn('medium', 'noun', _is_allowed)}",
            "lex.of": lambda: drawn("medium", "of", _is_allowed),
        }

    def _relations(self, rule: str) -> list[str]:
        """Returns sentences or tags for relations that were not told along with their things."""
        found = []
        for one in self.later:
            if one.name in ("row", "column"):
                text = self.clauses.in_line(one)
            else:
                text = self.clauses.relation(rule, one)
            found.append(text or "")
        return found

    def _separator(self, parts: Sequence[str]) -> str:
        mark = rules.write("separator", self.dice, {}) or ", "
        return "; " if mark == ", " and any("," in part for part in parts) else mark

    def _joined(self, told: Sequence[str]) -> str:
        """Returns sentences one after the other, mostly with capitals and full stops."""
        style = self.dice.weigh({"full": 0.72, "lower": 0.16, "comma": 0.08, "lines": 0.04})
        if len(told) == 1:
            style = self.dice.weigh({"full": 0.4, "lower": 0.6})
        if style == "comma" and not any(mark in text for text in told for mark in ".?!:"):
            return ", ".join(told)
        if style == "lines":
            return "\n".join(told)
        ended = [text if text.endswith(("?", "!", ".")) else f"{text}." for text in told]
        if self.dice.chance(0.5) or style == "lower":
            ended[-1] = told[-1]
        return " ".join(ended if style == "lower" else [t[:1].upper() + t[1:] for t in ended])

    def _with_context(self, text: str) -> str:
        """Returns the text, at times with what means nothing before or after it."""
        slots: rules.Slots = {
            "lex.before": lambda: (
                lexicon.draw(
                    [
                        *_requests("please", "before", _is_allowed),
                        *_requests("context", "before", _is_allowed),
                    ],
                    self.dice,
                ).text
            ),
            "lex.after": lambda: (
                lexicon.draw(_requests("please", "after", _is_allowed), self.dice).text
            ),
            "lex.context": lambda: (
                lexicon.draw(_requests("context", "after", _is_allowed), self.dice).text
            ),
        }
        if self.dice.chance(CONTEXT):
            before = rules.write("context.before", self.dice, slots) or ""
            before = before if before.endswith(" ") else f"{before} "
            is_open = before[-2] not in ".!?" and text[:2] not in ("I ", "I'")
            text = f"{before}{text[:1].lower() if is_open else text[:1]}{text[1:]}"
        if self.dice.chance(CONTEXT):
            stem = text if text.endswith(("?", "!")) else text.removesuffix(".")
            after = rules.write("context.after", self.dice, slots) or ""
            after = after if after[:1] in ".,! " else f" {after}"
            text = f"{stem}{after.lstrip('.,') if stem.endswith(('?', '!')) else after}"
        return text

    def _shuffle(self, parts: list) -> None:
        parts.sort(key=lambda _: self.dice.unit())


def _is_statement(entry: Entry) -> bool:
    return "question" not in entry.tags


def _is_question(entry: Entry) -> bool:
    return "question" in entry.tags


def _is_allowed(entry: Entry) -> bool:
    return not any(word in entry.text for word in HELD_OUT)


@functools.cache
def _requests(meaning: str, form: str, allow: Callable[[Entry], bool]) -> tuple[Entry, ...]:
    return tuple(one for one in lexicon.entries("requests", meaning, form) if allow(one))
