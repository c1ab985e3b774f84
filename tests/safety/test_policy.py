# SPDX-License-Identifier: Apache-2.0
"""The notation of rules, the files that ship, and files of one's own."""

import pathlib

import pytest

from omnigen.safety import policy
from omnigen.safety.policy import Rule, parse

GROUPS = "[group thing]\nlamp(s), big|small sun, zeppel*\n"


def test_reads_rules() -> None:
    found = parse(
        {
            "one.txt": f"# About lamps.\n{GROUPS}[hate mild]\n@thing .. moon\n",
            "two.txt": "[fillers]\nthe, A\n[sexual drawn]\nmoon # a comment\n[except]\nblue moon\n",
        }
    )
    assert found.terms == {
        ("lamp",): ("@thing",),
        ("lamps",): ("@thing",),
        ("big", "sun"): ("@thing",),
        ("small", "sun"): ("@thing",),
        ("zeppel*",): ("@thing",),
        ("moon",): ("moon",),
        ("blue", "moon"): (policy.EXCEPTIONS,),
    }
    assert found.rules == {
        "@thing": (Rule("hate", 0.6, False, ("@thing", "moon"), ("..",)),),
        "moon": (Rule("sexual", 1.0, True, ("moon",), ()),),
    }
    assert found.fillers == {"one.txt": set(), "two.txt": {"the", "a"}}
    assert found.words["two.txt"] == {"blue", "moon"}


def test_characters_of_chinese_are_words() -> None:
    assert set(parse({"a": "[hate]\n月亮, 3d灯\n"}).terms) == {("月", "亮"), ("3d", "灯")}


def test_versions_tell_policies_apart() -> None:
    versions = {parse({"a": text}).version for text in ("[hate]\nsun", "[hate]\nmoon", "")}
    assert len(versions) == 3
    assert all(version.startswith(f"{policy.NUMBER}-") for version in versions)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sun", "a.txt, line 1: 'sun' stands before the first [section]"),
        ("[weather]\n", r"a.txt, line 1: \[weather\] is no section; allowed: group NAME"),
        ("[hate loud]\n", "is no section"),
        ("[hate]\n\n@nothing\n", "a.txt, line 3: there is no group @nothing; allowed: "),
        ("[hate]\nab*\n", "'ab\\*' is no term; allowed: words, and at least three letters"),
        ("[hate]\n!!\n", "'!!' is no term"),
    ],
)
def test_bad_files_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("[section]", r"\[section\]")):
        parse({"a.txt": text})


def test_the_policy_that_ships_is_whole() -> None:
    found = policy.load()
    rules = [rule for several in found.rules.values() for rule in several]
    assert {rule.category for rule in rules} == set(policy.CATEGORIES)
    groups = {group for names in found.terms.values() for group in names}
    assert groups >= {part for rule in rules for part in rule.parts}, "a rule that nothing meets"
    used = {part for rule in rules for part in rule.parts} | {policy.EXCEPTIONS}
    assert groups <= used, f"no rule uses {groups - used}"
    files = {path.stem for path in policy.FOLDER.glob("*.txt")}
    assert files >= set("en de fr es zh it pt nl pl ru tr ja".split())
    assert sum(path.stat().st_size for path in policy.FOLDER.iterdir()) < 400_000


def test_own_files_are_added_and_replace(tmp_path: pathlib.Path) -> None:
    (tmp_path / "mine.txt").write_text("[illicit]\nzeppelin\n")
    found = policy.load(str(tmp_path))
    assert found.terms.keys() == policy.load().terms.keys() | {("zeppelin",)}
    (tmp_path / "ja.txt").write_text("")
    replaced = policy.parse(
        {
            path.name: path.read_text(encoding="utf-8")
            for path in policy.FOLDER.glob("*.txt")
            if path.stem != "ja"
        }
    )
    policy.load.cache_clear()
    assert policy.load(str(tmp_path)).terms.keys() == replaced.terms.keys() | {("zeppelin",)}


def test_a_folder_without_files_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match=f"{policy.VARIABLE} is .*; it must be a folder with"):
        policy.load(str(tmp_path))


def test_the_notation_in_the_document_is_read() -> None:
    text = (pathlib.Path(__file__).parents[2] / "docs" / "safety.md").read_text(encoding="utf-8")
    notation = text.partition("```\n[fillers]\n")[2].partition("```")[0]
    found = parse({"document": f"[fillers]\n{notation}"})
    assert ("thunder", "storm") in found.terms and len(found.rules) == 3
    joints = {rule.joints for rules in found.rules.values() for rule in rules}
    assert joints == {("..",), ("&",), ("+",), ()}
