"""Columns with other names for some sides."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

from pydantic.dataclasses import dataclass

from nnn_core.inputs.readers import Columns
from pipelines.options import CHECKED, ColumnName, ColumnOptions, ReferenceColumnOptions


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class ValidationColumnOptions(ReferenceColumnOptions):
    """Columns with other names in the validation queries."""

    validation_id_column: ColumnName = None
    validation_pair_id_column: ColumnName = None
    validation_caption_column: ColumnName = None
    validation_vector_column: ColumnName = None
    validation_image_column: ColumnName = None

    @cached_property
    def validation_columns(self) -> Columns:
        """The names of the bank, except where others were given for the queries; every query needs an id."""
        bank, own = self.reference_columns, self.named("validation_")
        inherited = tuple(name for name in bank.inherited if name not in own)
        lent = tuple((name, "") for name in bank.inherited if name not in own)
        lent += tuple((name, bank.side) for name in self.named(bank.side.replace("-", "_")) if name not in own)
        return replace(bank, require_id=True, **own, inherited=inherited, side="validation-", lent=lent)


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class QueryColumnOptions(ColumnOptions):
    """Columns with other names in the queries of an evaluation or of an export."""

    query_id_column: ColumnName = None
    query_pair_id_column: ColumnName = None
    query_caption_column: ColumnName = None
    query_vector_column: ColumnName = None
    query_image_column: ColumnName = None

    @cached_property
    def query_columns(self) -> Columns:
        """The candidates' names, except where others were given for the queries."""
        own = self.named("query_")
        lent = tuple((name, "") for name in self.named() if name not in own)
        return replace(self.candidate_columns, **own, side="query-", lent=lent)
