"""What a glob of input holds, from footers and the first rows of a few files."""

from __future__ import annotations

import io
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from nnn_core import storage
from nnn_core.errors import InputError
from nnn_core.inputs.image_formats import FORMATS
from nnn_core.inputs.keys import positional_keys
from nnn_core.inputs.listing import list_input
from nnn_core.inputs.readers import Columns, Outline, Rows, format_of, outline_of, read_head
from nnn_core.inputs.readers._rows import (
    CAPTION_DEFAULT,
    CONTENT_ID,
    ID_DEFAULTS,
    POSITION_ID,
    VECTOR_DEFAULTS,
)
from nnn_core.inputs.shards import MODALITIES, Modality, ShardName, spread

_THREADS = 16
_EXAMPLES = 3
_EXAMPLE_LENGTH = 100
_NUMBERED = re.compile(r"(?:row|line) \d+(?:#\d+)?\Z")

_NAMES = ("id", "pair_id", "caption", "vector", "image")

#: Names under which people keep what the default names do not find.
_GUESSES = {
    "id": (
        ID_DEFAULTS,
        ("url", "uid", "image_id", "image_url", "filename", "file_name", "sample_id", "sha256", "image"),
    ),
    "caption": ((CAPTION_DEFAULT,), ("text", "TEXT", "captions", "title", "raw", "sentence", "alt", "query", "prompt")),
    "vector": (VECTOR_DEFAULTS, ("embeddings", "image_embedding", "text_embedding", "emb", "features", "vec")),
}


@dataclass(frozen=True)
class ShardReport:
    """What one file holds, as far as its footer and its first rows tell.

    Attributes:
        uri: URI of the file, or of the folder of a group of single images.
        group: first and last name of the files of such a group; empty for a file.
        format: name of the file's format.
        bytes: size of the file, without that of its companion.
        companion: URI of the file with the ids or further fields; None if there is no such file.
        rows: how many rows there are, by the footer; None where only reading all of it would tell.
        columns: names of columns or fields, with types where they have any.
        holds: ``images``, ``captions``, ``vectors``, or ``nothing readable``.
        looked_at: how many first rows were read, rejects included.
        ids: ids of the first few rows.
        pair_ids: pair ids of the first few rows, empty for a row without one.
        examples: the first captions, or size and kind of the first images.
        dimension: length of the vectors; None unless vectors are held.
        norms: least, median and largest length of the first rows' vectors; None if there are none, or none finite.
        rejects: how many of the first rows could not be used, by reason.
        left_out: how much among the first rows is no row, by what it is.
        missing: what a refresh would ask for, a text for each thing.
    """

    uri: str
    group: tuple[str, ...]
    format: str
    bytes: int
    companion: str | None
    rows: int | None
    columns: tuple[str, ...]
    holds: str
    looked_at: int
    ids: tuple[str, ...]
    pair_ids: tuple[str, ...]
    examples: tuple[str, ...]
    dimension: int | None
    norms: tuple[float, float, float] | None
    rejects: dict[str, int]
    left_out: dict[str, int]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Inspection:
    """What a glob holds.

    Attributes:
        pattern: the glob that was given.
        files: how many files it names.
        left_out: how many further files match but are no input, by the reason.
        formats: how many files there are of each format.
        bytes: size of all files together.
        rows: how many rows all files have; None where the footers of some do not tell.
        shards: reports on a few of the files, which were looked into.
        as_candidates: flags of ``nnn refresh`` that read it as candidates; empty where that is not clear.
        as_references: flags of ``nnn refresh`` that read it as the bank; empty where that is not clear.
    """

    pattern: str
    files: int
    left_out: dict[str, int]
    formats: dict[str, int]
    bytes: int
    rows: int | None
    shards: tuple[ShardReport, ...]
    as_candidates: str
    as_references: str

    @classmethod
    def of(cls, pattern: str, modality: Modality | None, columns: Columns) -> Inspection:
        """Look at the files that ``pattern`` names.

        Args:
            pattern: a URI with globs and brace ranges.
            modality: which side of an image-caption sample to look at; None for whichever is there, images first.
            columns: names of columns and fields; what is not named is guessed where the default is not there.

        Raises:
            InputError: no such file, an unknown format, or a file that is broken.
        """
        columns = replace(columns, require_id=False)
        listing = list_input(pattern, "GLOB")
        names, formats = listing.shards, Counter[str]()
        for name in names:
            formats[format_of(name).name] += len(name.members) or 1
        reports, looks = [], list[tuple[ShardName, _Look]]()
        for name in spread(names):
            outline = outline_of(name)
            look = _look_into(name, outline, modality, columns)
            reports.append(_report(name, outline, look))
            looks.append((name, look))
        return cls(
            pattern=pattern,
            files=listing.files,
            left_out=listing.left_out,
            formats=dict(formats),
            bytes=_total_bytes(names),
            rows=_total_rows(names),
            shards=tuple(reports),
            as_candidates=_working_flags("--candidates", pattern, looks),
            as_references=_working_flags("--references", pattern, looks),
        )


