"""What a plan would cost on given workers: a model with its assumptions stated, not a promise."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from nnn_core import yaml_files
from nnn_core.errors import ConfigError, did_you_mean
from nnn_core.planning.memory import Memory

#: Bytes of a table row in the shuffle; and compressed on disk of a mean, of a kept score (as measured: 2.4 where a
#: partial keeps 32 of each candidate, 2.8 where it keeps 12) and of an id.
SHUFFLED_ROW = 60
MEAN_BYTES = 3.5
KEPT_BYTES = 2.75
ID_BYTES = 12

#: Network memory of Flink for each slot, in bytes, as run with 1 slot a task manager: every blocking exchange of
#: a slot's tasks takes 512 buffers of 32 KiB.
NETWORK_BYTES = 128 << 20

#: Kept scores that one process reads and merges in a second, as measured (16,384 candidates; 12 scores of each of 60
#: reference shards: 1.5e7, 128 scores of each of 20: 3e7).
MERGED_SCORES = 1.5e7

#: Bytes of ready-made vectors that one process checks and keeps in a second, as measured (65,536 rows of 512).
CONVERTED_BYTES = 5e7

#: Seconds that a partial takes whatever it holds: 3.3 ms of a processor (tests/benchmarks/large_graph.py), and waiting.
PARTIAL_SECONDS = 0.005

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def machine_memory() -> int:
    """How many bytes of memory this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


class Worker(BaseModel):
    """A type of worker: what one machine of it does and costs.

    Attributes:
        gflops: float32 matrix products of one machine, 10^9 operations a second, all cores together.
        images_per_second: images that one machine embeds in a second, decoding included.
        texts_per_second: texts that one machine embeds in a second.
        dollars_per_hour: price of one machine for an hour, in dollars; 0 where nobody knows it.
        memory_gib: memory of one machine, in GiB.
        processes: worker processes on one machine, each with its own memory.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    gflops: Positive
    images_per_second: Positive
    texts_per_second: Positive
    dollars_per_hour: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    memory_gib: Positive
    processes: Annotated[int, Field(ge=1)] = 1


class Rates(BaseModel):
    """Types of worker, and what storage costs.

    Attributes:
        workers: types of worker by name, at least one.
        storage_dollars_per_gib_month: dollars for a GiB stored under --work and --table for a month.
        shuffle_dollars_per_gib: dollars for each GiB that is shuffled.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    workers: Annotated[dict[str, Worker], Field(min_length=1)]
    storage_dollars_per_gib_month: Annotated[float, Field(ge=0)] = 0.02
    shuffle_dollars_per_gib: Annotated[float, Field(ge=0)] = 0.011

    @staticmethod
    def read(uri: str | None) -> Rates:
        """Rates from a YAML file; ``DEFAULT_RATES`` where none is named.

        Raises:
            ConfigError: no YAML, an unknown key, or a value that is no rate.
            InputError: the file cannot be read.
        """
        if not uri:
            return DEFAULT_RATES
        try:
            return Rates.model_validate(yaml_files.read_yaml(uri, "--rates"))
        except ValidationError as error:
            lines = "".join(f"\n  {'.'.join(map(str, each['loc']))}: {_problem(each)}" for each in error.errors())
            raise ConfigError(f"--rates {uri} cannot be used:{lines}") from None

    def estimate(self, work: Work) -> list[_Cost]:
        """What ``work`` costs on each type of worker."""
        costs = []
        for name, worker in self.workers.items():
            hours = Hours.of(work, worker)
            fits = worker.processes * work.peak_bytes <= worker.memory_gib * 2**30
            costs.append(_Cost(name, hours, self.price(hours, work.shuffled_bytes, worker), fits))
        return costs

    def price(self, hours: Hours, shuffled: float, worker: Worker) -> float:
        """Dollars of so many hours of a worker's machines, and of so many bytes shuffled."""
        return hours.total * worker.dollars_per_hour + shuffled / 2**30 * self.shuffle_dollars_per_gib


#: Rough figures to start from; measure your own (``nnn refresh --json`` prints rows, pairs and seconds of each stage).
DEFAULT_RATES = Rates(
    workers={
        "cpu-4 (4 vCPU with AVX-512, 16 GiB)": Worker(
            gflops=250, images_per_second=40, texts_per_second=250, dollars_per_hour=0.20, memory_gib=16, processes=4
        ),
        "gpu-l4 (one NVIDIA L4, 8 vCPU, 32 GiB)": Worker(
            gflops=30_000, images_per_second=800, texts_per_second=4_000, dollars_per_hour=0.90, memory_gib=32
        ),
    }
)


def _problem(error: ErrorDetails) -> str:
    """What is wrong with a value, or which key was meant."""
    if error["type"] != "extra_forbidden":
        return error["msg"]
    known = (*Worker.model_fields, *Rates.model_fields)
    return "there is no such key" + did_you_mean(str(error["loc"][-1]), known)


