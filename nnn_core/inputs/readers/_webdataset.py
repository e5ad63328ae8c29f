"""webdataset tar shards: consecutive members that share a key are one sample."""

from __future__ import annotations

import contextlib
import json
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property

from nnn_core import storage
from nnn_core.errors import InputError
from nnn_core.inputs.readers import _tar as tar
from nnn_core.inputs.readers._columnar import texts_of
from nnn_core.inputs.readers._columns import Table
from nnn_core.inputs.readers._compressed import and_compressed, open_decompressed
from nnn_core.inputs.readers._fields import MISSING, split_path, value_at
from nnn_core.inputs.readers._formats import NAMES, Format
from nnn_core.inputs.readers._images import IMAGE_BYTES, IMAGE_SUFFIXES, NEWER_SUFFIXES, too_large
from nnn_core.inputs.readers._parquet import open_table
from nnn_core.inputs.readers._records import LINE_BYTES, PairField, UnusableRowError, caption_rows, text_of
from nnn_core.inputs.readers._rows import CAPTION_DEFAULT, Columns, NoRow, Row, Rows, batched
from nnn_core.inputs.rejects import MALFORMED_JSON, NO_CAPTION, NO_ID, NO_IMAGE, NOT_UTF8, Reject
from nnn_core.inputs.shards import InputShard, Modality

TAR_SUFFIXES = (*and_compressed(".tar"), ".tgz", ".tzst")

_LINK = "a link in the tar"
_NOT_A_FILE = "not a file"
_NAME_TOO_LONG = "name too long"
_SECOND_IMAGE = "a second image under one key"

_PAX_FOLDER = re.compile(r"PaxHeaders?(\.\w+)?\Z")

#: No file system has longer paths, so no files were packed under them.
_NAME_BYTES = 4096

#: A sample is handed on with this many members, so that a tar of a single key is not held whole.
_SAMPLE_MEMBERS = 10_000

_SHOWN = 8

#: Bounds of what is held in memory of the table beside a tar; img2dataset puts ten thousand rows in a file.
METADATA_ROWS = 1_000_000
METADATA_BYTES = 256 << 20

_METADATA_BATCH_ROWS = 1024

#: What a member holds, or its size where that was not read: it is not needed, or too large.
_Content = bytes | int
_Members = dict[str, _Content]
_Sample = tuple[str, _Members]
_MadeRows = Iterable[Row | Reject]


def _read_tar(shard: InputShard, modality: Modality, columns: Columns) -> Iterator[Rows]:
    """Images (``key.jpg|jpeg|png|webp``) or captions (``key.txt`` or ``key.json``) of a tar, which may be compressed.

    A row's id is the sample's key, or a field of ``key.json`` that is named for it; its pair id is
    the key, unless a field is named for that. Numbered members are rows of their own: ``key.0.jpg``
    and ``key.1.jpg`` (or ``.txt``) have the ids ``key.0`` and ``key.1`` and the pair id ``key``.
    Of other images under one key, ``key.jpg`` is taken rather than ``key.depth.png``, else the
    first, and the others are rejects; ``right.jpg`` may be named as the column of images, and text
    likewise as that of captions. Several captions in a JSON list are ``key#0``, ``key#1``, ...

    Fields are named by path, such as ``meta.caption`` or ``captions.0.text``. What ``key.json``
    lacks is looked up by key in the table that img2dataset writes beside the tar.

    Members with hidden names are no samples; those of macOS and of PAX's headers are counted as such.

    Only what is needed is read into memory, and nothing is unpacked: names such as ``../x`` are ids
    like any others. Links, devices and members of more than ``IMAGE_BYTES`` are rejects.

    Raises:
        InputError: the archive is broken or was cut short, or no sample has the pair id that was named.
    """
    return batched(_rows(shard, modality, columns))


def _rows(shard: InputShard, modality: Modality, columns: Columns) -> Iterator[Row | Reject]:
    reader = _Reader(shard, modality, columns)
    for sample in _samples(shard.uri, reader.needs):
        if isinstance(sample, Reject):
            yield sample
        elif not sample[0]:
            yield Reject("", NO_ID, "the member has no name")
        else:
            yield from reader.images(*sample) if modality == "image" else reader.captions(*sample)
    reader.pairs.check(shard.uri)


