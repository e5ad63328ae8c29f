"""RecordEncoder: what a manifest says of the encoder, once it is known whether any vector came from it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import apache_beam as beam
from apache_beam.pvalue import AsSingleton

from nnn_core.embedded.corpus import Corpus
from nnn_core.encoders import PRECOMPUTED, EncoderSource
from nnn_core.encoders.contract import recorded
from nnn_core.encoders.prompts import Prompts
from nnn_core.inputs.shards import Modality
from nnn_core.scoring.bank import Bank
from pipelines.stages.once import Once


@dataclass
class RecordEncoder(beam.PTransform):  # type: ignore[misc]
    """The candidates and the bank, as wholes, to the encoder's recorded parts, a single element.

    The probes are measured once for a work folder, by the one worker that comes first; it is a step of its own
    so that the process that launches the job loads no model, and that the worker has an accelerator.

    Attributes:
        source: the encoder; None when all input holds vectors.
        prompts: of both sides.
        modalities: of both sides.
        work: folder of artefacts.
        hints: Beam's resource hints.
    """

    source: EncoderSource | None
    prompts: Prompts
    modalities: Collection[Modality]
    work: str
    hints: Mapping[str, str] = field(default_factory=dict)

    def expand(
        self, sides: tuple[beam.PCollection[Corpus], beam.PCollection[Bank]]
    ) -> beam.PCollection[dict[str, str]]:
        measure = Once(record_encoder, self.source, self.prompts, self.work, self.modalities, *map(AsSingleton, sides))
        return sides[0].pipeline | "MeasureProbes" >> measure.with_resource_hints(**self.hints)


def record_encoder(
    source: EncoderSource | None,
    prompts: Prompts,
    work: str,
    modalities: Collection[Modality],
    *sides: Corpus | Bank,
) -> dict[str, str]:
    """See ``contract.recorded``; an encoder that no shard needed is not what a table is valid for.

    Args:
        source: the encoder.
        prompts: of both sides.
        work: folder of artefacts.
        modalities: of both sides.
        sides: the candidates and the bank.

    Raises:
        InputError: the encoder cannot be loaded.
        CorruptArtifactError: what was measured before is damaged.
    """
    if source is None or all(side.outcome.precomputed == {True} for side in sides):
        return {"kind": PRECOMPUTED}
    return recorded(source, prompts, work, modalities)