@dataclass(frozen=True)
class _Look:
    """The first rows of a shard, and how they were read.

    Attributes:
        modality: the side of a sample that the rows were read as.
        columns: the names of the columns that were read.
        rows: the first rows of the shard; none if nothing is readable.
        holds: what the first rows are: ``images``, ``captions``, ``vectors``, or ``nothing readable``.
        companion: URI of the file with the ids or further fields; None if there is no such file.
        problem: why nothing is readable; empty if something is.
    """

    modality: Modality
    columns: Columns
    rows: Rows
    holds: str
    companion: str | None
    problem: str = ""


def _total_bytes(names: Sequence[ShardName]) -> int:
    files = [storage.join(name.uri, member) for name in names for member in name.members]
    files += [name.uri for name in names if not name.members]
    with ThreadPoolExecutor(_THREADS) as pool:
        return sum(pool.map(storage.size, files))


def _total_rows(names: Sequence[ShardName]) -> int | None:
    """Rows of all files; the first of each format says whether the others' footers are worth reading."""
    firsts = {format_of(name).name: name for name in reversed(names)}
    if any(_rows_of(name) is None for name in firsts.values()):
        return None
    with ThreadPoolExecutor(_THREADS) as pool:
        counts = list(pool.map(_rows_of, names))
    known = [rows for rows in counts if rows is not None]
    return sum(known) if len(known) == len(counts) else None


def _rows_of(name: ShardName) -> int | None:
    return len(name.members) or outline_of(name).rows


def _look_into(name: ShardName, outline: Outline, modality: Modality | None, columns: Columns) -> _Look:
    """The first rows, read in the first way in which there are any, and else the reason why not.

    Raises:
        InputError: the file is broken, or has no columns that could be named instead.
    """
    looks: list[_Look] = []
    problem: InputError | None = None
    for attempt in _attempts(columns, outline):
        for side in (modality,) if modality else MODALITIES:
            try:
                looks.append(_read_head(name, side, attempt))
            except InputError as error:
                problem = error
            else:
                if all(_worth(looks[-1])):
                    return looks[-1]
    found = max(looks, key=_worth, default=None)
    named = any(getattr(columns, what) for what in _NAMES)
    if problem and (named or not outline.columns) and not (found and found.rows.ids):
        raise problem
    return found or _Look(MODALITIES[0], columns, Rows([], [], []), "nothing readable", None, str(problem))


def _worth(look: _Look) -> tuple[bool, bool]:
    """Whether there are rows, and whether they have ids: the more, the better was the guess."""
    return bool(look.rows.ids), bool(look.rows.ids) and not _is_numbered(look.rows)


def _attempts(columns: Columns, outline: Outline) -> Iterator[Columns]:
    """As asked, and then with guesses for what was not named and has not its default name."""
    yield columns
    present = [column.partition(": ")[0] for column in outline.columns]
    guesses: dict[str, Any] = {}
    for what, (defaults, others) in _GUESSES.items():
        if getattr(columns, what) is None and not any(name in present for name in defaults):
            guesses.update((what, name) for name in reversed(others) if name in present)
    if "caption" in guesses and any(name in present for name in (*VECTOR_DEFAULTS, columns.vector)):
        del guesses["caption"]
    if guesses:
        yield replace(columns, **guesses)
    for what, names in (("vector", outline.lists), ("image", outline.blobs)):
        if names and what not in guesses and getattr(columns, what) is None:
            yield replace(columns, **(guesses | {what: names[0]}))
    if present and all(name.startswith("#") for name in present):  # a table that is called .txt
        yield replace(columns, id=present[0], caption=present[-1])
    addresses = [place for place, name in enumerate(present, 1) if "://" in name]
    texts = [place for place, name in enumerate(present, 1) if "://" not in name]
    if addresses and texts:  # a first line like this is no header
        yield replace(columns, id=f"#{addresses[0]}", caption=f"#{texts[0]}")


def _read_head(name: ShardName, modality: Modality, columns: Columns) -> _Look:
    holds, rows = read_head(name, modality, columns)
    return _Look(modality, columns, rows, holds, None if name.members else format_of(name).companion(name.uri))


