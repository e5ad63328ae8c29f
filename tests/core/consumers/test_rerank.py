"""Re-ranking a plain top K: the order, the gate, and how large K must be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from fakes import grid_vectors

from nnn_core.consumers.rerank import Reranker, check_target, count_at_least, needed_depth, plain_scores
from nnn_core.errors import ConfigError, CorruptArtifactError, InputError, StorageError
from nnn_core.evaluation.rankings import Ranking

ROWS, DIM = 400, 16
IDS = [f"c{row}" for row in range(ROWS)]
VECTORS, QUERIES = grid_vectors(ROWS, DIM, 1), grid_vectors(30, DIM, 2)
BIAS = (0.2 + 0.2 * np.random.default_rng(3).random(ROWS)).astype(np.float32)
PLAIN = QUERIES.astype(np.float64) @ VECTORS.astype(np.float64).T
EXACT = Ranking.of(QUERIES, VECTORS, IDS, BIAS)


def reranker(bias: dict[str, float], gated: bool = False) -> Reranker:
    ids = pa.chunked_array([pa.array(list(bias))])
    return Reranker.of(ids, np.array(list(bias.values()), np.float32), gated)


def test_the_whole_index_re_ranked_is_the_exact_order() -> None:
    whole = Reranker.of(pa.chunked_array([pa.array(IDS)]), BIAS)
    for query, exact in zip(PLAIN, EXACT.ids, strict=True):
        order = np.random.default_rng(0).permutation(ROWS)
        found = whole.rerank([IDS[row] for row in order], query[order].tolist(), 10)
        assert [name for name, _ in found] == exact


def test_scores_are_debiased_and_ties_in_order_of_id() -> None:
    found = reranker({"a": 0.25, "b": 0.5, "c": 0.0}).rerank(["c", "b", "a"], [0.5, 1.0, 0.75])
    assert found == [("a", 0.5), ("b", 0.5), ("c", 0.5)]
    assert reranker({"a": 0.25}).rerank([], []) == []


def test_a_weight_scales_the_bias() -> None:
    hits = (["c", "b", "a"], [0.5, 1.0, 0.75])
    assert reranker({"a": 0.25, "b": 0.5, "c": 0.0}).rerank(*hits, weight=0.0) == [("b", 1.0), ("a", 0.75), ("c", 0.5)]
    assert reranker({"a": 0.25, "b": 0.5, "c": 0.0}).rerank(*hits, 1, weight=0.5) == [("b", 0.75)]
    with pytest.raises(ConfigError, match="weight nan is not a finite number"):
        reranker({"a": 0.25}).rerank(["a"], [0.5], weight=float("nan"))


@pytest.mark.parametrize("score", [1.01, -3.0, float("nan"), float("inf")])
def test_scores_of_other_vectors_than_unit_ones_are_refused(score: float) -> None:
    with pytest.raises(InputError, match="inner products of unit vectors lie between -1 and 1"):
        reranker({"a": 0.25, "b": 0.5}).rerank(["a", "b"], [0.5, score])


def test_a_hit_without_a_bias_has_the_mean_by_request() -> None:
    found = reranker({"a": 0.25, "b": 0.5, "c": 0.0})
    with pytest.raises(InputError, match=r"1 of 2 candidates have no bias in the table \(first: 'new'\)"):
        found.rerank(["a", "new"], [0.5, 0.75])
    assert found.rerank(["a", "new"], [0.5, 0.75], missing="mean") == [("new", 0.5), ("a", 0.25)]
    with pytest.raises(ConfigError, match="choose 'error' or 'mean'"):
        found.rerank(["a"], [0.5], missing="zero")  # type: ignore[arg-type]
    hubs = {**{f"n{row}": 0.1 + row / 1000 for row in range(20)}, "hub": 0.9}
    assert reranker(hubs, gated=True).rerank(["new", "n1"], [0.6, 0.5], missing="mean") == [("new", 0.6), ("n1", 0.5)]


def test_ids_may_be_whole_numbers() -> None:
    found = reranker({"7": 0.25, "12": 0.5, "100": 0.0})
    wanted = [(7, 0.5), (12, 0.5), (100, 0.5)]
    assert found.rerank([100, 12, 7], [0.5, 1.0, 0.75]) == wanted
    assert found.rerank(np.array([100, 12, 7]), [0.5, 1.0, 0.75]) == wanted
    assert found.rerank(pa.array([100, 12, 7]), [0.5, 1.0, 0.75], 1) == wanted[:1]
    with pytest.raises(InputError, match=r"7\.5 is not an id: ids are strings or whole numbers, not float"):
        found.rerank([7.5], [0.5])  # type: ignore[list-item]


def test_a_saved_re_ranker_is_mapped_and_the_same(tmp_path: Path) -> None:
    whole = Reranker.of(pa.chunked_array([pa.array(IDS)]), BIAS, deviations=1.0)
    whole.save(folder := str(tmp_path / "new" / "saved"))
    mapped = Reranker.open(folder, gated=True)
    assert mapped.gated
    for name in ("data", "offsets", "slots"):
        assert getattr(mapped.index, name).tobytes() == getattr(whole.index, name).tobytes()
        assert not getattr(mapped.index, name).flags.owndata
    assert (mapped.bias.tobytes(), mapped.hub.tobytes(), mapped.mean) == (
        whole.bias.tobytes(),
        whole.hub.tobytes(),
        whole.mean,
    )
    for query in PLAIN[:5]:
        assert Reranker.open(folder).rerank(IDS, query.tolist(), 10) == whole.rerank(IDS, query.tolist(), 10)
    with pytest.raises(StorageError, match="exists already and was left as it is"):
        whole.save(folder)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["saved"]
    with pytest.raises(InputError, match="is not a folder of a re-ranker"):
        Reranker.open(str(tmp_path / "nowhere"))
    path = Path(folder) / "slots.npy"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(CorruptArtifactError, match=r"saved' is damaged: .* Delete it and save it again"):
        Reranker.open(folder)


def test_only_hubs_at_the_top_open_the_gate() -> None:
    bias = {**{f"n{row}": 0.1 + row / 1000 for row in range(20)}, "hub": 0.9}
    gated, always = reranker(bias, gated=True), reranker(bias)
    assert [name for name, hub in zip(bias, gated.hub, strict=True) if hub] == ["hub"]
    led_by_hub = (["hub", "n0", "n19"], [0.9, 0.5, 0.51])
    assert gated.rerank(*led_by_hub) == always.rerank(*led_by_hub)
    # The plain top 1 is no hub: the plain order stands, though the bias would change it.
    led_by_another = (["n0", "n19", "hub"], [0.50, 0.51, 0.49])
    assert gated.rerank(*led_by_another) == [("n19", 0.51), ("n0", 0.50), ("hub", 0.49)]
    assert [name for name, _ in always.rerank(*led_by_another)] == ["n0", "n19", "hub"]


def test_hubs_are_far_above_the_median_not_below() -> None:
    def hubs(bias: np.ndarray, *deviations: float) -> np.ndarray:
        return Reranker.of(pa.chunked_array([pa.array(["x"] * len(bias))]), bias, False, *deviations).hub

    values = np.array([*np.linspace(0.1, 0.2, 21), 0.9, -0.9], np.float32)
    assert np.flatnonzero(hubs(values)).tolist() == [21]
    assert not hubs(values, 1e6).any()
    assert not hubs(np.full(5, 0.3, np.float32)).any()


@pytest.mark.parametrize(("ids", "scores"), [(["a", "x"], [1.0, 0.5]), (["a"], [1.0, 0.5])])
def test_hits_that_cannot_be_ranked(ids: list[str], scores: list[float]) -> None:
    with pytest.raises(InputError, match=r"'x'|one score for each id"):
        reranker({"a": 0.25}).rerank(ids, scores)


def test_biases_from_files(tmp_path: Path) -> None:
    whole, uris = Reranker.of(pa.chunked_array([pa.array(IDS)]), BIAS, deviations=1.0), []
    for number, rows in enumerate((slice(0, 250), slice(250, ROWS))):
        uris.append(str(tmp_path / f"{number}.parquet"))
        Path(uris[-1]).write_bytes(whole.to_bytes(rows))
    loaded = Reranker.load(uris, gated=True)
    assert (loaded.index.texts(slice(None)).to_pylist(), loaded.gated) == (IDS, True)
    np.testing.assert_array_equal(loaded.bias, BIAS)
    np.testing.assert_array_equal(loaded.hub, whole.hub)
    Path(uris[0]).write_bytes(b"PAR1 no")
    with pytest.raises(CorruptArtifactError, match="not a file of biases"):
        Reranker.load(uris)
    with pytest.raises(InputError, match="no file was named"):
        Reranker.load([])


def ranks() -> list[np.ndarray]:
    """The plain rank of each of the exact top 10, by sorting."""
    order = np.argsort(-PLAIN, axis=1, kind="stable")
    places = [{IDS[row]: rank for rank, row in enumerate(query, start=1)} for query in order]
    return [np.array([place[name] for name in row]) for place, row in zip(places, EXACT.ids, strict=True)]


def test_plain_ranks_are_counted_shard_by_shard() -> None:
    bias = dict(zip(IDS, BIAS, strict=True))
    scores = plain_scores(EXACT, [np.array([bias[name] for name in row], np.float32) for row in EXACT.ids])
    place = {name: row for row, name in enumerate(IDS)}
    for query, (row, names) in enumerate(zip(scores, EXACT.ids, strict=True)):
        np.testing.assert_array_equal(row, PLAIN[query, [place[name] for name in names]])
    parts = [count_at_least(QUERIES, VECTORS[rows], scores) for rows in (slice(0, 37), slice(37, ROWS))]
    for one, other, wanted in zip(*parts, ranks(), strict=True):
        np.testing.assert_array_equal(one + other, wanted)


def test_equal_scores_count_against_a_candidate() -> None:
    vectors = np.stack([VECTORS[0]] * 3)
    scores = [np.array([float(PLAIN[0, 0])])]
    assert count_at_least(QUERIES[:1], vectors, scores)[0].tolist() == [3]


@pytest.mark.parametrize("target", [0.5, 0.9, 0.99, 1.0])
def test_the_depth_is_the_least_that_reaches_the_target(target: float) -> None:
    depths = needed_depth(ranks(), target, ROWS)

    def kept(depth: int) -> float:
        return float(np.mean([(row <= depth).mean() for row in ranks()]))

    assert kept(depths.needed) >= target - 1e-12
    assert depths.needed == 10 or kept(depths.needed - 1) < target - 1e-12
    assert kept(depths.complete) == 1.0 > kept(depths.complete - 1)
    assert all(share == pytest.approx(kept(depth)) for depth, share in depths.overlap)


def test_small_indexes() -> None:
    depths = needed_depth([np.array([1, 2, 3])], 1.0, 3)
    assert (depths.needed, depths.complete, depths.overlap) == (3, 3, ((3, 1.0),))


@pytest.mark.parametrize("target", [0.0, 1.01, float("nan")])
def test_targets_that_are_no_share(target: float) -> None:
    with pytest.raises(InputError, match="--target-overlap"):
        check_target(target)
