"""Calibration: how little an approximate search may look at and still keep to a tolerance.

The reference queries are of another modality than the candidates and lie apart from them, so only
candidates can tell how well a setting works for candidates. Settings are tried in order of their
cost on a sample of candidates, against the exact result, and the first that keeps to the tolerance
is chosen; other candidates then measure the error that is reported.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from nnn_core import storage
from nnn_core.artifacts import from_sealed, from_tensors, keep, keep_tensors, lost, to_sealed
from nnn_core.digests import name_of, sha256
from nnn_core.embedded.shards import EmbeddedShard, VectorBlock, read_shard
from nnn_core.errors import CorruptArtifactError, InputError
from nnn_core.scoring.bank import ReferenceIndex, ReferenceShard
from nnn_core.scoring.score import score_block
from nnn_core.scoring.search._approximate import ApproximateSearch, ApproximateSettings
from nnn_core.scoring.search._clusters import Clusters
from nnn_core.scoring.search.searches import Search, exact_search
from nnn_core.scoring.topk import BiasError, TopK
from nnn_core.storage.disk_cache import NO_CACHE, DiskCache

#: Candidates that settings are tried on, and as many others that the error is measured on.
SAMPLE_ROWS = 1024

#: Shards of candidates that the sample is taken from.
_SAMPLE_SHARDS = 16

_SHARES = (0.002, 0.004, 0.007, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.09, 0.13, 0.2, 0.3, 0.5, 1.0)
_DIMS = (32, 64, 96, 128, 192, 256, 384)
_SPARES = (1.25, 1.5, 2.0, 3.0, 5.0)

#: References looked at for each one that is scored exactly, at least; with fewer, some candidate finds too few.
_ROWS_PER_KEPT = 2

#: int8 multiplications that take as long as the exact score of one selected reference; and as what comes with each
#: reference that is looked at, whatever its dimension; measured.
_RESCORE_COST = 50_000
_LOOK_COST = 200

#: Selected references whose exact scores take as long as all that the prefilter computes for each score that is kept:
#: more, but in the cache.
_EXACTLY_KEPT = 2.0

#: What products are computed in. It is part of the names of settings and partials, as it decides which are found.
_ARITHMETIC = "int7"


@dataclass(frozen=True)
class CalibratedShard:
    """How one reference shard is searched.

    Attributes:
        number: number of the reference shard in the bank.
        settings: how much an approximate search looks at; None if only an exact search keeps to the tolerance.
        clusters: URI of the file of the reference shard's clusters.
        clusters_digest: SHA-256 of the file of clusters.
        digest: digest of settings and clusters, by which partials are named.
        check: URI of the exact and the approximate top-k of candidates that took no part in the choice of settings.
    """

    number: int
    settings: ApproximateSettings | None
    clusters: str
    clusters_digest: str
    digest: str
    check: str

    def search(self, index: ReferenceIndex, cache: DiskCache = NO_CACHE) -> Search:
        """The search over the reference shard's ``index``; clusters may be copied to ``cache``.

        Raises:
            LostArtifactError: the clusters are gone or damaged.
        """
        if self.settings is None:
            return exact_search(index)
        try:
            data = cache.read(self.clusters, self.clusters_digest)
        except (CorruptArtifactError, InputError) as error:
            raise lost(self.clusters, str(error)) from error
        return ApproximateSearch.of(index, Clusters.from_bytes(data, self.clusters), self.settings)

    @classmethod
    def of(
        cls,
        reference: ReferenceShard,
        candidates: Sequence[EmbeddedShard],
        grid: tuple[int, ...],
        tolerance: float,
        exclude_own_pairs: bool,
        work: str,
        *,
        threads: int = 1,
        cache: DiskCache = NO_CACHE,
    ) -> CalibratedShard:
        """Cluster a reference shard, choose its settings and measure them, as far as that is not done yet.

        Args:
            reference: the reference shard to search.
            candidates: all embedded shards of candidates, of which a sample is read.
            grid: values of k whose means must keep to the tolerance; the last is how many scores are kept.
            tolerance: mean absolute error of a mean that is allowed.
            exclude_own_pairs: whether no candidate is scored against its own pair.
            work: URI of the folder of artefacts.
            threads: threads that search side by side.
            cache: local cache for the reference shard.

        Raises:
            CorruptArtifactError: an artefact is damaged.
        """
        chooser, checker = _sample_candidates(candidates)
        index = ReferenceIndex.load(reference, exclude_own_pairs, cache)
        clusters_name = name_of("clusters", reference=reference.digest, exclude_own_pairs=exclude_own_pairs)
        clusters_uri = storage.join(work, "clusters", f"{clusters_name}.safetensors")
        clusters, _ = keep(
            clusters_uri,
            lambda: Clusters.train(index.vectors).to_bytes(clusters_uri),
            lambda data: Clusters.from_bytes(data, clusters_uri),
        )
        # Not named by the sample: what was chosen once for a shard stays, or every new night would choose anew.
        choice = name_of("settings", clusters=clusters_name, grid=grid, tolerance=tolerance, arithmetic=_ARITHMETIC)
        settings_uri = storage.join(work, "clusters", f"{choice}.json")
        exact = exact_search(index)
        settings, _ = keep(
            settings_uri,
            lambda: to_sealed(_choose_settings(chooser, exact, clusters, grid, tolerance, threads), settings_uri),
            lambda data: _parse_settings(data, settings_uri),
        )
        record = asdict(settings) if settings else None
        digest = name_of("approximate", clusters=clusters_name, settings=record, arithmetic=_ARITHMETIC)
        check = name_of("check", search=digest, k=grid[-1], sample=_digest_of(checker))
        check_uri = storage.join(work, "clusters", f"{check}.safetensors")

        def measure() -> dict[str, npt.NDArray[Any]]:
            search = exact if settings is None else ApproximateSearch.of(index, clusters, settings)
            truth, found = (score_block(checker, each, grid[-1], threads) for each in (exact, search))
            return {"seen": truth.seen, "exact": truth.scores, "approximate": found.scores}

        keep_tensors(check_uri, measure)
        trained = sha256(clusters.to_bytes(clusters_uri))
        return cls(reference.number, settings, clusters_uri, trained, digest, check_uri)


def _sample_candidates(shards: Sequence[EmbeddedShard]) -> tuple[VectorBlock, VectorBlock]:
    """Two disjoint samples of up to ``SAMPLE_ROWS`` candidates each: to choose by, and to measure with."""
    ordered = sorted(shards, key=lambda shard: (shard.source, shard.uri))
    chosen = ordered[:: -(-len(ordered) // _SAMPLE_SHARDS)]
    wanted = 2 * SAMPLE_ROWS // len(chosen)
    blocks = []
    for shard in chosen:
        block = read_shard(shard)
        rows = np.unique(np.linspace(0, shard.rows - 1, min(wanted, shard.rows)).astype(np.int64))
        blocks.append(block.take(rows))
    both = VectorBlock.together(blocks)
    # One candidate alone has to serve for both.
    even, odd = (np.arange(first, len(both.ids), 2) for first in (0, min(1, len(both.ids) - 1)))
    return both.take(even), both.take(odd)


def _choose_settings(
    sample: VectorBlock, exact: Search, clusters: Clusters, grid: tuple[int, ...], tolerance: float, threads: int = 1
) -> ApproximateSettings | None:
    """The cheapest settings whose mean absolute error on ``sample`` is at most ``tolerance`` for every k.

    The cost is counted, not timed, so that the choice depends on the data alone.

    Returns:
        None if no setting that is cheaper than the exact search keeps to the tolerance.
    """
    truth = score_block(sample, exact, grid[-1], threads).means(grid)
    dims = _dims_of(exact.index)

    @functools.cache
    def reduced_to(dims: int) -> ApproximateSearch:
        return ApproximateSearch.of(exact.index, clusters, ApproximateSettings(1.0, dims, max(_SPARES)))

    def keeps_to_tolerance(settings: ApproximateSettings) -> bool:
        search = replace(reduced_to(settings.dims), settings=settings)
        means = score_block(sample, search, grid[-1], threads).means(grid)
        return BiasError.between(truth, means).mean <= tolerance

    # Fewer lists than the most careful settings need are too few for all others.
    best = [ApproximateSettings(share, dims[-1], max(_SPARES)) for share in _SHARES]
    fewest = bisect.bisect_left(best, True, key=keeps_to_tolerance)
    failed: list[ApproximateSettings] = []
    for settings in _affordable(exact.index, clusters, grid[-1], _SHARES[fewest:]):
        if any(_no_better(settings, other) for other in failed):
            continue
        if keeps_to_tolerance(settings):
            return settings
        failed.append(settings)
    return None


def _affordable(
    index: ReferenceIndex, clusters: Clusters, k: int, shares: Sequence[float]
) -> Iterator[ApproximateSettings]:
    """All settings that cost less than half of the exact search, the cheapest first."""
    rows, dim = index.vectors.shape
    settings = [ApproximateSettings(*values) for values in itertools.product(shares, _dims_of(index), _SPARES)]

    def cost(share: float, dims: int, kept: float) -> float:
        return float(share * rows * (dims + _LOOK_COST) + kept * k * _RESCORE_COST)

    def approximate_cost(each: ApproximateSettings) -> float:
        return clusters.centroids.size + cost(each.share, each.dims, each.spare)

    def worthwhile(each: ApproximateSettings) -> bool:
        cheap = approximate_cost(each) < 0.5 * cost(1.0, dim, _EXACTLY_KEPT)
        return cheap and each.share * rows >= _ROWS_PER_KEPT * each.spare * k

    return iter(sorted(filter(worthwhile, settings), key=approximate_cost))


def _dims_of(index: ReferenceIndex) -> list[int]:
    return sorted({min(dims, index.dim) for dims in _DIMS})


def _no_better(one: ApproximateSettings, other: ApproximateSettings) -> bool:
    return one.share <= other.share and one.dims <= other.dims and one.spare <= other.spare


def measure_all(calibrated: Iterable[CalibratedShard], grid: tuple[int, ...]) -> BiasError:
    """The error over the whole bank, from the shards' checks.

    Raises:
        LostArtifactError: a check is gone or damaged.
    """
    pairs = [_read_check(shard.check, grid[-1]) for shard in sorted(calibrated, key=lambda shard: shard.number)]
    exact, approximate = (functools.reduce(operator.or_, tops) for tops in zip(*pairs, strict=True))
    fitting = tuple(k for k in grid if k <= int(exact.seen.min())) or grid[:1]
    return BiasError.between(exact.means(fitting), approximate.means(fitting))


def _parse_settings(data: bytes, uri: str) -> ApproximateSettings | None:
    settings = from_sealed(data, uri)
    try:
        return None if settings is None else ApproximateSettings(**settings)
    except (ValueError, TypeError) as error:
        raise CorruptArtifactError(
            f"{uri!r} holds no readable settings: {error}. Delete it and run the same command again."
        ) from error


def _digest_of(block: VectorBlock) -> str:
    vectors = sha256(block.vectors.tobytes())
    return name_of("sample", ids=block.ids.to_pylist(), pair_ids=block.pair_ids.to_pylist(), vectors=vectors)


def _read_check(uri: str, k: int) -> tuple[TopK, TopK]:
    try:
        arrays = from_tensors(storage.read_bytes(uri), uri)
        return tuple(TopK(k, arrays["seen"], arrays[name]) for name in ("exact", "approximate"))  # type: ignore[return-value]
    except (ValueError, KeyError, CorruptArtifactError, InputError) as error:
        raise lost(uri, f"is not a readable check: {error}") from error