@dataclass(frozen=True)
class Work:
    """What is to be done, in numbers.

    Attributes:
        images: number of images to embed.
        texts: number of texts to embed.
        vectors: number of ready-made vectors to check and keep.
        pairs: number of (candidate, reference) pairs to score.
        partials: number of partials to compute.
        merging: number of candidates whose kept scores are merged.
        candidates: number of candidates in the table.
        references: number of references in the bank.
        dim: dimension of the vectors.
        kept: scores kept for each candidate and reference shard.
        k_max: how many scores of each candidate count.
        grid: number of values of k in the table.
        groups: number of reference shards.
        group_rows: references that are scored together, at most.
        shard_rows: candidates that are scored together, at most.
        file_rows: rows of the largest input file that is still to be embedded.
        judged: whether held-out queries judge the biases.
        threads: threads of a worker process.
        prefilter: whether references are held in int8 as well.
        weights: bytes of the encoder's checkpoint; None where they are not known.
    """

    images: int
    texts: int
    vectors: int
    pairs: int
    partials: int
    merging: int
    candidates: int
    references: int
    dim: int
    kept: int
    k_max: int
    grid: int
    groups: int
    group_rows: int
    shard_rows: int
    file_rows: int
    judged: bool = False
    threads: int = 1
    prefilter: bool = True
    weights: int | None = None

    @property
    def flop(self) -> float:
        """Floating-point operations of scoring: a multiplication and an addition a coordinate."""
        return 2.0 * self.pairs * self.dim

    @property
    def embedded_bytes(self) -> float:
        """Vectors and ids of both sides under --work."""
        return (self.candidates + self.references) * (4.0 * self.dim + ID_BYTES)

    @property
    def kept_scores(self) -> float:
        """In all partials of the table."""
        return float(self.candidates * self.groups * self.kept)

    @property
    def partial_bytes(self) -> float:
        """Kept scores under --work."""
        return KEPT_BYTES * self.kept_scores

    @property
    def merging_bytes(self) -> float:
        """Kept scores that merging reads."""
        return self.partial_bytes * self.merging / max(1, self.candidates)

    @property
    def merged_bytes(self) -> float:
        """The means that all of them come to, under --work."""
        return 4.0 * self.candidates * self.grid

    @property
    def stored_bytes(self) -> float:
        """What lies under --work and --table after a first version."""
        return self.embedded_bytes + self.partial_bytes + self.merged_bytes + self.table_bytes

    @property
    def written_bytes(self) -> float:
        """What is stored anew: vectors and ids, scores, means, and with any of these a version of the table."""
        vectors = (self.images + self.texts + self.vectors) * (4.0 * self.dim + ID_BYTES)
        share = self.pairs / max(1, self.candidates * self.references)
        means = self.merged_bytes * self.merging / max(1, self.candidates)
        return vectors + share * self.partial_bytes + means + (self.table_bytes if self.merging else 0.0)

    @property
    def table_bytes(self) -> float:
        """One version of the table."""
        return self.candidates * (ID_BYTES + MEAN_BYTES * (1 + self.grid))

    @property
    def shuffled_bytes(self) -> float:
        """Rows of the table on their way into parts."""
        return float(SHUFFLED_ROW * self.candidates)

    @property
    def memory(self) -> Memory:
        """Of one worker process, stage by stage."""
        return Memory.of(self)

    @property
    def peak_bytes(self) -> float:
        """Memory of one worker process, at most."""
        return self.memory.peak


@dataclass(frozen=True)
class Hours:
    """Machine hours of the costly stages.

    Attributes:
        embed: machine hours of embedding, and of checking ready-made vectors.
        score: machine hours of scoring.
        merge: machine hours of merging the scores.
    """

    embed: float
    score: float
    merge: float

    @classmethod
    def of(cls, work: Work, worker: Worker) -> Hours:
        """Hours that ``work`` takes machines of one type, without start-up and waiting."""
        encoding = work.images / worker.images_per_second + work.texts / worker.texts_per_second
        converting = 4.0 * work.dim * work.vectors / CONVERTED_BYTES / worker.processes
        scoring = work.flop / (worker.gflops * 1e9) + PARTIAL_SECONDS * work.partials / worker.processes
        merged = work.kept_scores * work.merging / max(1, work.candidates)
        merging = merged / MERGED_SCORES / worker.processes
        return cls((encoding + converting) / 3600, scoring / 3600, merging / 3600)

    @property
    def total(self) -> float:
        """In all; divide by the number of machines."""
        return self.embed + self.score + self.merge


@dataclass(frozen=True)
class _Cost:
    """An estimate for one type of worker.

    Attributes:
        worker: name of the type of worker.
        hours: machine hours of each costly stage.
        dollars: dollars for machines and shuffle, without storage.
        fits: whether the worker processes of a machine fit its memory.
    """

    worker: str
    hours: Hours
    dollars: float
    fits: bool
