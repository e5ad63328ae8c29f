"""``nnn encode``: the vectors of texts or images in a file, as a refresh would compute them."""

from __future__ import annotations

import argparse
import io
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from nnn_core import storage
from nnn_core.artifacts import to_parquet
from nnn_core.embedded.embedding import unit_rows
from nnn_core.encoders import EncoderSource, load_once, parse_encoder
from nnn_core.encoders.encoding import Usage, encode_rows
from nnn_core.encoders.prompts import AS_IS, Prompts
from nnn_core.errors import ConfigError, InputError
from nnn_core.inputs.listing import describe_shard, list_shards
from nnn_core.inputs.readers import Rows, holds_vectors, read_rows
from nnn_core.inputs.rejects import EMPTY_LINE, Reject
from nnn_core.inputs.shards import ShardName
from nnn_core.table.manifest import read_manifest
from nnn_core.vectors import FloatMatrix
from pipelines.commands._options import add_options, build, encoder_of_table
from pipelines.commands._output import print_json
from pipelines.commands._parser import Parser
from pipelines.options import ColumnOptions


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Parse flags, encode, write, print.

    Raises:
        InputError: a row cannot be used.
        StorageError: another file lies under the name of the output, or it cannot be written.
    """
    parser = Parser(
        prog="nnn encode",
        description="Encode texts or images as unit vectors, as a refresh does: queries for your index, or a bank.",
    )
    parser.add_argument("--encoder", required=True, metavar="SPEC", help="model, as for nnn refresh")
    parser.add_argument("--input", required=True, metavar="GLOB", help="files of texts or images, as for nnn refresh")
    parser.add_argument(
        "--output", required=True, metavar="URI", help="new file: .npy of vectors in input order, or .parquet with ids"
    )
    parser.add_argument("--modality", choices=("text", "image"), default="text", help="default: %(default)s")
    parser.add_argument("--table", metavar="URI", help="encode as this table's queries: its prompt and precision")
    add_options(parser, ColumnOptions)
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    args = parser.parse_args(argv)
    if not args.output.endswith((".npy", ".parquet")):
        raise ConfigError(f"--output {args.output!r} must end in .npy or .parquet.")
    names, left_out = list_shards(args.input, "--input"), Counter[str]()  # before a model is looked at
    ids, vectors = _encode(args, names, *_encoder(args), left_out)
    storage.create_output(args.output, _to_file(args.output, ids, vectors), "--output")
    print(f"encoded      {len(ids):,} {args.modality}s, {vectors.shape[1]} dimensions, unit length")
    for what, count in sorted(left_out.items()):
        print(f"left out     {count:,} x {what}, no rows")
    print(f"written to   {args.output}")
    result = {"output": args.output, "rows": len(ids), "dim": vectors.shape[1], "left_out": dict(left_out)}
    print_json(args, result)
    return result


def _encoder(args: argparse.Namespace) -> tuple[EncoderSource, str]:
    """The model, and the template that texts are put into."""
    if args.table is None:
        return parse_encoder(args.encoder), AS_IS
    manifest = read_manifest(args.table)
    source = encoder_of_table(args.encoder, args.table, manifest.version)
    assert source is not None  # --encoder is required
    return source, Prompts.recorded(manifest.settings.encoder).reference


def _encode(
    args: argparse.Namespace, names: Sequence[ShardName], source: EncoderSource, prompt: str, left_out: Counter[str]
) -> tuple[list[str], FloatMatrix]:
    """Ids and unit vectors of all rows in order; what of the files is no row is added to ``left_out``."""
    columns = replace(build(ColumnOptions, args).candidate_columns, require_id=False)
    usage = Usage(threads=len(os.sched_getaffinity(0)))
    ids: list[str] = []
    pieces: list[FloatMatrix] = []
    for name in names:
        shard = describe_shard(name)
        if holds_vectors(shard, args.modality, columns):
            raise InputError(f"{name.uri!r} holds vectors already. Use them as they are.")
        rows = _complete(read_rows(shard, args.modality, columns), name.uri, left_out)
        for batch in encode_rows(rows, args.modality, load_once(source), prompt, usage, repr(name.uri)):
            kept, unit = unit_rows(batch)
            _refuse(kept.rejects, name.uri)
            if kept.ids:
                ids += kept.ids
                pieces.append(unit)
    if not ids:
        raise InputError(f"--input {args.input!r} holds no {args.modality}. Check the pattern and --modality.")
    return ids, np.concatenate(pieces)


def _complete(batches: Iterable[Rows], uri: str, left_out: Counter[str]) -> Iterator[Rows]:
    """The batches of a file; empty lines between captions are refused, as numbers of lines would not match rows.

    Raises:
        InputError: there is an empty line, or a row that cannot be used.
    """
    for batch in batches:
        _refuse(batch.rejects, uri)
        if empty := batch.left_out.get(EMPTY_LINE, 0):
            raise InputError(
                f"{uri!r}: {empty:,} empty line{'s stand' if empty > 1 else ' stands'} between captions. Fill in or "
                "remove them (grep -nE '^\\s*$' finds them), so that lines of input and rows of output match."
            )
        left_out.update(batch.left_out)
        yield batch


def _refuse(rejects: Sequence[Reject], uri: str) -> None:
    """Refuse a file with a row that cannot be used: without it, rows and vectors would no longer match."""
    if rejects:
        first = rejects[0]
        raise InputError(
            f"{uri!r}: row {first.id!r} cannot be encoded ({first.reason}). Repair it or leave it out, so that "
            "rows of input and output match."
        )


def _to_file(uri: str, ids: Sequence[str], vectors: FloatMatrix) -> bytes:
    if uri.endswith(".parquet"):
        flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
        return bytes(to_parquet(pa.table({"id": pa.array(ids, pa.string()), "vector": flat})))
    file = io.BytesIO()
    np.save(file, vectors)
    return file.getvalue()
