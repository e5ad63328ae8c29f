"""The page of ``nnn search``: what it says of each hit, its safety, and that the same answers give the same bytes."""

from __future__ import annotations

import re

import html5lib
import sample_report as sample

from nnn_core.evaluation.points import Point
from nnn_core.report import Shown
from nnn_core.report.answers import Answer, Answers

BEFORE = ((0.9, "a"), (0.8, "b"), (0.7, "c"))
AFTER = ((0.5, "b"), (0.4, "d"), (0.3, "c"))
ANSWER = Answer("red shoe", BEFORE, AFTER, {"b": 0.3, "d": 0.0, "c": 0.4})


def page(answer: Answer = ANSWER, **shown: Shown) -> str:
    return Answers("table", 3, Point(16, 0.5), [answer], shown).render()


def test_each_hit_says_where_it_came_from() -> None:
    assert ANSWER.left() == {"a": "out"}
    assert ANSWER.moved() == {"b": "was 2", "d": "new"}
    assert ANSWER.entered == 1
    assert [(place, name, round(score, 6), bias) for place, name, score, bias, _ in ANSWER.lines()] == [
        (1, "b", 0.8, 0.3),
        (2, "d", 0.4, 0.0),
        (3, "c", 0.7, 0.4),
    ]
    text = re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]+>", " ", page(), flags=re.S))
    assert "table \u00b7 version 3 \u00b7 k = 16, alpha = 0.5" in text
    assert "red shoe 1 of the first 3 are new. Before 1 a" not in text
    for words in ("1 of the first 3 are new.", "1 out a", "1 was 2 b", "2 new d", "3 c"):
        assert words in text


def test_an_unchanged_query_says_so() -> None:
    same = Answer("red shoe", BEFORE, BEFORE, dict.fromkeys("abc", 0.0))
    assert "Nothing changes among the first 3." in page(same)
    turned = Answer("red shoe", BEFORE, BEFORE[::-1], dict.fromkeys("abc", 0.0))
    assert "The first 3 are the same in another order." in page(turned)


def test_texts_stand_for_ids_and_addresses_lead_there() -> None:
    shown = page(a=Shown("a", "Red shoe \u00b7 https://shop.example/?x=1&y=2"))
    assert '<a href="https://shop.example/?x=1&amp;y=2" rel="noreferrer">https://shop.example/?x=1&amp;y=2</a>' in shown
    assert '</a></bdi> <bdi class="mono soft">a</bdi>' in shown
    long = "https://shop.example/" + "a" * 300
    assert f'<a href="{long}" rel="noreferrer">{long[:239]}\u2026</a>' in page(a=Shown("a", long))
    assert 'href="http' not in page(a=Shown("a", f"{long}\u2026"))


def test_hostile_texts_stay_texts() -> None:
    hostile = (
        '</title><script>alert(1)</script>"\' onfocus=alert(1) javascript:alert(1) \u202e\x00 https://a.b/"onload=x'
    )
    answer = Answer(hostile, ((0.9, hostile),), ((0.5, hostile),), {hostile: 0.4})
    written = page(answer, **{hostile: Shown(hostile, hostile)})
    tree = html5lib.parse(written, namespaceHTMLElements=False)
    assert not list(tree.iter("script"))
    for element in tree.iter():
        assert not [name for name in element.attrib if name.startswith("on")]
    assert {link.get("href", "")[:8] for link in tree.iter("a")} <= {"#content", "https://"}
    assert not {"\u202e", "\x00"} & set(written)


def test_the_same_answers_give_the_same_bytes() -> None:
    first, again = (sample.sample_answers().render() for _ in range(2))
    assert first == again
    html5lib.HTMLParser(strict=True).parse(first)
