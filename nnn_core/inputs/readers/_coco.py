"""COCO captions: ``{"images": [{"id", "file_name"}], "annotations": [{"id", "image_id", "caption"}]}``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from nnn_core.inputs.readers._json_stream import elements_of
from nnn_core.inputs.readers._records import columns_of_record, rows_of_record
from nnn_core.inputs.readers.rows import CAPTION_DEFAULT, MALFORMED, Columns, PairField, Row, text_of
from nnn_core.inputs.rejects import Reject

ID, PAIR_ID, IMAGE_ID = "id", "file_name", "image_id"
NO_IMAGE = "its image is not listed"


def rows(uri: str, columns: Columns) -> Iterator[Row | Reject]:
    """An annotation a row, with the fields of its image unless it has a field of that name.

    The file is read twice, as the two lists may come in any order: of the images only those fields
    are held that are asked for.

    Raises:
        InputError: the file is broken, or no annotation has the field that was named.
    """
    columns = replace(columns, caption=columns.caption or CAPTION_DEFAULT)
    pairs = PairField(columns.pair_id or PAIR_ID)
    images = _images(uri, {name for name in (pairs.name, columns.id, columns.caption) if name} - {ID})
    for number, (_, annotation) in enumerate(elements_of(uri, "annotations")):
        position = f"row {number}"
        if not isinstance(annotation, dict):
            yield Reject(position, MALFORMED, "the annotation is not a JSON object")
            continue
        image = images.get(text_of(annotation.get(IMAGE_ID)) or "", {})
        record = {**image, **annotation}
        if pairs.name == PAIR_ID and PAIR_ID not in record:
            detail = f"there is no image with id {annotation.get(IMAGE_ID)!r} and a {PAIR_ID!r}"
            yield Reject(text_of(annotation.get(ID)) or position, NO_IMAGE, detail)
        else:
            yield from rows_of_record(record, position, columns_of_record(record, columns, (ID,)), pairs)
    pairs.check(uri)


def _images(uri: str, names: set[str]) -> dict[str, dict[str, object]]:
    """The fields ``names`` of every image by its id."""
    images: dict[str, dict[str, object]] = {}
    for _, image in elements_of(uri, "images"):
        image_id = text_of(image.get(ID)) if isinstance(image, dict) else None
        if image_id is not None:
            images[image_id] = {name: image[name] for name in names if name in image}
    return images
