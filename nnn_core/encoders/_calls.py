"""Calls of a model, which may be anybody's: what it gives is checked before rows and vectors are put side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from nnn_core.errors import InputError, NNNError
from nnn_core.vectors import FloatMatrix

_T = TypeVar("_T")


def vectors_of(encode: Callable[[Sequence[Any]], Any], items: Sequence[Any], where: str) -> FloatMatrix:
    """The vectors (len(items), dim) of any float type that a model gives for a batch.

    Args:
        encode: ``encode_images`` or ``encode_texts`` of the encoder.
        items: the batch.
        where: what the batch belongs to, for messages.

    Raises:
        InputError: the model fails, or gives anything else than a vector of floats a row.
    """
    found = guarded(lambda: np.asarray(encode(items)), f"a batch of {len(items)} rows of {where}")
    if found.ndim != 2 or len(found) != len(items) or not found.shape[1] or found.dtype.kind != "f":
        raise InputError(
            f"the encoder gave an array {found.shape} of {found.dtype} for {len(items)} rows of {where}. It "
            f"must be ({len(items)}, dimension) of float32, so that each row gets its own vector. Nothing was "
            "stored. Correct the encoder."
        )
    vectors: FloatMatrix = found
    return vectors


def guarded(call: Callable[[], _T], what: str, meant: type[Exception] = NNNError) -> _T:
    """What ``call`` returns.

    Args:
        call: calls a model.
        what: what it is called for, for the message.
        meant: an error that says something of the item, and is left as it is.

    Raises:
        InputError: it fails; models fail in as many ways as there are libraries below them.
    """
    try:
        return call()
    except (NNNError, meant):
        raise
    except Exception as error:
        raise InputError(f"the encoder failed on {what}: {_in_one_line(error)}. {_remedy(error)}") from error


def _in_one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].rstrip('.')}" if lines else type(error).__name__


def _remedy(error: Exception) -> str:
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return (
            "To need less memory, use --precision bfloat16, fewer --threads or --model-copies, or a smaller "
            "batch_size in your own encoder. Finished shards are kept."
        )
    return "Finished shards are kept. Correct the encoder, and run the same command again."
