"""Partials: the top-k of one embedded shard of candidates over one reference shard, as a file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from nnn_core import storage
from nnn_core.artifacts import from_parquet, to_parquet
from nnn_core.digests import name_of
from nnn_core.embedded.shards import EmbeddedShard
from nnn_core.errors import CorruptArtifactError
from nnn_core.scoring.bank import ReferenceShard
from nnn_core.scoring.own_pairs import NO_OWN_PAIRS, OwnPairs
from nnn_core.scoring.topk import TopK

_SEARCH_KEY = b"nnn_search"

_SUFFIX = ".parquet"

#: Bytes of the digest in a partial's name.
_NAME_BYTES = 20

#: Names of the searches that partials come from.
_SEARCHES = ("exact", "prefilter", "device", "approximate")


@dataclass(frozen=True, slots=True)
class Partial:
    """Where the scores of a candidate shard in a reference shard lie.

    Attributes:
        candidates: digest of the embedded shard of candidates.
        reference: number of the reference shard.
        uri: URI of the Parquet file of ``seen`` and ``scores``, rows in the order of the candidates.
        rows: how many candidates the embedded shard holds, each a row of the partial.
        k_max: how many scores are kept for each candidate, at most.
    """

    candidates: str
    reference: int
    uri: str
    rows: int
    k_max: int

    @classmethod
    def of(
        cls,
        candidates: EmbeddedShard,
        reference: ReferenceShard,
        k_max: int,
        exclude_own_pairs: bool,
        work: str,
        search: str = "exact",
    ) -> Partial:
        """The partial of this pair of shards.

        Args:
            candidates: the embedded shard of candidates that are scored.
            reference: the reference shard that the candidates are scored against.
            k_max: how many scores are kept for each candidate, at most.
            exclude_own_pairs: whether a candidate's own references are left out.
            work: URI of the folder of artefacts, in which the partial's file lies under ``partials``.
            search: ``exact`` for all searches that give the exact scores, else a digest of the search's settings.
        """
        name = partial_name(candidates.digest, reference.digest, k_max, exclude_own_pairs, search)
        uri = storage.join(work, "partials", name)
        return cls(candidates.digest, reference.number, uri, candidates.rows, k_max)

    def write(self, top: TopK, search: str = "exact") -> None:
        """Store ``top`` under the partial's name, unless it is there already.

        Args:
            top: the highest scores of each candidate, rows in the order of the candidates.
            search: name of the search that found the scores, kept in the same file for the manifest.
        """
        scores = top.scores
        if not scores.shape[1]:  # Arrow has no lists of size 0
            scores = np.full((len(scores), 1), -np.inf, np.float32)
        lists = pa.FixedSizeListArray.from_arrays(pa.array(scores.reshape(-1)), scores.shape[1])
        table = pa.table({"seen": pa.array(top.seen), "scores": lists}).replace_schema_metadata({_SEARCH_KEY: search})
        storage.create(self.uri, to_parquet(table, split=["scores.list.element"]))

    def read(self) -> tuple[TopK, str]:
        """The scores, and the name of the search that found them.

        Raises:
            CorruptArtifactError: the file is not the partial that its name promises.
        """
        try:
            table = from_parquet(storage.read_bytes(self.uri))
            scores = table.column("scores").combine_chunks()
            flat = scores.flatten().to_numpy().reshape(table.num_rows, scores.type.list_size)
            if table.num_rows != self.rows:
                raise ValueError(f"{table.num_rows} rows, expected {self.rows}")
            seen = table.column("seen").to_numpy().astype(np.int64)
            top = TopK(self.k_max, seen, flat[:, : min(self.k_max, int(seen.max(initial=0)))])
            search = table.schema.metadata[_SEARCH_KEY].decode()
            if search not in _SEARCHES:
                raise ValueError(f"found by an unknown search {search!r}")
            return top, search
        except (pa.ArrowException, OSError, ValueError, KeyError, AttributeError, TypeError, OverflowError) as error:
            raise CorruptArtifactError(
                f"{self.uri!r} is not a readable partial: {error}. Delete it and run the same command again."
            ) from error


@dataclass(frozen=True, slots=True)
class ScoredRange:
    """A shard of candidates with its partials in a range of reference shards, described once for all of them.

    Attributes:
        candidates: the embedded shard of candidates that the partials belong to.
        first: number of the first reference shard of the range.
        folder: URI of the folder in which the partials lie.
        names: the digests that the partials' files are named by, 20 bytes each, in the order of the reference shards:
            of all that travels, this alone grows with the number of pairs.
        k_max: how many scores are kept for each candidate, at most.
    """

    candidates: EmbeddedShard
    first: int
    folder: str
    names: bytes
    k_max: int

    @classmethod
    def of(cls, candidates: EmbeddedShard, partials: Sequence[Partial]) -> ScoredRange:
        """The range of ``partials``, one or more, in consecutive reference shards."""
        head = partials[0]
        names = (storage.basename(partial.uri).removesuffix(_SUFFIX) for partial in partials)
        return cls(candidates, head.reference, storage.parent(head.uri), bytes.fromhex("".join(names)), head.k_max)

    @property
    def partials(self) -> list[Partial]:
        """One for each reference shard of the range."""
        shard, size = self.candidates, _NAME_BYTES
        names = [self.names[at : at + size].hex() + _SUFFIX for at in range(0, len(self.names), size)]
        return [
            Partial(shard.digest, number, storage.join(self.folder, name), shard.rows, self.k_max)
            for number, name in enumerate(names, self.first)
        ]


@dataclass(frozen=True, slots=True)
class Scored:
    """What scoring was like for one candidate shard, or for several.

    Attributes:
        fewest_seen: fewest references that a candidate was scored against.
        searches: names of the searches that found the scores, such as ``exact``.
        own_pairs: what was left out of the scores as the candidates' own.
    """

    fewest_seen: int
    searches: frozenset[str]
    own_pairs: OwnPairs = NO_OWN_PAIRS

    @classmethod
    def merged(cls, scored: Iterable[Scored]) -> Scored:
        """What scoring was like for several candidate shards together, one or more."""
        every = list(scored)
        searches = frozenset().union(*(each.searches for each in every))
        own_pairs = sum((each.own_pairs for each in every), NO_OWN_PAIRS)
        return cls(min(each.fewest_seen for each in every), searches, own_pairs)


def partial_name(candidates: str, reference: str, k_max: int, exclude_own_pairs: bool, search: str) -> str:
    """The name of a partial's file, by the digests of both shards."""
    name = name_of(
        "partial",
        candidates=candidates,
        reference=reference,
        k_max=k_max,
        exclude_own_pairs=exclude_own_pairs,
        search=search,
    )
    return f"{name}{_SUFFIX}"


def merge_partials(partials: list[Partial], references: int) -> tuple[TopK, frozenset[str]]:
    """The top-k of a candidate shard over the whole bank, whatever the order of ``partials``; and the searches used.

    Args:
        partials: the partials of one candidate shard, one for each reference shard of the bank, in any order.
        references: number of reference shards of the bank.

    Raises:
        CorruptArtifactError: partials are missing or doubled.
    """
    ordered = sorted(partials, key=lambda partial: partial.reference)
    if [partial.reference for partial in ordered] != list(range(references)):
        numbers = [partial.reference for partial in ordered]
        raise CorruptArtifactError(
            f"candidate shard {ordered[0].candidates[:16]} has partials of reference shards {numbers}, "
            f"expected each of 0 to {references - 1} once; this is a defect of the pipeline."
        )
    top, searches = TopK.empty(ordered[0].k_max, ordered[0].rows), set()
    for partial in ordered:
        scores, search = partial.read()
        top = top | scores
        searches.add(search)
    return top, frozenset(searches)
