"""Calibration: the choice keeps to its tolerance, is made once, and is measured on other candidates."""

from __future__ import annotations

import copy
import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import oracles
import pyarrow as pa
import pytest
from corpora import tree
from fakes import clustered_vectors, grid_vectors, make_bank, make_block, make_shard
from hypothesis import given
from hypothesis import strategies as st

from nnn_core import storage
from nnn_core.artifacts import to_sealed, to_tensors
from nnn_core.embedded.shards import EmbeddedShard, VectorBlock
from nnn_core.errors import CorruptArtifactError, LostArtifactError
from nnn_core.scoring.bank import Bank, ReferenceIndex
from nnn_core.scoring.score import score_block
from nnn_core.scoring.search import calibration
from nnn_core.scoring.search._approximate import ApproximateSearch, ApproximateSettings
from nnn_core.scoring.search._clusters import Clusters
from nnn_core.scoring.search.calibration import CalibratedShard, _choose_settings, _sample_candidates, measure_all
from nnn_core.scoring.search.exact import ExactSearch
from nnn_core.scoring.topk import TopK
from nnn_core.storage.disk_cache import DiskCache

Vectors = npt.NDArray[np.float32]

DIM, GRID = 128, (1, 2)

#: From what hardly anything keeps to, to what anything keeps to.
TOLERANCES = (1e-4, 1e-3, 1e-2, 1e-1)


def means_error(exact: Vectors, found: Vectors, grid: Sequence[int] = GRID) -> float:
    """The worst mean absolute error of a mean, from the definition."""
    wide = [scores.astype(np.float64) for scores in (exact, found)]
    return max(float(np.abs(wide[0][:, :k].mean(axis=1) - wide[1][:, :k].mean(axis=1)).mean()) for k in grid)


@pytest.fixture(scope="module")
def index() -> ReferenceIndex:
    return ReferenceIndex.of(clustered_vectors(3000, DIM, 2))


@pytest.fixture(scope="module")
def clusters(index: ReferenceIndex) -> Clusters:
    return Clusters.train(index.vectors)


@pytest.fixture(scope="module")
def sample() -> VectorBlock:
    return make_block(clustered_vectors(150, DIM, 1))


@pytest.mark.parametrize("tolerance", TOLERANCES)
def test_what_is_chosen_keeps_to_the_tolerance(
    index: ReferenceIndex, clusters: Clusters, sample: VectorBlock, tolerance: float
) -> None:
    """And nothing that is cheaper does."""
    settings = _choose_settings(sample, ExactSearch(index), clusters, GRID, tolerance)
    assert settings is not None
    exact = oracles.padded(oracles.highest(oracles.exact_scores(sample.vectors, index.vectors), GRID[-1]))
    affordable = list(calibration._affordable(index, clusters, GRID[-1], calibration._SHARES))
    for each in affordable[: affordable.index(settings) + 1]:
        found = score_block(sample, ApproximateSearch.of(index, clusters, each), GRID[-1]).scores
        assert (means_error(exact, found) <= tolerance * (1 + 1e-6)) == (each == settings)


def test_a_tighter_tolerance_costs_no_less(index: ReferenceIndex, clusters: Clusters, sample: VectorBlock) -> None:
    affordable = list(calibration._affordable(index, clusters, GRID[-1], calibration._SHARES))
    chosen = [_choose_settings(sample, ExactSearch(index), clusters, GRID, tolerance) for tolerance in TOLERANCES]
    places = [affordable.index(settings) for settings in chosen if settings is not None]
    assert places == sorted(places, reverse=True)
    assert len(places) == len(TOLERANCES)
    assert len(set(places)) > 1


