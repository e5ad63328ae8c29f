"""One engine, as far as an export needs to know it: values, read from ``engines.toml``."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Literal

from nnn_core import records
from nnn_core.errors import ConfigError, InputError

#: Names that stand in queries without quotes; and those of engines that quote them.
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SCHEMA_NAME = re.compile(rf"({_PLAIN_NAME.pattern}\.)?{_PLAIN_NAME.pattern}")
_LOOSE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_LOOSE = frozenset({"qdrant", "bulk"})
Metric = Literal["ip", "cosine", "l2"]


@dataclass(frozen=True)
class _MetricUse:
    """One metric of an engine.

    Attributes:
        setting: what the engine calls the metric.
        reading: how the number that comes with a hit is read, a name in ``_readings.READINGS``.
    """

    setting: str
    reading: str


@dataclass(frozen=True)
class _Attribute:
    """How an engine subtracts a stored attribute from the scores of an index of plain vectors.

    Attributes:
        query: the whole query or statement, in which ``<q>`` stands for the query's vector, ``<K>`` for the number of
            plain hits, ``<mean>`` for the bias of an item without one, ``<shift>`` for what keeps scores above 0, and
            ``<dim>`` for the number of dimensions.
        where: what it is sent to, for people.
        score: how the debiased score is read off the engine's number x.
    """

    query: str
    where: str
    score: str


@dataclass(frozen=True)
class Engine:
    """One engine.

    Attributes:
        name: name of the engine, as ``--engine`` spells it.
        title: name of the engine as people write it.
        layout: layout of the engine's files, a name in ``_layouts.LAYOUTS``; ``index`` for a single index file.
        imports: what the engine does with the exported files, for people.
        metrics: metrics that the engine has, by name: ``ip``, ``cosine``, ``l2``.
        settings: settings of an index that keeps the ranking, for people.
        sources: URLs of the engine's documentation that its values come from.
        names: what the engine calls things here, by what it is (``collection``, ``namespace``, ``vector``, ``id``); an
            empty name stands in no file.
        fixed: those of the names that nobody can choose.
        folder: folder below the output that holds the engine's files alone.
        update: how a file of biases alone is applied, for people; None where an engine cannot set an attribute alone.
        delete: how a file of candidates to remove is applied, for people.
        delete_folder: folder below the output that holds these.
        most_dimensions: most dimensions of a vector that the engine indexes; None where it states none.
        column_types: types of a column of vectors, each with the most dimensions that are indexed, ascending.
        longest_id: most bytes of an id; None where the engine states none.
        most_files: most files of one import; None where the engine states none.
        shared_range: the engine's name for eight-bit quantisation with one range for all dimensions, None where it has
            none.
        per_dimension: the engine's name for eight-bit quantisation with a range for each dimension, None where it has
            none.
        sub_vectors: the engine's name for its default index where that cuts vectors into sub-vectors, None elsewhere:
            such a quantiser wants a number of dimensions that many numbers divide.
        attribute: how the engine subtracts a stored attribute from the score of what was retrieved, None where it
            cannot.
    """

    name: str
    title: str
    layout: str
    imports: str
    metrics: dict[Metric, _MetricUse]
    settings: str
    sources: tuple[str, ...]
    names: dict[str, str] = field(default_factory=dict)
    fixed: tuple[str, ...] = ()
    folder: str = "data"
    update: str | None = None
    delete: str = ""
    delete_folder: str = "delete"
    most_dimensions: int | None = None
    column_types: dict[str, int] = field(default_factory=dict)
    longest_id: int | None = None
    most_files: int | None = None
    shared_range: str | None = None
    per_dimension: str | None = None
    sub_vectors: str | None = None
    attribute: _Attribute | None = None

    def check_names(self, chosen: Mapping[str, str]) -> None:
        """Refuse names that the engine has not, or that would not stand in a query as they are.

        Args:
            chosen: names by what they name, as in ``names``.

        Raises:
            ConfigError: naming one of them.
        """
        for what, name in chosen.items():
            flag = f"--{'vector-field' if what == 'vector' else 'id-field' if what == 'id' else what} {name}"
            if what not in self.names or what in self.fixed:
                free = [each for each in self.names if each not in self.fixed]
                raise ConfigError(
                    f"{flag} has no effect on --engine {self.name}, where you can name {', '.join(free) or 'nothing'}."
                )
            self.check_name(flag, name, what in ("collection", "namespace"))

    def check_name(self, flag: str, name: str, whole: bool = False) -> None:
        """Refuse a name that would not stand in a query as it is.

        Args:
            flag: the flag and the name, for the message.
            name: the name.
            whole: whether it is that of a collection, and not of a field.

        Raises:
            ConfigError: it would not.
        """
        loose = self.layout in _LOOSE or (whole and self.layout != "pgvector")
        if not (_LOOSE_NAME if loose else _SCHEMA_NAME if whole else _PLAIN_NAME).fullmatch(name):
            raise ConfigError(
                f"{flag} has characters that would need quotes in a query of {self.title}. Use ASCII letters, "
                f"digits and underscores{', dots and hyphens' if loose else ''}, and begin with a letter."
            )

    def column_type(self, dimensions: int) -> str:
        """The type of the column of vectors; empty where there is only one."""
        return next((name for name, most in self.column_types.items() if dimensions <= most), "")

    def named(self, text: str, names: Mapping[str, str], dimensions: int = 0) -> str:
        """A text for people with the names in it.

        Args:
            text: the text, in which names stand as ``<collection>`` and so on.
            names: what the engine calls things.
            dimensions: how many the stored vectors have.
        """
        text = text.replace("<type>", self.column_type(dimensions))
        using = f'"using": "{names["vector"]}", ' if names.get("vector") else ""
        text = text.replace("<using>", using)
        for what, name in names.items():
            text = text.replace(f"<{what}>", name or what.upper())
        return text

    def check_files(self, number: int) -> None:
        """Refuse more files than the engine imports at once.

        Raises:
            InputError: naming the limit.
        """
        if self.most_files is not None and number > self.most_files:
            raise InputError(
                f"{self.title} imports at most {self.most_files:,} files, and these embeddings would be "
                f"{number:,}: one for each file of --embeddings, or for 65,536 rows of a larger one. Merge them "
                "into fewer files."
            )


@cache
def engines() -> tuple[Engine, ...]:
    """Every engine, in the order of the page."""
    text = resources.files(__package__).joinpath("engines.toml").read_text(encoding="utf-8")
    return records.build(tuple[Engine, ...], tomllib.loads(text)["engines"])
