# SPDX-License-Identifier: Apache-2.0
"""Other languages agree in gender, number and case, as examples written out by hand say."""

import dataclasses

import pytest

from omnigen.dice import Dice
from omnigen.wording import languages, meaning
from omnigen.wording.meaning import Meaning, Relation, Thing, Words

ABOVE = Meaning(
    "shapes",
    (Thing("circle", 1, "red"), Thing("star", 2, "blue")),
    (Relation("above", 0, (1,)),),
)
HEARTS = Meaning(
    "shapes",
    (Thing("heart", 3, "black", "large"), Thing("cross", 1, "white")),
    background="green",
    absent=("diamond", "text"),
)
RINGS = Meaning(
    "shapes",
    (Thing("star", None, "purple", "small"), Thing("square", 1, "brown", None, "top left")),
    absent=("anything else",),
)
BETWEEN = Meaning(
    "shapes",
    (Thing("star", 1, "orange"), Thing("cross", 1, "green"), Thing("square", 1)),
    (Relation("between", 0, (1, 2)),),
    background="gradient of white and mint",
)
SIGN = Meaning("words", words=(Words("é &", "green", "sign"),))
UNDER = Meaning(
    "mixed", (Thing("diamond", 1, "yellow"),), (Relation("below", 1, (0,)),), (Words("Go"),)
)
LAKE = Meaning(
    "landscapes",
    (Thing("boat"), Thing("lake"), Thing("mountains", None), Thing("sun")),
    (Relation("on", 0, (1,)),),
    sky="night",
    absent=("cloud",),
)
HOUSES = Meaning("landscapes", (Thing("house", 2), Thing("trees", None), Thing("snow")))


@pytest.mark.parametrize(
    ("told", "language", "expected"),
    [
        (ABOVE, "de", "ein roter Kreis über zwei blauen Sternen"),
        (ABOVE, "de", "Zeichne einen roten Kreis über zwei blauen Sternen"),
        (ABOVE, "de", "Ein Bild mit einem roten Kreis oberhalb von zwei blauen Sternen."),
        (ABOVE, "fr", "Dessine un cercle rouge au-dessus de deux étoiles bleues"),
        (ABOVE, "es", "un círculo rojo encima de dos estrellas azules"),
        (ABOVE, "zh", "两颗蓝色的星星的上方有一个红色的圆形"),
        (ABOVE, "zh", "一个红色的圆形在两颗蓝色的星星的上面。"),
        (
            HEARTS,
            "de",
            "Male drei große schwarze Herzen und ein weißes Kreuz vor grünem Hintergrund "
            "ohne Rauten und ohne Text",
        ),
        (
            HEARTS,
            "fr",
            "trois grands cœurs noirs et une croix blanche sur fond vert sans losanges ni texte",
        ),
        (
            HEARTS,
            "es",
            "tres corazones negros grandes y una cruz blanca sobre un fondo verde "
            "sin rombos ni texto",
        ),
        (HEARTS, "zh", "请画三颗黑色的大爱心和一个白色的十字，绿色背景，没有菱形和文字"),
        (
            RINGS,
            "de",
            "mehrere kleine violette Sterne und ein braunes Quadrat oben links, sonst nichts",
        ),
        (
            RINGS,
            "fr",
            "plusieurs petites étoiles violettes et un carré marron en haut à gauche, rien d'autre",
        ),
        (
            RINGS,
            "es",
            "varias estrellas moradas pequeñas y un cuadrado marrón arriba a la izquierda, "
            "nada más",
        ),
        (RINGS, "zh", "几颗紫色的小星星，左上角有一个棕色的正方形，没有别的东西"),
        (
            BETWEEN,
            "de",
            "ein orangefarbener Stern zwischen einem grünen Kreuz und einem Quadrat "
            "auf einem Farbverlauf von Weiß zu Mintgrün",
        ),
        (
            BETWEEN,
            "fr",
            "une étoile orange entre une croix verte et un carré "
            "sur un dégradé de blanc et de vert menthe",
        ),
        (
            BETWEEN,
            "es",
            "una estrella naranja entre una cruz verde y un cuadrado "
            "sobre un degradado de blanco y verde menta",
        ),
        (SIGN, "de", "Zeig mir den Text „é &“ in grünen Buchstaben auf einem Schild"),
        (SIGN, "fr", "les mots « é & » en lettres vertes sur un panneau"),
        (SIGN, "es", "las palabras «é &» en letras verdes en un cartel"),
        (SIGN, "zh", "牌子上写着“é &”，字是绿色的"),
        (UNDER, "de", 'das Wort "Go" unter einer gelben Raute'),
        (UNDER, "fr", 'le mot "Go" en dessous d\'un losange jaune'),
        (UNDER, "es", 'la palabra "Go" debajo de un rombo amarillo'),
        (LAKE, "de", "Ein Bild mit Bergen, der Sonne und einem Boot auf einem See bei Nacht"),
        (LAKE, "de", "Zeichne Berge, die Sonne und ein Boot auf einem See bei Nacht"),
        (LAKE, "fr", "des montagnes, le soleil et un bateau sur un lac la nuit, sans nuages"),
        (LAKE, "es", "montañas, el sol y un barco en un lago de noche sin nubes"),
        (LAKE, "zh", "高山和太阳，一个湖上有一艘帆船，夜晚，没有云"),
        (HOUSES, "de", "Ein Bild mit zwei Häusern, Bäumen und Schnee"),
        (HOUSES, "fr", "deux maisons, des arbres et de la neige"),
        (HOUSES, "es", "dos casas, árboles y nieve"),
        (HOUSES, "zh", "两座房子、树木和雪"),
    ],
)
def test_examples(told: Meaning, language: str, expected: str) -> None:
    said = {languages.phrase(told, language, Dice("t", i), 400) for i in range(1200)}
    assert any((one or "").startswith(expected) for one in said), sorted(map(str, said))[:9]


