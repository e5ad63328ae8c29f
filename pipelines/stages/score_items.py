"""ScoreItems and ScoreShards: new items to their biases, before they go into an index.

``ScoreItems`` takes Beam's own ``EmbeddableItem`` and stands before Beam's own sinks of vectors:

    items | ScoreItems(table, work, version=7) | VectorDatabaseWriteTransform(QdrantWriteConfig(...))
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import apache_beam as beam
import numpy as np
from apache_beam.ml.rag.types import EmbeddableItem, Embedding
from apache_beam.pvalue import AsSingleton
from apache_beam.utils.shared import Shared

from nnn_core.consumers.engines.recipe import Recipe
from nnn_core.consumers.scorer import BiasScorer, Scores
from nnn_core.embedded.shards import EmbeddedShard
from nnn_core.errors import InputError
from nnn_core.table.manifest import choose_version
from nnn_core.vectors import unit_vectors

#: Items that are scored at a time.
_BATCH = 1024


@dataclass
class ScoreItems(beam.PTransform):  # type: ignore[misc]
    """Items with vectors to the same with their biases: an ``EmbeddableItem`` each, its vector at unit length.

    Attributes:
        table: URI of the table's folder.
        work: URI of the refresh's folder of artefacts, where the bank's vectors lie.
        version: number of the version; None for the one that is current when the pipeline is built.
        recipe: recipe of the index, from ``export.json``: the bias goes into the vector; None to leave it in metadata,
            for an index of plain vectors.
        field: name of the metadata field that gets the bias.
        pair_id: name of a metadata field with the item's pair id; None where pair ids are the ids.
    """

    table: str
    work: str
    version: int | None = None
    recipe: Recipe | None = None
    field: str = "bias"
    pair_id: str | None = None

    def expand(self, items: beam.PCollection[EmbeddableItem]) -> beam.PCollection[EmbeddableItem]:
        chosen = dataclasses.replace(self, version=choose_version(self.table, self.version))
        return (
            items
            | "Batch" >> beam.BatchElements(min_batch_size=1, max_batch_size=_BATCH)
            | "Score" >> beam.ParDo(_ScoreItems(chosen))
        )

    def score(self, batch: list[EmbeddableItem], scorer: BiasScorer) -> Iterator[EmbeddableItem]:
        """The items of a batch; those that came stay as they were.

        Raises:
            InputError: an item has no vector, or one that cannot be used.
            ConfigError: a bias lies beyond what the index of ``recipe`` was built for.
        """
        bare = [item.id for item in batch if item.dense_embedding is None]
        if bare:
            raise InputError(
                f"{len(bare)} of {len(batch)} items have no dense embedding (first: {bare[0]!r}). Embed them first."
            )
        vectors = np.array([item.dense_embedding for item in batch], np.float64)
        pairs = None if self.pair_id is None else [str(item.metadata.get(self.pair_id) or "") for item in batch]
        biases = scorer.bias(vectors, [item.id for item in batch], pairs)
        unit, _, _ = unit_vectors(vectors)
        stored = unit if self.recipe is None else self.recipe.stored(unit, biases)
        for item, vector, bias in zip(batch, stored, biases.tolist(), strict=True):
            embedding = Embedding(vector.tolist(), item.sparse_embedding)
            yield dataclasses.replace(item, embedding=embedding, metadata={**item.metadata, self.field: bias})


class _ScoreItems(beam.DoFn):  # type: ignore[misc]
    def __init__(self, transform: ScoreItems) -> None:
        self._transform = transform
        self._shared = Shared()

    def setup(self) -> None:
        with_bank = self._transform
        self._scorer = self._shared.acquire(lambda: BiasScorer.open(with_bank.table, with_bank.work, with_bank.version))

    def process(self, batch: list[EmbeddableItem]) -> Iterator[EmbeddableItem]:
        yield from self._transform.score(batch, self._scorer)


@dataclass
class ScoreShards(beam.PTransform):  # type: ignore[misc]
    """Embedded shards of candidates to ``Scores``, one each.

    Attributes:
        table: URI of the table's folder.
        work: URI of the refresh's folder of artefacts.
        version: number of the version.
        threads: threads of one worker process.
        checked: a single element that exists once the candidates were looked at as a whole.
    """

    table: str
    work: str
    version: int
    threads: int
    checked: beam.PCollection[int]

    def expand(self, shards: beam.PCollection[EmbeddedShard]) -> beam.PCollection[Scores]:
        scoring = _ScoreShards(self.table, self.work, self.version, self.threads)
        return shards | "ScoreShard" >> beam.ParDo(scoring, AsSingleton(self.checked))


class _ScoreShards(beam.DoFn):  # type: ignore[misc]
    def __init__(self, table: str, work: str, version: int, threads: int) -> None:
        self._bank = (table, work, version, threads)
        self._shared = Shared()

    def process(self, shard: EmbeddedShard, checked: int) -> Iterator[Scores]:
        del checked  # that it exists is what matters
        yield Scores.of_shard(shard, self._shared.acquire(lambda: BiasScorer.open(*self._bank)))
