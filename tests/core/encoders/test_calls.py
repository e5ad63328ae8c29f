"""Models that give anything else than a vector a row: never rows beside the vectors of other rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FormulaEncoder
from hypothesis import given
from hypothesis import strategies as st

from nnn_core.embedded.embedding import EmbeddingRequest, embed_shard
from nnn_core.encoders._calls import vectors_of
from nnn_core.encoders.encoding import encode_rows
from nnn_core.encoders.probes import _measure
from nnn_core.errors import InputError
from nnn_core.inputs.listing import describe_shard
from nnn_core.inputs.readers import Columns, Rows

pytestmark = pytest.mark.counted

#: What a model makes of the vectors (rows, 4) that are due.
WRONG: dict[str, Callable[[np.ndarray], Any]] = {
    "a row is missing": lambda due: due[:-1],
    "a row too many": lambda due: np.concatenate([due, due[:1]]),
    "nothing": lambda due: due[:0],
    "None": lambda due: None,
    "one vector": lambda due: due[0],
    "one for all": lambda due: due.mean(axis=0, keepdims=True),
    "a further axis": lambda due: due[:, None],
    "turned": lambda due: due.T,
    "without coordinates": lambda due: due[:, :0],
    "whole numbers": lambda due: due.astype(np.int8),
    "complex": lambda due: due.astype(np.complex64),
    "texts": lambda due: due.astype(str),
    "ragged": lambda due: [list(row)[: 1 + place % 2] for place, row in enumerate(due)],
    "objects": lambda due: due.astype(object),
    "a dictionary": lambda due: {"vectors": due},
}


class Broken(FormulaEncoder):
    """Gives wrong vectors from the second batch on."""

    def __init__(self, change: Callable[[np.ndarray], Any], after: int = 1) -> None:
        super().__init__(3)
        self._change, self._after = change, after

    def encode_texts(self, texts: Sequence[str]) -> Any:
        due = super().encode_texts(texts)
        return self._change(due) if len(self.batches) > self._after else due


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    path = tmp_path / "captions.jsonl"
    path.write_text("".join(f'{{"id": "{n}", "caption": "caption {n}"}}\n' for n in range(9)))
    return path


def embed(path: Path, encoder: Any) -> object:
    request = EmbeddingRequest("text", Columns(), "encoder", str(path.parent / "work"))
    return embed_shard(request.plan(describe_shard(str(path))), request, encoder)


@pytest.mark.parametrize("name", WRONG)
def test_wrong_vectors_are_an_error_with_the_shard(
    name: str, captions: Path, record_count: Callable[[str, int, int], None]
) -> None:
    try:
        embed(captions, Broken(WRONG[name]))
        told = ""
    except InputError as error:
        told = str(error)
    kept = list((captions.parent / "work" / "embedded").glob("*.json"))
    record_count("models that give wrong vectors", bool(told) and not kept, 1)
    assert "captions.jsonl" in told
    assert "\n" not in told
    assert not kept
    with pytest.raises(InputError, match="probes"):
        _measure(Broken(WRONG[name], 0), modalities=["text"])


def test_another_dimension_within_a_shard_is_an_error(captions: Path) -> None:
    with pytest.raises(InputError, match="of dimension 3 and 4"):
        embed(captions, Broken(lambda due: due[:, :3]))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB\nsecond line"), "--precision bfloat16"),
        (MemoryError(), "MemoryError. To need less memory"),
        (KeyError("w"), "Correct the encoder, and run"),
        (ValueError("own"), "ValueError: own"),
    ],
)
def test_a_model_that_fails_is_one_message(error: Exception, message: str, captions: Path) -> None:
    def fail(_: np.ndarray) -> None:
        raise error

    with pytest.raises(InputError, match=message) as caught:
        embed(captions, Broken(fail))
    assert "captions.jsonl" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_image_that_the_model_fails_on_is_named() -> None:
    class Failing(FormulaEncoder):
        def preprocess_image(self, data: bytes) -> bytes:
            raise KeyError("shape")

    rows = [Rows(["a"], ["a"], [b"x"])]
    with pytest.raises(InputError, match="failed on image 'a' of 'shard'"):
        list(encode_rows(rows, "image", Failing(), where="'shard'"))


@given(st.integers(0, 5), st.lists(st.integers(0, 5), max_size=3))
def test_only_a_row_for_each_item_passes(rows: int, shape: list[int]) -> None:
    array = np.zeros(shape, np.float32)
    try:
        found = vectors_of(lambda items: array, ["x"] * rows, "rows")
    except InputError:
        assert len(shape) != 2 or shape[0] != rows or shape[1] == 0
    else:
        assert found.shape == (rows, shape[1])
