"""score_block against whole-number brute force, bit for bit, on inputs chosen to break the fast path."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import oracles
import pyarrow as pa
import pytest
import torch
from fakes import grid_vectors, make_block
from hypothesis import given
from hypothesis import strategies as st
from llvmlite import ir
from numba import njit

from nnn_core.scoring import score
from nnn_core.scoring.bank import ReferenceIndex
from nnn_core.scoring.score import score_block
from nnn_core.scoring.search import _device, exact
from nnn_core.scoring.search import _lanes as lanes
from nnn_core.scoring.search import _prefilter as prefilter
from nnn_core.scoring.search import _rounding as rounding
from nnn_core.scoring.search import _selection as selection
from nnn_core.scoring.search._device import DeviceSearch
from nnn_core.scoring.search._prefilter import PrefilterSearch
from nnn_core.scoring.search._rounding import NARROW, WIDE, Format, PackedReferences, Rounded
from nnn_core.scoring.search._selection import Tile
from nnn_core.scoring.search.exact import ExactSearch
from nnn_core.scoring.search.searches import Search
from nnn_core.scoring.topk import TopK
from nnn_core.vectors import error_bound, to_grid, unit_vectors

Vectors = npt.NDArray[np.float32]


#: Every search whose result is exact, on arithmetic that any machine has.
SEARCHES: dict[str, Callable[[ReferenceIndex], Search]] = {
    "exact": ExactSearch,
    "prefilter": PrefilterSearch.of,
    "device": lambda index: DeviceSearch.of(index, "cpu"),
}
if torch.cuda.is_available():  # without a card test_fused.py runs the kernels, slowly
    SEARCHES["kernels"] = lambda index: DeviceSearch.of(index, fused=True)


@pytest.fixture(autouse=True)
def small_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the kernels work on the small banks of these tests."""
    monkeypatch.setattr(_device, "_SAMPLED", 2)
    monkeypatch.setattr(_device, "_MAXIMA", 64)


@pytest.fixture(params=SEARCHES)
def method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def make_index(vectors: Vectors, pair_ids: Sequence[str] | None = None) -> ReferenceIndex:
    return ReferenceIndex.of(vectors, None if pair_ids is None else pa.chunked_array([pa.array(pair_ids, pa.string())]))


def check(
    method: str,
    candidates: Vectors,
    references: Vectors,
    k: int,
    ids: Sequence[str] | None = None,
    pair_ids: Sequence[str] | None = None,
    reference_pairs: Sequence[str] | None = None,
    **changes: int,
) -> TopK:
    """Compare with brute force to the bit, and hand the result on."""
    block = make_block(candidates, ids, pair_ids)
    search = dataclasses.replace(SEARCHES[method](make_index(references, reference_pairs)), **changes)  # type: ignore[type-var]
    top = score_block(block, search, k)
    own = oracles.own_pairs(block.ids.to_pylist(), block.pair_ids.to_pylist(), len(references), reference_pairs)
    assert top.k == k
    oracles.assert_same_bits(top.seen, (~own).sum(axis=1).astype(np.int64))
    scores = oracles.exact_scores(candidates, references)
    oracles.assert_same_bits(top.scores, oracles.padded(oracles.highest(scores, k, own)))
    return top


