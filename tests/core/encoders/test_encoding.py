"""Rows of images and captions to rows of vectors, whatever runs beside what."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fakes import FormulaEncoder, formula
from hypothesis import given
from hypothesis import strategies as st

import nnn_core
from nnn_core.demo import _scenes as scenes
from nnn_core.encoders import encoding, load_once, parse_encoder
from nnn_core.encoders.encoding import Usage, _rebatched, encode_rows
from nnn_core.errors import InputError
from nnn_core.inputs.readers import Rows
from nnn_core.inputs.rejects import Reject
from nnn_core.inputs.shards import Modality

DEMO = f"open_clip:local-dir:{Path(nnn_core.__file__).parent / 'demo' / 'encoder'}"

BATCHES = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 2)), max_size=8)


def make_batches(sizes: list[tuple[int, int]]) -> list[Rows]:
    batches, row = [], 0
    for count, rejected in sizes:
        names = [f"r{number}" for number in range(row, row + count)]
        row += count
        rejects = [Reject(f"x{row}-{number}", "no id") for number in range(rejected)]
        batches.append(Rows(names, [name.upper() for name in names], [name.encode() for name in names], rejects))
    return batches


@given(BATCHES, st.integers(1, 6))
def test_rebatched_keeps_rows_and_rejects(sizes: list[tuple[int, int]], size: int) -> None:
    batches = make_batches(sizes)
    result = list(_rebatched(batches, size))
    for name in ("ids", "pair_ids", "items", "rejects"):
        assert [x for rows in result for x in getattr(rows, name)] == [
            x for rows in batches for x in getattr(rows, name)
        ]
    counts = [len(rows.ids) for rows in result if rows.ids]
    assert counts == [size] * (sum(counts) // size) + [sum(counts) % size] * (sum(counts) % size > 0)


@given(BATCHES, st.integers(1, 6), st.sampled_from(["image", "text"]))
def test_encode_rows_keeps_rows_together(sizes: list[tuple[int, int]], size: int, modality: Modality) -> None:
    batches = make_batches(sizes)
    if modality == "text":
        batches = [Rows(r.ids, r.pair_ids, [item.decode() for item in r.items], r.rejects) for r in batches]
    encoder = FormulaEncoder(size)
    result = list(encode_rows(iter(batches), modality, encoder))
    ids = [row_id for rows in batches for row_id in rows.ids]
    assert [row_id for rows in result for row_id in rows.ids] == ids
    assert [pair for rows in result for pair in rows.pair_ids] == [row_id.upper() for row_id in ids]
    vectors = [vector.tolist() for rows in result for vector in np.asarray(rows.items) if rows.ids]
    assert vectors == [formula(row_id.encode()) for row_id in ids]
    assert sum(len(rows.rejects) for rows in result) == sum(rejected for _, rejected in sizes)
    assert all(0 < count <= size for count in encoder.batches)


@given(st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=40), max_size=4), st.integers(1, 3), st.integers(0, 9))
def test_a_caption_that_comes_again_is_computed_once(asked: list[list[str]], size: int, kept: int) -> None:
    """As long as its vector is kept, which those of the first captions are."""
    computed: list[str] = []

    class Noting(FormulaEncoder):
        def encode_texts(self, texts: list[str]) -> np.ndarray:  # type: ignore[override]
            computed.extend(texts)
            return super().encode_texts(texts)

    batches = [
        Rows([f"{number}-{row}" for row in range(len(texts))], texts, texts) for number, texts in enumerate(asked)
    ]
    encoder, every = Noting(size), [text for texts in asked for text in texts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "_KNOWN_TEXTS", kept)
        result = list(encode_rows(iter(batches), "text", encoder))
    assert [row_id for rows in result for row_id in rows.ids] == [row_id for rows in batches for row_id in rows.ids]
    assert [pair for rows in result for pair in rows.pair_ids] == every
    vectors = [vector.tolist() for rows in result for vector in np.asarray(rows.items) if rows.ids]
    assert vectors == [formula(text.encode()) for text in every]
    assert all(0 < count <= size for count in encoder.batches)
    first = list(dict.fromkeys(every))[:kept]
    assert list(dict.fromkeys(computed)) == list(dict.fromkeys(every))
    assert all(computed.count(text) == 1 for text in first)


def test_images_of_the_next_batch_are_decoded_meanwhile() -> None:
    """The model waits here until an image of the batch after has been decoded: it would hang otherwise."""
    later = threading.Event()

    class Waiting(FormulaEncoder):
        def preprocess_image(self, data: bytes) -> bytes:
            if data == b"r3":
                later.set()
            return super().preprocess_image(data)

        def encode_images(self, images: list[bytes]) -> np.ndarray:  # type: ignore[override]
            assert later.wait(30)
            return super().encode_images(images)

    result = list(encode_rows(iter(make_batches([(6, 0)])), "image", Waiting(3)))
    assert [len(rows.ids) for rows in result] == [3, 3]


def test_a_defect_of_the_decoder_is_not_a_reject() -> None:
    class Broken(FormulaEncoder):
        def preprocess_image(self, data: bytes) -> bytes:
            raise RuntimeError("a defect")

    with pytest.raises(InputError, match="RuntimeError: a defect"):
        list(encode_rows(iter(make_batches([(2, 0)])), "image", Broken()))


def texts_of(batches: list[Rows]) -> list[Rows]:
    return [Rows(r.ids, r.pair_ids, [item.decode() for item in r.items], r.rejects) for r in batches]


class Crowded(FormulaEncoder):
    """Notes how many threads were in the model at once; with ``wanted`` it waits for so many."""

    def __init__(self, wanted: int, concurrent: bool) -> None:
        super().__init__(2)
        self.concurrent, self.inside, self.most = concurrent, 0, 0
        self._barrier, self._lock = threading.Barrier(wanted), threading.Lock()
        self._cut = threading.local()

    @property
    def truncated(self) -> int:
        return getattr(self._cut, "count", 0)

    def encode_texts(self, texts: list[str]) -> np.ndarray:  # type: ignore[override]
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        self._barrier.wait(30)
        time.sleep(0.01 * (texts[0] == "r0"))  # the first batch is the last to be done
        with self._lock:
            self.inside -= 1
        self._cut.count = self.truncated + len(texts)
        return super().encode_texts(texts)


def test_a_model_that_allows_for_it_computes_several_batches_at_once() -> None:
    encoder, usage = Crowded(3, concurrent=True), Usage(3)
    result = list(encode_rows(iter(texts_of(make_batches([(12, 1)]))), "text", encoder, usage=usage))
    assert [row_id for rows in result for row_id in rows.ids] == [f"r{row}" for row in range(12)]
    vectors = [vector.tolist() for rows in result for vector in np.asarray(rows.items) if rows.ids]
    assert vectors == [formula(f"r{row}".encode()) for row in range(12)]
    assert (encoder.most, usage.used) == (3, 3)
    assert usage.truncated == 12, "each thread counts its own"
    assert usage.seconds > 0.01


def test_a_model_that_says_nothing_is_called_by_one_thread() -> None:
    encoder, usage = Crowded(1, concurrent=False), Usage(3)
    list(encode_rows(iter(texts_of(make_batches([(12, 0)]))), "text", encoder, usage=usage))
    assert (encoder.most, usage.truncated, usage.used) == (1, 12, 1)


def test_input_is_read_while_the_model_runs() -> None:
    """The model waits here until the batch after has been read: it would hang otherwise."""
    read = threading.Event()

    class Waiting(FormulaEncoder):
        def encode_texts(self, texts: list[str]) -> np.ndarray:  # type: ignore[override]
            assert read.wait(30)
            return super().encode_texts(texts)

    def batches() -> Iterator[Rows]:
        for number, rows in enumerate(texts_of(make_batches([(2, 0), (2, 0)]))):
            if number:
                read.set()
            yield rows

    assert [len(rows.ids) for rows in encode_rows(batches(), "text", Waiting(2))] == [2, 2]


def test_broken_input_is_told_although_the_model_is_at_work() -> None:
    def batches() -> Iterator[Rows]:
        yield from texts_of(make_batches([(5, 0)]))
        raise OSError("the file is cut")

    with pytest.raises(OSError, match="the file is cut"):
        list(encode_rows(batches(), "text", FormulaEncoder(1)))


def test_threads_do_not_change_a_bit() -> None:
    encoder = load_once(parse_encoder(DEMO))
    items = [scenes.jpeg(scenes.scene("candidates", 0, row)) for row in range(7)]
    ids = [str(row) for row in range(7)]

    def vectors(modality: Modality, items: list[object], threads: int) -> np.ndarray:
        found = encode_rows(iter([Rows(ids, ids, items)]), modality, encoder, usage=Usage(threads))
        return np.concatenate([np.asarray(rows.items) for rows in found])

    size, encoder.batch_size = encoder.batch_size, 2
    try:
        for modality, given_items in (("image", items), ("text", [f"a red circle {row}" for row in range(7)])):
            one, three = (vectors(modality, given_items, threads) for threads in (1, 3))  # type: ignore[arg-type]
            assert one.tobytes() == three.tobytes()
    finally:
        encoder.batch_size = size
