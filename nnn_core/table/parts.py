"""Table parts: the rows of the bias table, sorted by id and cut into files by id range.

The cuts come from a sample of ids that depends on the set of candidates only, so the files are
the same bytes however the corpus was cut into shards.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nnn_core.artifacts import from_parquet, to_parquet
from nnn_core.digests import set_digest
from nnn_core.errors import BankTooSmallError, ConfigError, CorruptArtifactError, DuplicateIdError
from nnn_core.inputs.shards import Modality
from nnn_core.records import to_json
from nnn_core.table._published import is_published, read_published, store_published
from nnn_core.vectors import FloatMatrix

#: Rows of a row group of a table part: few, so that one row can be looked up without reading many.
ROWS_PER_GROUP = 1 << 15

_METADATA_KEY = b"nnn_bias_table"

#: Slices that are tables at the same time: one of few rows weighs much more as a table than as bytes.
_SLICES_AT_ONCE = 256


@dataclass(frozen=True)
class BiasSettings:
    """How biases follow from means, and what the table is valid for.

    Attributes:
        k: number of nearest reference queries whose mean is taken.
        alpha: weight of the mean in the bias.
        grid: values of k that ``mean_k`` holds, ascending; the chosen k is in it.
        candidate_modality: modality of the candidates, ``image`` or ``text``.
        reference_modality: modality of the reference queries, ``image`` or ``text``.
        exclude_own_pairs: whether a candidate's own reference queries were left out.
        encoder: the encoder's fingerprint by part, or ``{"kind": "precomputed"}``.
        bank_digest: order-free digest of (vector, pair id) of all reference queries of the bank.
    """

    k: int
    alpha: float
    grid: tuple[int, ...]
    candidate_modality: Modality
    reference_modality: Modality
    exclude_own_pairs: bool
    encoder: dict[str, str]
    bank_digest: str

    def __post_init__(self) -> None:
        self.check_alpha(self.alpha)

    @staticmethod
    def check_alpha(alpha: float) -> None:
        """Refuse a weight that would not give a table of numbers.

        Raises:
            ConfigError: negative or not finite.
        """
        if not math.isfinite(alpha) or alpha < 0:
            raise ConfigError(f"--alpha {alpha} must be a finite number of at least 0.")

    def biases(self, means: FloatMatrix) -> npt.NDArray[np.float32]:
        """``alpha * mean_k`` (arXiv 2410.24114, equation 3): (rows,) float32.

        Args:
            means: (rows, len(grid)) float32, the unscaled mean for each k of the grid.
        """
        return biases_of(means[:, self.grid.index(self.k)], self.alpha)

    @property
    def schema(self) -> pa.Schema:
        """The schema of every file of a table, whose metadata say what its rows are even where the manifest is lost.

        It holds nothing that changes from version to version, so equal rows are equal files.
        """
        essentials = to_json({"format": "nnn-bias-table/1", **asdict(self)})
        fields = {"id": pa.string(), "bias": pa.float32(), "mean_k": pa.list_(pa.float32(), len(self.grid))}
        return pa.schema(list(fields.items()), metadata={_METADATA_KEY: essentials})

    def are_those_of(self, schema: pa.Schema) -> bool:
        """Whether a file says in its footer that its rows follow from these settings."""
        return self.essentials_of(schema) == self.essentials_of(self.schema)

    @staticmethod
    def essentials_of(schema: pa.Schema) -> dict[str, Any] | None:
        """What the footer of a file says of it: format, k, alpha, grid, modalities, encoder, bank; None if nothing."""
        text = (schema.metadata or {}).get(_METADATA_KEY)
        try:
            found = json.loads(text) if text else None
        except ValueError:
            return None
        return found if isinstance(found, dict) else None


@dataclass(frozen=True)
class TablePart:
    """One file of the table.

    Attributes:
        path: path of the file, relative to the table's URI.
        rows: how many candidates the file holds.
        min_id: lowest candidate id in the file.
        max_id: highest candidate id in the file.
        sha256: SHA-256 of the file's bytes, in hex.
        bytes: size of the file, in bytes.
        id_digest: order-free digest of the candidate ids in the file.
        bias_min: lowest bias in the file.
        bias_max: highest bias in the file.
        bias_sum: sum of all biases in the file, float64.
    """

    path: str
    rows: int
    min_id: str
    max_id: str
    sha256: str
    bytes: int
    id_digest: str
    bias_min: float
    bias_max: float
    bias_sum: float

    def is_whole(self, table_uri: str) -> bool:
        """Whether the file is there, and has the bytes that the manifest says."""
        return is_published(table_uri, self.path, self.bytes, self.sha256)

    def read(self, table_uri: str, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows, after a check of the file's bytes.

        Args:
            table_uri: URI of the table's folder.
            columns: names of the columns to read; None for all.

        Raises:
            CorruptArtifactError: the file is not what the manifest says.
            InputError: it is gone.
        """
        return from_parquet(read_published(table_uri, self.path, self.bytes, self.sha256), columns)

    @classmethod
    def write(
        cls, table_uri: str, version: int, number: int, rows: pa.Table, settings: BiasSettings, existing: dict[str, str]
    ) -> TablePart:
        """Compute the biases of one part and store it, unless an earlier version has the very same file, undamaged.

        Args:
            table_uri: URI of the table's folder.
            version: number of the version in the making.
            number: number of the table part, from 0.
            rows: columns ``id``, sorted, and ``mean_k``, which begins with the means of the grid.
            settings: k, alpha and grid of the biases, and what they are valid for.
            existing: paths of the current version's files by SHA-256.

        Raises:
            ConfigError: alpha is too large for biases to be numbers.
            CorruptArtifactError: another file lies under the name of this one, or a mean is no number.
            StorageError: the table cannot be written.
        """
        ids = rows.column("id").combine_chunks()
        means = np.ascontiguousarray(means_of(rows)[:, : len(settings.grid)])
        bias = settings.biases(means)
        # A bias that is no number would empty or fill every search result.
        if not np.isfinite(means).all():
            raise CorruptArtifactError("a mean is NaN or infinite, so nothing was published. This is a defect.")
        if not np.isfinite(bias).all():
            raise ConfigError(
                f"--alpha {settings.alpha:g} makes biases too large for float32, so nothing was published. "
                "Choose a smaller alpha."
            )
        table = pa.Table.from_arrays([ids, pa.array(bias), _list_column(means)], schema=settings.schema)
        data = to_parquet(table, row_group_rows=ROWS_PER_GROUP)
        path, digest = store_published(table_uri, f"versions/{version:06d}/part-{number:05d}", data, existing)
        return cls(
            path=path,
            rows=len(ids),
            min_id=ids[0].as_py(),
            max_id=ids[-1].as_py(),
            sha256=digest,
            bytes=len(data),
            id_digest=set_digest(row_id.encode() for row_id in ids.to_pylist()),
            bias_min=float(bias.min()),
            bias_max=float(bias.max()),
            # Rounded once, so that the sum does not depend on how a library orders it.
            bias_sum=math.fsum(bias.tolist()),
        )