@pytest.fixture
def exhausted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each call of the exhaustive path was given."""
    rows: list[int] = []
    original = exact._score_exhaustively

    def spy(tile: Tile, index: ReferenceIndex, k: int) -> Vectors:
        rows.append(len(tile.vectors))
        return original(tile, index, k)

    monkeypatch.setattr(exact, "_score_exhaustively", spy)
    return rows


@pytest.mark.parametrize(("rows", "references", "dim", "k"), [(200, 900, 24, 16), (37, 3000, 64, 1), (5, 400, 3, 100)])
def test_random_vectors(method: str, rows: int, references: int, dim: int, k: int, exhausted: list[int]) -> None:
    check(method, grid_vectors(rows, dim, 1), grid_vectors(references, dim, 2), k)
    assert not exhausted  # selection did the work


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("tile", [1, 7, 64, 4096])
def test_bits_do_not_depend_on_tiles_or_threads(
    method: str, threads: int, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score, "_ALONE", 0)  # threads are worth it
    candidates, references = grid_vectors(65, 40, 1), grid_vectors(500, 40, 2)
    search = dataclasses.replace(SEARCHES[method](make_index(references)), tile_rows=tile)  # type: ignore[type-var]
    top = score_block(make_block(candidates), search, 9, threads)
    scores = oracles.exact_scores(candidates, references)
    oracles.assert_same_bits(top.scores, oracles.padded(oracles.highest(scores, 9)))


@pytest.mark.parametrize(("alone", "started"), [(65 * 40 * 500 + 1, 0), (65 * 40 * 500, 1)])
def test_no_threads_start_for_what_one_has_done_sooner(
    alone: int, started: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pools: list[int] = []
    real = score.ThreadPoolExecutor

    def counted(threads: int) -> object:
        pools.append(threads)
        return real(threads)

    monkeypatch.setattr(score, "ThreadPoolExecutor", counted)
    monkeypatch.setattr(score, "_ALONE", alone)
    search = SEARCHES["exact"](make_index(grid_vectors(500, 40, 2)))
    score_block(make_block(grid_vectors(65, 40, 1)), search, 9, threads=2)
    assert len(pools) == started


@pytest.mark.parametrize("slab", [1, 15, 16, 17, 100])
def test_bits_do_not_depend_on_slabs(slab: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "SLAB_ROWS", slab)
    check("exact", grid_vectors(33, 24, 1), grid_vectors(270, 24, 2), 50)


@pytest.mark.parametrize("slab", [1, 30, 100])
@pytest.mark.parametrize("repeats", [1, 3])
def test_exhaustive_slabs(slab: int, repeats: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "_EXHAUSTIVE_SLAB", slab)
    references = np.repeat(grid_vectors(70, 24, 2), repeats, axis=0)
    candidates = grid_vectors(33, 24, 1)
    pairs = [f"c{number // 9 % 40}" for number in range(70 * repeats)]
    index = make_index(references, pairs)
    block = make_block(candidates)
    tile = Tile(candidates, index.own_codes(block.ids, block.pair_ids))
    own = np.array([[pair == row for pair in pairs] for row in block.ids.to_pylist()])
    expected = oracles.highest(oracles.exact_scores(candidates, references), 50, own)
    oracles.assert_same_bits(exact._score_exhaustively(tile, index, 50), oracles.padded(expected))


@pytest.mark.parametrize("rows", [1, 2, 10, 33])
@pytest.mark.parametrize("k", [1, 9, 10, 11, 1000])
def test_k_around_the_size_of_the_bank(method: str, rows: int, k: int) -> None:
    top = check(method, grid_vectors(4, 8, 1), grid_vectors(rows, 8, 2), k)
    assert top.scores.shape == (4, min(k, rows))


@pytest.mark.parametrize("references", [1, 500])
def test_one_candidate(method: str, references: int) -> None:
    check(method, grid_vectors(1, 8, 1), grid_vectors(references, 8, 2), 3)


@pytest.mark.parametrize("pairs", [None, ["a", "b"]])
def test_no_candidate(method: str, pairs: list[str] | None) -> None:
    search = SEARCHES[method](make_index(grid_vectors(2, 8, 2), pairs))
    top = score_block(make_block(grid_vectors(0, 8, 1)), search, 3)
    assert (top.scores.shape, top.seen.shape) == ((0, 0), (0,))


def test_all_references_are_equal(method: str, exhausted: list[int]) -> None:
    check(method, grid_vectors(30, 32, 1), np.repeat(grid_vectors(1, 32, 2), 700, axis=0), 8)
    assert not exhausted  # equal references are searched as one


def test_thousands_of_near_duplicates(method: str, exhausted: list[int]) -> None:
    """Scores that differ by less than float32 resolves, so that any selection in float32 picks wrong ones."""
    rng = np.random.default_rng(3)
    base = grid_vectors(1, 48, 2).astype(np.float64)
    references = to_grid(np.clip(base + rng.integers(-1, 2, (4000, 48)) * 2.0**-25, -1, 1))
    candidates = grid_vectors(40, 48, 1)
    check(method, candidates, references, 10)
    assert (sum(exhausted) > 0) == (method != "prefilter")  # which takes the common part out first
    narrow = candidates @ references.T
    exactly = oracles.exact_scores(candidates, references)
    missed = [set(np.argsort(-narrow[row])[:10]) != set(np.argsort(-exactly[row])[:10]) for row in range(40)]
    assert any(missed)  # the input is hostile indeed


def test_near_duplicates_of_a_few_directions(method: str) -> None:
    """Clouds of a thousand each: the k-th best is one of very many, but the reservoirs need not overflow."""
    rng = np.random.default_rng(4)
    base = np.repeat(grid_vectors(5, 32, 2).astype(np.float64), 300, axis=0)
    references = to_grid(np.clip(base + rng.integers(-400, 401, base.shape) * 2.0**-25, -1, 1))
    check(method, grid_vectors(20, 32, 1), references, 16)


@pytest.mark.parametrize("copies", [2, 17, 40])
def test_exact_ties(method: str, copies: int) -> None:
    references = np.repeat(grid_vectors(30, 16, 2), copies, axis=0)[np.random.default_rng(0).permutation(30 * copies)]
    check(method, grid_vectors(25, 16, 1), references, 12)


@pytest.mark.parametrize("k", [1, 4, 100])
def test_candidates_that_are_references(method: str, k: int) -> None:
    vectors = grid_vectors(300, 20, 1)
    top = check(method, vectors, vectors, k)
    np.testing.assert_allclose(top.scores[:, 0], 1.0, atol=2e-7)


def test_opposite_and_orthogonal_vectors(method: str) -> None:
    axes = np.concatenate([np.eye(8), -np.eye(8)]).astype(np.float32)
    check(method, axes, np.repeat(axes, 20, axis=0), 30)
    check(method, axes, np.repeat(axes, 20, axis=0), 300)


def test_zeros_carry_no_sign(method: str) -> None:
    """Products that are all -0 still sum to one and the same zero."""
    candidates = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -0.0], [-0.0, -1.0]], np.float32)
    references = np.array([[-0.0, -1.0], [-1.0, -0.0], [0.0, 1.0], [-0.0, 1.0], [0.0, -1.0]], np.float32)
    for repeats, k in ((1, 5), (40, 90), (40, 199)):
        check(method, candidates, np.repeat(references, repeats, axis=0), k)


@pytest.mark.parametrize("dim", [2, 64, 512, 2048])
def test_error_bound_holds(dim: int) -> None:
    """With room to spare, for products of several shapes."""
    references = np.concatenate([grid_vectors(300, dim, 2), unit_vectors(np.ones((1, dim)))[0]])
    for rows in (1, 5, 50):
        candidates = np.concatenate([grid_vectors(rows, dim, 1), unit_vectors(np.ones((1, dim)))[0]])
        wide = candidates.astype(np.float64) @ references.astype(np.float64).T
        assert np.abs(candidates @ references.T - wide).max() <= error_bound(dim) / 2
    assert 2 * dim * 2.0**-24 < error_bound(dim) < 2.01 * dim * 2.0**-24


@pytest.mark.parametrize("error", [0.5, 0.99])
def test_a_product_that_is_wrong_by_the_bound_changes_nothing(error: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every score is off by almost as much as float32 may be, in the worst direction."""
    candidates, references = grid_vectors(30, 16, 1), grid_vectors(2000, 16, 2)
    nudge = 1e-3  # so large a bound, that the order within it matters
    monkeypatch.setattr(exact, "error_bound", lambda dim: nudge)
    true = np.sort(oracles.exact_scores(candidates, references), axis=1)[:, -12:-11]

    def wrong(left: Vectors, right: Vectors, out: Vectors) -> Vectors:
        right_scores = left @ right
        kth = true[: len(left)]
        np.copyto(out, right_scores - error * nudge * np.sign(right_scores - kth))
        return out

    monkeypatch.setattr(exact.np, "matmul", wrong)
    check("exact", candidates, references, 12)


