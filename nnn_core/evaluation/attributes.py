"""Attributes of candidates, and how evenly their values are retrieved before and after a correction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nnn_core import storage
from nnn_core.errors import InputError
from nnn_core.evaluation._shares import Attribute
from nnn_core.evaluation.fairness import CUTS, Figure, _compare_fairness
from nnn_core.inputs.listing import list_uris
from nnn_core.inputs.readers.tables import column_of, read_table

_IDS = ("id", "candidate_id")

#: Attribute to candidate id to value.
Attributes = Mapping[str, Mapping[str, str]]

#: Attribute to value to how many candidates of the index have it.
Counts = Mapping[str, Counter[str]]


def read_attributes(pattern: str) -> Attributes:
    """Values by attribute and candidate id, from tables as ``readers.tables`` reads them.

    Every column but ``id`` (or ``candidate_id``) is an attribute, under its own name; an empty value is none.

    Args:
        pattern: URIs, globs and brace ranges of the tables of attributes.

    Raises:
        InputError: no file, an unknown format, or no column but that of ids.
    """
    return _read(tuple((uri, storage.content_digest(uri)) for uri in list_uris(pattern, "--attributes")))


@lru_cache(maxsize=1)
def _read(files: tuple[tuple[str, str], ...]) -> Attributes:
    """Those of some files with these digests: every shard of candidates asks for them."""
    found: dict[str, dict[str, str]] = {}
    for uri, _ in files:
        table = read_table(uri, "--attributes")
        ids = [str(name) for name in column_of(table, _IDS, uri).to_pylist()]
        names = [name for name in table.column_names if name not in _IDS]
        if not names:
            raise InputError(f"--attributes {uri!r} has only the column of ids. Add one column for each attribute.")
        for name in names:
            values = table[name].cast(pa.string()).to_pylist()
            found.setdefault(name, {}).update((row, value) for row, value in zip(ids, values, strict=True) if value)
    return found


def count_values(ids: Sequence[str], attributes: Attributes) -> dict[str, Counter[str]]:
    """How many of some candidates have each value."""
    return {name: Counter(values[row] for row in ids if row in values) for name, values in attributes.items()}


def add_counts(counts: Iterable[Counts]) -> dict[str, Counter[str]]:
    """Those of several shards together."""
    total: dict[str, Counter[str]] = {}
    for each in counts:
        for name, values in each.items():
            total.setdefault(name, Counter()).update(values)
    return total


def compare_values(
    before: Sequence[Sequence[str]],
    after: Sequence[Sequence[str]],
    relevant: Sequence[Sequence[str]],
    values: Mapping[str, str],
    counts: Counter[str],
) -> tuple[tuple[str, ...], list[Figure]]:
    """The measures of ``fairness`` for one attribute, against the shares of its values in the index.

    Args:
        before: for each query the ids of its first candidates without the correction, best first.
        after: for each query the ids of its first candidates with the correction, best first.
        relevant: for each query the ids of the candidates that answer it.
        values: value of the attribute by candidate id.
        counts: value of the attribute to how many candidates of the index have it.

    Returns:
        The values, and the figures.

    Raises:
        InputError: fewer than two values occur among the candidates.
    """
    names = sorted({name for rows in (before, after, relevant) for row in rows for name in row})
    at = {name: row for row, name in enumerate(names)}
    kinds = tuple(sorted(counts))
    if len(kinds) < 2:
        raise InputError(
            f"the attribute has the values {kinds} among the candidates, and a comparison needs two. Check that the "
            "ids of --attributes are those of --candidates."
        )
    codes = np.array([kinds.index(values[name]) if name in values else -1 for name in names], np.int64)
    share = np.array([counts[kind] for kind in kinds], np.float64)
    old, new = (_positions(rows, at, max(CUTS)) for rows in (before, after))
    answers = [{at[name] for name in row} for row in relevant]
    return kinds, _compare_fairness(old, new, answers, Attribute(kinds, codes, share / share.sum()))


def _positions(rows: Sequence[Sequence[str]], at: Mapping[str, int], depth: int) -> npt.NDArray[np.int64]:
    ranking = np.full((len(rows), depth), -1, np.int64)
    for query, row in enumerate(rows):
        ranking[query, : len(row[:depth])] = [at[name] for name in row[:depth]]
    return ranking
