"""Rejects are counted, merged in any order, and bounded by the allowance that was given."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnn_core.errors import RejectedRowsError
from nnn_core.inputs.rejects import Reject, RejectSummary, to_jsonl

REJECTS = st.lists(st.builds(Reject, st.sampled_from("abc"), st.sampled_from(["no id", "zero", "odd"]), st.just("d")))
SUMMARIES = st.lists(st.tuples(REJECTS, st.integers(0, 50), st.sampled_from(["x.tar", "y.tar"])), max_size=5)


def build(parts: list[tuple[list[Reject], int, str]]) -> list[RejectSummary]:
    return [RejectSummary.of(rejects, len(rejects) + more, source, None) for rejects, more, source in parts]


def test_summary_counts_by_reason_with_the_first_example() -> None:
    rejects = [Reject("b", "zero"), Reject("a", "no id", "line 3"), Reject("c", "zero", "later")]
    summary = RejectSummary.of(rejects, 10, "x.tar", "work/rejects/x.jsonl")
    assert summary == RejectSummary(
        10, 3, (("no id", 1, "'a' in x.tar: line 3"), ("zero", 2, "'b' in x.tar")), "work/rejects/x.jsonl"
    )


@given(SUMMARIES, st.randoms(use_true_random=False))
def test_merge_ignores_order(parts: list[tuple[list[Reject], int, str]], random: object) -> None:
    summaries = build(parts)
    merged = RejectSummary.merged(summaries)
    random.shuffle(summaries)  # type: ignore[attr-defined]
    assert RejectSummary.merged(summaries) == merged


@given(SUMMARIES, SUMMARIES)
def test_merge_of_merges_is_the_merge(left: list[object], right: list[object]) -> None:
    a, b = build(left), build(right)  # type: ignore[arg-type]
    assert RejectSummary.merged([RejectSummary.merged(a), RejectSummary.merged(b)]) == RejectSummary.merged(a + b)


@given(SUMMARIES)
def test_merge_adds_up(parts: list[tuple[list[Reject], int, str]]) -> None:
    merged = RejectSummary.merged(build(parts))
    everything = [reject for rejects, _, _ in parts for reject in rejects]
    assert merged.rejected == len(everything)
    assert merged.rows == len(everything) + sum(more for _, more, _ in parts)
    counts = {reason: count for reason, count, _ in merged.reasons}
    assert counts == {r.reason: [x.reason for x in everything].count(r.reason) for r in everything}


@pytest.mark.parametrize("name", ["plain", "é\n\t\"'", "\udcff broken", "\u2028"])
def test_the_list_is_one_json_object_a_line(name: str) -> None:
    data = to_jsonl([Reject(name, "no id", f"seen: {name}"), Reject("b", "zero")])
    lines = data.decode("utf-8").removesuffix("\n").split("\n")
    assert [json.loads(line) for line in lines] == [
        {"id": name, "reason": "no id", "detail": f"seen: {name}"},
        {"id": "b", "reason": "zero", "detail": ""},
    ]
    assert to_jsonl([]) == b""


@pytest.mark.parametrize(("rejected", "rows", "rate"), [(0, 0, 0.0), (0, 9, 0.0), (1, 10, 0.1), (10, 10, 1.0)])
def test_the_allowance_is_inclusive(rejected: int, rows: int, rate: float) -> None:
    RejectSummary(rows, rejected).check_rate(rate, "--candidates", "work/rejects")


@pytest.mark.parametrize(("rejected", "rows", "rate"), [(1, 1_000_000, 0.0), (2, 10, 0.1), (10, 10, 0.999)])
def test_beyond_the_allowance(rejected: int, rows: int, rate: float) -> None:
    with pytest.raises(RejectedRowsError):
        RejectSummary(rows, rejected).check_rate(rate, "--candidates", "work/rejects")


@given(st.integers(1, 300), st.data())
def test_an_allowance_of_exactly_the_rate_is_enough(rows: int, data: st.DataObject) -> None:
    """29 of 100 rows and --max-reject-rate 0.29, whatever 0.29 * 100 is in floating point."""
    rejected = data.draw(st.integers(0, rows))
    RejectSummary(rows, rejected).check_rate(rejected / rows, "--candidates", "work/rejects")


def test_29_of_100_are_29_percent() -> None:
    RejectSummary(100, 29).check_rate(0.29, "--candidates", "work/rejects")


def test_the_message_has_what_a_user_needs() -> None:
    reasons = tuple((f"reason {n}", n, f"'id-{n}' in x.tar") for n in range(1, 8))
    with pytest.raises(RejectedRowsError) as caught:
        RejectSummary(1000, 28, reasons).check_rate(0.02, "--references", "s3://work/rejects")
    message = str(caught.value)
    assert "28 of 1000 rows of --references were rejected (2.800%; limit: " in message
    assert "--reference-max-reject-rate 0.02" in message
    assert "  7 x reason 7 (e.g. 'id-7' in x.tar)\n  6 x reason 6" in message
    assert "reason 3" in message
    assert "reason 2" not in message
    assert "\n  3 more, for 2 other reasons\n" in message
    assert "s3://work/rejects" in message
    assert message.endswith("--reference-max-reject-rate 0.029.")


def test_reasons_of_the_same_count_come_in_alphabetical_order() -> None:
    counts = {"e": 4, "g": 9, "b": 4, "f": 1, "d": 4, "a": 4, "c": 4}
    reasons = tuple((reason, count, f"'{reason}'") for reason, count in counts.items())
    lines = RejectSummary(100, 30, reasons).frequent_reasons.split("\n")
    assert lines == ["", *(f"  {n} x {r} (e.g. '{r}')" for n, r in [(9, "g"), (4, "a"), (4, "b"), (4, "c"), (4, "d")]),
                     "  5 more, for 2 other reasons"]  # fmt: skip
    assert RejectSummary(100, 4, reasons[:1]).frequent_reasons == "\n  4 x e (e.g. 'e')"


def test_an_example_is_one_short_line() -> None:
    """Ids and names come from files that anyone may have made."""
    rejects = [Reject("x" * 10_000, "long"), Reject("a", "odd", "seen: \x1b[2J\nTraceback (most")]
    examples = {reason: example for reason, _, example in RejectSummary.of(rejects, 2, "x.tar", None).reasons}
    assert len(examples["long"]) < 310
    assert examples["odd"] == "'a' in x.tar: seen: \\x1b[2J\\nTraceback (most"


@given(st.integers(1, 10_000_000), st.data())
def test_the_rate_that_the_message_suggests_is_enough(rows: int, data: st.DataObject) -> None:
    summary = RejectSummary(rows, data.draw(st.integers(1, rows)))
    with pytest.raises(RejectedRowsError) as caught:
        summary.check_rate(0.0, "--candidates", "work/rejects")
    suggested = float(str(caught.value).rpartition("--max-reject-rate ")[2].removesuffix("."))
    assert suggested <= 1.0
    summary.check_rate(suggested, "--candidates", "work/rejects")
