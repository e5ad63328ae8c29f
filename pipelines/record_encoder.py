"""RecordEncoder: what a manifest says of the encoder, once it is known whether any vector came from it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import apache_beam as beam

from nnn_core.encoders import PRECOMPUTED, EncoderSource
from nnn_core.encoders.contract import recorded
from nnn_core.encoders.prompts import Prompts
from nnn_core.shards import Modality


@dataclass
class RecordEncoder(beam.PTransform):  # type: ignore[misc]
    """Whether vectors came ready-made to the encoder's recorded parts, a single element each.

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

    def expand(self, origins: beam.PCollection[frozenset[bool]]) -> beam.PCollection[dict[str, str]]:
        record = beam.Map(record_encoder, self.source, self.prompts, self.work, self.modalities)
        return origins | "MeasureProbes" >> record.with_resource_hints(**self.hints)


def record_encoder(
    origins: frozenset[bool],
    source: EncoderSource | None,
    prompts: Prompts,
    work: str,
    modalities: Collection[Modality],
) -> dict[str, str]:
    """See ``contract.recorded``; an encoder that no shard needed is not what a table is valid for.

    Args:
        origins: whether vectors came ready-made, as a set of what there was.
        source: the encoder.
        prompts: of both sides.
        work: folder of artefacts.
        modalities: of both sides.

    Raises:
        InputError: the encoder cannot be loaded.
        CorruptArtifactError: what was measured before is damaged.
    """
    if source is None or all(origins):
        return {"kind": PRECOMPUTED}
    return recorded(source, prompts, work, modalities)
