"""How an option is declared: once, as plain data beside the field of a configuration that holds its value.

Flags, the files of ``--config``, their JSON Schema and the parameters of a template are all made from these fields and
from the docstrings of their classes.
"""

from __future__ import annotations

from dataclasses import dataclass as plain_dataclass
from dataclasses import replace
from functools import cached_property
from typing import Annotated, Any

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from nnn_core.inputs.readers import Columns
from nnn_core.redaction import refuse_credentials
from nnn_core.storage import check_place

#: How a configuration is checked when it is built.
CHECKED = ConfigDict(extra="forbid")

#: Groups of flags that several commands have.
COLUMNS, OUTPUT = "columns", "scoring and output"

_NAMES = ("id", "pair_id", "caption", "vector", "image")
_PAYLOADS = frozenset({"caption", "vector", "image"})


@plain_dataclass(frozen=True)
class Option:
    """How the value of a field is given. What the value is says the docstring of its class, under ``Attributes``, where
    ``%(default)s`` stands for the default; --help leaves out what is not described there.

    Attributes:
        metavar: what --help calls the value.
        group: heading under which --help shows the flag, if the command has such a heading.
        choices: all values that there are; none where there is a rule instead.
        switch: whether ``--no-...`` switches off what a file switches on.
        filled: whether the command finds a value where none is given, so that the flag itself has no default.
    """

    metavar: str | None = None
    group: str | None = None
    choices: tuple[str, ...] = ()
    switch: bool = False
    filled: bool = False


_ColumnName = Annotated[str | None, Option("NAME", COLUMNS)]


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class ColumnOptions:
    """Names of columns or JSON fields of the candidates, and of all other rows as far as these have no own names.

    Attributes:
        id_column: identity of a row (default: the first present of id, key, image_path; in a tar the key); @sha256 is
            the digest of its content, @row its file name and position.
        pair_id_column: id of the matching item on the other side; an empty value means none (default: the row's id; in
            a tar the key).
        caption_column: the caption (default: caption). In a TSV or CSV without a header, #1 is the first column.
        vector_column: the embedding (default: the first present of vector, embedding).
        image_column: the image, as bytes or as text in base64 (default: the first present of image, jpg, jpeg, png,
            webp).

    Raises:
        ConfigError: a name with a meaning of its own that there is not.
    """

    id_column: _ColumnName = None
    pair_id_column: _ColumnName = None
    caption_column: _ColumnName = None
    vector_column: _ColumnName = None
    image_column: _ColumnName = None

    def named(self, side: str = "") -> dict[str, Any]:
        """The names that were given, by attribute of ``Columns``.

        Args:
            side: empty for the candidates, or a prefix such as ``query_``.
        """
        names = {name: getattr(self, f"{side}{name}_column") for name in _NAMES}
        return {name: value for name, value in names.items() if value is not None}

    def refuse_credentials(self, *flags: str) -> None:
        """Refuse URIs, patterns and names of files that hold a secret or name no place; those not given do neither."""
        for flag in flags:
            if (place := getattr(self, flag)) is not None:
                refuse_credentials(place, f"--{flag}")
                check_place(place)

    @staticmethod
    def listed(names: str | None) -> tuple[str, ...]:
        """The columns in a value such as ``title,url``."""
        return tuple(filter(None, (name.strip() for name in (names or "").split(","))))

    @cached_property
    def candidate_columns(self) -> Columns:
        """The columns of the candidates."""
        return Columns(**self.named())


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class ReferenceColumnOptions(ColumnOptions):
    """Columns with other names in the bank of reference queries."""

    reference_id_column: _ColumnName = None
    reference_pair_id_column: _ColumnName = None
    reference_caption_column: _ColumnName = None
    reference_vector_column: _ColumnName = None
    reference_image_column: _ColumnName = None

    @cached_property
    def reference_columns(self) -> Columns:
        """The candidates' names, except where others were given for the bank.

        To say where the bank's captions are is to say that they, not vectors, are to be read, and the reverse.
        """
        own = self.named("reference_")
        replaced = own.keys() | (_PAYLOADS if own.keys() & _PAYLOADS else set())
        shared = {name: value for name, value in self.named().items() if name not in replaced}
        lent = tuple((name, "") for name in shared)
        return Columns(**shared, **own, require_id=False, inherited=tuple(shared), side="reference-", lent=lent)


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class ValidationColumnOptions(ReferenceColumnOptions):
    """Columns with other names in the validation queries."""

    validation_id_column: _ColumnName = None
    validation_pair_id_column: _ColumnName = None
    validation_caption_column: _ColumnName = None
    validation_vector_column: _ColumnName = None
    validation_image_column: _ColumnName = None

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

    query_id_column: _ColumnName = None
    query_pair_id_column: _ColumnName = None
    query_caption_column: _ColumnName = None
    query_vector_column: _ColumnName = None
    query_image_column: _ColumnName = None

    @cached_property
    def query_columns(self) -> Columns:
        """The candidates' names, except where others were given for the queries."""
        own = self.named("query_")
        lent = tuple((name, "") for name in self.named() if name not in own)
        return replace(self.candidate_columns, **own, side="query-", lent=lent)
