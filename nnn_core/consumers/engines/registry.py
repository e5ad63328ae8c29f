"""The engines, as far as an export needs to know them: values, read from ``engines.toml``."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

from nnn_core import records
from nnn_core.errors import ConfigError, InputError

Metric = Literal["ip", "cosine", "l2"]

#: What the metrics are called in messages and tables.
METRICS: dict[str, str] = {"ip": "inner product", "cosine": "cosine", "l2": "Euclidean distance"}

#: The engine that is none: its plain search stays as it is, and the order is corrected afterwards.
RERANK = "rerank"


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
        folder: folder below the output that holds the engine's files alone.
        most_dimensions: most dimensions of a vector that the engine indexes; None where it states none.
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
    folder: str = "data"
    most_dimensions: int | None = None
    longest_id: int | None = None
    most_files: int | None = None
    shared_range: str | None = None
    per_dimension: str | None = None
    sub_vectors: str | None = None
    attribute: _Attribute | None = None

    def check_files(self, number: int) -> None:
        """Refuse more files than the engine imports at once.

        Raises:
            InputError: naming the limit.
        """
        if self.most_files is not None and number > self.most_files:
            raise InputError(
                f"{self.title} imports at most {self.most_files:,} files, and these embeddings would be {number:,}: "
                "one for each file of --embeddings, or for 65,536 rows of a larger one. Put them into fewer files."
            )


@cache
def engines() -> tuple[Engine, ...]:
    """Every engine, in the order of the page."""
    text = resources.files(__package__).joinpath("engines.toml").read_text(encoding="utf-8")
    return records.build(tuple[Engine, ...], tomllib.loads(text)["engines"])


def engine_names() -> list[str]:
    """Every name that ``--engine`` takes."""
    return [*(engine.name for engine in engines()), RERANK]


def find_engine(name: str) -> Engine:
    """The engine of that name.

    Raises:
        ConfigError: there is none.
    """
    found = next((engine for engine in engines() if engine.name == name), None)
    if found is None:
        raise ConfigError(f"--engine {name} is none of {', '.join(engine_names())}.")
    return found
