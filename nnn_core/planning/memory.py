"""What a worker process holds while a refresh runs: libraries, a model, and the data of the stage that takes most.

Each term was measured by itself: the highest resident memory of one function, with inputs of two sizes
(``tests/benchmarks/planned_memory.py`` holds their sum against whole refreshes). Freed memory goes back to the system
between stages, so of these only the largest counts (``pipelines/stages/_memory.py``).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from nnn_core.embedded.corpus import ROWS_PER_PART
from nnn_core.embedded.shards import ROWS_PER_SHARD
from nnn_core.scoring.merged import SORTED_COLUMNS

if TYPE_CHECKING:
    from nnn_core.planning.costs import Work

_MIB = 1 << 20

#: A process without data: NumPy, Arrow, pandas, Beam and Numba take 270 MiB, the pipeline that they run the rest.
_PROCESS = 300 * _MIB

#: What comes with the first score and stays: LLVM, compiled kernels, buffers of the matrix products.
_KERNELS = 50 * _MIB

#: PyTorch with CUDA (485 MiB), open_clip and transformers; one batch of images on its way; and the weights of a model
#: whose files are not known here, those of a ViT-B/32.
MODEL_LIBRARIES, _BATCH, ASSUMED_WEIGHTS = 750 * _MIB, 100 * _MIB, 600 * _MIB

#: Of each thread that searches, for a tile of 1,024 candidates: a slab of scores; and a reservoir's room for each score
#: kept, with what is selected from it.
_SLAB, _KEPT = 4 * _MIB, 100 << 10

#: What the prefilter holds of the references, of one in float32: int8 and a sample of these.
_ROUNDED = 0.3

#: Indexes of reference shards that a process keeps; and those for second looks.
_CACHED, _CACHED_AGAIN = 512 * _MIB, 256 * _MIB

#: Bytes for each row of a shard that is embedded (ids, pair ids, digests) or judged (ids and their order), and of a
#: part of the table (rows as they came, sorted, and as a file).
_NAMES, _PLACES, _PART_ROW = 200, 150, 500


@dataclass(frozen=True)
class Memory:
    """Bytes of memory of one worker process. That of stages is without what the process and the model take.

    Attributes:
        process: libraries, and the pipeline without data.
        model: libraries, weights and a batch of the encoder; 0 without one.
        embedding: vectors of the files that are embedded side by side, twice, and a file in the making, half of it
            again as it grows.
        scoring: the index of a reference shard, others that are kept, the next while it is read, a shard of
            candidates, a tile for each thread, scores in tiles and together, and the last ones with their file.
        merging: scores side by side and sorted; one partial while it is read (its file, with levels, twice); or a
            second look, which reads the vectors again.
        judging: a shard of candidates while it is read, and the order of its ids.
        writing: rows of a part of the table: as they came, sorted, and as a file.
    """

    process: float
    model: float
    embedding: float
    scoring: float
    merging: float
    judging: float
    writing: float

    @property
    def peak(self) -> float:
        """The most that a process holds at a time."""
        return self.process + self.model + self._stages[self.most]

    @property
    def most(self) -> str:
        """The stage in which that is."""
        return max(self._stages, key=lambda name: self._stages[name])

    @property
    def _stages(self) -> dict[str, float]:
        return {name: value for name, value in asdict(self).items() if name not in ("process", "model")}

    @classmethod
    def of(cls, work: Work) -> Memory:
        """Of a process that does a part of ``work`` in each stage."""
        model = 0.0
        if work.images or work.texts:
            model = MODEL_LIBRARIES + _BATCH + (ASSUMED_WEIGHTS if work.weights is None else work.weights)
        kept = _Indexes.of(work)
        searching = _KERNELS + _tiles(work)
        return cls(
            process=_PROCESS,
            model=model,
            embedding=_embedding(work),
            scoring=searching + _scoring(work, kept),
            merging=searching + kept.after + _merging(work, kept),
            judging=searching + kept.after + 2 * _block(work) + _PLACES * work.shard_rows if work.judged else 0.0,
            writing=searching + kept.after + _PART_ROW * min(work.candidates, ROWS_PER_PART),
        )


@dataclass(frozen=True)
class _Indexes:
    """Bytes of the bank in memory: vectors of a reference shard as read, its index, all that are held, and stay."""

    vectors: float
    one: float
    held: float
    after: float

    @classmethod
    def of(cls, work: Work) -> _Indexes:
        references = max(1, work.references)
        vectors = 4.0 * work.dim * min(work.group_rows, references)
        factor = 1 + _ROUNDED * work.prefilter
        whole, one = factor * 4.0 * work.dim * references, factor * vectors
        after = min(whole, max(_CACHED, one))
        # The next one is read while these are kept.
        return cls(vectors, one, min(whole, after + one), after)


def _block(work: Work) -> float:
    """Vectors of a shard of candidates."""
    return 4.0 * work.dim * work.shard_rows


def _tiles(work: Work) -> float:
    return work.threads * (_SLAB + _KEPT * min(work.kept, work.k_max))


def _embedding(work: Work) -> float:
    todo = work.images + work.texts + work.vectors
    side_by_side = work.threads if work.vectors else 1
    rows = min(todo, side_by_side * max(work.shard_rows, min(ROWS_PER_SHARD, work.file_rows)))
    return rows * (2.5 * 4.0 * work.dim + _NAMES)


def _scoring(work: Work, kept: _Indexes) -> float:
    if not work.pairs:
        return 0.0
    block, top = _block(work), 4.0 * work.shard_rows * work.kept
    begins = 2 * block + 2 * kept.vectors
    later = kept.vectors + 2.8 * top if work.groups > 1 else 0.8 * top
    return max(begins, block + kept.held + 2 * top + later)


def _merging(work: Work, kept: _Indexes) -> float:
    if not work.pairs:
        return 0.0
    waiting = min((work.groups - 1) * work.kept, SORTED_COLUMNS - 1 + work.k_max)
    reading = 4.0 * work.shard_rows * (waiting + 4 * work.kept)
    if work.groups < 2 or work.kept >= work.k_max:
        return reading
    looks = 2 * _block(work) + min(4.0 * work.dim * work.references, _CACHED_AGAIN + kept.vectors) + kept.vectors
    return max(reading, 4.0 * work.shard_rows * (work.k_max + work.kept) + looks)
