"""Captions as delimited text: TSV with a header."""

from __future__ import annotations

from collections.abc import Iterator

from nnn_core.readers.formats import Format
from nnn_core.readers.records import check_text, columns_of_header, lines_of, rows_of_record
from nnn_core.readers.rows import MALFORMED, NOT_UTF8, Columns, PairField, Row, Rows, batched
from nnn_core.rejects import Reject
from nnn_core.shards import InputShard, Modality


def read_tsv(shard: InputShard, modality: Modality, columns: Columns) -> Iterator[Rows]:
    """Tab-separated values with a header line; quotes have no meaning.

    Raises:
        InputError: no header, or a needed column is missing.
    """
    check_text(modality, shard.uri)
    return batched(_rows(shard.uri, columns))


def _rows(uri: str, columns: Columns) -> Iterator[Row | Reject]:
    lines = lines_of(uri)
    header = next(lines, (1, b""))[1].decode("utf-8-sig", "replace").split("\t")
    pick = columns_of_header(header, columns, uri)
    pairs = PairField(pick.pair_id)
    for number, line in lines:
        try:
            fields = line.decode("utf-8").split("\t")
        except UnicodeDecodeError as error:
            yield Reject(f"line {number}", NOT_UTF8, str(error))
            continue
        if len(fields) != len(header):
            yield Reject(f"line {number}", MALFORMED, f"{len(fields)} fields, the header has {len(header)}")
        else:
            yield from rows_of_record(dict(zip(header, fields, strict=True)), number, pick, pairs)


TSV = Format("tsv", (".tsv",), read_tsv)
