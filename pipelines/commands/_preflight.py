"""The look at the beginning of every side's input with which a refresh begins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from nnn_core import storage
from nnn_core.encoders import EncoderSource
from nnn_core.errors import StorageError
from nnn_core.inputs.listing import list_shards, list_uris
from nnn_core.inputs.readers import Columns
from nnn_core.inputs.shards import spread
from nnn_core.planning.preflight import Head
from nnn_core.report.shown import check_fields
from pipelines.config import RefreshConfig

#: Fields of a refresh with patterns of input.
SIDES = ("candidates", "references", "validation")

#: Encoders that decode images as this package does; others may decode more.
_OWN_ENCODERS = ("open_clip:", "transformers:", "albef:", "beit3:")


def check_files(config: object, sides: Sequence[str], local: bool) -> None:
    """Refuse patterns that no file matches, before a model is looked at, whose packages take seconds to import.

    Args:
        config: a configuration; without an encoder nothing is imported, and whoever reads the input lists it.
        sides: names of the fields that hold patterns, None where there is no such side.
        local: whether the job runs on this machine; paths on the disks of others are left to them.

    Raises:
        InputError: no file matches.
    """
    for side in sides if getattr(config, "encoder", None) else ():
        pattern = getattr(config, side)
        if pattern and (local or not storage.is_local(pattern)):
            list_uris(pattern, f"--{side}")


def check_new_report(uri: str | None) -> None:
    """Refuse, before anything is computed, a name for the report that is taken; None is no name.

    Raises:
        StorageError: a file lies there.
    """
    if uri and storage.exists(uri):
        raise StorageError(f"--report {uri!r} exists already and was left as it is. Name a new file.")


def check_fields_of(pattern: str, flag: str, columns: Columns, fields: Sequence[str]) -> None:
    """``check_fields`` of a few of the files that a pattern names, which lie evenly over all.

    Args:
        pattern: a URI with globs and brace ranges, as the user typed it.
        flag: the flag that the pattern was typed after, for messages.
        columns: names of the files' columns.
        fields: columns to show; without any, no file is looked for.

    Raises:
        ConfigError: a file has no such column, or none that can be shown.
        InputError: the pattern matches nothing.
    """
    if fields:
        check_fields((each.uri for each in spread(list_shards(pattern, flag))), columns, fields)


def look_ahead(config: RefreshConfig, encoder: EncoderSource | None, local: bool) -> list[Head]:
    """The beginning of every side, checked.

    Args:
        config: what the refresh is to compute.
        encoder: the model, not loaded; None when all input holds vectors.
        local: whether the job runs on this machine; paths on the disks of others are left to them.

    Returns:
        The beginnings of the candidates, the references and, if there are any, the validation queries; of a side that
        only other machines can read there is none.

    Raises:
        ConfigError: candidates that have no such columns as the report is to show.
        InputError: input that cannot be read as it was asked for.
        RejectedRowsError: rows that cannot be used.
    """
    asking, holding, judging = config.requests(encoder)
    decode = (config.encoder or "").startswith(_OWN_ENCODERS)
    patterns = {"candidates": config.candidates, "references": config.references, "validation": config.validation}
    requests = {"candidates": holding, "references": asking, "validation": judging}
    heads = {
        side: Head.read(side, pattern, requests[side], config.reject_rates[side], decode)
        for side, pattern in patterns.items()
        if pattern and (local or not storage.is_local(pattern))
    }
    if "candidates" in heads:
        check_fields(heads["candidates"].uris, config.candidate_columns, config.shown_columns)
    if {"candidates", "references"} <= heads.keys():
        heads["candidates"].check_against(heads["references"], config.exclude_own_pairs)
    if {"validation", "references"} <= heads.keys() and not (config.allow_overlap or config.drop_overlap):
        heads["validation"].check_held_out(heads["references"])
    return list(heads.values())


def describe_head(head: Head, relevance: str | None = None) -> Iterator[str]:
    """Lines for a person.

    Args:
        head: the beginning of a side.
        relevance: the table that answers the validation queries; None where their pair ids do.
    """
    files = f"{head.files:,} file{'s' if head.files > 1 else ''} of {head.holds}"
    left_out = "".join(f"; {count:,} more are {reason}" for reason, count in head.left_out.items())
    yield f"{head.side:<18}{files}{left_out}"
    pairs = [
        f"{row_id!r} ({pair_id!r})" if pair_id not in ("", row_id) else repr(row_id) for row_id, pair_id in _first(head)
    ]
    yield f"{'':<18}ids (and pair ids, where they differ): {', '.join(pairs)}"
    if head.side == "validation" and relevance is None:
        yield f"{'':<18}{_answers_of(head)}"
    dims = ", ".join(map(str, head.dims))
    if dims:
        yield f"{'':<18}dimension {dims}"


def _answers_of(head: Head) -> str:
    """Which candidates answer validation queries, for who has not named the column of the answers."""
    named = [(row_id, pair_id) for row_id, pair_id in zip(head.ids, head.pair_ids, strict=True) if pair_id]
    other = "--validation-pair-id-column names another column, --relevance a table"
    if not named:
        return f"no query names its answer: {other}"
    row_id, pair_id = next((each for each in named if each[0] != each[1]), named[0])
    own = ", by its own id" if row_id == pair_id else ""
    return f"candidate {pair_id!r} answers query {row_id!r}{own} ({other})"


def _first(head: Head) -> list[tuple[str, str]]:
    return list(zip(head.ids, head.pair_ids, strict=True))[:3]


def record_of(head: Head) -> dict[str, Any]:
    """A beginning for programs."""
    shared = {name: getattr(head, name) for name in ("side", "files", "left_out", "holds")}
    return {**shared, "dims": list(head.dims), "ids": head.ids[:3], "pair_ids": head.pair_ids[:3]}
