"""Biases of candidates that the table does not have yet: what the next refresh against the same bank would publish.

Scores are those of a refresh: exact inner products of vectors on the grid, so the bits of a bias do not depend on who
computes it, and the items that arrived today are ranked by the same rule as those that were there yesterday.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nnn_core import storage
from nnn_core.artifacts import to_parquet
from nnn_core.digests import add_set_digests
from nnn_core.embedded.shards import EmbeddedShard, VectorBlock, read_shard
from nnn_core.encoders.fingerprints import check_dimension
from nnn_core.errors import BankTooSmallError, ConfigError, DuplicateIdError, InputError
from nnn_core.records import to_json
from nnn_core.scoring.bank import Grouping, ReferenceIndex, ReferenceShard, group_shards
from nnn_core.scoring.score import score_block
from nnn_core.scoring.search.searches import Search, exact_search
from nnn_core.scoring.topk import TopK, grid_of
from nnn_core.table.ids import Ids, id_texts
from nnn_core.table.lifecycle.cleaning import Needs
from nnn_core.table.manifest import Manifest, read_manifest
from nnn_core.table.parts import BiasSettings, biases_of, resolve_k
from nnn_core.vectors import FloatMatrix, unit_vectors

#: References that are searched as one.
_ROWS_PER_INDEX = 1 << 16

#: Candidates that are scored at a time: few, so that scores of only these are in memory.
_BLOCK_ROWS = 4096

_FORMAT = "nnn-scores/1"


@dataclass(frozen=True)
class BiasScorer:
    """The bank of a version in memory, and what makes biases of scores. It holds 4 bytes a coordinate of the bank, and
    three tenths of that again once it was searched by int8 products; scoring adds less than 200 MB, whatever is scored.

    Attributes:
        manifest: manifest of the version whose bank and settings are used.
        searches: the bank, in pieces that are searched one by one.
        threads: how many threads score a block.
    """

    manifest: Manifest
    searches: tuple[Search, ...]
    threads: int = 1

    @classmethod
    def open(cls, table: str, work: str, version: int | None = None, threads: int = 1) -> BiasScorer:
        """Load the bank of a version, once.

        Args:
            table: URI of the table's folder.
            work: URI of the refresh's folder of artefacts, where the bank's vectors lie.
            version: number of the version; None for the current (newest) one.
            threads: how many threads score a block.

        Raises:
            InputError: no such version, or ``work`` has no record of its bank.
            ConfigError: the version's scores are approximate.
            CorruptArtifactError: a shard of the bank is damaged or gone.
        """
        manifest = read_manifest(table, version)
        if "approximate" in manifest.search.methods:
            raise ConfigError(
                f"version {manifest.version} of {table!r} was made by an approximate search, so exact biases of "
                "new items would not match it. Run a refresh instead: it scores only new items."
            )
        parts, pairs = _bank_of(manifest, table, work), manifest.settings.exclude_own_pairs
        shards = [
            ReferenceShard(number, group, "", sum(part.rows for part in group), manifest.dim)
            for number, group in enumerate(group_shards(parts, Grouping.of(manifest.references.rows, _ROWS_PER_INDEX)))
        ]
        searches = tuple(exact_search(ReferenceIndex.load(shard, pairs)) for shard in shards)
        return cls(manifest, searches, threads)

    @property
    def nbytes(self) -> int:
        """Bytes that the bank takes in memory."""
        return sum(search.nbytes for search in self.searches)

    def bias(
        self, vectors: npt.NDArray[np.floating], ids: Ids | None = None, pair_ids: Sequence[str] | None = None
    ) -> npt.NDArray[np.float32]:
        """Biases (rows,) float32, the same bits that a refresh would publish.

        Args:
            vectors: (rows, dim), any float type and length; they are normalised as a refresh does.
            ids: (rows,) candidate ids, needed where the table leaves out own pairs.
            pair_ids: (rows,) pair ids of the candidates, empty for none; None where they are the ids.

        Raises:
            ConfigError: shapes disagree, or ids are needed and missing.
            InputError: a vector is zero or not finite, or has another dimension than the bank.
            BankTooSmallError: a candidate has fewer than k references, once its own are left out.
        """
        if vectors.ndim != 2 or not all(len(each) == len(vectors) for each in (ids, pair_ids) if each is not None):
            raise ConfigError(
                f"bias: vectors {vectors.shape} with ids do not fit: pass (rows, dim) vectors, and one id for each row."
            )
        if ids is None and self.manifest.settings.exclude_own_pairs:
            raise ConfigError("bias: this table leaves out a candidate's own references, so ids are needed. Pass ids=.")
        check_dimension(self.manifest.dim, vectors.shape[1], "the table", "the vectors to score")
        unit = _to_unit(vectors, "vectors")
        names = id_texts(ids) if ids is not None else pa.array([""] * len(unit), pa.string())
        return self.bias_of_block(VectorBlock(names, names if pair_ids is None else id_texts(pair_ids), unit))

    def bias_of_block(self, block: VectorBlock) -> npt.NDArray[np.float32]:
        """``bias`` of rows that are on the grid already, such as those of an embedded shard: (rows,) float32.

        Raises:
            BankTooSmallError: a candidate has fewer than k references, once its own are left out.
        """
        settings = self.manifest.settings
        means, fewest = _means(block, self.searches, settings.k, self.threads)
        if fewest < settings.k:
            raise BankTooSmallError(
                f"a candidate has only {fewest} reference queries without its own, fewer than the table's k = "
                f"{settings.k}. Use a larger bank."
            )
        return biases_of(means, settings.alpha)


def compute_biases(
    candidates: npt.NDArray[np.floating],
    references: npt.NDArray[np.floating],
    k: int | None = None,
    alpha: float = 0.5,
    threads: int = 1,
) -> npt.NDArray[np.float32]:
    """Biases of arrays in memory, for a notebook: the same bits that ``nnn refresh`` publishes for them.

    Args:
        candidates: (rows, dim) embeddings of the index, any float type and length; they are normalised.
        references: (bank, dim) embeddings of the reference queries, from the same encoder.
        k: how many of a candidate's highest similarities are averaged; None for what ``--k auto`` takes.
        alpha: weight of the mean in the bias.
        threads: how many threads score; the result does not depend on it.

    Returns:
        (rows,) float32, ``alpha * mean of the k highest similarities`` (arXiv 2410.24114, equation 3).

    Raises:
        ConfigError: an array has not two dimensions, or ``alpha`` is negative or not finite.
        InputError: a vector is zero or not finite, or the dimensions of the two sides differ.
        BankTooSmallError: there are fewer than k references.
    """
    BiasSettings.check_alpha(alpha)
    if candidates.ndim != 2 or references.ndim != 2:
        raise ConfigError(f"compute_biases: {candidates.shape} and {references.shape} must both be (rows, dim).")
    check_dimension(candidates.shape[1], references.shape[1], "the candidates", "the references")
    wanted = resolve_k(k, grid_of(max(1, len(references)), k), len(references))[0]
    bank = _to_unit(references, "references")
    pieces = (bank[first : first + _ROWS_PER_INDEX] for first in range(0, len(bank), _ROWS_PER_INDEX))
    searches = [exact_search(ReferenceIndex.of(piece)) for piece in pieces]
    names = pa.array([""] * len(candidates), pa.string())
    block = VectorBlock(names, names, _to_unit(candidates, "candidates"))
    return biases_of(_means(block, searches, wanted, threads)[0], alpha)


def _to_unit(vectors: npt.NDArray[np.floating], what: str) -> FloatMatrix:
    """The vectors at unit length and on the grid.

    Raises:
        InputError: some have no direction.
    """
    unit, not_finite, zero = unit_vectors(vectors)
    if lost := int((not_finite | zero).sum()):
        raise InputError(f"{lost} of {len(vectors)} {what} are zero or not finite. Leave them out.")
    return unit


def _means(block: VectorBlock, searches: Sequence[Search], k: int, threads: int) -> tuple[npt.NDArray[np.float32], int]:
    """Mean of each row's k highest scores over all searches: (rows,) float32, and the fewest references of any row."""
    means, fewest = np.zeros(len(block.vectors), np.float32), k
    for first in range(0, len(block.vectors), _BLOCK_ROWS):
        rows = _slice(block, first, first + _BLOCK_ROWS)
        top = TopK.empty(k, len(rows.vectors))
        for search in searches:
            top |= score_block(rows, search, k, threads)
        fewest = min(fewest, int(top.seen.min()))
        means[first : first + _BLOCK_ROWS] = top.means((k,))[:, 0] if fewest >= k else np.nan
    return means, fewest


