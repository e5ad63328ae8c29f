"""Captions in one JSON file: which of the known layouts it has."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from nnn_core.errors import InputError
from nnn_core.inputs.readers import _coco as coco
from nnn_core.inputs.readers import _karpathy as karpathy
from nnn_core.inputs.readers._formats import Format, Outline
from nnn_core.inputs.readers._json_stream import elements_of
from nnn_core.inputs.readers._records import check_text
from nnn_core.inputs.readers.rows import Columns, Rows, batched
from nnn_core.inputs.shards import InputShard, Modality


def read(shard: InputShard, modality: Modality, columns: Columns) -> Iterator[Rows]:
    """COCO captions or Karpathy's splits, whichever the file is.

    Raises:
        InputError: neither, broken, or images were asked for.
    """
    check_text(modality, shard.uri)
    rows = karpathy.rows if _is_karpathy(_first(shard.uri), shard.uri) else coco.rows
    return batched(rows(shard.uri, columns))


def _first(uri: str) -> tuple[str, object] | None:
    return next(islice(elements_of(uri, "images", "annotations"), 1), None)


def _is_karpathy(first: tuple[str, object] | None, uri: str) -> bool:
    """
    Raises:
        InputError: the file is of neither layout.
    """
    name, element = first or ("", None)
    if not isinstance(element, dict):
        raise InputError(
            f"{uri!r} is JSON, but neither COCO captions (an object with the lists 'images' and 'annotations') nor "
            "one of Karpathy's splits (a list 'images' whose elements have 'sentences'), so it cannot be read. Give "
            "other captions as JSON lines (.jsonl): one object a line, with an id and a caption."
        )
    return name == "images" and karpathy.SENTENCES in element


def _outline(uri: str) -> Outline:
    first = _first(uri)
    _is_karpathy(first, uri)
    return Outline(columns=tuple(first[1]) if first and isinstance(first[1], dict) else ())


FORMAT = Format("json", (".json", ".json.gz"), read, outline=_outline)
