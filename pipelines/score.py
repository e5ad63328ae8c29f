"""The pipeline of ``nnn score``: from candidates that the table does not have yet to a file of their biases."""

from __future__ import annotations

from typing import Annotated

import apache_beam as beam
import pydantic.dataclasses
from apache_beam.pvalue import AsList

from nnn_core import storage
from nnn_core.consumers.scorer import Scores
from nnn_core.embedded.embedding import EmbeddingRequest
from nnn_core.embedded.shards import EmbeddedInput
from nnn_core.encoders import EncoderSource
from nnn_core.encoders.fingerprints import check_encoder
from nnn_core.encoders.generations import digest_of
from nnn_core.encoders.probes import static_parts
from nnn_core.encoders.prompts import Prompts
from nnn_core.errors import ConfigError
from nnn_core.inputs.rejects import RejectSummary
from nnn_core.table.manifest import Manifest
from pipelines.options import CHECKED, ColumnOptions, Option
from pipelines.stages.embed_files import Files, embed_files
from pipelines.stages.once import Once
from pipelines.stages.score_items import ScoreShards


@pydantic.dataclasses.dataclass(frozen=True, kw_only=True, config=CHECKED)
class ScoreConfig(ColumnOptions):
    """What to score, each option declared here once.

    Attributes:
        table: folder of the bias table.
        version: which version (default: the current one).
        candidates: shards of the new items.
        output: new Parquet file of id and bias.
        work: folder of artefacts, that of the refresh.
        encoder: model, as for nnn refresh; not needed for vectors.
        max_reject_rate: share of unusable rows that is accepted.
        threads: threads of one worker process (default: all cores locally).

    Raises:
        ConfigError: a value that cannot work.
    """

    table: Annotated[str, Option("URI")]
    version: Annotated[int, Option("N", filled=True)]
    candidates: Annotated[str, Option("GLOB")]
    output: Annotated[str, Option("URI")]
    work: Annotated[str, Option("URI")]
    encoder: Annotated[str | None, Option("SPEC")] = None
    max_reject_rate: Annotated[float, Option("RATE")] = 0.0
    threads: Annotated[int, Option("N", filled=True)] = 1

    def __post_init__(self) -> None:
        self.refuse_credentials("table", "candidates", "output", "work")
        if self.threads < 1 or not 0.0 <= self.max_reject_rate <= 1.0:
            raise ConfigError("--threads must be at least 1, and --max-reject-rate between 0 and 1.")


def define_score(
    root: beam.Pipeline, config: ScoreConfig, manifest: Manifest, encoder: EncoderSource | None
) -> beam.PCollection[int]:
    """Wire the job; its single element is the number of rows that were written."""
    settings = manifest.settings
    digest, prompts = digest_of(encoder, settings.candidate_modality), Prompts.recorded(settings.encoder)
    columns = config.candidate_columns
    request = EmbeddingRequest(settings.candidate_modality, columns, digest, config.work, prompts.candidate)
    files = Files("candidates", config.candidates, request)
    inputs = embed_files(root, [files], encoder, threads=config.threads).of("candidates").embedded
    parts = static_parts(encoder, prompts) if encoder else None
    checked = root | "CheckCandidates" >> Once(_check, AsList(inputs), config, manifest, parts)
    scores = (
        inputs
        | "Shards" >> beam.FlatMap(lambda each: each.shards)
        | "Spread" >> beam.Reshuffle()
        | "ScoreShards" >> ScoreShards(config.table, config.work, config.version, config.threads, checked)
        | "AllScores" >> beam.CombineGlobally(Scores.merge)
    )
    return scores | "WriteScores" >> beam.Map(Scores.write, config.output, manifest)


def _check(inputs: list[EmbeddedInput], config: ScoreConfig, manifest: Manifest, encoder: dict[str, str] | None) -> int:
    """Look at the candidates as a whole, before any is scored; how many rows can be used.

    Raises:
        RejectedRowsError: too many rows could not be used.
        InputError: they are encoded by another model than the table's.
    """
    summary = RejectSummary.merged(embedded.rejects for embedded in inputs)
    summary.check_rate(config.max_reject_rate, "--candidates", storage.join(config.work, "rejects"))
    if encoder is not None and not all(each.precomputed for each in inputs):
        check_encoder(manifest.settings.encoder, encoder, config.table, "what --encoder names")
    return summary.rows - summary.rejected
