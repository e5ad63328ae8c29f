"""The report: what it says, its page's safety and size, and its plain text."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import random
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import html5lib
import numpy as np
import pytest
import sample_report as sample
from PIL import Image

from nnn_core.errors import CorruptArtifactError
from nnn_core.evaluation.choice import Choice
from nnn_core.evaluation.intervals import Interval
from nnn_core.evaluation.points import Point
from nnn_core.evaluation.rankings import Occurrence
from nnn_core.inputs.rejects import RejectSummary
from nnn_core.report import Report, _numbers, numbers, render, render_text
from nnn_core.report import _charts as charts
from nnn_core.report import _summary as summary
from nnn_core.report._content import MAX_CHANGES, MAX_DEPTH, MAX_HUBS
from nnn_core.report._sections import BiasShift, Figure, Gate, OwnPairs, Quality, Shown, Stage, Tuning
from nnn_core.report._svg import ticks
from nnn_core.report._thumbnails import MAX_BYTES, SIDE, data_uri, thumbnail

HOSTILE = (
    "</style></title></script><script>alert(1)</script><img src=x onerror=alert(1)>\"' autofocus onfocus=alert(1) x='"
    " {{ 7 * 7 }}{% raw %} &lt; ]]> --> \x00\x1b[31m\x07\u202e\ud800\ufffe javascript:alert(1)"
)
WORDS = {"unit", "better", "verdict"}


def with_texts(value: Any, change: Callable[[str], str]) -> Any:
    """A report of which every text that a user could choose is another."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, tuple):
        return tuple(with_texts(each, change) for each in value)
    if isinstance(value, dict):
        return {change(key): with_texts(each, change) for key, each in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        changed = {name: with_texts(each, change) for name, each in fields.items() if name not in WORDS}
        return dataclasses.replace(value, **changed)
    return value


def hostile_report() -> Report:
    report: Report = with_texts(sample.sample_report(), lambda text: HOSTILE + text)
    return report


def bare_report() -> Report:
    return Report("Bare", sample.sample_report().run)


def noise(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    small = thumbnail(png(Image.fromarray(pixels)))
    assert small is not None
    return small


def png(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def huge_report() -> Report:
    """More of everything than any page shows, in the characters that take most room."""
    report = sample.sample_report()
    ids = [f"{number}-" + "&" * 5000 for number in range(600)]
    picture = b"\xff\xd8\xff" + bytes(MAX_BYTES - 3)
    text = "&" * 5000
    shown = {row_id: Shown(row_id, text, picture) for row_id in ids}
    query = Shown(text, text, picture)
    change = dataclasses.replace(report.changes[0], query=query)
    figure = dataclasses.replace(report.quality[0].figures[0], name=text)
    points = [Point(k, alpha / 64) for k in range(1, 200) for alpha in range(99)]
    assert report.tuning is not None
    assert report.rivals is not None
    return dataclasses.replace(
        report,
        title=text,
        notes=(text,) * 500,
        quality=(Quality(text, 1, (figure,) * 500),) * 50,
        tuning=dataclasses.replace(report.tuning, gains=tuple((point, -0.01) for point in points)),
        shown=shown,
        hubs=tuple(dataclasses.replace(report.hubs[0], id=row_id, examples=(query,) * 50) for row_id in ids[:100]),
        changes=tuple(
            dataclasses.replace(change, before=tuple(ids[at : at + 40]), after=tuple(ids[at + 40 : at + 80]))
            for at in range(100)
        ),
        biases=BiasShift(tuple(map(float, range(5001))), (1,) * 5000, (2,) * 5000, ((text, 1.0),) * 500),
        rivals=dataclasses.replace(report.rivals, methods=report.rivals.methods * 50),
        fairness=(dataclasses.replace(report.fairness[0], values=(text,) * 500, figures=(figure,) * 500),) * 50,
        rejects=((text, RejectSummary(9, 9, ((text, 1, text),) * 500, text)),) * 50,
        gates=tuple(Gate(text, "fail", text, text, text) for _ in range(500)),
        stages=report.stages * 50,
    )


REPORTS = {
    "images": sample.sample_report,
    "texts": lambda: sample.sample_report(images=False),
    "hostile": hostile_report,
    "bare": bare_report,
}


@cache
def page_of(name: str) -> str:
    return render(REPORTS[name]())


@cache
def huge_page() -> str:
    return render(huge_report())


def parse(page: str) -> Any:
    """The page's tree; every error of HTML's own parser rules is an error."""
    return html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(page)


@cache
def tree_of(name: str) -> Any:
    return parse(page_of(name))


@pytest.mark.parametrize("name", REPORTS)
def test_pages_are_valid(name: str) -> None:
    tree = tree_of(name)
    ids = [element.get("id") for element in tree.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    for element in tree.iter():
        for reference in (element.get("aria-labelledby") or "").split():
            assert reference in ids
        if (element.get("href") or "").startswith("#"):
            assert element.get("href")[1:] in ids


@pytest.mark.parametrize("name", REPORTS)
def test_pages_need_nothing_from_outside(name: str) -> None:
    tree = tree_of(name)
    for element in tree.iter():
        assert element.tag not in ("script", "link", "iframe", "object", "embed", "form", "base")
        assert not [attribute for attribute in element.keys() if attribute.startswith("on")]  # noqa: SIM118
        assert (element.get("src") or "data:image/webp;").startswith("data:image/webp;")
        assert (element.get("href") or "#").startswith("#")
    assert "url(" not in page_of(name).split("</style>")[0]
    assert "@import" not in page_of(name).split("</style>")[0]


def test_foreign_text_is_shown_not_obeyed() -> None:
    page = page_of("hostile")
    text = "".join(tree_of("hostile").itertext())
    assert "<script>alert(1)</script>" in text
    assert "{{ 7 * 7 }}{% raw %} &lt; ]]> -->" in text
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e\ufffe\ud800-\udfff]", page)


@pytest.mark.parametrize("images", [True, False])
def test_addresses_of_candidates_lead_there(images: bool) -> None:
    """In every section that shows candidates; under each picture that has room for it."""
    report = sample.sample_report(images=images)
    texts = {name: f"{name} \u00b7 https://shop.example/{name} \u00b7 javascript:alert(1)" for name in report.shown}
    shown = {name: dataclasses.replace(one, text=texts[name]) for name, one in report.shown.items()}
    tree = parse(render(dataclasses.replace(report, shown=shown)))
    assert report.listed_hubs is not None
    named = {
        "hubs": {hub.id for hub in report.hubs},
        "changes": {name for each in report.changes for name in (*each.before, *each.after)},
        "listed-hubs": {hub.id for hub in report.listed_hubs.worst},
    }
    for section in tree.iter("section"):
        links = {link.get("href") for link in section.iter("a")}
        wanted = named.get(section.get("id"), set()) if (section.get("id"), images) != ("changes", True) else set()
        assert links == {f"https://shop.example/{name}" for name in wanted}


@pytest.mark.parametrize("name", REPORTS)
def test_tables_and_pictures_have_names(name: str) -> None:
    tree = tree_of(name)
    assert all(element.get("scope") in ("row", "col") for element in tree.iter("th"))
    assert all(element.get("alt") for element in tree.iter("img"))
    for drawing in tree.iter("{http://www.w3.org/2000/svg}svg"):
        assert drawing.get("aria-hidden") or drawing.get("aria-labelledby") or drawing.get("aria-label")


def test_pages_stay_small() -> None:
    assert huge_page().count("<img") > 170
    assert len(huge_page().encode()) < 3_000_000


def test_a_page_says_what_it_leaves_out() -> None:
    assert f"And {100 - MAX_HUBS} more hubs." in huge_page()
    assert f"And {100 - MAX_CHANGES} more queries." in huge_page()
    assert "more reasons." in huge_page()


def test_the_same_report_gives_the_same_bytes() -> None:
    assert render(sample.sample_report()) == page_of("images")
    assert render(Report.from_json(sample.sample_report().to_json(), "there")) == page_of("images")


@pytest.mark.parametrize("name", ["images", "texts", "bare"])
def test_json_round_trip(name: str) -> None:
    report = REPORTS[name]()
    data = report.to_json()
    assert Report.from_json(data, "there") == report
    assert Report.from_json(data, "there").to_json() == data


def test_json_carries_odd_numbers_and_half_characters() -> None:
    shift = BiasShift((0.0, 1.0), (1,), figures=(("a", math.inf), ("b", -math.inf), ("c", math.nan)))
    report = dataclasses.replace(bare_report(), biases=shift, notes=("\udc80",))
    data = report.to_json()
    json.loads(data, parse_constant=pytest.fail)
    back = Report.from_json(data, "there")
    assert back.notes == ("?",)
    assert back.biases is not None
    values = [value for _, value in back.biases.figures]
    assert values[:2] == [math.inf, -math.inf]
    assert math.isnan(values[2])


@pytest.mark.parametrize("data", [b"", b"[]", b'{"title": "x"}', b'{"title": "x", "run": 3}', b"\xff"])
def test_what_is_not_a_report_is_named(data: bytes) -> None:
    with pytest.raises(CorruptArtifactError, match="'there' is not a report that this version can read"):
        Report.from_json(data, "there")


def test_wanted_names_each_candidate_once() -> None:
    report = sample.sample_report()
    wanted = list(report.wanted())
    assert len(wanted) == len(set(wanted))
    assert wanted[: len(report.hubs)] == [hub.id for hub in report.hubs]
    assert set(report.changes[-1].after) <= set(wanted)
    many = huge_report()
    few = set(many.wanted())
    assert {many.hubs[MAX_HUBS - 1].id, many.changes[MAX_CHANGES - 1].after[MAX_DEPTH - 1]} <= few
    assert not few & {many.hubs[99].id, many.changes[MAX_CHANGES - 1].after[MAX_DEPTH]}


def gain(value: float, low: float, high: float) -> Report:
    figure = Figure("recall@1", Interval(0.1, 0, 1), Interval(0.1 + value, 0, 1), Interval(value, low, high))
    return dataclasses.replace(bare_report(), quality=(Quality("text to image", 7, (figure,)),))


@pytest.mark.parametrize(
    ("report", "tone", "heading"),
    [
        (bare_report(), "none", "Not evaluated: no held-out queries were given."),
        (gain(0.02, 0.01, 0.03), "good", "The bias helps: recall@1 rises by 2.0 points."),
        (gain(-0.02, -0.03, -0.01), "bad", "The bias harms: recall@1 falls by 2.0 points."),
        (gain(0.02, -0.01, 0.05), "warn", "No clear effect: recall@1 rises by 2.0 points."),
        (gain(0.0, 0.0, 0.0), "warn", "No effect: recall@1 stays the same."),
    ],
)
def test_the_verdict_follows_the_interval(report: Report, tone: str, heading: str) -> None:
    head = summary.headline(report)
    assert (head.tone, head.heading) == (tone, heading)
    assert heading in render_text(report)


def test_where_nothing_was_judged_it_is_said_what_to_give() -> None:
    assert summary.headline(bare_report()).text.endswith("name queries with known answers with --validation.")
    without = dataclasses.replace(sample.sample_report(), quality=(), tuning=None, gates=())
    assert summary.headline(without).text.endswith(
        "name the answers with --relevance, or with --validation-pair-id-column."
    )


def test_a_failed_gate_comes_before_any_gain() -> None:
    gates = (Gate("coverage", "pass", "3", "3"), Gate("drift", "fail", "PSI 0.4", "below 0.2"))
    report = dataclasses.replace(gain(0.02, 0.01, 0.03), gates=gates)
    assert summary.headline(report).heading == "Not published: 1 gate failed (drift)."
    assert summary.headline(report).text == "Version 41 stays current."
    assert [gate.name for gate in summary.sort_gates(gates)] == ["drift", "coverage"]


def test_alpha_zero_is_said() -> None:
    nothing = Point(1, 0.0)
    gained = Interval(0.004, -0.01, 0.02)
    choice = Choice(nothing, Point(8, 0.5), "recall@1", gained, Point(8, 0.25), 0.02, 0.04, 0.842, 50)
    report = dataclasses.replace(gain(0.0, 0.0, 0.0), tuning=Tuning(choice, 9, ((Point(8, 0.25), 0.01),)))
    head = summary.headline(report)
    assert head.heading == "No gain was proven, so alpha = 0: this table changes no ranking."
    assert head.text == (
        "The best choice is k = 8, alpha = 0.25. On queries that did not choose it, the right answer's rank "
        "falls (better) by 1.4 % on average, 0.5 standard errors. A proof needs a fall of 0.842. There recall@1 "
        "rises by 0.4 points (95 % interval \u22121.0 to +2.0)."
    )
    few = dataclasses.replace(report, tuning=Tuning(dataclasses.replace(choice, answers=12), 40, ()))
    assert "Only 12 different candidates answer the queries" in summary.headline(few).text
    none = dataclasses.replace(report, tuning=Tuning(dataclasses.replace(choice, candidate=nothing), 40, ()))
    assert "No k and alpha rank the right answers higher" in summary.headline(none).text
    judged = dataclasses.replace(report, run=dataclasses.replace(report.run, command="nnn evaluate", version=4))
    assert summary.headline(judged).heading.endswith(": a version with it would change no ranking.")
    assert judged.unpublished().notes[0].startswith("Nothing was published: version 4 keeps k = 32, alpha = 0.625.")
    assert parse(render(report))


@pytest.mark.parametrize(("value", "heading"), [(-0.015, "The bias seems to harm: recall@1 falls by 1.5 points."),
                                                (0.015, "No clear effect: recall@1 rises by 1.5 points.")])  # fmt: skip
def test_what_is_more_likely_harm_is_called_harm(value: float, heading: str) -> None:
    assert summary.headline(gain(value, value - 0.02, value + 0.02)).heading == heading


def test_ranks_may_prove_what_a_recall_cannot() -> None:
    unclear = gain(0.004, -0.005, 0.012)
    given = Choice(Point(8, 0.5), Point(8, 0.5), "recall@1", Interval(0.004, -0.005, 0.012), Point(8, 0.5))
    sure, doubtful, few = (
        dataclasses.replace(given, bits=0.1, error=error, answers=answers)
        for error, answers in ((0.05, 30), (0.052, 30), (0.01, 29))
    )
    heads = [
        summary.headline(dataclasses.replace(unclear, tuning=Tuning(choice, 60, (), given=True))).heading
        for choice in (sure, doubtful, few)
    ]
    assert heads == [
        "The bias helps: the right answer's rank falls (better) by 6.7 % on average.",
        *2 * ["No clear effect: recall@1 rises by 0.4 points."],
    ]


def test_own_pairs_show_both_figures_or_the_remedy() -> None:
    both = "\n".join(summary.own_pairs_words(sample.sample_report()))
    assert "5,875 of 6,000 bank rows (97.9 %)" in both
    assert "rises by 9.6 points" in both
    assert "rises by 4.9 points" in both
    one = dataclasses.replace(bare_report(), own_pairs=OwnPairs(3, 10))
    assert "--drop-own-pairs" in summary.own_pairs_words(one)[-1]
    assert not summary.own_pairs_words(dataclasses.replace(one, own_pairs=OwnPairs(0, 10)))


def test_text_holds_no_control_characters() -> None:
    text = render_text(hostile_report())
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e\ud800-\udfff]", text)
    assert len(render_text(huge_report())) < 200_000


def test_text_shows_every_section() -> None:
    text = render_text(sample.sample_report())
    for words in ("recall@10", "WARN", "k = 64, alpha = 0.75", "skewness", "img-000003", "population", "QB-Norm"):
        assert words in text
    for words in ("bias@6", "2 x broken image", "EmbedCandidates", "beyond 10 -> 2", "5,875"):
        assert words in text


def test_text_names_gates_that_did_not_pass_and_counts_the_others() -> None:
    gates = (Gate("coverage", "pass", "3", "3"), Gate("drift", "fail", "0.4", "0.2"), Gate("spread", "skipped", "", ""))
    lines = render_text(dataclasses.replace(sample.sample_report(), gates=gates)).splitlines()
    place = lines.index("Gates: 1 passed, 1 not applicable, 1 failed")
    assert [line.split() for line in lines[place + 1 : place + 4]] == [
        ["gate", "value", "limit"],
        ["FAIL", "drift", "0.4", "0.2"],
        [],
    ]


def judged(*, given: bool) -> Report:
    """An evaluation of version 42, which has k = 16, alpha = 0.5, at the sample's choice."""
    report = sample.sample_report()
    assert report.tuning is not None
    run = dataclasses.replace(report.run, command="nnn evaluate", previous=None, k=16, alpha=0.5)
    return dataclasses.replace(report, run=run, tuning=dataclasses.replace(report.tuning, given=given))


@pytest.mark.parametrize(("given", "label"), [(False, "to publish"), (True, "judged")])
def test_an_evaluation_claims_no_publication(given: bool, label: str) -> None:
    """What was evaluated, what was judged, and how that is published; ``published`` is said of versions only."""
    report = judged(given=given)
    told = render_text(report.unpublished())
    assert (
        "Nothing was published: version 42 keeps k = 16, alpha = 0.5. Add --publish, or run nnn table reweight, to "
        "publish k = 32, alpha = 0.625." in told
    )
    assert re.search("^Evaluated version +42, which has k = 16, alpha = 0.5$", told, re.MULTILINE)
    assert re.search(f"^{label} +k = 32, alpha = 0.625$", told, re.MULTILINE)
    assert not re.search("^Previous version|^published |^in force ", told, re.MULTILINE)
    assert (label, "k = 32", "alpha = 0.625") in summary.tiles(report)
    assert f"<dt>{label.capitalize()}</dt><dd><strong>k = 32, alpha = 0.625" in render(report)
    assert f"{label.capitalize()}: k = 32, alpha = 0.625." in render(report)
    settled = dataclasses.replace(report, run=dataclasses.replace(report.run, k=32, alpha=0.625))
    assert settled.unpublished() == settled


def test_no_line_breaks_within_a_flag() -> None:
    assert 'with <span class="flag">--validation</span>.</p>' in render(bare_report())
    gate = Gate("drift", "fail", "0.4", "0.2", "a -- b; accept it <by> --accept drift")
    page = render(dataclasses.replace(bare_report(), gates=(gate,)))
    assert 'a -- b; accept it &lt;by&gt; <span class="flag">--accept</span> drift' in page


def test_rows_found_again_are_told_from_computed_ones() -> None:
    """50 new photos of 2,030: their groups are computed, but not their other rows. A first refresh reuses nothing."""
    embedded = Stage("embed_candidates", 1.0, 4, 0, rows=50, known=1980, read=123_456_789, written=123_456_789)
    measured = Stage("measure_vectors", 0.1, 0, 5)
    report = dataclasses.replace(sample.sample_report(), stages=(embedded, measured))
    held = "50 rows, 1,980 more rows found again, 117.7 MiB read, 117.7 MiB written"
    assert summary.stage_cells(embedded)["Held"] == held
    assert held in render_text(report)
    assert "0 of 4 results reused" in [note for _, _, note in summary.tiles(report)]


def test_a_refused_choice_is_not_called_published() -> None:
    report = dataclasses.replace(sample.sample_report(), gates=(Gate("drift", "fail", "0.4", "0.2"),))
    assert re.search("^refused +k = 32, alpha = 0.625$", render_text(report), re.MULTILINE)


def test_words_count_shards_and_hubs() -> None:
    run = sample.sample_report().run
    for files, words in ((1, "in 1 shard"), (12, "in 12 shards")):
        changed = dataclasses.replace(run, bank=dataclasses.replace(run.bank, files=files))
        report = dataclasses.replace(sample.sample_report(), run=changed)
        assert words in dict(summary.facts(report))["Bank"].split(", ")
    listed = sample.sample_report().listed_hubs
    assert listed is not None
    for hubs, words in ((0, "No candidates have"), (1, "1 candidate has"), (2, "2 candidates have")):
        found = dataclasses.replace(listed, hubs=hubs, previous=None)
        assert summary.listed_hubs_words(found) == f"{words} a mean far above the others (nnn table hubs)."


def test_hubs_that_stay_are_not_down_by_nothing() -> None:
    report = sample.sample_report()
    assert report.hubness is not None
    (words,) = summary.hubs_words(report)
    assert re.match(r"Hubs: down by \d+ %\. The skewness .* goes from", words)
    same = dataclasses.replace(report.hubness, after=report.hubness.before)
    (words,) = summary.hubs_words(dataclasses.replace(report, hubness=same))
    assert re.match(r"Hubs: as before\. The skewness .* is \d", words)


def test_text_has_one_line_for_the_encoder() -> None:
    report = sample.sample_report()
    parts = (("precision", "float32"), ("probes", "4 vectors of 64 dimensions, SHA-256 0"), ("weights", "ab" * 32))
    text = render_text(dataclasses.replace(report, run=dataclasses.replace(report.run, fingerprints=parts)))
    assert re.search(r"^Encoder +precision float32, weights abababababab$", text, re.MULTILINE)
    assert "probes" not in text


def test_stages_tell_what_they_held_and_spent() -> None:
    report = sample.sample_report()
    scoring = next(stage for stage in report.stages if stage.pairs)
    cells = {"Held": "2,700,000 pairs, 392.6 KiB written", "Of the work": "load 0.31 s, search 2.5 s"}
    assert summary.stage_cells(scoring) == cells
    assert summary.stage_cells(Stage("MergePartials", 1.0, 1, 0)) == dict.fromkeys(cells, "")
    threaded = dataclasses.replace(scoring, parts=(("model", scoring.seconds), ("load", scoring.seconds + 60)))
    assert re.fullmatch(r"model [^(]*, load [^(]* \(sum of its threads\)", summary.stage_cells(threaded)["Of the work"])
    text, page = render_text(report), render(report)
    for cell in (*cells.values(), "900 rows, 81.0 MiB read, 1.8 MiB written", "model 58 s"):
        assert cell in text
        assert cell in page


def test_sizes_in_words() -> None:
    words = {0: "0 bytes", 1023: "1,023 bytes", 1024: "1.0 KiB", 5 << 20: "5.0 MiB", 1 << 30: "1.0 GiB"}
    assert {value: numbers.size(value) for value in words} == words
    assert numbers.size(float(3 << 50)) == "3,072.0 TiB"


def test_lorenz_curve() -> None:
    occurrence = Occurrence(((0, 2), (1, 1), (3, 1)), 0, 0, 0, 0)
    assert charts.lorenz(occurrence) == [(0, 0), (0.5, 0), (0.75, 0.25), (1, 1)]
    wide = Occurrence(tuple((times, 1) for times in range(5000)), 0, 0, 0, 0)
    assert len(charts.lorenz(wide)) < 200
    assert charts.lorenz(wide)[-1] == (1, 1)


def test_bins_double() -> None:
    occurrence = Occurrence(((0, 5), (1, 4), (2, 3), (3, 2), (4, 1), (7, 1), (8, 9)), 0, 0, 0, 0)
    assert charts.occurrence_bins(occurrence) == {0: 5, 1: 4, 2: 5, 4: 2, 8: 9}


def test_a_large_grid_keeps_what_was_chosen() -> None:
    points = [Point(k, alpha / 100) for k in range(1, 61) for alpha in range(151)]
    choice = Choice(Point(37, 0.73), Point(38, 0.99), "recall@1", Interval(1, 0, 2), Point(37, 0.73))
    ks, alphas, _ = charts.heat_grid(Tuning(choice, 9, tuple((point, 0.1) for point in points)))
    assert {37, 38} <= set(ks)
    assert {0.0, 0.73, 0.99} <= set(alphas)
    assert len(ks) <= charts.MAX_ROWS
    assert len(alphas) <= charts.MAX_COLUMNS
    assert ks == sorted(set(ks))


@pytest.mark.parametrize(
    ("gain", "kind"),
    [(0.0, "h0"), (0.05, "hp5"), (0.5, "hp5"), (-0.02, "hn2"), (0.004, "h0"), (math.nan, "hx"), (math.inf, "hx")],
)
def test_shades(gain: float, kind: str) -> None:
    assert charts.shade(gain, 0.05) == kind


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-0.037, 0.0412), (1e-9, 3e-9), (-5000, 123456), (2, 2)])
def test_ticks_are_round_and_inside(low: float, high: float) -> None:
    marks = ticks(low, high, 5)
    assert 1 <= len(marks) <= 6
    assert all(low - 1e-12 <= mark <= high + 1e-12 for mark in marks)


