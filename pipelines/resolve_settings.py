"""ResolveSettings: k, the grid and the encoder, once scoring has shown what there is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import apache_beam as beam
from apache_beam.pvalue import AsSingleton

from nnn_core.manifest import Side
from nnn_core.parts import BiasSettings, resolve_k
from nnn_core.references import Bank


@dataclass
class ResolveSettings(beam.PTransform):  # type: ignore[misc]
    """The fewest references seen in each candidate shard to the table's settings, a single element.

    Attributes:
        k: number of neighbours; None for the largest of the grid that fits.
        grid: values of k whose means are kept, where the bank suffices for them.
        settings: makes the settings once ``k``, ``grid``, ``bank_digest`` and ``encoder`` are known.
        bank: a single element.
        encoder: what a manifest says of the encoder; a single element.
    """

    k: int | None
    grid: tuple[int, ...]
    settings: Callable[..., BiasSettings]
    bank: beam.PCollection[tuple[Bank, Side]]
    encoder: beam.PCollection[dict[str, str]]

    def expand(self, fewest_seen: beam.PCollection[int]) -> beam.PCollection[BiasSettings]:
        return (
            fewest_seen
            | "FewestSeen" >> beam.CombineGlobally(min).without_defaults()
            | "ResolveK" >> beam.Map(self.resolve, AsSingleton(self.bank), AsSingleton(self.encoder))
        )

    def resolve(self, min_seen: int, bank: tuple[Bank, Side], encoder: dict[str, str]) -> BiasSettings:
        """See ``parts.resolve_k``."""
        fitting = tuple(value for value in self.grid if value <= bank[0].rows)
        resolved, kept = resolve_k(self.k, fitting, min_seen)
        return self.settings(k=resolved, grid=kept, bank_digest=bank[0].digest, encoder=encoder)