@pytest.mark.parametrize("language", languages.LANGUAGES)
def test_every_noun_color_and_place_has_words(language: str) -> None:
    known = languages.lexicon(language)
    assert {*known["colors"]} == {*known["color_nouns"]} >= {*meaning.COLORS}
    assert {*known["places"]} == {*meaning.PLACES} and {*known["skies"]} == {*meaning.SKIES}
    assert {*known["relations"]} == {*meaning.RELATIONS}
    assert {*known["holders"]} == {*meaning.HOLDERS} and {*known["sizes"]} == {*meaning.SIZES}
    for noun in known["nouns"]:
        for color in meaning.COLORS:
            count = 3 if not known["nouns"][noun][0] else 1
            told = Meaning("shapes", (Thing(noun, count, color),))
            text = languages.phrase(told, language, Dice("t", noun), 400)
            assert text and "{" not in text and "\0" not in text


@pytest.mark.parametrize("language", languages.LANGUAGES)
def test_a_relation_reads_one_way(language: str) -> None:
    """What is turned round is said in other words."""
    ways = []
    for name in ("left", "right", "above", "below"):
        told = dataclasses.replace(ABOVE, relations=(Relation(name, 0, (1,)),))
        ways.append({languages.phrase(told, language, Dice("t", i), 400) for i in range(60)})
    assert all(not one & other for i, one in enumerate(ways) for other in ways[:i])


def test_what_cannot_be_said_is_not() -> None:
    many = dataclasses.replace(LAKE, relations=LAKE.relations * 2)
    assert languages.phrase(many, "de", Dice(1), 400) is None
    panda = Meaning("things", (Thing("panda"),))
    assert languages.phrase(panda, "fr", Dice(1), 400) is None
    script = Meaning("words", words=(Words("Hi", style="script"),))
    assert languages.phrase(script, "es", Dice(1), 400) is None
    assert languages.phrase(ABOVE, "zh", Dice(1), 20) is None
    with pytest.raises(ValueError, match="language is 'it'; allowed: de, es, fr, zh"):
        languages.phrase(ABOVE, "it", Dice(1), 400)
