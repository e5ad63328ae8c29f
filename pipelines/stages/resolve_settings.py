"""ResolveSettings: k, the grid and the encoder, once scoring has shown what there is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import apache_beam as beam
from apache_beam.pvalue import AsSingleton

from nnn_core.scoring.bank import Bank
from nnn_core.scoring.partials import Scored
from nnn_core.table.parts import BiasSettings, resolve_k
from pipelines.stages.once import Once


@dataclass
class ResolveSettings(beam.PTransform):  # type: ignore[misc]
    """The bank, once it is scored, to the table's settings, a single element.

    Attributes:
        k: number of neighbours; None for the largest of the grid that fits.
        grid: values of k whose means are kept, where the bank suffices for them.
        settings: makes the settings once ``k``, ``grid``, ``bank_digest`` and ``encoder`` are known.
        scored: what scoring was like for all candidate shards; a single element.
        encoder: what a manifest says of the encoder; a single element.
    """

    k: int | None
    grid: tuple[int, ...]
    settings: Callable[..., BiasSettings]
    scored: beam.PCollection[Scored]
    encoder: beam.PCollection[dict[str, str]]

    def expand(self, bank: beam.PCollection[Bank]) -> beam.PCollection[BiasSettings]:
        return bank.pipeline | Once(
            self.resolve, AsSingleton(bank), AsSingleton(self.scored), AsSingleton(self.encoder)
        )

    def resolve(self, bank: Bank, scored: Scored, encoder: dict[str, str]) -> BiasSettings:
        """See ``parts.resolve_k``."""
        fitting = tuple(value for value in self.grid if value <= bank.rows)
        resolved, kept = resolve_k(self.k, fitting, scored.fewest_seen)
        return self.settings(k=resolved, grid=kept, bank_digest=bank.digest, encoder=encoder)