def _samples(uri: str, needs: dict[str, int]) -> Iterator[_Sample | Reject]:
    """Consecutive members of one key; a suffix that comes again starts another sample of that key.

    Args:
        uri: the tar to read.
        needs: most bytes that are read of a member, by the last part of its suffix; others are not read.
    """
    current, members, held = "", _Members(), 0
    for member in _members(uri):
        if isinstance(member, Reject):
            yield member
            continue
        key, suffix = split_name(member.name)
        if members and (key != current or suffix in members or len(members) >= _SAMPLE_MEMBERS):
            yield current, members
            members, held = {}, 0
        most = min(needs.get(_last(suffix), -1), IMAGE_BYTES - held)
        content: _Content = _read(uri, member) if member.size <= most else member.size
        held += member.size if isinstance(content, bytes) else 0
        current, members[suffix] = key, content
    if members:
        yield current, members


def _members(uri: str) -> Iterator[tar.Member | Reject]:
    """Every file in the archive, in order; what is neither file nor folder has no content to give."""
    with open_decompressed(uri) as stream, _unbroken(uri):
        for member in tar.members(stream):
            if len(member.name) > _NAME_BYTES:
                length = f"{len(member.name):,} characters (limit: {_NAME_BYTES:,})"
                yield Reject(f"{member.name[:100]}...", _NAME_TOO_LONG, length)
            elif what := _no_sample(member.name):
                yield NoRow(member.name, what)
            elif member.kind == "file":
                yield member
            elif member.kind == "link":
                remedy = "pack the files with tar --dereference --hard-dereference"
                yield Reject(member.name, _LINK, f"it links to {member.target[:_NAME_BYTES]!r}; {remedy}")
            elif member.kind == "other":
                yield Reject(member.name, _NOT_A_FILE, "it is a device, a pipe, a sparse file, or of an unknown kind")


def _no_sample(name: str) -> str:
    """What a member is that no sample consists of, by its name; empty for members of samples.

    macOS packs the attributes of ``key.jpg`` as ``._key.jpg`` or below ``__MACOSX``; a tar that does not know the
    headers of PAX unpacks them as files, which may have been packed again.
    """
    *folders, base = name.split("/")
    if base.startswith("._") or "__MACOSX" in folders:
        return "attributes of a file on macOS"
    if any(map(_PAX_FOLDER.match, folders)):
        return "headers of PAX as a file"
    return "hidden" if any(part.startswith(".") and part.strip(".") for part in (*folders, base)) else ""


def _read(uri: str, member: tar.Member) -> bytes:
    with _unbroken(uri):
        return member.read()


@contextlib.contextmanager
def _unbroken(uri: str) -> Iterator[None]:
    try:
        yield
    except tarfile.TarError as error:
        raise InputError(
            f"{uri!r} is broken: {error}. Its remaining samples cannot be read. Restore the file, or leave it out."
        ) from error


def split_name(name: str) -> tuple[str, str]:
    """``dir/key.seg.png`` -> (``dir/key``, ``seg.png``): the key ends at the first dot of the file name."""
    folder, _, base = name.rpartition("/")
    stem, _, suffix = base.partition(".")
    return (f"{folder}/{stem}" if folder else stem), suffix.lower()


