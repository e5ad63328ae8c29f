"""Whether the candidates of an evaluation are those of the table: among fewer every rank is better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from nnn_core.digests import add_set_digests
from nnn_core.embedded.corpus import embedded_shards
from nnn_core.embedded.shards import EmbeddedInput, EmbeddedShard, read_ids
from nnn_core.errors import DuplicateIdError, InputError
from nnn_core.inputs.rejects import RejectSummary
from nnn_core.table.manifest import Manifest


@dataclass(frozen=True)
class Coverage:
    """How much of the table the candidates of an evaluation are.

    Attributes:
        given: how many candidates were given.
        known: how many candidates the table has.
        rejects: what was rejected of their files.
    """

    given: int
    known: int
    rejects: RejectSummary

    @classmethod
    def of(cls, inputs: Sequence[EmbeddedInput], manifest: Manifest, table: str, subset: bool) -> Coverage:
        """Compare the candidates with those of a version.

        Args:
            inputs: all embedded files of the candidates.
            manifest: manifest of the version.
            table: URI of the table, for messages.
            subset: whether the candidates may be a part of the table's.

        Raises:
            InputError: they are others than the table's, or a part of them though that was not allowed.
            DuplicateIdError: a candidate was given twice.
        """
        shards = list(embedded_shards(inputs))
        rejects = RejectSummary.merged(embedded.rejects for embedded in inputs)
        coverage = cls(sum(shard.rows for shard in shards), manifest.rows, rejects)
        if add_set_digests(shard.id_digest for shard in shards) == manifest.id_digest:
            return coverage
        _refuse_twice(shards)
        if subset and coverage.given < coverage.known:
            return coverage
        rejected = f" ({rejects.rejected:,} more were rejected)" if rejects.rejected else ""
        fact = f"--candidates gives {coverage.given:,} candidates{rejected}"
        if coverage.given < coverage.known:
            raise InputError(
                f"{fact} of the {coverage.known:,} in version {manifest.version} of {table!r}, so every answer "
                "would rank too high. Give all of them, or use --subset for figures among these alone."
            )
        raise InputError(
            f"{fact}, which are not the {coverage.known:,} of version {manifest.version} of {table!r}, so some "
            "have no bias. Give those that the table was computed from, or refresh it."
        )

    def describe(self) -> str:
        """A word on candidates that were left out; empty if none were."""
        if self.given == self.known:
            return ""
        return (
            f"{self.given:,} of the table's {self.known:,} candidates were given (--subset). Ranks are among "
            "these, so recall is higher than in the index."
        )


def _refuse_twice(shards: Sequence[EmbeddedShard]) -> None:
    counted = pc.value_counts(pa.chunked_array([read_ids(shard) for shard in shards], pa.string()))
    twice = counted.filter(pc.greater(counted.field("counts"), 1))
    if len(twice):
        raise DuplicateIdError(
            f"candidate id {twice[0]['values'].as_py()!r} was given {twice[0]['counts'].as_py()} times by "
            f"--candidates ({len(twice)} such ids), so it would be counted more than once. Name each file once."
        )
