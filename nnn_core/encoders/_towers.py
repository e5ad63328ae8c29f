"""Two towers of torch modules as an encoder: batches, padding, precision and device, the same for every family."""

from __future__ import annotations

import copy
import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nnn_core.encoders import FLOAT32
from nnn_core.encoders._decoding import upright
from nnn_core.vectors import FloatMatrix

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from nnn_core.encoders._card import Card

#: A batch of preprocessed images stays below this size, and a batch below this many rows.
_BATCH_BYTES = 64 << 20
_MAX_BATCH = 256
_SMALL_BATCH = 4

#: No token of any vocabulary stands for more characters, spaces aside.
_TOKEN_CHARACTERS = 64


@dataclass(frozen=True)
class Tokens:
    """Captions as a model takes them.

    Attributes:
        inputs: tensors (rows, context length) by argument name; every row is padded to the full length.
        full: (rows,) whether a caption fills its row, so that a part of it may have been cut off.
    """

    inputs: Mapping[str, torch.Tensor]
    full: Sequence[bool]


@dataclass(frozen=True)
class Towers:
    """What a family of models has of its own.

    Attributes:
        model: torch module that holds all weights; moved to the device.
        transform: turns a decoded image into a tensor (3, height, width) float32.
        tokenize: turns captions into tokens, cut by the model's own rule.
        length: counts the tokens of a caption that is not cut.
        images: turns preprocessed images (rows, 3, height, width) into vectors (rows, dim).
        texts: turns the inputs of ``Tokens`` into vectors (rows, dim).
        image_size: height and width of an image after ``transform``, in pixels.
        context_length: how many tokens a caption's row has room for.
    """

    model: torch.nn.Module
    transform: Callable[[Image.Image], torch.Tensor]
    tokenize: Callable[[list[str]], Tokens]
    length: Callable[[str], int]
    images: Callable[[torch.Tensor], torch.Tensor]
    texts: Callable[[Mapping[str, torch.Tensor]], torch.Tensor]
    image_size: tuple[int, int]
    context_length: int


class TowersEncoder:
    """An encoder whose two towers are torch modules.

    Every batch is padded to the same size, so that a row's vector does not depend on how many
    rows happened to be in its batch. Weights stay float32; half precision is torch's autocast, which
    keeps the layers in float32 that need it.
    """

    def __init__(self, towers: Towers, precision: str = FLOAT32) -> None:
        self._towers, self._precision = towers, precision
        self._device = device()
        self._count, self._tokenizing = threading.local(), threading.Lock()
        self._card = _card() if self._device == "cuda" else None
        towers.model.eval().requires_grad_(False).to(self._device)
        height, width = towers.image_size
        self.batch_size = max(1, min(_MAX_BATCH, _BATCH_BYTES // (3 * 4 * height * width)))

    def small(self) -> TowersEncoder:
        """The same model for a few rows, with batches of as few, unless a card has prepared itself for larger ones."""
        other = copy.copy(self)
        other.batch_size = self.batch_size if self._card else min(_SMALL_BATCH, self.batch_size)
        return other

    @property
    def concurrent(self) -> bool:
        """Whether several threads may encode at the same time: torch has each of them compute on a core of its own."""
        return self._device == "cpu"

    @property
    def truncated(self) -> int:
        """Captions of which this thread has encoded a part only, because the model takes no more."""
        return getattr(self._count, "truncated", 0)

    def preprocess_image(self, data: bytes) -> torch.Tensor:
        """Decode one JPEG, PNG or WebP, turn it upright, and apply the model's own transform.

        Returns:
            (3, height, width) float32.

        Raises:
            ValueError: the bytes are not such an image, or it is larger than Pillow's safety limit.
        """
        with upright(data) as image:
            return self._towers.transform(image)

    def encode_images(self, images: Sequence[torch.Tensor]) -> FloatMatrix:
        """(n, dim) float32 of n <= ``batch_size`` preprocessed images."""
        # Padded with an image: not every model takes anything else.
        padded = [*images, *([images[0]] * (self.batch_size - len(images)))]
        return self._run("image", self._towers.images, padded, len(images))

    def encode_texts(self, texts: Sequence[str]) -> FloatMatrix:
        """(n, dim) float32 of n <= ``batch_size`` captions."""
        most = _TOKEN_CHARACTERS * self._towers.context_length
        heads = [_head(text, most) for text in texts]
        with self._tokenizing:  # tokenizers keep settings, such as padding, that they change while they work
            tokens = self._towers.tokenize([*heads, *([""] * (self.batch_size - len(texts)))])
            full = [text for text, full in zip(heads, tokens.full, strict=False) if full]
            cut = sum(1 for text in full if self._towers.length(text) > self._towers.context_length)
        self._count.truncated = self.truncated + cut
        return self._run("text", self._towers.texts, tokens.inputs, len(texts))

    def _run(self, name: str, tower: Callable[[Any], torch.Tensor], inputs: Any, rows: int) -> FloatMatrix:
        import torch

        half = self._precision != FLOAT32
        kind = getattr(torch, self._precision) if half else None
        with torch.inference_mode(), torch.autocast(self._device, kind, half):
            if self._card:
                vectors = self._card.run(name, tower, inputs)
            else:
                vectors = tower(torch.stack(inputs) if isinstance(inputs, list) else inputs).float()
        return np.asarray(vectors[:rows].numpy(), dtype=np.float32)


def _card() -> Card:
    from nnn_core.encoders._card import Card

    return Card()


def _head(text: str, most: int) -> str:
    """As much of a caption as its tokens can be made of: a tokenizer's time grows with the square of a word."""
    if len(text) <= most:
        return text
    found = re.match(rf"(?:\s*\S){{0,{most}}}", text)
    return found.group() if found else text


def device() -> str:
    """Where models run in this process, and torch set up for it."""
    import torch

    # One thread a process: with a process a core, more threads are slower, and the bits of a
    # matrix product may depend on how it was split over threads.
    torch.set_num_threads(1)
    # Loaders ask for weights only, but where that fails in some ways some try again without asking, and then
    # this variable would let torch unpickle, which is to execute, what is in the checkpoint.
    os.environ.pop("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", None)
    if not torch.cuda.is_available():
        return "cpu"
    # float32 is to mean float32 on every machine: by default convolutions take 10 bits of it on newer GPUs.
    torch.backends.cudnn.allow_tf32 = False
    return "cuda"
