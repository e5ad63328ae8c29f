"""Karpathy's splits of COCO and Flickr: ``{"images": [{"filename", "sentences": [{"raw", "sentid"}]}]}``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from nnn_core.inputs.readers._json_stream import elements_of
from nnn_core.inputs.readers._records import columns_of_record, rows_of_record
from nnn_core.inputs.readers.rows import MALFORMED, NO_CAPTION, Columns, PairField, Row
from nnn_core.inputs.rejects import Reject

ID, PAIR_ID, CAPTION, SENTENCES = "sentid", "filename", "raw", "sentences"


def rows(uri: str, columns: Columns) -> Iterator[Row | Reject]:
    """A sentence a row; the fields of its image are its own unless it has a field of that name.

    Raises:
        InputError: the file is broken, or no sentence has the field that was named.
    """
    columns = replace(columns, caption=columns.caption or CAPTION)
    pairs = PairField(columns.pair_id or PAIR_ID)
    for number, record in enumerate(_sentences(uri)):
        if isinstance(record, Reject):
            yield record
        else:
            pick = columns_of_record(record, columns, (ID,))
            yield from rows_of_record(record, f"row {number}", pick, pairs)
    pairs.check(uri)


def _sentences(uri: str) -> Iterator[dict[str, object] | Reject]:
    for number, (_, image) in enumerate(elements_of(uri, "images")):
        if not isinstance(image, dict) or not isinstance(image.get(SENTENCES), list):
            yield Reject(f"image {number}", NO_CAPTION, f"it has no list {SENTENCES!r}")
            continue
        shared = {name: value for name, value in image.items() if name != SENTENCES}
        for sentence in image[SENTENCES]:
            if isinstance(sentence, dict):
                yield {**shared, **sentence}
            else:
                yield Reject(f"image {number}", MALFORMED, "a sentence is not a JSON object")
