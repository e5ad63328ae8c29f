"""One engine, as far as an export needs to know it: a value, filled in by the registry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Metric = Literal["ip", "cosine", "l2"]

#: What the metrics are called in messages and tables.
METRICS: dict[str, str] = {"ip": "inner product", "cosine": "cosine", "l2": "Euclidean distance"}


@dataclass(frozen=True)
class MetricUse:
    """One metric of an engine.

    Attributes:
        setting: what the engine calls it.
        reading: of the number that comes with a hit, a name in ``readings.READINGS``.
    """

    setting: str
    reading: str


@dataclass(frozen=True)
class Engine:
    """One engine.

    Attributes:
        name: as ``--engine`` spells it.
        title: as people call it.
        layout: of its files, a name in ``files.LAYOUTS``; ``index`` for a single index file.
        imports: what it does with these files.
        metrics: those it has.
        settings: of an index that keeps the ranking.
        sources: pages of its documentation that say so.
        folder: below the output, where its files lie alone.
        most_dimensions: of a vector that it indexes; None where it states none.
        longest_id: bytes of an id; None where it states none.
        most_files: of one import; None where it states none.
        shared_range: its name for eight-bit quantisation with one range for all dimensions, None where it has none.
        per_dimension: its name for eight-bit quantisation with a range for each dimension, None where it has none.
        attribute: how it subtracts a stored attribute from the score of what was retrieved, None where it cannot.
    """

    name: str
    title: str
    layout: str
    imports: str
    metrics: dict[Metric, MetricUse]
    settings: str
    sources: tuple[str, ...]
    folder: str = "data"
    most_dimensions: int | None = None
    longest_id: int | None = None
    most_files: int | None = None
    shared_range: str | None = None
    per_dimension: str | None = None
    attribute: str | None = None