@pytest.mark.parametrize("rows", [1, 8, 33])
@pytest.mark.parametrize("references", [15, 16, 17, 1009])
def test_bits_do_not_depend_on_slabs_of_products(rows: int, references: int) -> None:
    """Banks and blocks of candidates around the sizes in which int8 vectors are multiplied."""
    check("prefilter", grid_vectors(rows, 23, 1), grid_vectors(references, 23, 2), 5)


def skewed(vectors: Vectors, power: float) -> Vectors:
    """The same with a falling spectrum: the first coordinates by far the largest."""
    return unit_vectors(vectors * (np.arange(vectors.shape[1]) + 1.0) ** -power)[0]


def outlying(vectors: Vectors, seed: int) -> Vectors:
    """The same with two coordinates as large as all others together, as real models have them."""
    signs = np.random.default_rng(seed).choice([0.9, 1.0, 1.1], (len(vectors), 2))
    return unit_vectors(np.concatenate([signs, vectors[:, 2:]], axis=1))[0]


def spiked(vectors: Vectors) -> Vectors:
    """The same, of which every seventh is next to an axis."""
    raw = vectors.copy()
    raw[::7] = 0.01 * raw[::7] + np.eye(vectors.shape[1], dtype=np.float32)[np.arange(len(raw[::7])) % vectors.shape[1]]
    return unit_vectors(raw)[0]


