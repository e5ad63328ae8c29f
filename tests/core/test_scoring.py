"""score_block against whole-number brute force, bit for bit, on inputs chosen to break the fast path."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import faiss
import numpy as np
import numpy.typing as npt
import oracles
import pyarrow as pa
import pytest
from fakes import grid_vectors, make_block
from hypothesis import given, settings
from hypothesis import strategies as st

from nnn_core import scoring
from nnn_core.references import ReferenceIndex, use_threads
from nnn_core.scoring import SLACK, error_bound, score_block
from nnn_core.topk import TopK
from nnn_core.vectors import to_grid, unit_vectors

Vectors = npt.NDArray[np.float32]


def make_index(vectors: Vectors, pair_ids: Sequence[str] | None = None) -> ReferenceIndex:
    if pair_ids is None:
        return ReferenceIndex(vectors)
    encoded = pa.array(pair_ids, pa.string()).dictionary_encode()
    return ReferenceIndex(vectors, encoded.dictionary, encoded.indices.to_numpy().astype(np.int64))


def check(
    candidates: Vectors,
    references: Vectors,
    k: int,
    ids: Sequence[str] | None = None,
    pair_ids: Sequence[str] | None = None,
    reference_pairs: Sequence[str] | None = None,
) -> TopK:
    """Compare with brute force to the bit, and hand the result on."""
    block = make_block(candidates, ids, pair_ids)
    top = score_block(block, make_index(references, reference_pairs), k)
    own = np.zeros((len(candidates), len(references)), bool)
    if reference_pairs is not None:
        names = list(zip(block.ids.to_pylist(), block.pair_ids.to_pylist(), strict=True))
        own = np.array([[pair in name for pair in reference_pairs] for name in names])
    assert top.k == k
    oracles.assert_same_bits(top.seen, (~own).sum(axis=1).astype(np.int64))
    scores = oracles.exact_scores(candidates, references)
    oracles.assert_same_bits(top.scores, oracles.padded(oracles.highest(scores, k, own)))
    return top


class Counted(ReferenceIndex):
    """An index that counts how many candidates were searched."""

    searched = 0

    def search(self, candidates: Vectors, k: int) -> tuple[Vectors, npt.NDArray[np.int64]]:
        type(self).searched += len(candidates)
        return super().search(candidates, k)


@pytest.fixture
def exhausted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each call of the exhaustive path was given."""
    rows: list[int] = []
    original = scoring._score_exhaustively

    def spy(candidates: Vectors, *rest: object) -> Vectors:
        rows.append(len(candidates))
        return original(candidates, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(scoring, "_score_exhaustively", spy)
    return rows


@pytest.mark.parametrize(("rows", "references", "dim", "k"), [(200, 900, 24, 16), (37, 3000, 64, 1), (5, 400, 3, 100)])
def test_random_vectors_by_selection(rows: int, references: int, dim: int, k: int, exhausted: list[int]) -> None:
    check(grid_vectors(rows, dim, 1), grid_vectors(references, dim, 2), k)
    assert sum(exhausted) < rows / 4  # the fast path did the work


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("tile", [1, 7, 19, 20, 64, 4096])
def test_bits_do_not_depend_on_tiles_or_threads(threads: int, tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAISS itself changes its arithmetic at 20 queries; the result does not."""
    monkeypatch.setattr(scoring, "_TILE_ROWS", tile)
    monkeypatch.setattr(scoring, "_RESCORE_ROWS", max(1, tile // 3))
    before = faiss.omp_get_max_threads()
    use_threads(threads)
    try:
        check(grid_vectors(65, 40, 1), grid_vectors(500, 40, 2), 9)
    finally:
        use_threads(before)


@pytest.mark.parametrize("limit", [8, 2000, 20_000])
def test_bits_do_not_depend_on_exhaustive_tiles(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "_EXHAUSTIVE_BYTES", limit)
    pairs = [f"c{number % 40}" for number in range(70)]
    check(grid_vectors(33, 24, 1), grid_vectors(70, 24, 2), 50, reference_pairs=pairs)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("beyond", [-1, 0, 1, 2])
@pytest.mark.parametrize("k", [1, 5, 60])
def test_boundary_between_exhaustive_and_selected(k: int, beyond: int, masked: bool, exhausted: list[int]) -> None:
    rows = 2 * (k + SLACK + (8 if masked else 0)) + beyond
    pairs = [f"c{number}" for number in range(rows)] if masked else None
    check(grid_vectors(12, 16, 1), grid_vectors(rows, 16, 2), k, reference_pairs=pairs)
    assert (sum(exhausted) >= 12) == (beyond <= 0)


@pytest.mark.parametrize("rows", [1, 2, 10, 33])
@pytest.mark.parametrize("k", [1, 9, 10, 11, 1000])
def test_k_around_the_size_of_the_bank(rows: int, k: int) -> None:
    top = check(grid_vectors(4, 8, 1), grid_vectors(rows, 8, 2), k)
    assert top.scores.shape == (4, min(k, rows))


@pytest.mark.parametrize("references", [1, 500])
def test_one_candidate(references: int) -> None:
    check(grid_vectors(1, 8, 1), grid_vectors(references, 8, 2), 3)


@pytest.mark.parametrize("pairs", [None, ["a", "b"]])
def test_no_candidate(pairs: list[str] | None) -> None:
    top = score_block(make_block(grid_vectors(0, 8, 1)), make_index(grid_vectors(2, 8, 2), pairs), 3)
    assert (top.scores.shape, top.seen.shape) == ((0, 0), (0,))


def test_all_references_are_equal(exhausted: list[int]) -> None:
    check(grid_vectors(30, 32, 1), np.repeat(grid_vectors(1, 32, 2), 700, axis=0), 8)
    assert sum(exhausted) == 30  # no certificate can be given


def test_thousands_of_near_duplicates(exhausted: list[int]) -> None:
    """Scores that differ by less than float32 resolves, so FAISS picks the wrong ones."""
    rng = np.random.default_rng(3)
    base = grid_vectors(1, 48, 2).astype(np.float64)
    references = to_grid(np.clip(base + rng.integers(-1, 2, (4000, 48)) * 2.0**-25, -1, 1))
    candidates = grid_vectors(40, 48, 1)
    check(candidates, references, 10)
    assert sum(exhausted) > 0
    wide = faiss.knn(candidates, references, 10, metric=faiss.METRIC_INNER_PRODUCT)[1]
    exact = candidates.astype(np.float64) @ references.astype(np.float64).T
    missed = [set(wide[row]) != set(np.argsort(-exact[row], kind="stable")[:10]) for row in range(40)]
    assert any(missed)  # the input is hostile indeed


@pytest.mark.parametrize("copies", [2, 17, 40])
def test_exact_ties(copies: int) -> None:
    references = np.repeat(grid_vectors(30, 16, 2), copies, axis=0)[np.random.default_rng(0).permutation(30 * copies)]
    check(grid_vectors(25, 16, 1), references, 12)


@pytest.mark.parametrize("k", [1, 4, 100])
def test_candidates_that_are_references(k: int) -> None:
    vectors = grid_vectors(300, 20, 1)
    top = check(vectors, vectors, k)
    np.testing.assert_allclose(top.scores[:, 0], 1.0, atol=2e-7)


def test_opposite_and_orthogonal_vectors() -> None:
    axes = np.concatenate([np.eye(8), -np.eye(8)]).astype(np.float32)
    check(axes, np.repeat(axes, 20, axis=0), 30)
    check(axes, np.repeat(axes, 20, axis=0), 300)


def test_zeros_carry_no_sign() -> None:
    """Products that are all -0 still sum to one and the same zero."""
    candidates = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -0.0], [-0.0, -1.0]], np.float32)
    references = np.array([[-0.0, -1.0], [-1.0, -0.0], [0.0, 1.0], [-0.0, 1.0], [0.0, -1.0]], np.float32)
    for repeats, k in ((1, 5), (40, 90), (40, 199)):
        check(candidates, np.repeat(references, repeats, axis=0), k)


def test_every_doubtful_row_is_scored_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A selection that returns the worst references: the certificate must refuse all of it."""

    def worst(self: ReferenceIndex, candidates: Vectors, k: int) -> tuple[Vectors, npt.NDArray[np.int64]]:
        exact = oracles.exact_scores(candidates, self.vectors)
        positions = np.argsort(-exact, axis=1, kind="stable")
        positions = np.concatenate([positions[:, 1:k], positions[:, k : k + 1]], axis=1)
        kept = np.take_along_axis(exact, positions, axis=1)
        # The best was missed within the error of float32: what was kept claims to be as good.
        return (kept + (exact.max(axis=1) - kept[:, -1])[:, None]).astype(np.float32), positions

    monkeypatch.setattr(ReferenceIndex, "search", worst)
    check(grid_vectors(20, 16, 1), grid_vectors(400, 16, 2), 5)


@pytest.mark.parametrize("dim", [2, 64, 512, 2048])
def test_error_bound_holds_for_faiss(dim: int) -> None:
    """With room to spare, in both of the library's kernels (fewer than 20 queries, and more)."""
    references = np.concatenate([grid_vectors(300, dim, 2), unit_vectors(np.ones((1, dim)))[0]])
    for rows in (5, 50):
        candidates = np.concatenate([grid_vectors(rows, dim, 1), unit_vectors(np.ones((1, dim)))[0]])
        found, positions = ReferenceIndex(references).search(candidates, 301)
        exact = candidates.astype(np.float64) @ references.astype(np.float64).T
        error = np.abs(found - np.take_along_axis(exact, positions, axis=1)).max()
        assert error <= error_bound(dim) / 2
    assert 2 * dim * 2.0**-24 < error_bound(dim) < 2.01 * dim * 2.0**-24


@pytest.mark.parametrize("references", [30, 900])
def test_no_pair_is_its_own(references: int) -> None:
    check(grid_vectors(20, 16, 1), grid_vectors(references, 16, 2), 6, reference_pairs=["other"] * references)


@pytest.mark.parametrize("own", [1, 7, 8, 9, 10, 40, 880])
def test_own_pairs_are_left_out(own: int) -> None:
    """``own`` references of every tenth candidate, the most similar ones, so that each is selected."""
    references, candidates = grid_vectors(900, 16, 2), grid_vectors(30, 16, 1)
    pairs = [f"someone {number}" for number in range(900)]
    for row in range(0, 30, 10):
        for position in np.argsort(-(candidates[row] @ references.T))[:own]:
            pairs[position] = f"c{row}"
    top = check(candidates, references, 12, reference_pairs=pairs)
    assert (top.seen[1], top.seen[20]) == (900, 900 - own)


def test_the_whole_bank_is_its_own() -> None:
    for rows in (3, 400):
        top = check(grid_vectors(2, 16, 1), grid_vectors(rows, 16, 2), 5, ["a", "b"], reference_pairs=["a"] * rows)
        assert top.seen.tolist() == [0, rows]
        top = check(grid_vectors(1, 16, 1), grid_vectors(rows, 16, 2), 5, ["a"], reference_pairs=["a"] * rows)
        assert top.scores.shape == (1, 0)


@pytest.mark.parametrize("references", [40, 600])
def test_id_and_pair_id_are_both_left_out_once(references: int) -> None:
    """Captions ``x#0`` of an image ``x``: what belongs to either name does not count."""
    ids = ["x#0", "x#1", "y", "z#0", "nobody"]
    pair_ids = ["x", "x", "y", "z", "nothing"]
    pairs = [["x", "x#0", "y", "z", "z#0", "else"][number % 6] for number in range(references)]
    top = check(grid_vectors(5, 16, 1), grid_vectors(references, 16, 2), 20, ids, pair_ids, pairs)
    counts = [pairs.count("x#0") + pairs.count("x"), pairs.count("x"), pairs.count("y")]
    assert (references - top.seen)[:3].tolist() == counts
    assert top.seen[4] == references


def test_pair_ids_are_compared_as_text() -> None:
    ids = ["", "7", "07", "é", "e\u0301", "a\x00b"]
    check(grid_vectors(6, 16, 1), grid_vectors(300, 16, 2), 20, ids, reference_pairs=ids * 50)


@settings(max_examples=120)
@given(st.data())
def test_any_small_case(data: st.DataObject) -> None:
    """Vectors from a handful of directions, so that ties and near-ties are the rule."""
    dim = data.draw(st.integers(1, 6))
    rows, references = data.draw(st.integers(1, 8)), data.draw(st.integers(1, 150))
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    pool = grid_vectors(data.draw(st.integers(1, 9)), dim, int(rng.integers(10**6)))
    nudge = rng.integers(-1, 2, (references, dim)) * 2.0**-25 * data.draw(st.sampled_from([0, 1]))
    bank = to_grid(np.clip(pool[rng.integers(0, len(pool), references)] + nudge, -1, 1))
    names = [f"c{number}" for number in range(6)]
    pairs = [names[number] for number in rng.integers(0, 6, references)]
    check(
        pool[rng.integers(0, len(pool), rows)],
        bank,
        data.draw(st.integers(1, 160)),
        [names[number] for number in rng.integers(0, 6, rows)],
        [names[number] for number in rng.integers(0, 6, rows)],
        data.draw(st.sampled_from([None, pairs])),
    )


@pytest.mark.parametrize("cuts", [(0, 300), (0, 1, 300), (0, 100, 101, 250, 300)])
def test_bits_do_not_depend_on_how_the_bank_is_cut(cuts: tuple[int, ...]) -> None:
    candidates, references = grid_vectors(20, 24, 1), grid_vectors(300, 24, 2)
    pairs = [f"c{number % 25}" for number in range(300)]
    block = make_block(candidates)
    merged = TopK.empty(70, 20)
    for first, last in itertools.pairwise(cuts):
        merged = merged | score_block(block, make_index(references[first:last], pairs[first:last]), 70)
    whole = score_block(block, make_index(references, pairs), 70)
    oracles.assert_same_bits(merged.scores, whole.scores)
    oracles.assert_same_bits(merged.seen, whole.seen)
