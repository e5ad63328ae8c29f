"""An export: embedded shards with their biases inside, as an engine imports them, and a manifest of the files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from nnn_core import records, storage
from nnn_core.consumers.engines.overlap import TopOverlap
from nnn_core.consumers.export_files import WrittenFile, _keep_file
from nnn_core.consumers.held import FORMAT, manifest_uri
from nnn_core.consumers.rerank import Reranker
from nnn_core.digests import add_set_digests
from nnn_core.embedded.corpus import embedded_shards
from nnn_core.embedded.shards import EmbeddedInput, EmbeddedShard, check_alike, read_ids
from nnn_core.encoders.fingerprints import check_dimension, check_encoder
from nnn_core.errors import DuplicateIdError, InputError, StorageError
from nnn_core.inputs.rejects import RejectSummary
from nnn_core.scoring.bank import in_order
from nnn_core.table.reading import BiasTable

_ROWS_PER_BIAS_FILE = 1 << 20

SAME, OTHER, PART = "those of the table", "others than those of the table", "some of the table"


@dataclass(frozen=True)
class Embeddings:
    """The embeddings as a whole.

    Attributes:
        shards: all embedded shards to export, in order of their source.
        rows: how many candidates all embedded shards hold.
        rejected: how many rows of the input could not be used.
        id_digest: order-free digest of the candidate ids.
        vectors: whether the biases were computed from these very vectors: ``SAME``, ``OTHER`` or ``PART``.
        off_length: how many ready-made vectors were not unit length as read.
    """

    shards: tuple[EmbeddedShard, ...]
    rows: int
    rejected: int
    id_digest: str
    vectors: str
    off_length: int = 0

    @classmethod
    def gather(
        cls,
        inputs: Sequence[EmbeddedInput],
        table: BiasTable,
        uri: str,
        encoder: dict[str, str] | None,
        max_reject_rate: float,
        rejects_folder: str,
    ) -> Embeddings:
        """Check the embeddings together, before anything is written.

        Args:
            inputs: what every input shard of the embeddings became.
            table: the version of the table whose biases are exported.
            uri: URI of the table, for messages.
            encoder: the encoder's fingerprint by part; None where all vectors came ready-made.
            max_reject_rate: allowed share of rejected rows, 0 to 1.
            rejects_folder: URI of the folder where rejects are listed, for messages.

        Raises:
            RejectedRowsError: too many rows could not be used.
            InputError: no row is left, or the vectors are not of the table's encoder or dimension.
            DuplicateIdError: an id stands for two rows.
        """
        summary = RejectSummary.merged(embedded.rejects for embedded in inputs)
        summary.check_rate(max_reject_rate, "--embeddings", rejects_folder)
        shards = in_order(embedded_shards(inputs))
        if not shards:
            raise InputError("no row of --embeddings can be used, so there is nothing to export. Check the input.")
        check_alike(shards)
        check_dimension(table.manifest.dim, shards[0].dim, uri, repr(shards[0].source))
        if encoder is not None and not all(each.precomputed for each in inputs):
            check_encoder(table.manifest.settings.encoder, encoder, uri, "what --encoder names")
        rows, ids = sum(s.rows for s in shards), add_set_digests(s.id_digest for s in shards)
        if (rows, ids) != (table.manifest.rows, table.manifest.id_digest):
            _check_unique(shards, table)
        origin = PART
        if ids == table.manifest.id_digest:
            same = add_set_digests(s.vector_digest for s in shards) == table.manifest.candidates.digest
            origin = SAME if same else OTHER
        off_length = sum(each.off_length or 0 for each in inputs)
        return cls(tuple(shards), rows, summary.rejected, ids, origin, off_length)


def _check_unique(shards: Iterable[EmbeddedShard], table: BiasTable) -> None:
    """No candidate may come twice, though not all need come.

    Raises:
        DuplicateIdError: naming one.
        InputError: a candidate is not in the table.
    """
    seen = np.zeros(len(table.ids), np.int32)
    for shard in shards:
        rows = table.rows_of(read_ids(shard).to_pylist())
        np.add.at(seen, rows, 1)
        double = rows[seen[rows] > 1]
        if len(double):
            row_id = table.ids[int(double.min())].as_py()
            raise DuplicateIdError(
                f"candidate id {row_id!r} of {shard.source!r} occurs more than once among --embeddings, so an "
                "engine would keep only one of them. Make ids unique."
            )


def export_biases(table: BiasTable, deviations: float, output: str) -> tuple[list[WrittenFile], int]:
    """Write the biases to look up, for ``Reranker.load``.

    Args:
        table: the version of the table whose biases are written.
        deviations: robust standard deviations above the median from which a bias makes a hub.
        output: URI of the folder of the export.

    Returns:
        The files, and how many candidates are hubs.
    """
    biases = Reranker.of(table.ids, table.bias, deviations=deviations)
    files = []
    for first in range(0, len(table.bias), _ROWS_PER_BIAS_FILE):
        last = min(first + _ROWS_PER_BIAS_FILE, len(table.bias))
        data = biases.to_bytes(slice(first, last))
        files.append(_keep_file(output, "biases/part", ".parquet", data, last - first))
    return files, int(np.count_nonzero(biases.hub))


def export_record(
    table: BiasTable,
    uri: str,
    embeddings: Embeddings,
    files: Sequence[WrittenFile],
    overlap: TopOverlap | None,
    queries: dict[str, Any],
    details: dict[str, Any],
) -> dict[str, Any]:
    """The content of ``export.json``: the same for the same export; it holds no time."""
    manifest = table.manifest
    return {
        "format": FORMAT,
        "table": {
            "uri": uri,
            "version": manifest.version,
            "rows": manifest.rows,
            "id_digest": manifest.id_digest,
            "k": manifest.settings.k,
            "alpha": manifest.settings.alpha,
        },
        "encoder": manifest.settings.encoder,
        "rows": embeddings.rows,
        "rejected": embeddings.rejected,
        "id_digest": embeddings.id_digest,
        "embeddings": embeddings.vectors,
        "off_length": embeddings.off_length,
        "files": [asdict(each) for each in sorted(files, key=lambda each: each.path)],
        "queries": queries,
        "overlap": asdict(overlap) if overlap else None,
        **details,
    }


def check_output(output: str, expected: dict[str, Any]) -> None:
    """Refuse, before the work, an output that holds a finished export of something else.

    Args:
        output: URI of the folder of the export.
        expected: what the export's record will say, by name, as far as it is known.

    Raises:
        StorageError: it holds another export, or cannot be written exclusively.
    """
    storage.check_exclusive(output)
    uri = manifest_uri(output)
    if not storage.exists(uri):
        return
    try:
        record = json.loads(storage.read_bytes(uri))
        differing = [name for name, value in expected.items() if record.get(name) != json.loads(json.dumps(value))]
    except (ValueError, AttributeError) as error:
        raise StorageError(f"{uri!r} is not the manifest of an export ({error}). Name a new --output.") from error
    if differing:
        raise StorageError(
            f"{uri!r} exists already and belongs to another export (its {', '.join(differing)} differ). It was "
            "left as it is. Name a new --output."
        )


def commit_export(output: str, folders: Iterable[str], record: dict[str, Any]) -> str:
    """Write the manifest, last of all.

    Raises:
        StorageError: the folder holds files of something else, or another export's manifest.
    """
    for folder in folders:
        known = {each["path"].removeprefix(f"{folder}/").split("/")[0] for each in record["files"]}
        stray = [name for name in storage.list_names(storage.join(output, folder)) if name not in known]
        if stray:
            raise StorageError(
                f"{storage.join(output, folder)!r} holds {len(stray)} files that this export did not write "
                f"(first: {stray[0]!r}), which an engine would import too. Delete them or name a new --output, "
                "and run the same command again."
            )
    data = records.to_page(record)
    uri = manifest_uri(output)
    if not storage.create(uri, data) and storage.read_bytes(uri) != data:
        raise StorageError(
            f"{uri!r} exists already and belongs to another export. It was left as it is. Name a new --output."
        )
    return uri