@dataclass(frozen=True, slots=True)
class RowSlice:
    """Rows of one candidate shard that fall into one table part, on their way there.

    Attributes:
        source: URI of the input shard that the rows come from.
        data: Arrow IPC stream of ``id`` and ``mean_k``.
    """

    source: str
    data: bytes

    @staticmethod
    def cut(
        ids: pa.StringArray, means: FloatMatrix, source: str, boundaries: tuple[str, ...]
    ) -> list[tuple[int, RowSlice]]:
        """Rows of a candidate shard by the number of the table part that they belong to.

        Args:
            ids: (rows,) candidate ids, Arrow strings.
            means: (rows, len(grid)) float32, the unscaled mean for each k of the grid.
            source: URI of the input shard, for messages about duplicates.
            boundaries: ids at which the table is cut into parts, ascending, as ``Corpus`` has them.
        """
        pieces = {0: pa.table({"id": ids, "mean_k": _list_column(means)})}
        if boundaries:
            cuts, names = (np.array(each, dtype=object) for each in (boundaries, ids.to_pylist()))
            numbers = np.searchsorted(cuts, names, side="right")
            pieces = {int(number): pieces[0].filter(pa.array(numbers == number)) for number in np.unique(numbers)}
        return [(number, RowSlice(source, _to_ipc(piece))) for number, piece in pieces.items()]


