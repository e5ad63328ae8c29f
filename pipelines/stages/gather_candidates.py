"""GatherCandidates: all candidates as one small descriptor, checked as a whole."""

from __future__ import annotations

from dataclasses import dataclass

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.pvalue import AsList

from nnn_core.embedded.corpus import Corpus, gather_candidates
from nnn_core.embedded.shards import EmbeddedInput
from pipelines.stages.metrics import NAMESPACE
from pipelines.stages.once import Once

#: Name of the metric that is the number of input files whose ids are positional keys.
POSITIONAL_KEYS = "positional_keys"

#: Name of the metric that is the number of images that turned white as they were decoded.
WHITENED = "whitened"


@dataclass
class GatherCandidates(beam.PTransform):  # type: ignore[misc]
    """All candidates to one ``Corpus``; fails when too many rows were rejected or none is left.

    Attributes:
        max_reject_rate: allowed share of rejected rows, 0 to 1.
        rejects_folder: where rejects are listed, for messages.
    """

    max_reject_rate: float
    rejects_folder: str

    def expand(self, inputs: beam.PCollection[EmbeddedInput]) -> beam.PCollection[Corpus]:
        return inputs.pipeline | Once(self.gather_candidates, AsList(inputs))

    def gather_candidates(self, inputs: list[EmbeddedInput]) -> Corpus:
        """The candidates as a whole; input files with positional keys, and images that turned white, are counted."""
        counts = {
            POSITIONAL_KEYS: sum(embedded.positional_keys for embedded in inputs),
            WHITENED: sum(embedded.whitened for embedded in inputs),
        }
        for name, number in counts.items():
            Metrics.distribution(NAMESPACE, name).update(number)
        return gather_candidates(inputs, self.max_reject_rate, self.rejects_folder)