class _Reader:
    """Makes rows of samples.

    Attributes:
        needs: most bytes that are read of a member, by the last part of its suffix; others are not read.
        pairs: the pair ids of the samples that were read.
    """

    def __init__(self, shard: InputShard, modality: Modality, columns: Columns) -> None:
        self._companion, self._columns = shard.companion, columns
        names = (columns.id, columns.pair_id, columns.caption if modality == "text" else None)
        self._asked = [name for name in dict.fromkeys(names) if name]
        self.pairs = PairField(columns.pair_id)
        if modality == "text":
            self.needs = dict.fromkeys(("txt", "json", _last(columns.caption or "txt")), LINE_BYTES)
        else:
            self.needs = dict.fromkeys((*IMAGE_SUFFIXES, *NEWER_SUFFIXES, _last(columns.image or "jpg")), IMAGE_BYTES)
            self.needs |= {"json": LINE_BYTES} if self._asked else {}

    @cached_property
    def _metadata(self) -> dict[str, dict[str, object]]:
        """Fields by key of what img2dataset wrote beside the tar, read when a sample lacks one that was asked for."""
        return _read_metadata(self._companion, self._asked) if self._companion else {}

    def images(self, key: str, members: _Members) -> Iterator[Row | Reject]:
        """The sample's image that was named; else ``key.jpg`` and numbered ones, or the first of any name."""
        if named := self._columns.named("image", members):
            yield from self._members_rows(key, [named.lower()], members, _image_rows)
            return
        images = [suffix for suffix in members if _last(suffix) in IMAGE_SUFFIXES]
        images = images or [suffix for suffix in members if _last(suffix) in NEWER_SUFFIXES]
        images.sort(key=lambda suffix: "." in suffix)
        if not images:
            yield Reject(key, NO_IMAGE, _holds_only(members))
            return
        taken = _one_a_number(images)
        yield from self._members_rows(key, taken, members, _image_rows)
        for suffix in images:
            if suffix not in taken:
                yield Reject(f"{key}.{suffix}", _SECOND_IMAGE, f"{taken[0]!r} was used")

    def captions(self, key: str, members: _Members) -> Iterator[Row | Reject]:
        """The sample's field or member that was named; else ``key.txt`` and numbered ones, or the JSON's field."""
        texts = [suffix for suffix in members if suffix == "txt" or (suffix.endswith(".txt") and _number(suffix))]
        if texts and self._columns.caption is None:
            yield from self._members_rows(key, texts, members, _text_rows)
            return
        caption = self._columns.caption or CAPTION_DEFAULT
        try:
            fields = self._fields(key, members, caption) if "json" in members or self._columns.caption else {}
            if caption not in fields and self._columns.caption in members:
                yield from self._members_rows(key, [caption], members, _text_rows)
                return
            if caption not in fields:
                field = f"the JSON has no field {caption!r}"
                raise UnusableRowError(NO_CAPTION, field if "json" in members else _holds_only(members))
            yield from caption_rows(*self._identity(key, fields), fields[caption])
        except UnusableRowError as error:
            yield error.reject(key)

    def _members_rows(
        self, key: str, suffixes: list[str], members: _Members, make: Callable[[str, str, str, _Content], _MadeRows]
    ) -> Iterator[Row | Reject]:
        """What ``make`` makes of id, pair id, suffix and content of each of these members of a sample."""
        try:
            row_id, pair_id = self._identity(key, self._fields(key, members))
        except UnusableRowError as error:
            yield from (error.reject(key + _number(suffix)) for suffix in suffixes)
            return
        for suffix in suffixes:
            try:
                if suffix not in members:
                    raise UnusableRowError(NO_IMAGE, f"it has no member {suffix!r}; {_holds_only(members)}")
                yield from make(row_id + _number(suffix), pair_id, suffix, members[suffix])
            except UnusableRowError as error:
                yield error.reject(key + _number(suffix))

    def _fields(self, key: str, members: _Members, *more: str) -> dict[str, object]:
        """Those of the fields that were asked for, and of ``more``, which the sample has.

        Raises:
            UnusableRowError: the sample's JSON cannot be read.
        """
        asked = [*self._asked, *more]
        record = _record(members["json"]) if asked and "json" in members else {}
        found = {name: value_at(record, name) for name in asked}
        missing = [name for name in self._asked if found[name] is MISSING]
        found |= {name: value_at(self._metadata.get(key, {}), name) for name in missing}
        return {name: value for name, value in found.items() if value is not MISSING}

    def _identity(self, key: str, fields: dict[str, object]) -> tuple[str, str]:
        """(id, pair id) of the sample.

        Raises:
            UnusableRowError: the field that was named for one of them holds no id.
        """
        named = self._columns.named("id", fields)
        row_id = text_of(fields.get(named)) if named else key
        if row_id is None and self._columns.require_id:
            detail = f"the field {named!r} is absent or empty, or it is not text or a whole number"
            raise UnusableRowError(NO_ID, detail)
        return row_id or key, self.pairs.of(fields, key)