def test_every_k_of_the_grid_keeps_to_the_tolerance(
    index: ReferenceIndex, clusters: Clusters, sample: VectorBlock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first or the last k may be the worst: each alone is easier to please than both."""
    monkeypatch.setattr(calibration, "_RESCORE_COST", 1000)
    affordable = list(calibration._affordable(index, clusters, 8, calibration._SHARES))
    chosen = [
        _choose_settings(sample, ExactSearch(index), clusters, grid, 2e-3) for grid in ((1, 8), (8,), (1, 2, 4, 8))
    ]
    places = [affordable.index(settings) for settings in chosen if settings is not None]
    assert len(places) == 3
    assert places[2] >= places[0] >= places[1]


def test_what_is_affordable(index: ReferenceIndex, clusters: Clusters) -> None:
    """Cheapest first, each at most half of the exact search, and none for a bank that is searched in no time."""
    affordable = list(calibration._affordable(index, clusters, 2, calibration._SHARES))
    costs = [
        clusters.centroids.size
        + each.share * 3000 * (each.dims + calibration._LOOK_COST)
        + each.spare * 2 * calibration._RESCORE_COST
        for each in affordable
    ]
    assert costs == sorted(costs)
    assert costs[-1] < (3000 * (DIM + calibration._LOOK_COST) + 4 * calibration._RESCORE_COST) / 2
    assert len(set(affordable)) == len(affordable) > 20
    assert all(each.share * 3000 >= 2 * each.spare * 2 for each in affordable)
    assert not list(calibration._affordable(index, clusters, 128, calibration._SHARES))
    small = ReferenceIndex.of(grid_vectors(40, 3, 2))
    assert not list(calibration._affordable(small, Clusters.train(small.vectors), 1, calibration._SHARES))
    few_dimensions = dataclasses.replace(index, vectors=index.vectors[:, :40])
    assert {each.dims for each in calibration._affordable(few_dimensions, clusters, 1, calibration._SHARES)} <= {32, 40}


@pytest.mark.parametrize("threads", [1, 3])
def test_the_choice_does_not_depend_on_threads(
    index: ReferenceIndex, clusters: Clusters, sample: VectorBlock, threads: int
) -> None:
    one = _choose_settings(sample, ExactSearch(index), clusters, GRID, 1e-3)
    assert _choose_settings(sample, ExactSearch(index), clusters, GRID, 1e-3, threads) == one


@given(st.lists(st.integers(0, 40), min_size=1, max_size=40).filter(any), st.integers(1, 12))
def test_samples_are_disjoint(rows: list[int], wanted: int) -> None:
    shards = [make_shard(f"{number:02d}", count) for number, count in enumerate(rows)]
    blocks = {
        shard.uri: make_block(
            np.full((shard.rows, 2), number, np.float32), [f"{number} {row}" for row in range(shard.rows)]
        )
        for number, shard in enumerate(shards)
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "SAMPLE_ROWS", 16 * wanted)
        patch.setattr(calibration, "read_shard", lambda shard: blocks[shard.uri])
        samples = _sample_candidates(shards)
        again = _sample_candidates(shards[::-1])
    ids = [sample.ids.to_pylist() for sample in samples]
    assert ids == [sample.ids.to_pylist() for sample in again]
    stride = -(-len(shards) // 16)
    available = sum(min(count, 32 * wanted // len(rows[::stride])) for count in rows[::stride])
    assert len(ids[0]) + len(ids[1]) == (available if available > 1 else 2 * available)
    assert max(map(len, ids)) <= 16 * wanted
    assert not set(ids[0]) & set(ids[1]) or len(ids[0]) == 1
    for sample, names in zip(samples, ids, strict=True):
        assert len(set(names)) == len(names)
        assert sample.pair_ids.to_pylist() == names
        assert sample.vectors[:, 0].tolist() == [float(name.split()[0]) for name in names]


def test_one_candidate_serves_for_both_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    block = make_block(grid_vectors(1, 4, 1))
    monkeypatch.setattr(calibration, "read_shard", lambda shard: block)
    for sample in _sample_candidates([make_shard("only")]):
        assert sample.ids.to_pylist() == ["c0"]
        oracles.assert_same_bits(sample.vectors, block.vectors)


class Corpus:
    """Candidates in 2 shards and a bank in 2 reference shards, on disk; candidates own some references."""

    def __init__(self, folder: Path, candidates: int = 300, references: Vectors | None = None) -> None:
        references = clustered_vectors(6000, DIM, 2) if references is None else references
        self.work = folder / "work"
        self.folder = folder
        self.references = references
        self.pairs = [f"c{number % 450}" for number in range(len(references))]
        self.shards = self._write("candidate", clustered_vectors(candidates, DIM, 1), None)
        self.bank: Bank = make_bank(self._write("reference", references, self.pairs), 1)

    def _write(self, name: str, vectors: Vectors, pairs: list[str] | None) -> list[EmbeddedShard]:
        ids = [f"{name[0]}{row}" for row in range(len(vectors))]
        pairs = [""] * len(vectors) if pairs is None else pairs
        return [
            EmbeddedShard.write(
                str(self.folder / "embedded" / f"{name}{number}"),
                [ids[row] for row in rows],
                [pairs[row] for row in rows],
                vectors[rows],
                f"{name}{number}",
            )
            for number, rows in enumerate(np.array_split(np.arange(len(vectors)), 2))
        ]

    def calibrate(self, tolerance: float = 1e-3, own: bool = True) -> list[CalibratedShard]:
        return [
            CalibratedShard.of(shard, self.shards, GRID, tolerance, own, str(self.work)) for shard in self.bank.shards
        ]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Calibrated once, for tests that leave its files as they were."""
    corpus = Corpus(tmp_path_factory.mktemp("shared"))
    corpus.calibrate()
    shutil.copytree(corpus.work, corpus.folder / "calibrated")
    return corpus


@pytest.fixture
def corpus(shared: Corpus, tmp_path: Path) -> Corpus:
    """The same with a copy of what that first calibration left."""
    own = copy.copy(shared)
    own.work = Path(shutil.copytree(shared.folder / "calibrated", tmp_path / "work"))
    return own


@pytest.mark.parametrize("own", [False, True])
def test_the_error_is_that_of_the_merged_scores(shared: Corpus, own: bool) -> None:
    calibrated = shared.calibrate(own=own)
    assert [shard.number for shard in calibrated] == [0, 1]
    _, checker = _sample_candidates(shared.shards)
    found = TopK.empty(2, len(checker.vectors))
    for shard, how in zip(shared.bank.shards, calibrated, strict=True):
        assert how.settings is not None
        search = how.search(ReferenceIndex.load(shard, own))
        assert (search.name, search.settings) == ("approximate", how.settings)
        found = found | score_block(checker, search, 2)
    mine = np.array([[own and pair == name for pair in shared.pairs] for name in checker.ids.to_pylist()])
    exact = oracles.padded(oracles.highest(oracles.exact_scores(checker.vectors, shared.references), 2, mine))
    error = measure_all(calibrated[::-1], GRID)
    assert error.candidates == 150
    assert error.mean == pytest.approx(means_error(exact, found.scores), abs=1e-8)
    assert 0.0 < error.mean <= error.p99 <= error.max
    assert error.mean < 3e-3
    assert 0.9 < error.rank_correlation < 1.0


def test_a_second_time_costs_nothing(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    first = corpus.calibrate()
    files = tree(corpus.work)
    assert len(files) == 2 * 3
    monkeypatch.setattr(calibration, "_choose_settings", None)
    monkeypatch.setattr(calibration, "score_block", None)
    monkeypatch.setattr(Clusters, "train", None)
    assert corpus.calibrate() == first
    assert tree(corpus.work) == files


def test_what_was_chosen_stays_when_other_candidates_come(corpus: Corpus, tmp_path: Path) -> None:
    first = corpus.calibrate()
    corpus.shards = Corpus(tmp_path / "others", 211).shards
    again = corpus.calibrate()
    for one, other in zip(first, again, strict=True):
        assert (one.settings, one.clusters, one.digest) == (other.settings, other.clusters, other.digest)
        assert one.check != other.check  # what is reported is about the candidates of today
    assert len(tree(corpus.work)) == 2 * 4
    assert measure_all(again, GRID).candidates == 105


def test_names_depend_on_what_matters(shared: Corpus) -> None:
    base = shared.calibrate()[0]
    other = shared.calibrate(tolerance=2e-2)[0]
    assert other.clusters == base.clusters
    assert other.settings != base.settings
    assert other.digest != base.digest
    paired = shared.calibrate(own=False)[0]
    assert paired.clusters != base.clusters
    assert paired.digest != base.digest


@pytest.mark.parametrize("own", [pytest.param(False, marks=pytest.mark.slow), True])
def test_an_impossible_tolerance_is_met_by_exact_searches(tmp_path: Path, own: bool) -> None:
    corpus = Corpus(tmp_path, 60, grid_vectors(5000, DIM, 2, 0.0))
    calibrated = corpus.calibrate(-1.0, own)
    assert [shard.settings for shard in calibrated] == [None, None]
    assert corpus.calibrate(-1.0, own) == calibrated
    error = measure_all(calibrated, GRID)
    assert (error.mean, error.max, error.rank_correlation) == (0.0, 0.0, 1.0)
    search = calibrated[0].search(ReferenceIndex.load(corpus.bank.shards[0], own))
    assert search.name != "approximate"


def test_a_bank_of_equal_references(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path, 30, np.repeat(grid_vectors(1, DIM, 2), 50, axis=0))
    assert measure_all(corpus.calibrate(), GRID).max == 0.0


def test_reference_shards_smaller_than_k(tmp_path: Path) -> None:
    """Shards of 2 and 1 references have no mean of 2 each, the bank has."""
    corpus = Corpus(tmp_path, 30, grid_vectors(3, DIM, 2))
    error = measure_all(corpus.calibrate(own=False), GRID)
    assert (error.candidates, error.mean) == (15, 0.0)


def test_what_a_search_reads_from_a_store_is_kept(
    shared: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clusters and references alike."""
    calibrated, shard = shared.calibrate()[1], shared.bank.shards[1]
    monkeypatch.setattr(storage, "is_local", lambda uri: False)
    cache = DiskCache(1 << 30, str(tmp_path / "cache"))
    first = calibrated.search(ReferenceIndex.load(shard, True, cache), cache)
    assert len(list((tmp_path / "cache").iterdir())) == 1 + len(shard.parts)
    monkeypatch.setattr(storage, "read_bytes", None)
    again = calibrated.search(ReferenceIndex.load(shard, True, cache), cache)
    np.testing.assert_array_equal(again.index.vectors, first.index.vectors)


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "another"])
@pytest.mark.parametrize("victim", ["clusters", "settings", "check"])
def test_damaged_files_are_made_anew(shared: Corpus, victim: str, damage: str) -> None:
    calibrated = shared.calibrate()
    check = Path(calibrated[1].check)
    clusters = Path(calibrated[1].clusters)
    settings = next(
        path
        for path in (shared.work / "clusters").glob("*.json")
        if calibration._parse_settings(path.read_bytes(), str(path)) == calibrated[1].settings
    )
    path = {"clusters": clusters, "check": check, "settings": settings}[victim]
    data = path.read_bytes()
    flipped = bytearray(data)
    flipped[data.index(b"share") + 10 if victim == "settings" else len(data) - 9] ^= 1
    other = b'{"share": 0.5}' if victim == "settings" else to_tensors({"seen": np.arange(3)}, str(path))
    path.write_bytes({"cut": data[:-3], "empty": b"", "flipped": bytes(flipped), "another": other}[damage])

    if victim == "check":
        with pytest.raises(LostArtifactError, match=path.name):
            measure_all(calibrated, GRID)
        assert not path.exists()
    if victim == "clusters":
        with pytest.raises(LostArtifactError, match=path.name):
            calibrated[1].search(ReferenceIndex.load(shared.bank.shards[1], True))
    assert shared.calibrate() == calibrated
    assert path.read_bytes() == data


def test_any_damage_to_settings_is_noticed() -> None:
    for settings in (None, ApproximateSettings(0.02, 64, 1.5)):
        data = to_sealed(settings, "somewhere")
        assert calibration._parse_settings(data, "somewhere") == settings
        damaged = [data[:length] for length in range(len(data))]
        for at in range(len(data)):
            for bit in range(8):
                flipped = bytearray(data)
                flipped[at] ^= 1 << bit
                damaged.append(bytes(flipped))
        for each in (*damaged, b"null", b"5", b"[]", b"{}"):
            with pytest.raises(CorruptArtifactError, match="'somewhere' "):
                calibration._parse_settings(each, "somewhere")


def test_means_that_the_table_cannot_have_are_not_measured(tmp_path: Path) -> None:
    """Two reference shards, of 2 and 1 references: there is a mean of 2, but none of 4."""
    exact = [np.array([[0.5, 0.25]], np.float32), np.array([[0.75]], np.float32)]
    found = [np.array([[0.5, 0.0]], np.float32), np.array([[0.75]], np.float32)]
    shards = []
    for number in range(2):
        check = tmp_path / str(number)
        arrays = {"seen": np.array([2 - number]), "exact": exact[number], "approximate": found[number]}
        check.write_bytes(to_tensors(arrays, str(check)))
        shards.append(CalibratedShard(number, None, "", "", "", str(check)))
    assert measure_all(shards, (2, 4)).mean == 0.0
    assert measure_all(shards, (2, 3, 4)).mean == pytest.approx(0.25 / 3)
    assert measure_all(shards, (4,)).mean == pytest.approx(0.25 / 3)


def test_a_check_of_another_k_is_refused(shared: Corpus) -> None:
    calibrated = shared.calibrate()
    with pytest.raises(LostArtifactError, match="is not a readable check"):
        measure_all(calibrated, (1, 2, 4))


def test_own_pairs_of_the_sample_are_excluded(tmp_path: Path) -> None:
    """Candidates that are their own nearest references: with them every mean of one would be 1."""
    corpus = Corpus(tmp_path)
    vectors = corpus.references[:450]
    ids = [f"c{row}" for row in range(450)]
    corpus.shards = [EmbeddedShard.write(str(tmp_path / "same"), ids, [""] * 450, vectors, "same")]
    for own in (False, True):
        calibrated = corpus.calibrate(own=own)
        exact = calibration._read_check(calibrated[0].check, 2)[0]
        assert bool((exact.scores[:, 0] > 0.999).all()) is not own
    assert pa.types.is_string(_sample_candidates(corpus.shards)[0].ids.type)
