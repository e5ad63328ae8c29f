"""Each gate by numbers that anyone can work out; thresholds from a file; the refusal."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from fakes import grid_vectors
from tables import make_manifest, make_part

from nnn_core.embedded.profile import SideSums, VectorSum, merge_sums, to_centroid, to_text
from nnn_core.errors import ConfigError, GateError
from nnn_core.evaluation.intervals import Interval
from nnn_core.evaluation.metrics import top_overlap
from nnn_core.gates import _checks as checks
from nnn_core.gates.comparison import (
    RowStatistics,
    compare_rows,
    compared_k,
    measure_rows,
    merge_statistics,
    near_copies_message,
    overlapping,
)
from nnn_core.gates.histogram import WIDTH, Histogram, outlier_share, population_stability, quantile_shift
from nnn_core.gates.judge import (
    REMEDIES,
    Evidence,
    Facts,
    check_accepted,
    judge,
    require_pass,
    write_report,
)
from nnn_core.gates.thresholds import GATES, Thresholds, read_thresholds, to_yaml
from nnn_core.report.numbers import MAX_TEXT
from nnn_core.table.gate import Gate
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
            assert abs(whole.quantile(share) - expected) <= WIDTH
        assert whole.deviation == pytest.approx(0.05, abs=0.001)
        assert whole.mad == pytest.approx(0.05, abs=0.001)

    def test_parts_merge_to_the_whole(self) -> None:
        whole, parts = Histogram.of(NORMAL), [Histogram.of(part) for part in np.array_split(NORMAL, 7)]
        merged = Histogram.empty()
        for part in reversed(parts):
            merged |= part
        np.testing.assert_array_equal(merged.counts, whole.counts)

    def test_edges(self) -> None:
        ends = Histogram.of(np.array([-1.0, -1.0000001, 1.0, 1.0000001]))
        assert (ends.counts[0], ends.counts[-1], ends.rows) == (2, 2, 4)
        assert (Histogram.empty().quantile(0.5), Histogram.empty().share_above(0.0)) == (0.0, 0.0)
        assert Histogram.of(np.zeros(5)).share_above(WIDTH) == 0.0

    def test_population_stability_by_hand(self) -> None:
        before, after = bins(_10=50, _30=50), bins(_10=25, _30=75)
        assert population_stability(before, before) == 0.0
        by_hand = (0.25 - 0.5) * math.log(0.25 / 0.5) + (0.75 - 0.5) * math.log(0.75 / 0.5)
        assert population_stability(before, after) == pytest.approx(by_hand)
        gone = (1e-4 - 1.0) * math.log(1e-4) + (1.0 - 1e-4) * math.log(1 / 1e-4)
        assert population_stability(bins(_10=50), bins(_30=50)) == pytest.approx(gone)

    def test_population_stability_of_a_shifted_normal(self) -> None:
        """For two normals a shift of d deviations has a divergence of d**2; ten bins see most of it."""
        shifted = population_stability(Histogram.of(NORMAL), Histogram.of(NORMAL + 0.05 * 0.5))
        assert 0.2 < shifted < 0.25

    def test_quantile_shift(self) -> None:
        before = Histogram.of(NORMAL)
        assert quantile_shift(before, before) == 0.0
        assert quantile_shift(before, Histogram.of(NORMAL + 0.1)) == pytest.approx(2.0, abs=0.05)
        tail = np.where(np.quantile(NORMAL, 0.9) < NORMAL, NORMAL + 0.1, NORMAL)
        assert quantile_shift(before, Histogram.of(tail)) > 1.5

    def test_outliers(self) -> None:
        hubs = np.concatenate([NORMAL, np.full(200, 0.9)])
        assert outlier_share(Histogram.of(hubs), 6.0) == pytest.approx(200 / 20_200)
        assert outlier_share(Histogram.of(NORMAL), 6.0) == 0.0


class TestComparison:
    def test_counts(self) -> None:
        means = np.array([[0.9995, 0.5], [0.3, 0.3], [0.4, 0.2], [np.nan, 0.1]], np.float32)
        found = measure_rows(means, (1, 4), 4, 1)
        assert (found.rows, found.not_finite, found.near_copies, found.flat) == (4, 1, 1, 1)
        assert (found.low, found.high) == (pytest.approx(0.2), pytest.approx(0.5))
        np.testing.assert_array_equal(found.means.counts, Histogram.of(means[:3, 0]).counts)

    def test_a_warning_counts_copies_and_names_the_way_out(self) -> None:
        told = [near_copies_message(1200, 30_000, excluded) for excluded in (False, True)]
        assert all(each.startswith("1,200 of 30,000 candidates have a near copy") for each in told)
        assert ["--exclude-own-pairs" in each for each in told] == [True, False]
        assert max(map(len, told)) <= MAX_TEXT, "a report cuts longer notes"

    def test_statistics_merge(self) -> None:
        means = np.random.default_rng(2).random((100, 3), np.float32)
        means = -np.sort(-means, axis=1)
        whole = measure_rows(means, (1, 2, 4), 2, 2)
        merged = merge_statistics(measure_rows(part, (1, 2, 4), 2, 2) for part in np.array_split(means, 7))
        for field in dataclasses.fields(RowStatistics):
            one, other = getattr(merged, field.name), getattr(whole, field.name)
            if isinstance(one, Histogram):
                np.testing.assert_array_equal(one.counts, other.counts)
            else:
                assert one == other

    def test_rows_are_matched_by_id(self) -> None:
        after = np.array([0.1, 0.2, 0.3], np.float32)
        before = np.array([0.9, 0.3, 0.1], np.float32)
        common, moved = compare_rows(pa.array(["a", "b", "c"]), after, pa.array(["x", "c", "a"]), before)
        assert common == 2
        np.testing.assert_array_equal(moved.counts, Histogram.of(np.zeros(2)).counts)
        common, moved = compare_rows(pa.array(["a"]), after[:1], pa.array(["b"]), before[:1])
        assert (common, moved.rows) == (0, 0)

    def test_parts_that_overlap(self) -> None:
        def ranged(low: str, high: str) -> object:
            return dataclasses.replace(make_part(0), min_id=low, max_id=high)

        parts = [ranged("a", "c"), ranged("d", "g"), ranged("h", "z")]
        assert list(overlapping(parts, ranged("c", "e"))) == parts[:2]  # type: ignore[arg-type]
        assert list(overlapping(parts, ranged("ca", "cz"))) == []  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("k", "grid", "previous", "expected"),
        [(16, (1, 2, 4, 8, 16), None, 16), (5, (1, 2, 4, 5), (1, 2, 4, 8), 4), (4, (1, 2, 4), (1, 3), 1)],
    )
    def test_the_k_of_the_comparison(self, k: int, grid: tuple[int, ...], previous: object, expected: int) -> None:
        assert compared_k(k, grid, previous) == expected  # type: ignore[arg-type]


def test_centroids_are_exact_whatever_the_cuts() -> None:
    vectors = grid_vectors(5000, 12, 3)
    whole = VectorSum.of(vectors)
    parts = [VectorSum.of(part) for part in np.array_split(vectors, 9)]
    merged = merge_sums([SideSums(references=whole), *(SideSums(candidates=part) for part in parts)])
    assert merged.candidates.centroid == merged.references.centroid == whole.centroid
    np.testing.assert_allclose(to_centroid(whole.centroid), vectors.mean(axis=0, dtype=np.float64), atol=1e-7)
    assert (merge_sums([]).candidates.centroid, to_centroid("")) == ("", None)


def test_overlap_of_rankings() -> None:
    one, other = np.arange(20).reshape(2, 10), np.array([[*range(5), *range(90, 95)], [*range(19, 9, -1)]])
    assert top_overlap(one, other) == 0.75


EAST, NORTH = np.array([0.8, 0.0]), np.array([0.0, 0.8])
LOW, HIGH = bins(_10=300, _20=300, _30=300), bins(_40=300, _50=300, _60=300)
FIRST = checks.FIRST

#: A call that passes, one that fails, and the value of the latter.
CASES: list[tuple[Callable[..., Gate], tuple[object, ...], tuple[object, ...], float]] = [
    (checks.coverage, (5, 5, 0), (4, 5, 0), 1),
    (checks.finite, (0, 0), (2, 0), 2),
    (checks.max_abs_bias, (-0.1, 0.9, 2), (-3.0, 0.9, 2), 3),
    (checks.spread, (0.1, 0.2, 9, 1e-6), (0.1, 0.1, 9, 1e-6), 0),
    (checks.bank_repeats, (5, 10, 4, 0.5), (6, 10, 4, 0.5), 0.6),
    (checks.near_copies, (1, 100, 0.01), (2, 100, 0.01), 0.02),
    (checks.min_bank_rows, (10, 10), (9, 10), 9),
    (checks.bank_shrinkage, (80, 100, 0.75), (70, 100, 0.75), 0.7),
    (checks.bank_growth, (400, 100, 4), (500, 100, 4), 5),
    (checks.lost_candidates, (95, 100, "", 0.05), (90, 100, "", 0.05), 0.1),
    (checks.repeated_files, ([("a", "b"), ("a",)], 0), ([("a", "b"), ("c", "c", "c")], 0), 2),
    (checks.mixed_origins, (1, 0), (2, 0), 1),
    (checks.encoder, ({"w": "1"}, {"w": "1"}, 0), ({"w": "1", "t": "2"}, {"w": "0", "t": "2"}, 0), 1),
    (checks.settings, ({"dim": 2}, {"dim": 2}, 0), ({"dim": 2}, {"dim": 3}, 0), 1),
    (checks.alpha, (0.75, 0.5, False, 2), (0.5, 1.5, False, 2), 3),
    (checks.alpha, (0.0, 0.0, False, 2), (0.0, 0.75, False, 2), 1e9),
    (checks.modalities, ((EAST, NORTH), (EAST, NORTH), "", 1), ((NORTH, NORTH), (EAST, NORTH), "", 1), 1.13137e9),
    (checks.mean_similarity, ((EAST, EAST),) * 2 + ("", 0.03), ((EAST, EAST), (EAST, NORTH), "", 0.03), 0.64),
    (checks.vector_lengths, ([0.0, None], [0.0, None], 0.01), ([0.0, 0.5], [0.0, 0.1], 0.01), 0.4),
    (checks.drift_psi, (LOW, LOW, "", 0.25), (HIGH, LOW, "", 0.25), population_stability(LOW, HIGH)),
    (checks.drift_quantiles, (LOW, LOW, "", 0.5), (HIGH, LOW, "", 0.5), 0.3 / LOW.deviation),
    (checks.moved_rows, (bins(_0=9, _90=1), LOW, "", 0.2), (bins(_0=7, _90=3), LOW, "", 0.2), 0.3),
    (checks.hubs, (LOW, "", 6, 0.05), (bins(_10=90, _90=10), "", 6, 0.05), 0.1),
    (checks.hub_growth, (LOW, LOW, "", 6, 3), (bins(_10=990, _90=10), LOW, "", 6, 3), 10),
    (checks.canary_overlap, (0.8, 0.7), (0.6, 0.7), 0.6),
    (checks.gain, (Interval(-0.01, -0.03, 0.01), 0), (Interval(-0.02, -0.03, -0.01), 0), -0.01),
    (checks.validation_overlap, (0, 0), (3, 0), 3),
]


@pytest.mark.parametrize(("gate", "good", "bad", "value"), CASES)
def test_a_gate_passes_and_fails(
    gate: Callable[..., Gate], good: tuple[object, ...], bad: tuple[object, ...], value: float
) -> None:
    assert gate(*good).verdict == "pass"
    failed = gate(*bad)
    assert failed.verdict == "fail"
    assert failed.value == pytest.approx(value, rel=1e-3)
    assert failed.blocks
    assert not failed.accept().blocks
    assert f" {failed.value:g}, allowed is at " in failed.sentence
    assert dataclasses.asdict(gate(*bad[:-1], None)) == {
        "name": gate.__name__,
        "value": None,
        "threshold": None,
        "verdict": "skipped",
        "sentence": "switched off: the threshold is null",
        "accepted": False,
    }


def test_rejects_and_centroids_pass_and_fail() -> None:
    assert checks.rejects("candidate_rejects", 995, 5, (100, 0), 0.01).verdict == "pass"
    assert checks.rejects("candidate_rejects", 95, 5, (100, 0), 0.01).verdict == "fail"
    assert checks.centroid_shift("candidate_centroid", EAST, EAST, "", 0.1).verdict == "pass"
    assert checks.centroid_shift("candidate_centroid", EAST, NORTH, "", 0.1).value == pytest.approx(1.13137)


@pytest.mark.parametrize(
    ("gate", "reason"),
    [
        (checks.bank_shrinkage(5, None, 1), FIRST),
        (checks.encoder({}, None, 0), FIRST),
        (checks.alpha(1.0, None, False, 2), FIRST),
        (checks.alpha(0.0, 1.0, True, 2), "alpha was chosen on validation queries"),
        (checks.spread(0.1, 0.1, 1, 1e-6), "there is only one candidate"),
        (checks.bank_repeats(5, 5, 1, 0.5), "only one neighbour is kept for each candidate"),
        (checks.centroid_shift("candidate_centroid", EAST, None, "unknown", 0.1), "unknown"),
        (checks.centroid_shift("candidate_centroid", EAST, np.zeros(3), "unknown", 0.1), "unknown"),
        (checks.moved_rows(Histogram.empty(), LOW, "", 0.2), "no id is in both versions"),
        (checks.gain(None, 0), "no validation queries were given"),
    ],
)
def test_a_gate_without_its_input_is_skipped(gate: Gate, reason: str) -> None:
    assert (gate.verdict, gate.value, gate.sentence) == ("skipped", None, reason)


def test_sides_that_cannot_be_told_apart_are_not_judged() -> None:
    near = EAST + 0.1
    gate = checks.modalities((near, EAST), (EAST, near), "", 1)
    assert gate.verdict == "skipped"
    assert "only 0.141 apart" in gate.sentence


def test_what_is_no_number_fails() -> None:
    assert checks.max_abs_bias(float("nan"), 0.0, 2).verdict == "fail"


class TestThresholds:
    def test_a_file_changes_some(self, tmp_path: Path) -> None:
        (tmp_path / "gates.yaml").write_text("drift_psi: 1e-1\nhubs: null\nmin_rows: 9\ngain: -0.02\n")
        found = read_thresholds(str(tmp_path / "gates.yaml"))
        assert (found.drift_psi, found.hubs, found.min_rows, found.gain) == (0.1, None, 9, -0.02)
        assert found.alpha == Thresholds().alpha

    def test_the_documented_file_holds_the_defaults(self, tmp_path: Path) -> None:
        documented = ROOT / "deploy" / "gates.yaml"
        assert read_thresholds(str(documented)) == Thresholds()
        assert documented.read_text().endswith(to_yaml(Thresholds()))
        (tmp_path / "empty.yaml").write_text("# nothing\n")
        assert read_thresholds(str(tmp_path / "empty.yaml")) == Thresholds()

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
            ("- a", "must hold lines such as 'drift_psi: 0.25', not a list"),
            ("a: [", "not YAML"),
        ],
    )
    def test_what_is_wrong_is_named(self, tmp_path: Path, text: str, message: str) -> None:
        (tmp_path / "gates.yaml").write_text(text)
        with pytest.raises(ConfigError) as error:
            read_thresholds(str(tmp_path / "gates.yaml"))
        assert message in str(error.value)
        assert "gates.yaml" in str(error.value)

    def test_every_gate_has_a_threshold_and_a_remedy(self) -> None:
        assert set(GATES) == set(REMEDIES)
        assert all(field.description for field in Thresholds.model_fields.values())

    def test_what_is_accepted_must_be_a_gate(self) -> None:
        check_accepted(["hubs", "gain"])
        with pytest.raises(ConfigError, match=r"--accept hub: there is no such gate; there are coverage, .*hubs"):
            check_accepted(["hub"])


class TestJudge:
    def facts(self, **changes: object) -> Facts:
        manifest = make_manifest(parts=1)
        rows = measure_rows(np.array([[0.5, 0.4], [0.3, 0.2], [0.9, 0.1]], np.float32), (1, 2), 2, 2)
        base = Facts(manifest, None, 3, rows)
        return dataclasses.replace(base, **changes)  # type: ignore[arg-type]

    def test_every_gate_is_there_in_order(self) -> None:
        gates = judge(self.facts(), Thresholds())
        assert tuple(gate.name for gate in gates) == GATES
        assert not [gate for gate in gates if gate.verdict == "fail"]

    def test_small_tables_are_not_judged_by_distribution(self) -> None:
        gates = {gate.name: gate for gate in judge(self.facts(previous=make_manifest()), Thresholds())}
        assert gates["candidate_centroid"].sentence == "6 candidates are fewer than min_rows 500"
        assert gates["reference_centroid"].sentence == "9 references are fewer than min_rows 500"
        assert gates["drift_psi"].sentence == "no file of the previous version can be read"

    @pytest.mark.parametrize(("min_rows", "verdict"), [(6, "fail"), (7, "skipped")])
    def test_centroids_of_a_small_side_are_noise(self, min_rows: int, verdict: str) -> None:
        def with_centroids(*centroids: np.ndarray) -> Manifest:
            manifest = make_manifest()
            sides = (manifest.candidates, manifest.references)
            one, other = (
                dataclasses.replace(side, centroid=to_text(centroid.astype(np.float32)))
                for side, centroid in zip(sides, centroids, strict=True)
            )
            return dataclasses.replace(manifest, candidates=one, references=other)

        facts = self.facts(manifest=with_centroids(NORTH, NORTH), previous=with_centroids(EAST, NORTH))
        gates = {gate.name: gate for gate in judge(facts, Thresholds(min_rows=min_rows))}
        assert {gates[name].verdict for name in ("candidate_centroid", "modalities", "mean_similarity")} == {verdict}
        assert gates["reference_centroid"].verdict == "pass"

    def test_a_previous_version_of_an_earlier_release_has_no_centroids(self) -> None:
        limits = Thresholds(min_rows=1)
        gates = {gate.name: gate for gate in judge(self.facts(previous=make_manifest()), limits)}
        reason = "the previous version keeps no mean vectors, or of another dimension"
        for name in ("candidate_centroid", "reference_centroid", "modalities", "mean_similarity"):
            assert (gates[name].verdict, gates[name].sentence) == ("skipped", reason)
        assert gates["vector_lengths"].verdict == "skipped"

    def test_the_refusal_names_what_failed(self, tmp_path: Path) -> None:
        evidence = Evidence(gain=Interval(-0.1, -0.2, -0.05), validation_overlap=4)
        gates = judge(self.facts(evidence=evidence, candidates=4), Thresholds(), ["gain"])
        report = write_report(str(tmp_path), gates)
        assert write_report(str(tmp_path), gates) == report
        with pytest.raises(GateError) as error:
            require_pass(gates, report)
        assert str(error.value) == (
            "2 of 30 gates failed, so nothing was published:\n"
            "  coverage: the number of candidates without exactly one row is 1, allowed is at most 0. This is a "
            "defect of the pipeline.\n"
            "  validation_overlap: the number of validation queries in the bank is 4, allowed is at most 0. Take the "
            "validation queries out of the bank.\n"
            f"All gates are listed in {report}. Where the change is meant, run the same command again with "
            "--accept coverage --accept validation_overlap; finished work is kept."
        )
        assert GateError.exit_code == 10
        require_pass(judge(self.facts(), Thresholds()), "nowhere")
