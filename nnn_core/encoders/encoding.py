"""Encoding: rows of images or captions to rows of vectors, with a model that never waits if that can be helped.

    read ─ batches ─ decode (threads) ─ full batches ─ model (threads) ─ vectors, in the order of the rows

A batch is computed by one thread and holds the same rows however many there are, so vectors do not depend on
their number.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from nnn_core.encoders import Encoder
from nnn_core.encoders._calls import guarded, vectors_of
from nnn_core.encoders._decoding import turns_white as turns_white
from nnn_core.encoders._decoding import upright
from nnn_core.encoders.prompts import AS_IS, Prompts
from nnn_core.errors import InputError
from nnn_core.inputs.readers import BATCH_BYTES, Rows
from nnn_core.inputs.rejects import Reject
from nnn_core.inputs.shards import Modality
from nnn_core.vectors import FloatMatrix

#: Reason for rejects of images.
NOT_AN_IMAGE = "image cannot be decoded"

#: Threads that decode images, at least.
_DECODE_THREADS = 4

#: Batches of images that are decoded, or being decoded, before the model asks for them.
_DECODED_AHEAD = 2

#: Captions that wait for the model, or images that wait to be decoded: batches of about this many bytes.
_ENCODED_BYTES = BATCH_BYTES

#: Captions of an input whose vectors are kept for their repeats: 48 MiB with 768 dimensions.
_KNOWN_TEXTS = 1 << 14

#: Rows of a batch of captions, at most, for each caption that the model takes at once.
_MOST_REPEATS = 16

_NO_VECTORS = np.zeros((0, 0), np.float32)

_T = TypeVar("_T")


def _tell_nobody(rows: int) -> None:
    """What hears of rows where nobody asked."""


@dataclass
class Usage:
    """How a model was used.

    Attributes:
        threads: batches that may be computed at the same time, if the encoder allows for it.
        used: batches that could be computed at the same time, as the encoder allowed for it.
        seconds: seconds spent in the model, summed over threads.
        truncated: captions of which the model took a part only; one that comes again counts once.
        whitened: images that turned white as they were decoded, see ``turns_white``.
        tell: hears of how many further rows are done, as they are.
    """

    threads: int = 1
    used: int = 1
    seconds: float = 0.0
    truncated: int = 0
    whitened: int = 0
    tell: Callable[[int], None] = _tell_nobody

    def threads_of(self, encoder: Encoder) -> int:
        """How many threads may call ``encoder`` at the same time: one, unless it says that it does not mind."""
        return self.threads if encoder.concurrent else 1


def encode_rows(
    batches: Iterable[Rows],
    modality: Modality,
    encoder: Encoder,
    prompt: str = AS_IS,
    usage: Usage | None = None,
    where: str = "the input",
) -> Iterator[Rows]:
    """Replace images or captions by their vectors, in batches of the encoder's own size.

    The next batches are read, and their images decoded in threads, while the model runs.

    Args:
        batches: rows of images or captions in batches, as the reader gives them.
        modality: whether items are images or captions.
        encoder: the model, loaded in this process.
        prompt: template that is written around captions, with ``{}`` for the caption.
        usage: says how many threads the model has, and is added to; None for one thread and no record.
        where: what the rows belong to, for messages.

    Raises:
        InputError: the encoder fails, or does not give one vector of floats, all of one dimension, for each row.
    """
    usage = usage or Usage()
    for rows in _encode_batches(batches, modality, encoder, prompt, usage, where):
        usage.tell(len(rows.ids) + len(rows.rejects))
        yield rows


def _encode_batches(
    batches: Iterable[Rows], modality: Modality, encoder: Encoder, prompt: str, usage: Usage, where: str
) -> Iterator[Rows]:
    if modality == "text":
        filled = (replace(rows, items=[Prompts.fill(prompt, text) for text in rows.items]) for rows in batches)
        yield from _encode_texts(filled, encoder, usage, where)
        return
    full = _rebatched(batches, encoder.batch_size, _ENCODED_BYTES)
    with _pool(_decoders(encoder, usage)) as pool:
        pending = _ahead((_submit(_noted(rows, usage), encoder, pool, where) for rows in full), _DECODED_AHEAD)
        decoded = _rebatched((finish() for finish in pending), encoder.batch_size)
        asked = ((rows, list(rows.items)) for rows in decoded)
        for rows, _, vectors in _encode(asked, encoder.encode_images, encoder, usage, where):
            yield replace(rows, items=vectors)


def _decoders(encoder: Encoder, usage: Usage) -> int:
    """A model that has other hardware than the processor leaves all cores to decoding."""
    return max(_DECODE_THREADS, usage.threads if encoder.concurrent else len(os.sched_getaffinity(0)))


@contextlib.contextmanager
def _pool(threads: int) -> Iterator[ThreadPoolExecutor]:
    """Threads for as long as something is to be done; what waits when that ends is not done any more."""
    pool = ThreadPoolExecutor(threads)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _encode_texts(batches: Iterable[Rows], encoder: Encoder, usage: Usage, where: str) -> Iterator[Rows]:
    """Captions to vectors. A log of queries asks for the same again and again, which is computed once."""
    known: dict[str, npt.NDArray[np.floating]] = {}
    for rows, texts, vectors in _encode(
        _new_texts(batches, encoder.batch_size), encoder.encode_texts, encoder, usage, where
    ):
        new = dict(zip(texts, vectors, strict=True))
        known.update(islice(new.items(), _KNOWN_TEXTS - len(known)))
        items = np.stack([new[text] if text in new else known[text] for text in rows.items]) if rows.ids else vectors
        yield replace(rows, items=items)


def _new_texts(batches: Iterable[Rows], size: int) -> Iterator[tuple[Rows, list[str]]]:
    """The same rows in batches that have ``size`` captions that no batch before had, beside these captions.

    A batch has fewer at the end, if it is large, or if most of its rows are repeats. Only the first captions of the
    input are known again, so that memory does not grow with it.
    """
    known: set[str] = set()
    ids, pair_ids, texts, new, length = list[str](), list[str](), list[str](), dict[str, None](), 0
    for batch in batches:
        if batch.rejects:
            yield Rows([], [], [], batch.rejects), []
        for row_id, pair_id, text in zip(batch.ids, batch.pair_ids, batch.items, strict=True):
            ids.append(row_id)
            pair_ids.append(pair_id)
            texts.append(text)
            length += len(text)
            if text not in known:
                new[text] = None
            if len(new) == size or len(ids) == _MOST_REPEATS * size or length >= _ENCODED_BYTES:
                yield Rows(ids, pair_ids, texts), list(new)
                known.update(islice(new, _KNOWN_TEXTS - len(known)))
                ids, pair_ids, texts, new, length = [], [], [], {}, 0
    if ids:
        yield Rows(ids, pair_ids, texts), list(new)


def _encode(
    batches: Iterable[tuple[Rows, list[Any]]],
    call: Callable[[Sequence[Any]], FloatMatrix],
    encoder: Encoder,
    usage: Usage,
    where: str,
) -> Iterator[tuple[Rows, list[Any], FloatMatrix]]:
    """Batches of rows with what is to be computed for them, to the same with the vectors."""
    threads = usage.used = usage.threads_of(encoder)
    dims: set[int] = set()
    with _pool(threads) as pool:
        submitted = (
            (rows, items, pool.submit(_measured, call, items, encoder, where) if items else None)
            for rows, items in batches
        )
        # One more than there are threads, so that none waits for what follows here.
        for rows, items, future in _ahead(submitted, threads):
            vectors, seconds, truncated = future.result() if future else (_NO_VECTORS, 0.0, 0)
            dims |= {vectors.shape[1]} if future else set()
            if len(dims) > 1:
                raise InputError(
                    f"the encoder gave vectors of dimension {min(dims)} and {max(dims)} for rows of {where}, "
                    "which cannot be compared. Correct the encoder."
                )
            usage.seconds += seconds
            usage.truncated += truncated
            yield rows, items, vectors


def _measured(
    call: Callable[[Sequence[Any]], FloatMatrix], items: list[Any], encoder: Encoder, where: str
) -> tuple[FloatMatrix, float, int]:
    """The vectors, the seconds that they took, and how many captions were cut, which the encoder counts by thread."""
    start, before = time.perf_counter(), encoder.truncated
    vectors = vectors_of(call, items, where)
    return vectors, time.perf_counter() - start, encoder.truncated - before


def _rebatched(batches: Iterable[Rows], size: int, most_bytes: int | None = None) -> Iterator[Rows]:
    """The same rows in batches of ``size`` (the last may be smaller); rejects travel along.

    Args:
        batches: rows in batches of any size.
        size: how many rows a batch is to have.
        most_bytes: a batch of items with this many bytes is handed on before it is full; None for no such bound.
    """
    ids: list[str] = []
    pair_ids: list[str] = []
    items: list[Any] = []
    for rows in batches:
        ids += rows.ids
        pair_ids += rows.pair_ids
        items += list(rows.items)
        if rows.rejects:
            yield Rows([], [], [], rows.rejects)
        while len(ids) >= size:
            yield Rows(ids[:size], pair_ids[:size], items[:size])
            del ids[:size], pair_ids[:size], items[:size]
        if most_bytes is not None and sum(map(len, items)) >= most_bytes:
            yield Rows(ids, pair_ids, items)
            ids, pair_ids, items = [], [], []
    if ids:
        yield Rows(ids, pair_ids, items)


def decode_error(data: bytes) -> str:
    """Why the encoders of this package cannot decode an image; empty if they can."""
    try:
        with upright(data):
            return ""
    except ValueError as error:
        return str(error)


def _noted(rows: Rows, usage: Usage) -> Rows:
    """The same rows; images that will turn white are counted."""
    usage.whitened += sum(map(turns_white, rows.items))
    return rows


def _submit(rows: Rows, encoder: Encoder, pool: ThreadPoolExecutor, where: str) -> Callable[[], Rows]:
    """Start decoding a batch; the returned function waits for it."""
    futures: list[Future[Any]] = [pool.submit(encoder.preprocess_image, item) for item in rows.items]

    def finish() -> Rows:
        kept, images, rejects = [], [], list(rows.rejects)
        for row, future in enumerate(futures):
            try:
                images.append(guarded(future.result, f"image {rows.ids[row]!r} of {where}", ValueError))
                kept.append(row)
            except ValueError as error:
                rejects.append(Reject(rows.ids[row], NOT_AN_IMAGE, str(error)))
        return Rows([rows.ids[row] for row in kept], [rows.pair_ids[row] for row in kept], images, rejects)

    return finish


def _ahead(items: Iterator[_T], count: int) -> Iterator[_T]:
    """Draw ``count`` further items before handing out the current one."""
    queue: deque[_T] = deque()
    for item in items:
        queue.append(item)
        if len(queue) > count:
            yield queue.popleft()
    yield from queue
