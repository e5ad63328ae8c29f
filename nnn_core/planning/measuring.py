"""What this machine does in a second, measured on small pieces of the work itself: the worker of ``--rates auto``."""

from __future__ import annotations

import io
import time
from collections.abc import Callable

import numpy as np
import pyarrow as pa
from PIL import Image

from nnn_core.embedded.shards import VectorBlock
from nnn_core.encoders import EncoderSource, load_once
from nnn_core.encoders.encoding import Usage, encode_rows
from nnn_core.inputs.readers import Rows
from nnn_core.inputs.shards import Modality
from nnn_core.planning.costs import Work, Worker, machine_memory
from nnn_core.scoring.bank import ReferenceIndex
from nnn_core.scoring.score import score_block
from nnn_core.scoring.search.searches import exact_search
from nnn_core.vectors import FloatMatrix, unit_vectors

#: Name of the type of worker.
NAME = "this machine"

#: A piece of work is repeated for so many seconds at least; its fastest turn counts.
_SECONDS = 1.0

#: Candidates that each thread scores, and references at most.
_CANDIDATES, _REFERENCES = 2_048, 65_536

#: A photograph of the web, and a caption.
_PHOTO, _CAPTION = (640, 480), "a brown dog runs over a wide green meadow"
_IMAGES, _TEXTS = 64, 256


def this_machine(work: Work, search: str, threads: int, encoder: EncoderSource | None) -> Worker:
    """The machine as a type of worker, of which nobody knows the price; what is not needed is not measured.

    Args:
        work: what is to be done: its dimension, its bank, and which model it needs.
        search: the exact search to measure, as ``--search`` names it.
        threads: threads of the one worker process.
        encoder: the model, not loaded; None when all input holds vectors.

    Raises:
        InputError: the model cannot be loaded.
    """
    rates = {}
    if encoder is not None:
        for modality, rows in (("image", work.images), ("text", work.texts)):
            if rows:
                rates[modality] = _embedded_in_a_second(encoder, modality, threads)  # type: ignore[arg-type]
    return Worker(
        gflops=_gflops(work, search, threads),
        images_per_second=rates.get("image", 1.0),
        texts_per_second=rates.get("text", 1.0),
        dollars_per_hour=0.0,
        memory_gib=round(machine_memory() / 2**30, 1),
    )


def _gflops(work: Work, search: str, threads: int) -> float:
    """10^9 operations a second of scoring, as if it were a plain product of matrices."""
    rng = np.random.default_rng(0)
    references = max(1, min(_REFERENCES, work.group_rows, work.references))
    index = ReferenceIndex.of(_unit(rng, references, work.dim))
    rows = _CANDIDATES * threads
    names = pa.array([str(row) for row in range(rows)])
    block, k = VectorBlock(names, names, _unit(rng, rows, work.dim)), max(1, work.kept)
    found = exact_search(index, search if search != "approximate" else "auto", k)
    seconds = _fastest(lambda: score_block(block, found, k, threads))
    return _rounded(2.0 * rows * references * work.dim / seconds / 1e9)


def _unit(rng: np.random.Generator, rows: int, dim: int) -> FloatMatrix:
    return unit_vectors(rng.standard_normal((rows, dim), np.float32))[0]


def _embedded_in_a_second(source: EncoderSource, modality: Modality, threads: int) -> float:
    """Images, from their JPEG, or captions that the model embeds in a second."""
    encoder = load_once(source)
    items: list[bytes | str] = [_photo(seed) for seed in range(_IMAGES)] if modality == "image" else [_CAPTION] * _TEXTS
    names = [str(row) for row in range(len(items))]

    def embed() -> None:
        list(encode_rows([Rows(names, names, items)], modality, encoder, usage=Usage(threads)))

    return _rounded(len(items) / _fastest(embed))


def _photo(seed: int) -> bytes:
    """A picture whose JPEG is about as large as that of a photograph."""
    rng, (width, height) = np.random.default_rng(seed), _PHOTO
    coarse = Image.fromarray(rng.integers(0, 256, (height // 8, width // 8, 3), np.uint8))
    sink = io.BytesIO()
    coarse.resize(_PHOTO, Image.Resampling.BICUBIC).save(sink, "JPEG", quality=90)
    return sink.getvalue()


def _fastest(do: Callable[[], object]) -> float:
    """Seconds of the fastest of some turns, after one that does not count."""
    do()
    turns, end = list[float](), time.perf_counter() + _SECONDS
    while not turns or time.perf_counter() < end:
        begin = time.perf_counter()
        do()
        turns.append(time.perf_counter() - begin)
    return min(turns)


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")
