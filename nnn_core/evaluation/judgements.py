"""Which candidates answer a query: from a table of judgements, or from the queries' own pair ids."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from nnn_core.errors import InputError
from nnn_core.inputs.listing import list_uris
from nnn_core.inputs.readers.tables import column_of, read_table

#: Names of the columns, the first present counts.
_QUERY = ("query_id", "id")
_CANDIDATE = ("candidate_id", "relevant")
_GRADE = "grade"

#: Types of Arrow of which a column may be; one without any value has none.
_IDS = ("string", "large_string", "string_view", "integer", "null")
_NUMBERS = ("integer", "floating", "boolean", "decimal", "null")

Judgements = Mapping[str, Mapping[str, float]]


def read_judgements(pattern: str) -> Judgements:
    """Grades above 0 by query id and candidate id, from tables as ``readers.tables`` reads them.

    Columns: ``query_id`` (or ``id``); ``candidate_id``, or ``relevant`` with a list of them; ``grade`` where
    answers are graded, 1 otherwise. A grade of 0 says that a candidate is not relevant.

    Args:
        pattern: URIs, globs and brace ranges of the tables of judgements.

    Raises:
        InputError: no file, an unknown format, a column that is missing or of another type, or a grade below 0.
    """
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for uri in list_uris(pattern, "--relevance"):
        for query, candidate, grade in _judgements(read_table(uri, "--relevance"), uri):
            if not grade >= 0:
                raise InputError(f"{uri!r}: candidate {candidate!r} has grade {grade} for query {query!r}, below 0.")
            if grade > 0:
                found[query][candidate] = float(grade)
    return dict(found)


def _judgements(table: pa.Table, uri: str) -> list[tuple[str, str, float]]:
    query, candidate = (column_of(table, names, uri) for names in (_QUERY, _CANDIDATE))
    _check(query.type, _IDS, "ids of queries", uri)
    lists = pa.types.is_list(candidate.type) or pa.types.is_large_list(candidate.type)
    _check(candidate.type.value_type if lists else candidate.type, _IDS, "ids of candidates", uri)
    if _GRADE in table.column_names:
        _check(table[_GRADE].type, _NUMBERS, "grades", uri)
    grades = table[_GRADE].to_pylist() if _GRADE in table.column_names else [1.0] * table.num_rows
    if lists:
        parents = pc.list_parent_indices(candidate.combine_chunks()).to_pylist()
        queries = query.take(pa.array(parents, pa.int64())).to_pylist()
        rows = zip(queries, pc.list_flatten(candidate).to_pylist(), [grades[row] for row in parents], strict=True)
    else:
        rows = zip(query.to_pylist(), candidate.to_pylist(), grades, strict=True)
    return [(str(name), str(answer), grade) for name, answer, grade in rows if None not in (name, answer, grade)]


def _check(kind: pa.DataType, allowed: tuple[str, ...], what: str, uri: str) -> None:
    values = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not any(getattr(pa.types, f"is_{name}")(values) for name in allowed):
        raise InputError(f"{uri!r}: a column of {kind} cannot hold {what}. Convert it, or name another column.")