def collect_rows(slices: Iterable[RowSlice]) -> pa.Table:
    """All rows of one part, sorted by id.

    Raises:
        DuplicateIdError: an id stands for two rows; both places are named.
    """
    import pyarrow.compute as pc  # takes as long to import as a command that only reads manifests runs

    ordered = sorted(slices, key=lambda piece: (piece.source, piece.data))
    table, rows = _concatenate(ordered)
    origin = np.repeat(np.arange(len(ordered)), rows)
    order = pc.sort_indices(table.column("id"))
    sorted_table = table.take(order).combine_chunks()
    ids = sorted_table.column("id")
    same = np.flatnonzero(pc.equal(ids.slice(1), ids.slice(0, len(ids) - 1)).to_numpy())
    if len(same):
        first, second = (ordered[origin[order[int(same[0]) + step].as_py()]].source for step in (0, 1))
        where = f"twice in {first!r}" if first == second else f"in {first!r} and in {second!r}"
        raise DuplicateIdError(
            f"candidate id {ids[int(same[0])].as_py()!r} occurs more than once ({len(same)} such rows in this "
            f"part): {where}. Nothing was published. Make ids unique, or choose another column with --id-column."
        )
    return sorted_table


def _concatenate(slices: Sequence[RowSlice]) -> tuple[pa.Table, list[int]]:
    """The rows of all slices in their order, and how many each of them holds."""
    together, rows = [], []
    for start in range(0, len(slices), _SLICES_AT_ONCE):
        tables = [pa.ipc.open_stream(piece.data).read_all() for piece in slices[start : start + _SLICES_AT_ONCE]]
        rows += [table.num_rows for table in tables]
        together.append(pa.concat_tables(tables).combine_chunks())
    return pa.concat_tables(together).combine_chunks(), rows


def biases_of(means: npt.NDArray[np.float32], alpha: float) -> npt.NDArray[np.float32]:
    """``alpha * mean``, rounded once to float32: (rows,) of unscaled means (rows,) float32."""
    with np.errstate(over="ignore"):
        scaled: npt.NDArray[np.float32] = (alpha * means.astype(np.float64)).astype(np.float32)
    return scaled


def _k_for(references: int) -> int:
    """The k of ``--k auto``: 16 for banks below 40,000, twice that for each 16-fold beyond, an eighth of a small bank.

    The power of two nearest to ``16 (references / 10^4)^(1/4)``, at least 16, and at most the greatest in an eighth of
    the bank. On real embeddings with banks of 100 to 6,000 queries the best k was 2 to 32 whatever the size, and more
    than an eighth of a bank approaches its plain mean, which corrects less or does harm. The growth is a guess: with
    banks of 10^4 to 3 * 10^5 of synthetic clouds, k = 16 to 256 are within a point of recall@1 of each other
    (``tests/benchmarks/default_k.py``), and nothing real of that size was tried.

    Args:
        references: reference queries that each candidate is scored against, at least 1.
    """
    grown = 1 << round(4 + math.log2(max(1.0, references / 10_000)) / 4)
    return min(grown, 1 << (max(8, references).bit_length() - 4))


def resolve_k(k: int | None, grid: tuple[int, ...], min_seen: int) -> tuple[int, tuple[int, ...]]:
    """The k to use and the part of the grid that every candidate has references for.

    Args:
        k: the k that was asked for; None for the largest of the grid up to ``_k_for`` the references.
        grid: values of k whose means are kept, ascending, from ``topk.grid_of``.
        min_seen: fewest references that any candidate was scored against.

    Raises:
        BankTooSmallError: some candidate has fewer than k references.
    """
    kept = tuple(value for value in grid if value <= min_seen)
    if k is None and kept:
        return max(value for value in kept if value <= _k_for(min_seen)), kept
    if k is None or k > min_seen:
        raise BankTooSmallError(
            f"--k {k or 'auto'} needs {k or 1} reference queries for every candidate, but one has only "
            f"{min_seen} without its own pairs. Use a larger bank, a smaller --k, or --k auto."
        )
    return k, kept


def means_of(table: pa.Table) -> FloatMatrix:
    """The ``mean_k`` column as (rows, len(grid)) float32."""
    column = table.column("mean_k").combine_chunks()
    means: FloatMatrix = column.flatten().to_numpy().reshape(table.num_rows, -1)
    return means


def _list_column(means: FloatMatrix) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(means.reshape(-1)), means.shape[1])


def _to_ipc(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())