HOSTILE: dict[str, Callable[[Vectors], Vectors]] = {
    "skewed": lambda vectors: skewed(vectors, 1.0),
    "one direction": lambda vectors: skewed(vectors, 6.0),
    "outlier dimensions": lambda vectors: outlying(vectors, 5),
    "spikes": spiked,
    "equal rows": lambda vectors: vectors[np.arange(len(vectors)) // 9],
    "opposite rows": lambda vectors: np.concatenate([vectors[::2], -vectors[::2]]),
}


@pytest.mark.parametrize("shape", HOSTILE)
@pytest.mark.parametrize("dim", [20, 96])
def test_vectors_that_round_badly(method: str, shape: str, dim: int) -> None:
    candidates, references = HOSTILE[shape](grid_vectors(40, dim, 1)), HOSTILE[shape](grid_vectors(1500, dim, 2))
    check(method, candidates, references, 12)


@pytest.mark.parametrize("format", [WIDE, NARROW])
@pytest.mark.parametrize("dim", [1, 2, 3, 5, 48, 64, 100])
def test_turning_keeps_inner_products(dim: int, format: Format) -> None:
    vectors, centre = grid_vectors(60, dim, 1), grid_vectors(1, dim, 2)[0].astype(np.float64) / 2
    rounded = Rounded.of(vectors, centre, format)
    exactly = vectors - centre
    turned = rounded.whole * rounded.steps[:, None].astype(np.float64)
    norms = np.linalg.norm(exactly, axis=1)
    assert ((rounded.norms >= norms) & (rounded.norms <= norms * 1.0001)).all()
    gram, rests = turned @ turned.T, rounded.rests.astype(np.float64)
    slack = rests[:, None] * norms + (norms + rests)[:, None] * rests
    assert (np.abs(gram - exactly @ exactly.T) <= slack + 1e-12).all()
    largest = np.abs(rounded.whole).max(axis=1)
    assert largest.max() <= format.largest
    # Nothing of the range is left unused, but where the norm is the limit.
    assert ((largest == format.largest) | (paired_norms(rounded.whole).max(axis=1) > format.longest - 9)).all()


def test_turning_spreads_every_axis() -> None:
    """An outlier dimension of any vector comes to at most a few times the root mean square."""
    for dim in (64, 96, 512, 768, 1000):
        whole = Rounded.of(np.eye(dim, dtype=np.float32), np.zeros(dim), WIDE).whole[:, :dim].astype(np.float64)
        assert np.sqrt((whole**2).mean(axis=1)).min() > 127 / 5.5


def paired_norms(whole: npt.NDArray[np.int8]) -> npt.NDArray[np.float64]:
    """(rows, any) the norm of all numbers whose products are added to one int16."""
    parts = [
        whole[:, first : first + lanes.PAIRED][:, np.arange(min(lanes.PAIRED, whole.shape[1] - first)) // 2 % 2 == half]
        for first in range(0, whole.shape[1], lanes.PAIRED)
        for half in range(2)
    ]
    return np.stack([np.linalg.norm(part.astype(np.float64), axis=1) for part in parts], axis=1)


def turning(dim: int) -> npt.NDArray[np.float64]:
    """(dim, dim) what vectors are turned by: the axes, turned, side by side."""
    signs, columns = rounding._signs(dim), []
    for first in range(0, dim, rounding._LANES):
        axes = np.eye(dim, first + rounding._LANES)[:, first:].copy()
        rounding._transform(axes[: signs.shape[1]], signs[0])
        rounding._transform(axes[dim - signs.shape[1] :], signs[1])
        columns.append(axes)
    return np.concatenate(columns, axis=1)[:, :dim]


@pytest.mark.parametrize("dim", [4, 64, 100, 128, 512])
def test_no_sum_of_narrow_products_is_beyond_an_int16(dim: int) -> None:
    """Also of vectors whose turned coordinates are all equally large, or large in a few places only."""
    rng = np.random.default_rng(dim)
    hostile = np.concatenate([
        np.ones((1, dim)),
        rng.choice([-1.0, 1.0], (20, dim)),
        np.where(np.arange(dim) < rng.integers(1, dim + 1, (40, 1)), rng.choice([-1.0, 1.0], (40, dim)), 1e-3),
    ])  # fmt: skip
    vectors = unit_vectors(np.concatenate([hostile @ turning(dim), rng.standard_normal((50, dim))]))[0]
    norms = paired_norms(Rounded.of(vectors, np.zeros(dim), NARROW).whole)
    assert norms.max() <= NARROW.longest
    assert NARROW.longest**2 < 2**15
    if dim >= 128:
        assert norms.max() > NARROW.longest - 9  # the limit is reached, or this would show nothing


@pytest.mark.parametrize("shape", ["plain", *HOSTILE])
def test_products_are_within_their_bound(shape: str) -> None:
    """Of every candidate with every reference, and the bound is not empty."""
    change = HOSTILE.get(shape, lambda vectors: vectors)
    candidates, references = change(grid_vectors(40, 48, 1)), change(grid_vectors(500, 48, 2))
    search = PrefilterSearch.of(make_index(references))
    distinct = search.index.vectors[search.order].astype(np.float64)
    left = Rounded.of(candidates, np.zeros(48), search.packed.format)
    right = Rounded.of(search.index.vectors[search.order], search.mean, search.packed.format)
    products = oracles.integer_products(left.whole, right.whole) * left.steps[:, None].astype(np.float64) * right.steps
    off = np.abs(candidates.astype(np.float64) @ (distinct - search.mean).T - products)
    bound = left.rests[:, None] * search.widths[:, 0] + (left.norms + left.rests)[:, None] * search.widths[:, 1]
    assert (off <= bound).all()
    assert off.max() > bound.min() / 40


def test_a_reference_that_rounds_badly_widens_no_other_bound() -> None:
    """One whose turned coordinates are next to nothing but for one, so that its rest is half of it."""
    before = PrefilterSearch.of(make_index(grid_vectors(400, 64, 2)))
    after = dataclasses.replace(before, widths=before.widths.copy())
    after.widths[7] *= 50.0
    tile = Tile(grid_vectors(30, 64, 1), np.zeros((30, 0), np.int64))
    (_, _, alone), (_, missed, scored) = (search._select(tile, np.full(30, 5)) for search in (before, after))
    assert not missed.any()
    assert (scored <= alone + 1).all()
    assert scored.sum() > alone.sum()


@pytest.mark.parametrize("sampled", ["highest", "lowest", "none"])
def test_a_sample_that_misleads_changes_nothing(sampled: str) -> None:
    """References that are all near or all far from the candidates: thresholds are too high or of no use."""
    candidates, references = grid_vectors(30, 64, 1), grid_vectors(3000, 64, 2)
    search = PrefilterSearch.of(make_index(references))
    distinct = search.index.vectors[search.order]
    rounded = Rounded.of(distinct, search.mean, search.packed.format)
    ranked = np.argsort(-(candidates @ distinct.T), axis=1)
    rows = np.unique({"highest": ranked[:, :12], "lowest": ranked[:, -12:], "none": ranked[:, :0]}[sampled])
    misled = dataclasses.replace(search, sample=rows, packed_sample=PackedReferences.of(rounded[rows]))
    tile, need = Tile(candidates, np.zeros((30, 0), np.int64)), np.full(30, 40)
    _, missed, _ = misled._select(tile, need)
    assert missed.all() if sampled == "highest" else sampled == "lowest" or not missed.any()
    assert misled.top(tile, 40).tobytes() == ExactSearch(search.index).top(tile, 40).tobytes()


def add_four_products(self: Any, total: Any, left: Any, right: Any) -> Any:
    """What VNNI's instruction does, spelt out for processors that do not have it."""
    wide = ir.VectorType(ir.IntType(32), self.bytes.count)
    one, other = (self.builder.bitcast(each, self.bytes) for each in (left, right))
    products = self.builder.mul(self.builder.zext(one, wide), self.builder.sext(other, wide))
    return self.builder.add(total, self._pairs(self._pairs(products)))


@pytest.mark.parametrize(
    ("instructions", "format"), [("AVX-512 VNNI", WIDE), ("AVX-512 VNNI", NARROW), ("AVX2", NARROW), (None, NARROW)]
)
@pytest.mark.parametrize("dim", [4, 64, 128, 132, 516])
def test_products_of_bytes(instructions: str | None, format: Format, dim: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With each of the instructions that processors have, and without."""
    if instructions == "AVX2" and not lanes.has_avx2():
        pytest.skip("this processor has no AVX2")
    vnni = instructions == "AVX-512 VNNI"
    if vnni and not lanes.has_vnni():
        monkeypatch.setattr(lanes._Vectors, "add_products", add_four_products)
    for module in (lanes, rounding):
        monkeypatch.setattr(module, "has_vnni", lambda: vnni)
        monkeypatch.setattr(module, "GROUPS", 3 if vnni else 1)
    monkeypatch.setattr(lanes, "ROWS", 8 if vnni else 6)
    monkeypatch.setattr(lanes, "has_avx2", lambda: instructions == "AVX2")
    left, right = (Rounded.of(grid_vectors(rows, dim, rows), np.zeros(dim), format).whole for rows in (lanes.ROWS, 50))
    if format is WIDE:
        left[0], right[0], right[1] = 127, 127, -127
    else:  # as large as the sum of an int16 can be, in either sign
        most = np.where(np.arange(dim) % 4 < 2, np.where(np.arange(dim) % 128 < 16, 63, 0), 0)
        left[0], right[0], right[1] = most, most, -most
        assert paired_norms(left[:1]).max() <= format.longest
    packed = PackedReferences.of(Rounded(format, right, *np.ones((3, len(right)), np.float32)))
    assert packed.vectors.ctypes.data % 64 == 0  # or every load costs two
    assert len(packed.steps) >= 50 + lanes.LANES  # lists begin anywhere, and 16 steps are read from there

    @njit
    def multiply(candidates: Any, rows: Any, vectors: Any, starts: Any, products: Any) -> None:
        for group in range(0, len(vectors) - lanes.GROUPS + 1, lanes.GROUPS):
            lanes.multiply(candidates, rows, vectors, starts, group, products, group * lanes.LANES)

    products = np.zeros((lanes.ROWS, (4 + lanes.GROUPS) * lanes.LANES), np.int32)
    rows = np.random.default_rng(dim).permutation(lanes.ROWS)
    candidates = Rounded(format, left, *np.ones((3, len(left)), np.float32)).as_candidates
    multiply(candidates, rows, packed.vectors, packed.starts, products)
    oracles.assert_same_bits(products[:, :50].copy(), oracles.integer_products(left[rows], right))


def test_no_instruction_is_used_that_numba_is_told_not_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """LLVM would end the process."""
    monkeypatch.setattr(lanes.config, "CPU_NAME", "generic")
    assert lanes.int8_instructions() is None


def test_prefilter_falls_back_where_it_dismisses_too_little(monkeypatch: pytest.MonkeyPatch) -> None:
    fallen: list[int] = []
    original = ExactSearch.top

    def spy(self: ExactSearch, tile: Tile, k: int) -> Vectors:
        fallen.append(len(tile.vectors))
        return original(self, tile, k)

    monkeypatch.setattr(ExactSearch, "top", spy)
    monkeypatch.setattr(prefilter, "_MOST_SCORED", (96, 0, 0.0))
    base = np.repeat(grid_vectors(5, 16, 2).astype(np.float64), 600, axis=0)
    nudge = np.random.default_rng(0).integers(-40, 41, base.shape) * 2.0**-25
    check("prefilter", grid_vectors(50, 16, 1), to_grid(np.clip(base + nudge, -1, 1)), 8)
    assert 0 < sum(fallen) <= 50


@given(data=st.data())
def test_reservoirs_keep_the_highest(data: st.DataObject) -> None:
    """Without doubt exactly the need highest, of equal scores the last; with doubt all that may be among them."""
    rows, columns = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 120))
    values = data.draw(st.lists(st.integers(-9, 9), min_size=rows * columns, max_size=rows * columns))
    scores = np.array(values, np.float32).reshape(rows, columns)
    need = np.array([data.draw(st.integers(1, 12)) for _ in range(rows)])
    doubt = np.full((rows, 1), data.draw(st.sampled_from([0, 0, 1.5])), np.float32)
    cut = data.draw(st.integers(0, columns))
    reservoirs = selection.Reservoirs(need, doubt, 24 if doubt[0] == 0 else 200)
    order = data.draw(st.sampled_from([(0, 1), (1, 0)]))
    slabs = [(0, scores[:, :cut].copy()), (cut, scores[:, cut:].copy())]
    for number in order:
        reservoirs.offer(slabs[number][1], slabs[number][0])
    assert not reservoirs.finish().any()
    positions, counts = reservoirs.kept
    for row in range(rows):
        ranked = sorted(range(columns), key=lambda at: (scores[row, at], at), reverse=True)
        kept = set(positions[row, : counts[row]].tolist())
        assert set(positions[row, : min(need[row], columns)].tolist()) == set(ranked[: need[row]])
        kth = scores[row, ranked[min(need[row], columns) - 1]]
        within = {at for at in range(columns) if scores[row, at] > kth - 2 * doubt[row, 0]}
        assert kept == set(ranked[: need[row]]) | (within if doubt[row, 0] else set())


@given(data=st.data())
def test_a_guess_changes_nothing_but_where_it_is_too_high(data: st.DataObject) -> None:
    """Then a row is left with fewer than it needs, by which it is found."""
    columns = data.draw(st.integers(1, 120))
    scores = np.array(data.draw(st.lists(st.integers(-9, 9), min_size=3 * columns, max_size=3 * columns)), np.float32)
    scores = scores.reshape(3, columns)
    need = np.array([data.draw(st.integers(1, min(12, columns))) for _ in range(3)])
    certain = np.zeros((3, 1), np.float32)
    guess = np.array([data.draw(st.one_of(st.just(-np.inf), st.integers(-10, 10))) for _ in range(3)], np.float32)
    plain, guessed = (selection.Reservoirs(need, certain, 24, guess=begin) for begin in (None, guess))
    for reservoirs in (plain, guessed):
        reservoirs.offer(scores.copy(), 0)
        assert not reservoirs.finish().any()
    for row in range(3):
        (_, count), (_, guessed_count) = ((each.kept[0][row], each.kept[1][row]) for each in (plain, guessed))
        assert count == need[row]
        assert (guessed_count < count) == (np.sort(scores[row])[-need[row]] < guess[row])
        one, other = (np.sort(each.scores[row]).tolist()[-guessed_count:] for each in (plain, guessed))
        assert guessed_count == 0 or one == other


def test_an_overflowing_reservoir_says_so() -> None:
    reservoirs = selection.Reservoirs(np.array([4, 4]), np.array([[0.5], [0.0]], np.float32), 32)
    scores = np.random.default_rng(0).uniform(0.8, 0.9, (2, 500)).astype(np.float32)
    reservoirs.offer(scores, 0)
    assert reservoirs.finish().tolist() == [True, False]
    positions, counts = reservoirs.kept
    assert counts.tolist() == [0, 4]
    assert set(positions[1, :4].tolist()) == set(np.argsort(scores[1])[-4:].tolist())


@given(st.lists(st.integers(-6, 6), min_size=1, max_size=60), st.integers(1, 70), st.integers(0, 50))
def test_scores_below_zero_and_ascending(values: list[int], k: int, seed: int) -> None:
    """The order in which scores come does not matter, nor their sign."""
    for ordered in (sorted(values), sorted(values, reverse=True)):
        scores = np.array([ordered], np.float32) / np.float32(7)
        reservoirs = selection.Reservoirs(np.array([k]), np.zeros((1, 1), np.float32), 2 * k + 32)
        reservoirs.offer(scores, 0)
        reservoirs.finish()
        positions, counts = reservoirs.kept
        kept = sorted(scores[0, positions[0, : counts[0]]].tolist())
        assert kept == sorted(scores[0].tolist())[-k:]


@pytest.mark.parametrize("references", [30, 900])
def test_no_pair_is_its_own(method: str, references: int) -> None:
    check(method, grid_vectors(20, 16, 1), grid_vectors(references, 16, 2), 6, reference_pairs=["other"] * references)


@pytest.mark.parametrize("own", [1, 7, 40, 63, 64, 65, 880])
def test_own_pairs_are_left_out(method: str, own: int) -> None:
    """``own`` references of every tenth candidate, the most similar ones, so that each is selected."""
    references, candidates = grid_vectors(900, 16, 2), grid_vectors(30, 16, 1)
    pairs = [f"someone {number}" for number in range(900)]
    for row in range(0, 30, 10):
        for position in np.argsort(-(candidates[row] @ references.T))[:own]:
            pairs[position] = f"c{row}"
    top = check(method, candidates, references, 12, reference_pairs=pairs)
    assert (top.seen[1], top.seen[20]) == (900, 900 - own)


def test_the_whole_bank_is_its_own(method: str) -> None:
    for rows in (3, 400):
        top = check(
            method, grid_vectors(2, 16, 1), grid_vectors(rows, 16, 2), 5, ["a", "b"], reference_pairs=["a"] * rows
        )
        assert top.seen.tolist() == [0, rows]
        top = check(method, grid_vectors(1, 16, 1), grid_vectors(rows, 16, 2), 5, ["a"], reference_pairs=["a"] * rows)
        assert top.scores.shape == (1, 0)


@pytest.mark.parametrize("references", [40, 600])
def test_id_and_pair_id_are_both_left_out_once(method: str, references: int) -> None:
    """Captions ``x#0`` of an image ``x``: what belongs to either name does not count."""
    ids = ["x#0", "x#1", "y", "z#0", "nobody"]
    pair_ids = ["x", "x", "y", "z", "nothing"]
    pairs = [["x", "x#0", "y", "z", "z#0", "else"][number % 6] for number in range(references)]
    top = check(method, grid_vectors(5, 16, 1), grid_vectors(references, 16, 2), 20, ids, pair_ids, pairs)
    counts = [pairs.count("x#0") + pairs.count("x"), pairs.count("x"), pairs.count("y")]
    assert (references - top.seen)[:3].tolist() == counts
    assert top.seen[4] == references


def test_pair_ids_are_compared_as_text(method: str) -> None:
    ids = ["", "7", "07", "é", "è", "a\x00b"]
    check(method, grid_vectors(6, 16, 1), grid_vectors(300, 16, 2), 20, ids, reference_pairs=ids * 50)


@given(st.data())
def test_any_small_case(method: str, data: st.DataObject) -> None:
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
        method,
        pool[rng.integers(0, len(pool), rows)],
        bank,
        data.draw(st.integers(1, 160)),
        [names[number] for number in rng.integers(0, 6, rows)],
        [names[number] for number in rng.integers(0, 6, rows)],
        data.draw(st.sampled_from([None, pairs])),
    )


@pytest.mark.parametrize("cuts", [(0, 300), (0, 1, 300), (0, 100, 101, 250, 300)])
def test_bits_do_not_depend_on_how_the_bank_is_cut(method: str, cuts: tuple[int, ...]) -> None:
    def search(vectors: Vectors, pair_ids: list[str]) -> Search:
        return SEARCHES[method](make_index(vectors, pair_ids))

    candidates, references = grid_vectors(20, 24, 1), grid_vectors(300, 24, 2)
    pairs = [f"c{number % 25}" for number in range(300)]
    block = make_block(candidates)
    merged = TopK.empty(70, 20)
    for first, last in itertools.pairwise(cuts):
        merged = merged | score_block(block, search(references[first:last], pairs[first:last]), 70)
    whole = score_block(block, search(references, pairs), 70)
    oracles.assert_same_bits(merged.scores, whole.scores)
    oracles.assert_same_bits(merged.seen, whole.seen)
