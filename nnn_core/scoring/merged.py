"""Merged shards: the means of one embedded shard of candidates over the whole bank, kept by what they follow from.

A reference shard holds few of a candidate's k highest scores, so a partial keeps fewer than k
(``partials.kept_scores``). Nothing is missing all the same: what it does not keep is no higher than the lowest that it
keeps, and where that lies above the k-th highest of all kept scores, the candidate is scored once more against that
reference shard (the second look, see ``looks``). The k highest are then those of the whole bank, to the bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nnn_core.artifacts import keep_tensors, lost
from nnn_core.digests import name_of
from nnn_core.embedded.profile import VectorSum
from nnn_core.embedded.shards import EmbeddedShard
from nnn_core.errors import CorruptArtifactError, LostArtifactError
from nnn_core.scoring.bank import Bank
from nnn_core.scoring.looks import Look, _look_again
from nnn_core.scoring.own_pairs import _OwnPairs
from nnn_core.scoring.partials import Partial, Scored
from nnn_core.scoring.topk import TopK, _descending
from nnn_core.vectors import FloatMatrix

_FOLDER = "merged"

#: Columns of scores that are sorted in one go, and rows.
SORTED_COLUMNS, SORTED_ROWS = 256, 4096


@dataclass(frozen=True, slots=True)
class Total:
    """What is known of candidate shards together once they are merged; ``a | b`` is that of both.

    Attributes:
        scored: what scoring was like.
        vectors: sum of the candidates' vectors.
    """

    scored: Scored
    vectors: VectorSum

    def __or__(self, other: Total) -> Total:
        return Total(self.scored | other.scored, self.vectors | other.vectors)


def merged_path(
    candidates: str,
    references: Sequence[str],
    searches: Sequence[str],
    grid: Sequence[int],
    k_max: int,
    exclude_own_pairs: bool,
) -> str:
    """Path below the work folder of a merged shard, by all that it follows from.

    Args:
        candidates: digest of the embedded shard of candidates.
        references: digests of all reference shards, in order.
        searches: how each of these was searched, see ``partials.Partial.of``.
        grid: values of k that there are means of.
        k_max: how many scores of each candidate counted.
        exclude_own_pairs: whether a candidate's own references were left out.
    """
    name = name_of(
        "merged",
        candidates=candidates,
        references=list(references),
        searches=list(searches),
        grid=list(grid),
        k_max=k_max,
        exclude_own_pairs=exclude_own_pairs,
    )
    return f"{_FOLDER}/{name}.safetensors"


def _merge_partials(ordered: Sequence[Partial], k: int, look: Look) -> tuple[TopK, frozenset[str], int]:
    """The top-k of a candidate shard over the whole bank, the searches used, and how many bytes were read.

    Args:
        ordered: the partials of one candidate shard, one for each reference shard of the bank, from ``_in_order``.
        k: how many scores of each candidate to keep.
        look: scores candidates once more, whose partial may not hold all that counts.
    """
    scores = np.zeros((ordered[0].rows, 0), np.float32)
    seen = np.zeros(ordered[0].rows, np.int64)
    waiting, unkept, searches, read = [scores], [], set(), 0
    gone: list[LostArtifactError] = []
    for partial in ordered:
        try:
            top, search, size = partial.read()
        except LostArtifactError as error:  # all are found that have to be computed anew, not one a run
            gone.append(error)
            continue
        searches.add(search)
        read += size
        seen = seen + top.seen
        unkept.append(_highest_unkept(top) if top.k < k else None)
        waiting.append(top.scores)
        if sum(each.shape[1] for each in waiting) >= SORTED_COLUMNS + k:
            waiting = [_highest(waiting, k)]
    if gone:
        raise gone[0]
    scores = _highest(waiting, k)
    if scores.shape[1] < (width := min(k, int(seen.max(initial=0)))):
        scores = np.pad(scores, ((0, 0), (0, width - scores.shape[1])), constant_values=-np.inf)
    for partial, highest in zip(ordered, unkept, strict=True):
        rows = np.flatnonzero(highest > _lowest(scores, k)) if highest is not None else np.zeros(0, np.int64)
        if len(rows):
            further, size = _look_again(partial, rows, k, look)
            read += size
            scores[rows] = _descending(np.concatenate([scores[rows], further], axis=1), scores.shape[1])
    return TopK(k, seen, scores), frozenset(searches), read


def _highest_unkept(top: TopK) -> npt.NDArray[np.float32]:
    """(rows,) what no score that was not kept exceeds; -inf where all were kept."""
    if not top.scores.shape[1]:
        return np.full(len(top.seen), -np.inf, np.float32)
    return np.where(top.seen > top.k, top.scores[:, -1], np.float32(-np.inf))


def _lowest(scores: FloatMatrix, k: int) -> npt.NDArray[np.float32]:
    """(rows,) the k-th highest score so far; -inf where there are fewer."""
    return scores[:, k - 1] if scores.shape[1] == k else np.full(len(scores), -np.inf, np.float32)


def _highest(blocks: Sequence[FloatMatrix], k: int) -> FloatMatrix:
    """The k highest of each row of all blocks; some rows at a time, since sorting takes several copies."""
    rows, width = len(blocks[0]), min(k, sum(block.shape[1] for block in blocks))
    found = np.empty((rows, width), np.float32)
    for first in range(0, rows, SORTED_ROWS):
        some = slice(first, first + SORTED_ROWS)
        found[some] = _descending(np.concatenate([block[some] for block in blocks], axis=1), width)
    return found


@dataclass(frozen=True)
class MergedShard:
    """What the bank says of a shard of candidates.

    Attributes:
        grid: values of k of which there are means: those that the bank has so many references for.
        means: (rows, grid) float32 means of the k highest scores, rows in the order of the candidates.
        scored: what scoring was like.
    """

    grid: tuple[int, ...]
    means: FloatMatrix
    scored: Scored

    @classmethod
    def of(
        cls,
        candidates: EmbeddedShard,
        uri: str,
        partials: Sequence[Partial],
        bank: Bank,
        grid: tuple[int, ...],
        k: int,
        look: Look,
    ) -> tuple[MergedShard, int | None]:
        """The means, and how many bytes of partials were read to merge them; None if they were merged before.

        Args:
            candidates: the embedded shard of candidates.
            uri: where they are kept, see ``merged_path``.
            partials: the shard's partials, one for each reference shard, in any order; none if it was merged before.
            bank: all reference shards.
            grid: values of k to take means for, of which the bank has so many references.
            k: how many scores of each candidate count.
            look: scores candidates once more, whose partial may not hold all that counts.

        Raises:
            CorruptArtifactError: partials were left out or doubled.
            LostArtifactError: a partial, or the means that were merged before, is gone or damaged.
        """

        read = None

        def merge() -> dict[str, npt.NDArray[np.generic]]:
            nonlocal read
            if not partials:
                raise lost(uri, "is gone or damaged, and its partials were not loaded")
            ordered = _in_order(partials, len(bank.shards), candidates)
            top, searches, read = _merge_partials(ordered, k, look)
            kept = frozenset(partial.k_max for partial in ordered)
            own_pairs = _OwnPairs.of(bank.rows - top.seen)
            scored = Scored(int(top.seen.min()), searches, own_pairs, kept)
            return {"means": top.means(grid), **scored.to_arrays()}

        arrays, _ = keep_tensors(uri, merge)
        try:
            scored, means = Scored.from_arrays(arrays), arrays["means"]
            if means.shape != (candidates.rows, len(grid)):
                raise ValueError(f"means of {means.shape}, expected of {(candidates.rows, len(grid))}")
        except (KeyError, ValueError, IndexError, TypeError) as error:
            raise lost(uri, f"does not match its name ({error!r})") from error
        return cls(grid, means, scored), read


def _in_order(partials: Sequence[Partial], references: int, candidates: EmbeddedShard) -> list[Partial]:
    """The partials of one candidate shard in the order of the bank.

    Args:
        partials: the partials in any order.
        references: number of reference shards of the bank.
        candidates: the embedded shard of candidates.

    Raises:
        CorruptArtifactError: partials were left out or doubled.
        LostArtifactError: the file of one is gone or damaged.
    """
    ordered = sorted(partials, key=lambda partial: partial.reference)
    numbers = [partial.reference for partial in ordered]
    if numbers != list(range(references)):
        raise CorruptArtifactError(
            f"candidate shard {candidates.digest[:16]} has partials of reference shards {numbers}, expected "
            f"each of 0 to {references - 1} once. This is a defect of the pipeline."
        )
    return ordered
