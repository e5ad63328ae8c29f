"""Each gate by numbers that anyone can work out; thresholds from a file; the refusal."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import operator
import pickle
from functools import cache, reduce
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from benchmarks.clouds import make_cloud
from corpora import brute_force_means
from fakes import grid_vectors
from hypothesis import assume, given
from hypothesis import strategies as st
from tables import make_manifest, make_part

from nnn_core.embedded.profile import SideSums, VectorSum, to_centroid
from nnn_core.errors import ConfigError, GateError
from nnn_core.evaluation.metrics import top_overlap
from nnn_core.gates.catalogue import _GONE, RULES
from nnn_core.gates.facts import Facts, _MeasureSettings
from nnn_core.gates.judge import check_accepted, judge, refusal
from nnn_core.gates.row_statistics import (
    RowStatistics,
    _compare_rows,
    _measure_rows,
    _overlapping,
    compared_k,
    near_copies_message,
)
from nnn_core.gates.thresholds import Thresholds
from nnn_core.report._numbers import MAX_TEXT
from nnn_core.table.gate import Gate
from nnn_core.table.histogram import WIDTH, Histogram
from nnn_core.table.manifest import Manifest

ROOT = Path(__file__).parents[3]
NORMAL = np.random.default_rng(1).normal(0.2, 0.05, 20_000)


def bins(**values: int) -> Histogram:
    """A histogram from ``_0.25`` like names: value in hundredths to count."""
    return Histogram.of(np.repeat([int(name[1:]) / 100 for name in values], list(values.values())))


class TestHistogram:
    def test_quantiles_are_those_of_the_values(self) -> None:
        whole = Histogram.of(NORMAL)
        for share in (0.01, 0.25, 0.5, 0.75, 0.99):
            expected = np.quantile(NORMAL, share, method="inverted_cdf")
            assert abs(whole.quantile(share) - expected) <= WIDTH / 2
        assert whole.deviation == pytest.approx(0.05, abs=0.001)
        assert whole.mad == pytest.approx(0.05, abs=0.001)

    def test_parts_merge_to_the_whole(self) -> None:
        whole, parts = Histogram.of(NORMAL), [Histogram.of(part) for part in np.array_split(NORMAL, 7)]
        merged = Histogram()
        for part in reversed(parts):
            merged += part
        np.testing.assert_array_equal(merged.counts, whole.counts)

    def test_edges(self) -> None:
        ends = Histogram.of(np.array([-1.0, -1.0000001, 1.0, 1.0000001]))
        assert (ends.counts[0], ends.counts[-1], ends.rows) == (2, 2, 4)
        assert (Histogram().quantile(0.5), Histogram().share_outside(0.0, 0.0)) == (0.0, 0.0)
        assert Histogram.of(np.zeros(5)).share_outside(0.0, 0.0) == 0.0
        np.testing.assert_array_equal(ends.shifted(0.5).counts, Histogram.of(np.array([-0.5, -0.5, 1.0, 1.0])).counts)

    @given(values=st.lists(st.integers(-2000, 2000), min_size=1), steps=st.integers(-2000, 2000))
    def test_shifted_values_are_as_those_counted_later(self, values: list[int], steps: int) -> None:
        counted, later = (Histogram.of(WIDTH * (np.array(values) + by)) for by in (0, steps))
        np.testing.assert_array_equal(counted.shifted(steps * WIDTH).counts, later.counts)
        assert later.quantile(0.5) == WIDTH * (sorted(values)[(len(values) - 1) // 2] + steps)

    def test_population_stability_by_hand(self) -> None:
        before, after = bins(_10=50, _30=50), bins(_10=25, _30=75)
        assert before.stability(before) == 0.0
        by_hand = (0.25 - 0.5) * math.log(0.25 / 0.5) + (0.75 - 0.5) * math.log(0.75 / 0.5)
        assert before.stability(after) == pytest.approx(by_hand)
        gone = (1e-4 - 1.0) * math.log(1e-4) + (1.0 - 1e-4) * math.log(1 / 1e-4)
        assert bins(_10=50).stability(bins(_30=50)) == pytest.approx(gone)

    def test_population_stability_of_a_shifted_normal(self) -> None:
        """For two normals a shift of d deviations has a divergence of d**2; ten bins see most of it."""
        shifted = Histogram.of(NORMAL).stability(Histogram.of(NORMAL + 0.05 * 0.5))
        assert 0.2 < shifted < 0.25

    def test_outliers(self) -> None:
        hubs = np.concatenate([NORMAL, np.full(200, 0.9)])
        assert Histogram.of(hubs).outlier_share(6.0) == pytest.approx(200 / 20_200)
        assert Histogram.of(NORMAL).outlier_share(6.0) == 0.0


class TestComparison:
    def test_counts(self) -> None:
        means = np.array([[0.9995, 0.5], [0.3, 0.3], [0.4, 0.2]], np.float32)
        found = _measure_rows(means, (1, 4), 4, 1)
        assert (found.means.rows, found.near_copies, found.flat) == (3, 1, 1)
        assert (found.low, found.high) == (pytest.approx(0.2), pytest.approx(0.5))
        np.testing.assert_array_equal(found.means.counts, Histogram.of(means[:, 0]).counts)

    def test_a_warning_counts_copies_and_names_the_way_out(self) -> None:
        told = [near_copies_message(1200, 30_000, excluded) for excluded in (False, True)]
        assert all(each.startswith("1,200 of 30,000 candidates have a near copy") for each in told)
        assert ["leave them out with --exclude-own-pairs" in each for each in told] == [True, False]
        assert max(map(len, told)) <= MAX_TEXT, "a report cuts longer notes"

    def test_statistics_merge(self) -> None:
        means = np.random.default_rng(2).random((100, 3), np.float32)
        means = -np.sort(-means, axis=1)
        whole = _measure_rows(means, (1, 2, 4), 2, 2)
        merged = reduce(operator.or_, (_measure_rows(part, (1, 2, 4), 2, 2) for part in np.array_split(means, 7)))
        for field in dataclasses.fields(RowStatistics):
            one, other = getattr(merged, field.name), getattr(whole, field.name)
            if isinstance(one, Histogram):
                np.testing.assert_array_equal(one.counts, other.counts)
            elif field.name != "hubs":  # see test_hub_list
                assert one == other

    def test_rows_are_matched_by_id(self) -> None:
        after = np.array([0.1, 0.2, 0.3], np.float32)
        before = np.array([0.9, 0.3, 0.1], np.float32)
        moved = _compare_rows(pa.array(["a", "b", "c"]), after, pa.array(["x", "c", "a"]), before)
        np.testing.assert_array_equal(moved.counts, UNMOVED.counts // 450)
        before[1:] += np.array([0.25, -0.25], np.float32)
        moved = _compare_rows(pa.array(["a", "b", "c"]), after, pa.array(["x", "c", "a"]), before)
        np.testing.assert_array_equal(moved.counts, Histogram.of(np.array([0.25, -0.25])).counts)
        assert _compare_rows(pa.array(["a"]), after[:1], pa.array(["b"]), before[:1]).rows == 0

    def test_parts_that_overlap(self) -> None:
        def ranged(low: str, high: str) -> object:
            return dataclasses.replace(make_part(0), min_id=low, max_id=high)

        parts = [ranged("a", "c"), ranged("d", "g"), ranged("h", "z")]
        assert list(_overlapping(parts, ranged("c", "e"))) == parts[:2]  # type: ignore[arg-type]
        assert list(_overlapping(parts, ranged("ca", "cz"))) == []  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("k", "grid", "previous", "expected"),
        [(16, (1, 2, 4, 8, 16), None, 16), (5, (1, 2, 4, 5), (1, 2, 4, 8), 4), (4, (1, 2, 4), (1, 3), 1)],
    )
    def test_the_k_of_the_comparison(self, k: int, grid: tuple[int, ...], previous: object, expected: int) -> None:
        settings = dataclasses.replace(make_manifest().settings, k=k, grid=grid)
        before = dataclasses.replace(make_manifest(), settings=dataclasses.replace(settings, grid=previous or grid))  # type: ignore[arg-type]
        assert compared_k(settings, before if previous else None) == expected


def test_centroids_are_exact_whatever_the_cuts() -> None:
    vectors = grid_vectors(5000, 12, 3)
    whole = VectorSum.of(vectors)
    parts = [VectorSum.of(part) for part in np.array_split(vectors, 9)]
    assert reduce(operator.or_, parts).centroid == whole.centroid
    np.testing.assert_allclose(to_centroid(whole.centroid), vectors.mean(axis=0, dtype=np.float64), atol=1e-7)
    assert (SideSums().candidates.centroid, to_centroid("")) == ("", None)


def test_overlap_of_rankings() -> None:
    one, other = np.arange(20).reshape(2, 10), np.array([[*range(5), *range(90, 95)], [*range(19, 9, -1)]])
    assert top_overlap(one, other) == 0.75


EAST, NORTH = np.array([0.8, 0.0]), np.array([0.0, 0.8])
UNMOVED = Histogram.of(np.zeros(900))
LOW, HIGH = bins(_10=300, _20=300, _30=300), bins(_40=300, _50=300, _60=300)
FIRST = "there is no previous version to compare with"


def version(*, dim: int = 64, bias: tuple[float, float] | None = None, **settings: object) -> Manifest:
    """A manifest of one part; what is not a setting's name is a side's, as ``candidates={...}``."""
    manifest = make_manifest(parts=1)
    if bias:
        part = dataclasses.replace(manifest.files[0], bias_min=bias[0], bias_max=bias[1])
        manifest = dataclasses.replace(manifest, files=(part,))
    sides = {
        name: dataclasses.replace(getattr(manifest, name), **settings.pop(name))  # type: ignore[arg-type]
        for name in ("candidates", "references")
        if name in settings
    }
    changed = dataclasses.replace(manifest.settings, **settings)  # type: ignore[arg-type]
    return dataclasses.replace(manifest, dim=dim, settings=changed, **sides)


def counted(rows: int, **statistics: object) -> RowStatistics:
    return RowStatistics(means=Histogram.of(np.zeros(rows)), **statistics)  # type: ignore[arg-type]


def known(after: Manifest | None = None, before: Manifest | None = None, **facts: object) -> Facts:
    rows = facts.pop("rows", counted(9))
    return Facts(after or version(), before, rows, **facts)  # type: ignore[arg-type]


def sides(rows: int = 100, **changes: object) -> dict[str, dict[str, object]]:
    """Both sides of a manifest, alike."""
    return {name: {"rows": rows, **changes} for name in ("candidates", "references")}


def centre(vector: npt.NDArray[np.float64]) -> dict[str, object]:
    return {"centroid": base64.b64encode(vector.astype("<f4").tobytes()).decode()}


def moved(after: Histogram, before: Histogram = LOW, moves: Histogram = UNMOVED) -> Facts:
    return known(version(**sides()), version(**sides()), rows=RowStatistics(means=after, before=before, moved=moves))


def common(rows: int) -> Facts:
    return known(None, version(), rows=RowStatistics(moved=Histogram.of(np.zeros(rows)), before=counted(100).means))


def lengths(*off: int | None) -> Manifest:
    candidates, references = ({"rows": 10, "off_length": each} for each in off)
    return version(candidates=candidates, references=references)


#: Facts that pass a gate, facts that fail it, and the value of the latter.
CASES: list[tuple[str, Facts, Facts, float]] = [
    ("max_abs_bias", known(version(bias=(-0.1, 0.9))), known(version(bias=(-3.0, 0.9))), 3),
    ("spread", known(rows=counted(9, low=0.1, high=0.2)), known(rows=counted(9, low=0.1, high=0.1)), 0),
    ("bank_repeats", known(rows=counted(10, flat=5)), known(rows=counted(10, flat=6)), 0.6),
    ("near_copies", known(rows=counted(100, near_copies=1)), known(rows=counted(100, near_copies=2)), 0.02),
    (
        "bank_shrinkage",
        known(version(references={"rows": 80}), version(references={"rows": 100})),
        known(version(references={"rows": 70}), version(references={"rows": 100})),
        0.7,
    ),
    ("lost_candidates", common(95), common(90), 0.1),
    (
        "candidate_rejects",
        known(version(candidates={"rows": 995, "rejected": 5}), version(candidates={"rows": 100, "rejected": 0})),
        known(version(candidates={"rows": 95, "rejected": 5}), version(candidates={"rows": 100, "rejected": 0})),
        0.05,
    ),
    (
        "repeated_files",
        known(version(candidates={"inputs": ("a", "b")}, references={"inputs": ("a",)})),
        known(version(candidates={"inputs": ("a", "b")}, references={"inputs": ("c", "c", "c")})),
        2,
    ),
    (
        "settings",
        known(version(encoder={"w": "1"}), version(encoder={"w": "1"})),
        known(version(encoder={"w": "1", "t": "2"}), version(encoder={"w": "0", "t": "2"})),
        1,
    ),
    (
        "settings",
        known(version(), version()),
        known(version(dim=3, exclude_own_pairs=False), version(dim=2, exclude_own_pairs=True)),
        2,
    ),
    ("alpha", known(version(alpha=0.75), version(alpha=0.5)), known(version(alpha=0.5), version(alpha=1.5)), 3),
    ("alpha", known(version(alpha=0.0), version(alpha=0.0)), known(version(alpha=0.0), version(alpha=0.75)), 1e9),
    (
        "candidate_centroid",
        known(version(candidates=centre(EAST)), version(candidates=centre(EAST))),
        known(version(candidates=centre(EAST)), version(candidates=centre(NORTH))),
        1.13137,
    ),
    (
        "reference_centroid",
        known(version(references=centre(EAST)), version(references=centre(EAST))),
        known(version(references=centre(EAST)), version(references=centre(NORTH))),
        1.13137,
    ),
    ("vector_lengths", known(lengths(0, None), lengths(0, None)), known(lengths(0, 5), lengths(0, 1)), 0.4),
    ("drift_psi", moved(LOW), moved(HIGH), LOW.stability(HIGH)),
    ("moved_rows", moved(LOW, moves=bins(_0=9, _90=1)), moved(LOW, moves=bins(_0=7, _90=3)), 0.3),
    ("hubs", moved(LOW), moved(bins(_10=90, _90=10)), 0.1),
    ("canary_overlap", known(top_overlap=0.8), known(top_overlap=0.6), 0.6),
    ("canary_overlap", known(top_overlap=0.8), known(version(), version(), alpha_chosen=True, top_overlap=0.6), 0.6),
    ("gain", known(bits=(-0.01, 0.02)), known(bits=(-0.02, 0.02)), -0.02 + 0.842 * 0.02),
    ("agreement", known(bank_agreement=0.7, queries=30), known(bank_agreement=0.3, queries=30), 0.3),
]


def gate_of(name: str, facts: Facts, **thresholds: object) -> Gate:
    (found,) = (gate for gate in judge(facts, Thresholds(min_rows=1, **thresholds)) if gate.name == name)
    return found


@pytest.mark.parametrize(("name", "good", "bad", "value"), CASES)
def test_a_gate_passes_and_fails(name: str, good: Facts, bad: Facts, value: float) -> None:
    assert gate_of(name, good).verdict == "pass"
    failed = gate_of(name, bad)
    assert failed.verdict == "fail"
    assert failed.value == pytest.approx(value, rel=1e-3, abs=1e-12)
    assert failed.blocks
    assert not failed.accept().blocks
    (rule,) = (rule for rule in RULES if rule.name == name)
    assert rule.shown(failed.value, 6) in failed.sentence
    assert failed.sentence.endswith(f" (limit: {rule.direction} {rule.shown(failed.threshold, 6)})")
    assert dataclasses.asdict(gate_of(name, bad, **{name: None})) == {
        "name": name,
        "value": None,
        "threshold": None,
        "verdict": "skipped",
        "sentence": "switched off: its limit is null",
        "accepted": False,
    }


def test_every_gate_has_a_case() -> None:
    assert list(dict.fromkeys(case[0] for case in CASES)) == [rule.name for rule in RULES]


@pytest.mark.parametrize(
    ("name", "facts", "reason"),
    [
        ("bank_shrinkage", known(), FIRST),
        ("settings", known(), FIRST),
        ("alpha", known(), FIRST),
        ("alpha", known(None, version(alpha=9.0), alpha_chosen=True), "alpha was chosen on validation queries"),
        (
            "canary_overlap",
            known(None, version(alpha=9.0), alpha_chosen=True, top_overlap=0.1),
            "another k or alpha was chosen on validation queries",
        ),
        ("spread", known(rows=counted(1)), "there is only one candidate"),
        ("bank_repeats", known(version(grid=(1,), k=1)), "only one neighbour per candidate is kept"),
        (
            "candidate_centroid",
            known(version(candidates=centre(EAST)), version(candidates=centre(np.zeros(3)))),
            "the previous version has no mean vectors of this dimension",
        ),
        ("moved_rows", moved(LOW, moves=Histogram()), "the two versions have no id in common"),
        ("gain", known(), "no validation queries were given, or too few"),
        ("agreement", known(), "no validation queries were given, or too few"),
        (
            "agreement",
            known(version(alpha=0.0), bank_agreement=0.1, queries=30),
            "alpha is 0, so there is no correction",
        ),
        (
            "near_copies",
            known(base=7, rows=counted(9, near_copies=9)),
            "judged before: the means are those of version 7",
        ),
    ],
)
def test_a_gate_without_its_input_is_skipped(name: str, facts: Facts, reason: str) -> None:
    gate = gate_of(name, facts)
    assert (gate.verdict, gate.value, gate.sentence) == ("skipped", None, reason)


def test_what_is_no_number_fails() -> None:
    assert gate_of("max_abs_bias", known(version(bias=(float("nan"), 0.0)))).verdict == "fail"


def test_sentences_name_what_changed_and_what_flatters() -> None:
    changed = known(version(dim=3, encoder={"w": "1"}), version(dim=2, encoder={"w": "0"}))
    assert gate_of("settings", changed).sentence == "2 settings changed (dim, encoder w) (limit: at most 0)"
    prompted = known(version(encoder={"prompts": "a"}), version(encoder={"prompts": "b"}))
    assert gate_of("settings", prompted).sentence == "1 settings changed (encoder prompts) (limit: at most 0)"
    shared = known(bits=(0.2, 0.05), shared_queries=4)
    assert gate_of("gain", shared).sentence == (
        "the gain is at most 0.2421 halvings of the right answer's rank (one-sided 80 % interval, with 4 queries "
        "that are in the bank) (limit: at least 0)"
    )


@given(vectors=st.lists(st.tuples(*[st.floats(-0.7, 0.7)] * 2), min_size=4, max_size=4))
def test_sides_that_are_nearer_to_the_other_moved(vectors: list[tuple[float, float]]) -> None:
    """Where a side lies nearer to the other side's previous mean vector than to its own, its centroid moved too far.

    This holds for previous mean vectors 0.2 apart or more; nearer ones do not tell the sides from each other.
    """
    candidates, references, before, other = (np.array(vector) for vector in vectors)
    assume(np.linalg.norm(before - other) > 0.2001)
    nearer = [
        np.linalg.norm(candidates - other) < np.linalg.norm(candidates - before),
        np.linalg.norm(references - before) < np.linalg.norm(references - other),
    ]
    facts = known(
        version(candidates=centre(candidates), references=centre(references)),
        version(candidates=centre(before), references=centre(other)),
    )
    for name, swapped in zip(("candidate_centroid", "reference_centroid"), nearer, strict=True):
        assert not swapped or gate_of(name, facts).verdict == "fail"


@cache
def cloud_means(first: int, last: int) -> npt.NDArray[np.float32]:
    """Means of 16 of candidates of a cloud against some rows of a bank."""
    candidates, bank = make_cloud(1000, 64, 1, "candidates"), make_cloud(10_000, 64, 2, "references")
    return brute_force_means(candidates, bank[first:last], (16,))[:, 0]


def of_means(after: npt.NDArray[np.floating], before: npt.NDArray[np.floating]) -> Facts:
    """A version whose rows have these means, and had those."""
    return moved(Histogram.of(after), Histogram.of(before), Histogram.of(after.astype(np.float64) - before))


class TestDrift:
    """What moves all means alike changes no ranking, and no gate; what moves some of them is seen through it."""

    @pytest.mark.parametrize("rows", [(0, 10_000), (0, 4000), (1000, 3000)], ids=["x 5", "x 2", "slid by half"])
    def test_more_or_later_queries_of_the_same_kind_pass(self, rows: tuple[int, int]) -> None:
        before, after = cloud_means(0, 2000), cloud_means(*rows)
        facts = of_means(after, before)
        assert facts.rows.shift == pytest.approx(np.median(after - before), abs=WIDTH)
        for name in ("drift_psi", "moved_rows"):
            gate = gate_of(name, facts)
            assert gate.verdict == "pass"
            assert f"common shift of {facts.rows.shift:+.4g} is removed (limit" in gate.sentence

    @given(steps=st.integers(-800, 800), share=st.floats(0, 1), by=st.floats(-0.1, 0.1), seed=st.integers(0, 9))
    def test_a_common_shift_changes_no_verdict(self, steps: int, share: float, by: float, seed: int) -> None:
        rng = np.random.default_rng(seed)
        before, after = rng.normal(0.2, 0.05, (2, 600)).clip(-0.1, 0.5)
        after[: int(share * 600)] += by
        # Quantised, so that a shift by whole bins puts every row into the bin that is so many further.
        before, after = (np.rint(each / WIDTH) * WIDTH for each in (before, after))
        for name in ("drift_psi", "moved_rows"):
            here, there = (gate_of(name, of_means(after + each * WIDTH, before)) for each in (0, steps))
            assert here.value == pytest.approx(there.value, abs=1e-6)

    @pytest.mark.parametrize(("share", "by"), [(0.25, 1.5), (0.4, 1.5), (0.25, -8.0), (0.4, 8.0)])
    def test_some_rows_that_moved_are_seen_through_a_common_shift(self, share: float, by: float) -> None:
        """By the mean instead of the median, 0.4 and 1.5 would be 0.05 of the rows, and 0.4 and 8 all of them."""
        before, after = cloud_means(0, 2000), cloud_means(0, 4000).astype(np.float64)
        after[: int(share * 1000)] += by * np.std(before)
        shifted = np.abs(after - before - np.median(after - before))
        facts = of_means(after, before)
        gate = gate_of("moved_rows", facts)
        assert gate.verdict == "fail"
        assert gate.value == pytest.approx(np.mean(shifted > facts.rows.before.deviation), abs=0.005)
        assert gate.value == pytest.approx(share, abs=0.005)


class TestThresholds:
    def test_a_file_changes_some(self, tmp_path: Path) -> None:
        (tmp_path / "gates.yaml").write_text("drift_psi: 1e-1\nhubs: null\nmin_rows: 9\ngain: -0.02\n")
        found = Thresholds.read(str(tmp_path / "gates.yaml"))
        assert (found.drift_psi, found.hubs, found.min_rows, found.gain) == (0.1, None, 9, -0.02)
        assert found.alpha == Thresholds().alpha

    def test_the_documented_file_holds_the_catalogue(self, tmp_path: Path) -> None:
        documented = ROOT / "deploy" / "gates.yaml"
        assert Thresholds.read(str(documented)) == Thresholds()
        fields, names = Thresholds.model_fields, [rule.name for rule in RULES]
        lines = [
            f"{name}: {fields[name].default:g}  # {fields[name].description}"
            for name in (*names, *_MeasureSettings.model_fields)
        ]
        assert [line for line in documented.read_text().splitlines() if not line.startswith("#")] == lines
        (tmp_path / "empty.yaml").write_text("# nothing\n")
        assert Thresholds.read(str(tmp_path / "empty.yaml")) == Thresholds()

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("drift_pis: 1", "there is no threshold 'drift_pis'; the nearest is 'drift_psi'"),
            ("hubs: many", "hubs: 'many' is wrong: input should be a valid number"),
            ("hubs: true", "hubs: True is wrong"),
            ("hubs: -1", "hubs: -1 is wrong: input should be greater than or equal to 0"),
            ("hubs: .nan", "hubs: nan is wrong"),
            ("min_rows: 1.5", "min_rows: 1.5 is wrong"),
            ("1: 2", "the nearest is"),
            ("hub_growth: 2", "hub_growth: this gate was removed; hubs covers it"),
            ("- a", "must have lines such as 'drift_psi: 0.25', not a list"),
            ("a: [", "not YAML"),
        ],
    )
    def test_what_is_wrong_is_named(self, tmp_path: Path, text: str, message: str) -> None:
        (tmp_path / "gates.yaml").write_text(text)
        with pytest.raises(ConfigError) as error:
            Thresholds.read(str(tmp_path / "gates.yaml"))
        assert message in str(error.value)
        assert "gates.yaml" in str(error.value)

    def test_every_gate_is_described_and_has_a_remedy(self) -> None:
        assert all("{value}" in rule.finding and rule.remedy.endswith(".") for rule in RULES)
        assert all(len(field.description or "") > 20 for field in Thresholds.model_fields.values())

    def test_they_travel_to_workers(self) -> None:
        changed = Thresholds(hubs=None, min_rows=9)
        assert pickle.loads(pickle.dumps(changed)) == changed != Thresholds()

    def test_what_is_accepted_must_be_a_gate(self) -> None:
        check_accepted(["hubs", "gain"])
        with pytest.raises(
            ConfigError, match=r"--accept hub: there is no such gate; the gates are max_abs_bias, .*hubs"
        ):
            check_accepted(["hub"])

    @pytest.mark.parametrize("name", _GONE)
    def test_what_covers_a_gate_of_an_earlier_release_is_named(self, name: str) -> None:
        names = [rule.name for rule in RULES]
        assert name not in names
        assert _GONE[name].split(",")[0] in names or "check" in _GONE[name]
        with pytest.raises(ConfigError, match=f"--accept {name}: this gate was removed; {_GONE[name]} covers it"):
            check_accepted([name])


class TestJudge:
    def facts(self, **changes: object) -> Facts:
        manifest = make_manifest(parts=1)
        rows = _measure_rows(np.array([[0.5, 0.4], [0.3, 0.2], [0.9, 0.1]], np.float32), (1, 2), 2, 2)
        base = Facts(manifest, None, rows)
        return dataclasses.replace(base, **changes)  # type: ignore[arg-type]

    def test_every_gate_is_there_in_order(self) -> None:
        gates = judge(self.facts(), Thresholds())
        assert [gate.name for gate in gates] == [rule.name for rule in RULES]
        assert not [gate for gate in gates if gate.verdict == "fail"]

    def test_small_tables_are_not_judged_by_distribution(self) -> None:
        gates = {gate.name: gate for gate in judge(self.facts(previous=make_manifest()), Thresholds())}
        assert gates["candidate_centroid"].sentence == "6 candidates are fewer than min_rows = 500"
        assert gates["reference_centroid"].sentence == "9 references are fewer than min_rows = 500"
        assert gates["drift_psi"].sentence == "the previous version's files cannot be read"

    @pytest.mark.parametrize(("min_rows", "verdict"), [(6, "fail"), (7, "skipped")])
    def test_centroids_of_a_small_side_are_noise(self, min_rows: int, verdict: str) -> None:
        def with_centroids(*centroids: np.ndarray) -> Manifest:
            manifest = make_manifest()
            sides = (manifest.candidates, manifest.references)
            one, other = (
                dataclasses.replace(side, centroid=base64.b64encode(centroid.astype("<f4").tobytes()).decode())
                for side, centroid in zip(sides, centroids, strict=True)
            )
            return dataclasses.replace(manifest, candidates=one, references=other)

        facts = self.facts(manifest=with_centroids(NORTH, NORTH), previous=with_centroids(EAST, NORTH))
        gates = {gate.name: gate for gate in judge(facts, Thresholds(min_rows=min_rows))}
        assert gates["candidate_centroid"].verdict == verdict
        assert gates["reference_centroid"].verdict == "pass"

    def test_a_previous_version_of_an_earlier_release_has_no_centroids(self) -> None:
        limits = Thresholds(min_rows=1)
        gates = {gate.name: gate for gate in judge(self.facts(previous=make_manifest()), limits)}
        reason = "the previous version has no mean vectors of this dimension"
        for name in ("candidate_centroid", "reference_centroid"):
            assert (gates[name].verdict, gates[name].sentence) == ("skipped", reason)
        assert gates["vector_lengths"].verdict == "skipped"

    def test_the_refusal_names_what_failed(self, tmp_path: Path) -> None:
        facts = self.facts(bits=(-0.1, 0.05), top_overlap=0.5)
        facts = dataclasses.replace(facts, manifest=version(bias=(0.0, 3.0)))
        gates = judge(facts, Thresholds(), ["gain"])
        messages = [str(refusal(gates, str(tmp_path))) for _ in range(2)]
        (listed,) = (tmp_path / "gates").iterdir()
        assert [gate["name"] for gate in json.loads(listed.read_bytes())["gates"]] == [rule.name for rule in RULES]
        assert messages == 2 * [
            "2 of 19 gates failed, so nothing was published:\n  max_abs_bias: the largest absolute bias "
            "is 3 (limit: at most 2). Check --alpha.\n  canary_overlap: the canary queries keep 50 % of their "
            "previous top 10 (limit: at least 70 %). Check ids, encoder and bank. "
            f"Compare some changed rows in both versions (nnn table diff).\nAll gates are listed in {listed}. "
            "If you want this change, run the same command again with --accept max_abs_bias --accept "
            "canary_overlap. Finished work is kept."
        ]
        assert GateError.exit_code == 10
        assert not any(gate.blocks for gate in judge(self.facts(), Thresholds()))
