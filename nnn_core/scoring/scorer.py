"""Scorer: what is asked of the scores of a table, and which artefacts answer it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nnn_core import storage
from nnn_core.embedded.shards import EmbeddedShard
from nnn_core.scoring.bank import Bank, ReferenceShard
from nnn_core.scoring.merged import merged_path
from nnn_core.scoring.partials import EXACT, Partial, _other_sizes, kept_scores
from nnn_core.storage.disk_cache import NO_CACHE, DiskCache


@dataclass(frozen=True)
class Scorer:
    """What every worker needs to know.

    Attributes:
        k_max: how many scores of each candidate count.
        exclude_own_pairs: whether a candidate's own reference queries are left out.
        work: URI of the folder of artefacts.
        threads: threads of one worker process.
        search: how scores are found, one of ``search.SEARCHES``.
        cache: where each worker's machine keeps copies of the bank.
        grid: values of k to take means for; those beyond the bank's size are left out.
    """

    k_max: int
    exclude_own_pairs: bool
    work: str
    threads: int
    search: str
    cache: DiskCache = NO_CACHE
    grid: tuple[int, ...] = ()

    def grid_of(self, references: int) -> tuple[int, ...]:
        """The values of k that a bank of so many references has means of."""
        return tuple(k for k in self.grid if k <= references)

    def partials(
        self, candidates: EmbeddedShard, reference: ReferenceShard, bank: int, found_by: str = EXACT
    ) -> Iterator[Partial]:
        """The partial of two shards, and then others that would do in its place, where they are there already.

        Args:
            candidates: the embedded shard of candidates.
            reference: the reference shard.
            bank: reference queries of the whole bank.
            found_by: see ``Partial.of``; what another search than an exact one found is kept whole.
        """
        kept = kept_scores(self.k_max, reference.rows, bank) if found_by == EXACT else self.k_max
        for size in (kept, *(_other_sizes(self.k_max, kept) if found_by == EXACT else ())):
            yield Partial.of(candidates, reference, size, self.exclude_own_pairs, self.work, found_by)

    def merged_uri(self, candidates: EmbeddedShard, bank: Bank, searches: Sequence[str]) -> str:
        """Where the means of a candidate shard over the whole bank lie.

        Args:
            candidates: the embedded shard of candidates.
            bank: all reference shards.
            searches: how each of these is searched, see ``Partial.of``.
        """
        references = [shard.digest for shard in bank.shards]
        how = (self.grid_of(bank.rows), self.k_max, self.exclude_own_pairs)
        return storage.join(self.work, merged_path(candidates.digest, references, searches, *how))