def _one_a_number(images: list[str]) -> list[str]:
    """Of the suffixes of a sample's images, those that are rows: a plain one and the first of each number."""
    numbered: dict[str, str] = {}
    for suffix in images:
        if number := _number(suffix):
            numbered.setdefault(number, suffix)
    plain = [] if _number(images[0]) or ("." in images[0] and numbered) else images[:1]
    return plain + list(numbered.values())


def _image_rows(row_id: str, pair_id: str, suffix: str, content: _Content) -> _MadeRows:
    if isinstance(content, int):
        raise too_large(content, IMAGE_BYTES)
    return [Row(row_id, pair_id, content)]


def _text_rows(row_id: str, pair_id: str, suffix: str, content: _Content) -> _MadeRows:
    return caption_rows(row_id, pair_id, _text(content, suffix).strip())


def _last(suffix: str) -> str:
    """``jpg`` of ``right.jpg``: what tells the kind of a member's content."""
    return suffix.rpartition(".")[2]


def _number(suffix: str) -> str:
    """``.0`` of ``0.jpg``: what tells numbered members of one key apart; empty for any other."""
    number, dot, _ = suffix.partition(".")
    return f".{number}" if dot and number.isascii() and number.isdigit() and suffix.count(".") == 1 else ""


def _record(content: _Content) -> dict[str, object]:
    """The object in a sample's JSON; empty where it holds anything else."""
    text = _text(content, "json")
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnusableRowError(MALFORMED_JSON, str(error)) from error
    return record if isinstance(record, dict) else {}


def _text(content: _Content, suffix: str) -> str:
    if isinstance(content, int):
        raise too_large(content, LINE_BYTES, f"{suffix}: ")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnusableRowError(NOT_UTF8, str(error)) from error


def _holds_only(members: _Members) -> str:
    more = f" and {len(members) - _SHOWN:,} more" if len(members) > _SHOWN else ""
    return f"the sample holds only: {', '.join(list(members)[:_SHOWN])}{more}"


def _find_metadata(uri: str) -> str | None:
    """The table that img2dataset wrote beside the tar, if there is one."""
    suffix = max((suffix for suffix in TAR_SUFFIXES if uri.lower().endswith(suffix)), key=len, default="")
    place = uri[: len(uri) - len(suffix)] + ".parquet"
    return place if storage.exists(place) else None


def _read_metadata(uri: str, paths: Iterable[str]) -> dict[str, dict[str, object]]:
    """Those columns of the table beside a tar to which ``paths`` lead, by the sample's key.

    Raises:
        InputError: the table is broken, or too large to be one of img2dataset's.
    """
    with open_table(uri) as table:
        names = table.schema.names
        wanted = sorted({head for path in paths if (head := split_path(names, path)[0])})
        if names.count("key") != 1 or not wanted:
            return {}
        _check_metadata(table, wanted, uri)
        records: dict[str, dict[str, object]] = {}
        for batch in table.batches(_METADATA_BATCH_ROWS, sorted({"key", *wanted})):
            keys = texts_of(batch, "key", uri)
            rows = batch.select(wanted).to_pylist()
            records |= {key: row for key, row in zip(keys, rows, strict=True) if key is not None}
    return records


def _check_metadata(table: Table, wanted: list[str], uri: str) -> None:
    size = sum(size for column in wanted for _, size in table.sizes(column))
    if table.rows > METADATA_ROWS or size > METADATA_BYTES:
        raise InputError(
            f"{uri!r} has {table.rows:,} rows ({size:,} bytes of {', '.join(wanted)}), too many for the "
            f"metadata of one tar (limits: {METADATA_ROWS:,} rows, {METADATA_BYTES:,} bytes). If it is not "
            "metadata, move it elsewhere. Otherwise split the tar and its table."
        )


FORMAT = Format(
    "tar", TAR_SUFFIXES, _read_tar, companion=_find_metadata, begins=((257, b"ustar"),), names=NAMES - {"vector"}
)