@pytest.mark.parametrize(
    ("value", "unit", "shown", "changed"),
    [
        (0.168, "percent", "16.8 %", "+16.8"),
        (-0.0001, "percent", "0.0 %", "0.0"),
        (-0.5, "number", "\u22120.500", "\u22120.500"),
        (1234.5, "rank", "1,234.5", "+1,234.5"),
        (math.nan, "number", "\u2013", "\u2013"),
        (-math.inf, "number", "\u2212\u221e", "\u2212\u221e"),
    ],
)
def test_numbers(value: float, unit: Any, shown: str, changed: str) -> None:
    assert _numbers.amount(value, unit) == shown
    assert _numbers.change(value, unit) == changed


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.416, "0.42 s"), (3.18, "3.2 s"), (31, "31 s"), (250, "4 min 10 s"), (7500, "2 h 5 min"), (math.nan, "\u2013")],
)
def test_durations(value: float, shown: str) -> None:
    assert numbers.seconds(value) == shown


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK", "1", "I;16"])
def test_thumbnails_of_every_mode(mode: str) -> None:
    picture = Image.new(mode, (900, 300))
    stream = io.BytesIO()
    picture.save(stream, "JPEG" if mode == "CMYK" else "PNG")
    small = thumbnail(stream.getvalue())
    assert small is not None
    assert len(small) <= MAX_BYTES
    with Image.open(io.BytesIO(small)) as back:
        assert (back.format, back.mode, max(back.size)) == ("WEBP", "RGB", SIDE)


def test_noise_still_fits() -> None:
    assert len(noise(1)) <= MAX_BYTES


def test_what_is_transparent_becomes_white() -> None:
    small = thumbnail(png(Image.new("RGBA", (9, 9), (255, 0, 0, 0))))
    assert small is not None
    with Image.open(io.BytesIO(small)) as back:
        assert min(back.convert("RGB").tobytes()) > 250


def test_a_decompression_bomb_gives_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    for side in (40, 100):  # more than the bound warns, more than twice the bound raises
        assert thumbnail(png(Image.new("RGB", (side, side)))) is None


def test_what_is_no_picture_gives_none() -> None:
    rng = random.Random(3)
    whole = png(Image.effect_noise((80, 80), 50))
    for data in (b"", b"text", whole[:200], rng.randbytes(500), b"\x89PNG\r\n\x1a\n", b"RIFF\x00\x00\x00\x00WEBP"):
        assert thumbnail(data) is None
    assert data_uri(b"<svg onload=alert(1)>") is None
    assert data_uri(whole + bytes(MAX_BYTES)) is None
