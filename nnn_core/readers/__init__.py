"""Readers: one input file in, batches of rows and rejects out. One format a module."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from nnn_core.errors import InputError
from nnn_core.readers import captions, npy, parquet, webdataset
from nnn_core.readers.rows import Columns, Rows
from nnn_core.shards import InputShard, Modality

__all__ = ["Columns", "Rows", "holds_vectors", "read_rows"]

_READERS: dict[str, Callable[[InputShard, Modality, Columns], Iterator[Rows]]] = {
    ".tar": webdataset.read,
    ".npy": npy.read,
    ".parquet": parquet.read,
    ".tsv": captions.read_tsv,
    ".jsonl": captions.read_jsonl,
}


def read_rows(shard: InputShard, modality: Modality, columns: Columns) -> Iterator[Rows]:
    """Rows of one shard in file order, in batches of bounded size.

    Args:
        shard: the file.
        modality: which side of an image-caption sample to read.
        columns: the names of the columns or JSON fields to read.

    Raises:
        InputError: an unknown format, a broken file, a missing column.
    """
    return _READERS[format_of(shard.uri)](shard, modality, columns)


def format_of(uri: str) -> str:
    """The suffix that selects the reader.

    Raises:
        InputError: no reader for this suffix.
    """
    for suffix in _READERS:
        if uri.endswith(suffix):
            return suffix
    raise InputError(f"{uri!r} has no known format; the suffix must be one of {', '.join(sorted(_READERS))}.")


def holds_vectors(shard: InputShard, columns: Columns) -> bool:
    """Whether the shard holds embeddings rather than images or captions.

    Raises:
        InputError: an unknown format, or a Parquet file from which both could be read.
    """
    suffix = format_of(shard.uri)
    if suffix == ".parquet":
        return parquet.holds_vectors(shard.uri, columns)
    return suffix == ".npy"