def _report(name: ShardName, outline: Outline, look: _Look) -> ShardReport:
    rows = look.rows
    vectors = np.asarray(rows.items) if look.holds == "vectors" and rows.ids else None
    return ShardReport(
        uri=name.uri,
        group=(name.members[0], name.members[-1]) if name.members else (),
        format=format_of(name).name,
        bytes=_total_bytes([name]),
        companion=look.companion,
        rows=len(name.members) or outline.rows,
        columns=outline.columns,
        holds=look.holds,
        looked_at=len(rows.ids) + len(rows.rejects),
        ids=tuple(rows.ids[:_EXAMPLES]),
        pair_ids=tuple(rows.pair_ids[:_EXAMPLES]),
        examples=tuple(_describe(item) for item in rows.items[:_EXAMPLES]) if vectors is None else (),
        dimension=None if vectors is None else int(vectors.shape[1]),
        norms=None if vectors is None else _norms(vectors),
        rejects=dict(Counter(reject.reason for reject in rows.rejects)),
        left_out=rows.left_out,
        missing=tuple(_missing(look)),
    )


def _missing(look: _Look) -> Iterator[str]:
    rows = look.rows
    if look.problem:
        yield look.problem
        return
    if not rows.ids:
        if not rows.rejects:
            yield "no rows"
            return
        first = rows.rejects[0]
        yield f"no row can be used; reason of the first: {first.detail or first.reason}"
        return
    if look.columns.id in (CONTENT_ID, POSITION_ID):
        return
    if _is_numbered(rows):
        yield (f"for candidates, not for a bank: ids. --id-column {CONTENT_ID} or --id-column {POSITION_ID} makes them")
    if repeated := _repeated(rows):
        yield f"for candidates, not for a bank: unique ids. {repeated!r} occurs {rows.ids.count(repeated)} times"
    if not any(rows.pair_ids):
        yield "for --exclude-own-pairs only: pair ids"
    if positional_keys(rows.ids):
        yield (
            "the ids look like img2dataset's numbers of shard and row, which change with every download: "
            f"--id-column url or --id-column {CONTENT_ID} does not"
        )


def _is_numbered(rows: Rows) -> bool:
    return all(_NUMBERED.match(row_id) for row_id in rows.ids)


def _norms(vectors: npt.NDArray[np.floating]) -> tuple[float, float, float] | None:
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    norms = norms[np.isfinite(norms)]
    return (float(norms.min()), float(np.median(norms)), float(norms.max())) if len(norms) else None


def _describe(item: object) -> str:
    """A caption, or what an image's header says."""
    if not isinstance(item, bytes):
        return " ".join(str(item).split())[:_EXAMPLE_LENGTH]
    try:
        with Image.open(io.BytesIO(item), formats=FORMATS) as image:
            return f"{image.width} x {image.height} {image.mode} {image.format}, {len(item):,} bytes"
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return f"no readable image, {len(item):,} bytes"


def _working_flags(side: str, pattern: str, looks: Sequence[tuple[ShardName, _Look]]) -> str:
    """Flags of ``nnn refresh`` that read the files as ``side``, by which it would begin; empty if there are none."""
    candidates, first = side == "--candidates", next((look for _, look in looks if look.rows.ids), None)
    if first is None or (candidates and _repeated(first.rows)):
        return ""
    columns = _columns_of(first, candidates)
    try:
        for name, look in looks:
            if (look.modality, look.columns) != (first.modality, first.columns):
                read_head(name, first.modality, columns)
    except InputError:
        return ""
    flags = [side, shlex.quote(pattern)]
    if first.holds != "vectors" and candidates != (first.modality == "image"):
        flags.append("--candidate-modality text")
    named = [(what, getattr(columns, what)) for what in _NAMES]
    flags += [f"{columns.flag(what)} {shlex.quote(name)}" for what, name in named if name]
    return " ".join(flags)


def _columns_of(look: _Look, candidates: bool) -> Columns:
    """The names by which a side is to be read as it was looked at."""
    columns = replace(look.columns, require_id=candidates, side="" if candidates else "reference-")
    if candidates and columns.id is None and _is_numbered(look.rows):
        return replace(columns, id=POSITION_ID)
    if columns.id and columns.pair_id is None and _repeated(look.rows):
        return replace(columns, id=None, pair_id=columns.id)  # what several captions have in common
    return columns


def _repeated(rows: Rows) -> str:
    """An id that several of the rows have; empty if there is none."""
    row_id, count = next(iter(Counter(rows.ids).most_common(1)), ("", 0))
    return row_id if count > 1 else ""
