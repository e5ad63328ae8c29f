"""What the formats of text share: lines, and records with an id and a caption."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from nnn_core.errors import InputError
from nnn_core.inputs.readers._compressed import open_decompressed
from nnn_core.inputs.readers._formats import Format, Outline
from nnn_core.inputs.readers.rows import (
    CAPTION_DEFAULT,
    ID_DEFAULTS,
    NO_CAPTION,
    NO_ID,
    NO_PAIR,
    NOT_UTF8,
    TOO_LONG,
    Columns,
    PairField,
    Row,
    Rows,
    UnusableRowError,
    batched,
    caption_rows,
    text_of,
)
from nnn_core.inputs.rejects import Reject
from nnn_core.inputs.shards import InputShard, Modality

#: (what a record is called while it has no id, such as ``line 7``; its fields by name)
Record = tuple[str, dict[str, object]]


#: No caption is this long; what is, is a file of another kind, or made to fill memory.
LINE_BYTES = 16 << 20

_CHUNK_BYTES = 1 << 18
_MARK = b"\xef\xbb\xbf"


def check_text(modality: Modality, uri: str) -> None:
    """Refuse to read images from a file of captions.

    Raises:
        InputError: ``modality`` is image.
    """
    if modality != "text":
        raise InputError(
            f"{uri!r} holds captions, but images are expected there; check --candidate-modality, "
            "--reference-modality and which glob was given to --candidates and --references."
        )


def lines_of(uri: str) -> Iterator[tuple[int, bytes | None]]:
    """(line number from 1, line with its end) of a file, which may be compressed; no byte order mark.

    None stands for a line of more than ``LINE_BYTES``, which is skipped and never held whole.
    """
    with open_decompressed(uri) as lines:
        number = 0
        while line := lines.readline(LINE_BYTES + 1):
            number += 1
            if len(line) > LINE_BYTES:
                while line and not line.endswith(b"\n"):
                    line = lines.readline(_CHUNK_BYTES)
                yield number, None
            else:
                yield number, line.removeprefix(_MARK) if number == 1 else line


def texts_of_lines(uri: str) -> Iterator[tuple[int, str] | Reject]:
    """(line number from 1, line without its end), empty lines left out."""
    for number, line in lines_of(uri):
        if line is None:
            yield too_long(number)
        elif stripped := line.rstrip(b"\r\n"):
            try:
                yield number, stripped.decode("utf-8")
            except UnicodeDecodeError as error:
                yield Reject(f"line {number}", NOT_UTF8, str(error))


def too_long(number: int) -> Reject:
    """The reject that stands for a line or record that was skipped."""
    return Reject(f"line {number}", TOO_LONG, f"more than {LINE_BYTES:,} bytes; it was skipped")


def rows_of_records(
    records: Iterable[Record | Reject], columns: Columns, uri: str, id_defaults: tuple[str, ...] = ID_DEFAULTS
) -> Iterator[Row | Reject]:
    """The rows of records, each of which may have other fields than the last.

    Args:
        records: (what the record is called while it has no id, such as ``line 7``; its fields).
        columns: the names of the fields to read.
        uri: the file, for messages.
        id_defaults: fields that hold the id, the first that is present, unless one is named.

    Raises:
        InputError: records were read, and none had the pair id that was named.
    """
    pairs, caption = PairField(columns.pair_id), columns.caption or CAPTION_DEFAULT
    for each in records:
        if isinstance(each, Reject):
            yield each
            continue
        position, record = each
        field = columns.named("id", record) or next((name for name in id_defaults if name in record), None)
        row_id = text_of(record.get(field)) if field and not columns.numbered else None
        own = row_id or position
        if row_id is None and columns.require_id:
            yield Reject(position, NO_ID)
        elif caption not in record:
            yield Reject(own, NO_CAPTION, f"there is no field {caption!r}, see --caption-column")
        else:
            try:
                pair_id = pairs.of(record, row_id or NO_PAIR)
            except UnusableRowError as error:
                yield error.reject(own)
            else:
                yield from caption_rows(own, pair_id, record[caption])
    pairs.check(uri)


def captions_format(
    name: str,
    suffixes: tuple[str, ...],
    rows: Callable[[str, Columns], Iterator[Row | Reject]],
    outline: Callable[[str], Outline] = Format.outline,
) -> Format:
    """A format of files that hold captions alone.

    Args:
        name: name of the format, as in ``Format``.
        suffixes: how names of such files end, as in ``Format``.
        rows: the rows of a file, by its URI.
        outline: what a file's head tells, as in ``Format``.
    """

    def read(shard: InputShard, modality: Modality, columns: Columns) -> Iterator[Rows]:
        check_text(modality, shard.uri)
        return batched(rows(shard.uri, columns))

    return Format(name, suffixes, read, outline=outline)
