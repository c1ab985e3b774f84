# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnigen.wording.quotes import quotations, straightened


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [
        ('a sign "Hi" and "Yo!"', ["Hi", "Yo!"]),
        ("a sign “Hi” and „Guten Tag“", ["Hi", "Guten Tag"]),
        ("«Bonjour» « Salut » »Hallo« ‹Ciao› ”Hej”", ["Bonjour", "Salut", "Hallo", "Ciao", "Hej"]),
        ("写「你好」", ["你好"]),
        ("``CEO'' over *Don't* and **Hi**", ["CEO", "Don't", "Hi"]),
        ("write ‘Hello’ and 'Bye' and `x`", ["Hello", "Bye", "x"]),
        ("a 'Don't' sign, and “Don’t stop”", ["Don't", "Don’t stop"]),
        ("it's the dogs' ball of the '90s, rock 'n' roll", []),
        ("the '90s and the dogs' ball", []),
        ('a 5" by 7" card, 6’ high: “Hi there”', ["Hi there"]),
        ('5" wide, 7" high', []),
        ('"" and “ ”', []),
        ("", []),
    ],
)
def test_words_in_quotation_marks_of_any_kind(prompt: str, wanted: list[str]) -> None:
    found = quotations(prompt)
    assert [one.text for one in found] == wanted
    for one in found:
        assert prompt[one.start + 1 : one.stop - 1].strip(" `'*") == one.text


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [
        ("“Hi” there", '"Hi" there'),
        ("„Hi“ and « Ho »", '"Hi" and "Ho"'),
        ("“Don’t stop”, it’s mine", '"Don’t stop", it’s mine'),
        ("‘Hi’ and 'Ho'", "‘Hi’ and 'Ho'"),
        ('5" wide “Hi”', '5" wide “Hi”'),  # which of the three would open?
        ("a 5” card", "a 5” card"),
        ('"Hi" “Yo”', '"Hi" "Yo"'),
    ],
)
def test_typographic_marks_are_straightened(prompt: str, wanted: str) -> None:
    assert straightened(prompt) == wanted


MARKS = "“”„‟«»‹›「」『』\"'‘’`* "


@given(st.text(st.sampled_from(list(MARKS + "aé1,.\n")), max_size=30))
def test_nothing_but_marks_changes(prompt: str) -> None:
    bare = str.maketrans("", "", MARKS)
    after = straightened(prompt)
    assert after.translate(bare) == prompt.translate(bare)
    assert [one.text for one in quotations(after)] == [one.text for one in quotations(prompt)]
    assert straightened(after) == after


@given(st.lists(st.text(st.sampled_from(list("abé1’' .!")), min_size=1), min_size=1, max_size=3))
def test_what_is_quoted_survives_to_the_letter(texts: list[str]) -> None:
    texts = [text.strip() or "x" for text in texts]
    prompt = " and ".join(f"“{text}”" for text in texts)
    assert straightened(prompt) == " and ".join(f'"{text}"' for text in texts)
    assert [one.text for one in quotations(straightened(prompt))] == texts