def _slice(block: VectorBlock, first: int, last: int) -> VectorBlock:
    rows = slice(first, last)
    return VectorBlock(block.ids[rows], block.pair_ids[rows], block.vectors[rows])


def _bank_of(manifest: Manifest, table: str, work: str) -> list[EmbeddedShard]:
    """The embedded shards of a version's bank.

    Raises:
        InputError: they are not recorded, or are another bank.
        CorruptArtifactError: the record is damaged.
    """
    found = Needs.find(manifest, work)
    parts = [
        EmbeddedShard(storage.join(work, "embedded", name), digest, rows, manifest.dim, vectors, "", (), 0, name)
        for needs in found[-1:]
        for name, digest, rows, vectors in needs.bank
    ]
    if not parts or add_set_digests(part.vector_digest for part in parts) != manifest.settings.bank_digest:
        raise InputError(
            f"--work {work!r} has no record of the bank's vectors for version {manifest.version} of {table!r}. "
            "Name the --work folder of its refresh. If an earlier release published it, run the refresh "
            "once more: nothing is scored again."
        )
    return parts


@dataclass(frozen=True)
class Scores:
    """Biases of some candidates; ``a | b`` joins them.

    Attributes:
        ids: candidate ids.
        bias: float32 biases of the candidates, as bytes, in their order.
    """

    ids: tuple[str, ...]
    bias: bytes

    @classmethod
    def of_shard(cls, shard: EmbeddedShard, scorer: BiasScorer) -> Scores:
        """The biases of an embedded shard's rows.

        Raises:
            InputError: its vectors are of another dimension than the bank's.
            CorruptArtifactError: its file is damaged.
            BankTooSmallError: see ``BiasScorer.bias``.
        """
        check_dimension(scorer.manifest.dim, shard.dim, "the table", repr(shard.source))
        block = read_shard(shard)
        return cls(tuple(block.ids.to_pylist()), scorer.bias_of_block(block).astype("<f4").tobytes())

    @classmethod
    def merge(cls, parts: Iterable[Scores]) -> Scores:
        """All of them, in any order."""
        every = list(parts)
        return cls(tuple(row_id for part in every for row_id in part.ids), b"".join(part.bias for part in every))

    def write(self, output: str, manifest: Manifest) -> int:
        """Store a Parquet file of ``id``, ascending, and ``bias``; the same bytes for the same rows.

        Args:
            output: URI of the new file.
            manifest: manifest of the version that the biases go with, which the file's footer names.

        Returns:
            How many rows it has.

        Raises:
            InputError: there is no row.
            DuplicateIdError: an id stands for two rows.
            StorageError: another file lies there, or it cannot be written.
        """
        if not self.ids:
            raise InputError("no row of --candidates can be used, so there is nothing to score. Check the input.")
        table = pa.table({"id": pa.array(self.ids, pa.string()), "bias": pa.array(np.frombuffer(self.bias, "<f4"))})
        table = table.sort_by("id").combine_chunks()
        names = table.column("id")
        same = pc.index(pc.equal(names.slice(1), names.slice(0, len(names) - 1)), True).as_py()
        if same >= 0:
            raise DuplicateIdError(
                f"candidate id {names[same].as_py()!r} occurs more than once, so nothing was written. Make ids unique."
            )
        settings = manifest.settings
        said = {"format": _FORMAT, "version": manifest.version, "k": settings.k, "alpha": settings.alpha}
        footer = to_json({**said, "bank_digest": settings.bank_digest, "encoder": settings.encoder})
        storage.create_output(output, to_parquet(table.replace_schema_metadata({b"nnn_scores": footer})), "--output")
        return len(names)
