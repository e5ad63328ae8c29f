"""Small stand-ins: an encoder that is a formula, and shards, tars and tables made by hand."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import zstandard

from nnn_core.embedded.shards import EmbeddedInput, EmbeddedShard, VectorBlock
from nnn_core.inputs.listing import describe_shard
from nnn_core.inputs.readers import Columns, Rows, read_rows
from nnn_core.inputs.rejects import Reject, RejectSummary
from nnn_core.inputs.shards import Modality
from nnn_core.scoring.bank import Bank
from nnn_core.vectors import unit_vectors

UNDECODABLE = b"not an image"


def formula(data: bytes) -> list[float]:
    """The vector of some bytes: a few numbers anyone can work out."""
    return [1.0 + len(data), float(sum(data) % 97), float(data.count(b"a")), -2.0]


@dataclass
class FormulaEncoder:
    """An encoder whose vectors are ``formula`` of the input; it notes the batches that it was given."""

    batch_size: int = 3
    batches: list[int] = field(default_factory=list)

    concurrent = False
    truncated = 0

    def preprocess_image(self, data: bytes) -> bytes:
        if data.startswith(UNDECODABLE):
            raise ValueError(f"cannot decode {len(data)} bytes")
        return data

    def encode_images(self, images: Sequence[bytes]) -> npt.NDArray[np.float32]:
        self.batches.append(len(images))
        return np.array([formula(image) for image in images], np.float32)

    def encode_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        self.batches.append(len(texts))
        return np.array([formula(text.encode()) for text in texts], np.float32)


@dataclass
class FailingEncoder(FormulaEncoder):
    """One whose model fails on a caption that says so, for ``--encoder python:fakes:FailingEncoder``."""

    version = "1"

    def encode_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        if any("fail" in text for text in texts):
            raise RuntimeError("the model fails")
        return super().encode_texts(texts)


@dataclass
class EmptyEncoder(FormulaEncoder):
    """One that gives a vector of zeros for the caption ``nothing``."""

    version = "1"

    def encode_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        return super().encode_texts(texts) * np.array([[text != "nothing"] for text in texts], np.float32)


@dataclass
class SignedEncoder(FormulaEncoder):
    """One that leaves the id of its process in the folder that a caption names first."""

    version = "1"

    def encode_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        signed = [text.partition(" ") for text in texts if Path(text.partition(" ")[0]).is_dir()]
        for folder, _, _ in signed:
            Path(folder, str(os.getpid())).touch()
        # The vectors do not depend on where the folder is. A text of the job's own, a probe, names none.
        return super().encode_texts([rest for _, _, rest in signed] or texts)


@dataclass
class HeldEncoder(FormulaEncoder):
    """One that waits with a caption for as long as its first word names a file, once anything lies beside that file."""

    version = "1"

    def encode_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        held = [text.partition(" ") for text in texts]
        for name, _, _ in held:
            while Path(name).is_absolute() and Path(name).exists() and len(os.listdir(Path(name).parent)) > 1:
                time.sleep(0.05)
        # The vectors do not depend on where the file is.
        return super().encode_texts([rest or word for word, _, rest in held])


class Silent:
    """A display that shows nothing of a run's progress."""

    def show(self, stage: str, tally: object) -> None:
        pass

    def close(self) -> None:
        pass


def grid_vectors(rows: int, dim: int, seed: int, offset: float = 0.3) -> npt.NDArray[np.float32]:
    """Random unit vectors on the grid, around a common direction."""
    raw = np.random.default_rng(seed).standard_normal((rows, dim)) + offset
    return unit_vectors(raw.astype(np.float32))[0]


def clustered_vectors(
    rows: int, dim: int, seed: int, clusters: int = 40, noise: float = 0.25
) -> npt.NDArray[np.float32]:
    """Unit vectors on the grid around a few directions, the same ones for every ``seed``."""
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(99).standard_normal((clusters, dim))
    raw = directions[rng.integers(0, clusters, rows)] + noise * rng.standard_normal((rows, dim))
    return unit_vectors(raw.astype(np.float32))[0]


def make_block(
    vectors: npt.NDArray[np.float32], ids: Sequence[str] | None = None, pair_ids: Sequence[str] | None = None
) -> VectorBlock:
    """A block in memory; ids default to ``c0``, ``c1``, ... and pair ids to the ids."""
    names = list(ids) if ids is not None else [f"c{row}" for row in range(len(vectors))]
    pairs = list(pair_ids) if pair_ids is not None else names
    return VectorBlock(pa.array(names, pa.string()), pa.array(pairs, pa.string()), vectors)


def make_shard(name: str, rows: int = 1, dim: int = 4, source: str | None = None, paired: int = 0) -> EmbeddedShard:
    """A descriptor without a file behind it."""
    digests = [hashlib.sha256(f"{name} {what}".encode()).hexdigest() for what in ("file", "vectors", "ids")]
    return EmbeddedShard(
        f"work/{name}.parquet", digests[0], rows, dim, digests[1], digests[2], (), paired, source or name
    )


def make_bank(shards: Sequence[EmbeddedShard], rows_per_shard: int = 100, k: int | None = None) -> Bank:
    """The bank of one file that became these embedded shards; nothing of it was rejected."""
    file = EmbeddedInput("bank", "0" * 64, tuple(shards), RejectSummary(sum(shard.rows for shard in shards)), True)
    return Bank.gather([file], rows_per_shard, k, 0.0, "rejects", False)


def packed(name: str, data: bytes) -> bytes:
    """``data`` as a file of this name has it: compressed, if the name says so."""
    pack = {"gz": gzip.compress, "zst": zstandard.compress}.get(name.lower()[-3:].lstrip(".t"))
    return pack(data) if pack else data


def make_tar(members: Iterable[tuple[str, bytes]], format: int = tarfile.USTAR_FORMAT) -> bytes:
    """A tar archive in memory."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=format, encoding="utf-8", errors="surrogateescape") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return sink.getvalue()


@dataclass(frozen=True)
class Everything:
    """All batches of a shard, put together."""

    ids: list[str]
    pair_ids: list[str]
    items: list[object]
    rejects: list[Reject]
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def reasons(self) -> list[tuple[str, str]]:
        """(id, reason) of every reject, in file order."""
        return [(reject.id, reject.reason) for reject in self.rejects]


def gather(batches: Iterable[Rows]) -> Everything:
    """Batches put together; checks that each is consistent in itself."""
    whole = Everything([], [], [], [])
    for rows in batches:
        assert len(rows.ids) == len(rows.pair_ids) == len(rows.items)
        assert all(isinstance(name, str) for name in (*rows.ids, *rows.pair_ids))
        whole.ids.extend(rows.ids)
        whole.pair_ids.extend(rows.pair_ids)
        whole.items.extend(rows.items)
        whole.rejects.extend(rows.rejects)
        whole.left_out.update(rows.left_out)
    return whole


def read_all(path: Path, modality: Modality = "text", **columns: object) -> Everything:
    """Everything that the readers find in a file."""
    return gather(read_rows(describe_shard(str(path)), modality, Columns(**columns)))  # type: ignore[arg-type]
