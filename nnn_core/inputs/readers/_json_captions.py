"""Captions or vectors in one JSON file, which has one of several layouts.

COCO's captions: ``{"images": [{"id", "file_name"}], "annotations": [{"id", "image_id", "caption"}]}``.
Karpathy's splits of COCO and Flickr: ``{"images": [{"filename", "sentences": [{"raw", "sentid"}]}]}``.
A list of records, as BLIP, ALBEF and LAVIS have it: ``[{"image", "caption"}]``; the fields are those of JSON lines.
JSON lines under this name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

from nnn_core.errors import InputError
from nnn_core.inputs.readers._compressed import and_compressed
from nnn_core.inputs.readers._json_stream import elements_of, items_of
from nnn_core.inputs.readers._jsonl import BEGINS, records_of
from nnn_core.inputs.readers._record_formats import Head, records_format
from nnn_core.inputs.readers._records import Record, lines_of, rows_of_records, text_of
from nnn_core.inputs.readers._rows import CAPTION_DEFAULT, Columns, Row
from nnn_core.inputs.rejects import MALFORMED, NO_CAPTION, Reject

_SENTENCES = "sentences"
_ID, _FILE_NAME = "id", "file_name"


def _rows(uri: str, columns: Columns) -> Iterator[Row | Reject]:
    """A COCO annotation a row, or one of Karpathy's sentences, with the fields of its image that it lacks itself.

    Raises:
        InputError: the file is of neither layout, broken, or no row has the field that was named.
    """
    if (records := _plain_records(uri)) is not None:
        return rows_of_records(records, columns, uri)
    name, element = _first(uri)
    if name == "images" and _SENTENCES in element:  # Karpathy's
        columns = replace(columns, caption=columns.caption or "raw", pair_id=columns.pair_id or "filename")
        numbered = enumerate(_sentences(uri))
        records = (each if isinstance(each, Reject) else (f"row {number}", each) for number, each in numbered)
        return rows_of_records(records, columns, uri, ("sentid",))
    columns = replace(columns, caption=columns.caption or CAPTION_DEFAULT, pair_id=columns.pair_id or _FILE_NAME)
    return rows_of_records(_annotations(uri, columns), columns, uri, (_ID,))


def _plain_records(uri: str) -> Iterator[Record | Reject] | None:
    """The records of a list or of JSON lines; None for a file of another layout."""
    lines = (line for _, line in lines_of(uri) if line is None or line.strip())
    first, second = next(lines, None), next(lines, None)
    if first is None:
        return None
    if first.lstrip().startswith(b"["):
        listed = isinstance(next(items_of(uri), {}), dict)
        return (_numbered(number, item) for number, item in enumerate(items_of(uri))) if listed else None
    return records_of(uri) if all(line is not None and _is_object(line) for line in (first, second)) else None


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _numbered(number: int, item: object) -> Record | Reject:
    if isinstance(item, dict):
        return f"row {number}", item
    return Reject(f"row {number}", MALFORMED, "it is not a JSON object")


def _heads(uri: str) -> Iterator[Head | Reject]:
    records = _plain_records(uri)
    return iter([_first(uri)]) if records is None else records


def _first(uri: str) -> tuple[str, dict[str, object]]:
    """The file's first element, and the name of the list that it is in.

    Raises:
        InputError: the file is of neither layout.
    """
    name, element = next(elements_of(uri, "images", "annotations"), ("", None))
    if not isinstance(element, dict):
        raise InputError(
            f"{uri!r} is JSON of an unknown layout. Known layouts are a list of objects, COCO captions (lists "
            "'images' and 'annotations') and Karpathy's splits ('images' with 'sentences'). Write other "
            "captions as JSON lines (.jsonl): one object a line, with an id and a caption."
        )
    return name, element


def _sentences(uri: str) -> Iterator[dict[str, object] | Reject]:
    for number, (_, image) in enumerate(elements_of(uri, "images")):
        if not isinstance(image, dict) or not isinstance(image.get(_SENTENCES), list):
            yield Reject(f"image {number}", NO_CAPTION, f"it has no list {_SENTENCES!r}")
            continue
        shared = {name: value for name, value in image.items() if name != _SENTENCES}
        for sentence in image[_SENTENCES]:
            if isinstance(sentence, dict):
                yield {**shared, **sentence}
            else:
                yield Reject(f"image {number}", MALFORMED, "a sentence is not a JSON object")


def _annotations(uri: str, columns: Columns) -> Iterator[Record | Reject]:
    """COCO's annotations, for which the file is read twice, as its two lists may come in any order.

    Of the images only those fields are held that are asked for.
    """
    images = _images(uri, {name for name in (columns.pair_id, columns.id, columns.caption) if name} - {_ID})
    for number, (_, annotation) in enumerate(elements_of(uri, "annotations")):
        position = f"row {number}"
        if not isinstance(annotation, dict):
            yield Reject(position, MALFORMED, "the annotation is not a JSON object")
            continue
        image_id = annotation.get("image_id")
        record = {**images.get(text_of(image_id) or "", {}), **annotation}
        if columns.pair_id == _FILE_NAME and _FILE_NAME not in record:
            detail = f"there is no image with id {image_id!r} and a {_FILE_NAME!r}"
            yield Reject(text_of(annotation.get(_ID)) or position, "its image is not listed", detail)
        else:
            yield position, record


def _images(uri: str, names: set[str]) -> dict[str, dict[str, object]]:
    """The fields ``names`` of every image by its id."""
    images: dict[str, dict[str, object]] = {}
    for _, image in elements_of(uri, "images"):
        image_id = text_of(image.get(_ID)) if isinstance(image, dict) else None
        if image_id is not None:
            images[image_id] = {name: image[name] for name in names if name in image}
    return images


FORMAT = records_format(
    "json",
    and_compressed(".json"),
    lambda uri, columns, payload: _plain_records(uri) or (),
    _heads,
    _rows,
    begins=BEGINS,
)
