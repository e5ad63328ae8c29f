"""The candidates as a whole: what must hold before any of them is scored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from nnn_core import storage
from nnn_core.digests import add_set_digests
from nnn_core.embedded.shards import EmbeddedInput, EmbeddedShard, check_alike
from nnn_core.embedded.side import Side
from nnn_core.errors import BankTooSmallError, InputError, NNNError
from nnn_core.inputs.rejects import RejectSummary

#: What it means for a side when every row of it was rejected.
_NOTHING_LEFT: dict[str, tuple[type[NNNError], str]] = {
    "--candidates": (InputError, "no candidate is left"),
    "--references": (BankTooSmallError, "the bank is empty"),
    "--validation": (InputError, "no validation query is left"),
    "--queries": (InputError, "no query is left"),
}


@dataclass(frozen=True)
class Corpus:
    """All candidates: metadata only.

    Attributes:
        side: rows, rejects and digests, as a manifest records them.
        outcome: what became of the input files.
        dim: dimension of the vectors.
        boundaries: ids at which the table is cut into parts.
        shards: (name of the file, digest) of all embedded shards, ascending.
        id_digest: order-free digest of all ids, see ``digests.set_digest``.
    """

    side: Side
    outcome: Outcome
    dim: int
    boundaries: tuple[str, ...]
    shards: tuple[tuple[str, str], ...] = ()
    id_digest: str = ""

    def outline(self) -> Corpus:
        """The same without all that grows with the number of files: what every worker is told."""
        return replace(self, side=replace(self.side, inputs=()), shards=())

    @classmethod
    def gather(cls, inputs: Sequence[EmbeddedInput], max_reject_rate: float, rejects_folder: str) -> Corpus:
        """Check the candidates together.

        Raises:
            RejectedRowsError: too many rows could not be used.
            InputError: no row is left, or the vectors differ in dimension.
        """
        side, outcome = summarise_side(inputs, max_reject_rate, "--candidates", rejects_folder)
        shards = list(embedded_shards(inputs))
        if not shards:
            raise InputError(
                "the files of --candidates hold no rows, so there is nothing to compute. Check the pattern."
            )
        check_alike(shards)
        files = tuple(sorted((storage.basename(shard.uri), shard.digest) for shard in shards))
        cuts = _part_boundaries((shard.id_sample for shard in shards), side.rows)
        ids = add_set_digests(shard.id_digest for shard in shards)
        return cls(side, outcome, shards[0].dim, cuts, files, ids)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the input files of a side, in few words.

    Attributes:
        precomputed: whether they held vectors; both values where some did.
        rejects: what was rejected of them.
    """

    precomputed: frozenset[bool]
    rejects: RejectSummary

    @classmethod
    def of(cls, inputs: Sequence[EmbeddedInput]) -> Outcome:
        """What became of some files together, whatever their order."""
        precomputed = frozenset(embedded.precomputed for embedded in inputs)
        return cls(precomputed, RejectSummary.merged(embedded.rejects for embedded in inputs))


def summarise_side(
    inputs: Sequence[EmbeddedInput], max_reject_rate: float, flag: str, rejects_folder: str
) -> tuple[Side, Outcome]:
    """What a side, such as the bank, was made from, and what became of their files, after the check of the rejects.

    Args:
        inputs: all embedded files of the side.
        max_reject_rate: allowed share of rejected rows, 0 to 1.
        flag: flag that named the files, such as ``--references``, for messages.
        rejects_folder: where rejects are listed, for messages.

    Raises:
        RejectedRowsError: more than ``max_reject_rate`` of the rows could not be used.
        InputError: not one candidate or query could be used, though that was allowed.
        BankTooSmallError: not one reference could be used, though that was allowed.
    """
    outcome = Outcome.of(inputs)
    summary = outcome.rejects
    summary.check_rate(max_reject_rate, flag, rejects_folder)
    if summary.rows == summary.rejected > 0:
        error, fact = _NOTHING_LEFT[flag]
        raise error(
            f"{fact}: all {summary.rejected} rows of {flag} were rejected, so nothing was published:"
            f"{summary.frequent_reasons}\nEvery reject is listed under {rejects_folder}. Repair the input."
        )
    side = Side(
        rows=summary.rows - summary.rejected,
        rejected=summary.rejected,
        digest=add_set_digests(shard.vector_digest for shard in embedded_shards(inputs)),
        inputs=tuple(sorted(embedded.digest for embedded in inputs)),
        off_length=_off_length(inputs),
    )
    return side, outcome


def _off_length(inputs: Sequence[EmbeddedInput]) -> int | None:
    """Vectors that were not of length 1 as read; None unless it is known of every file that held vectors."""
    counts = [embedded.off_length for embedded in inputs if embedded.precomputed]
    known = [count for count in counts if count is not None]
    return sum(known) if known and len(known) == len(counts) else None


def embedded_shards(inputs: Iterable[EmbeddedInput]) -> Iterable[EmbeddedShard]:
    """All embedded shards of some inputs."""
    return (shard for embedded in inputs for shard in embedded.shards)


#: Rows of a table part, about: eight row groups of 128k rows.
ROWS_PER_PART = 1 << 20


def _part_boundaries(
    samples: Iterable[Sequence[str]], rows: int, rows_per_part: int = ROWS_PER_PART
) -> tuple[str, ...]:
    """Ids at which the table is cut: part i holds ids from boundary i-1 up to, not including, boundary i.

    Args:
        samples: the id samples of all embedded candidate shards.
        rows: number of candidates in total.
        rows_per_part: size to aim for.
    """
    parts = -(-rows // rows_per_part)
    pooled = sorted(row_id for sample in samples for row_id in sample)
    if not pooled:
        return ()
    cuts = (pooled[number * len(pooled) // parts] for number in range(1, parts))
    return tuple(sorted(set(cuts)))
