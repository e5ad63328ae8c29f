"""open_clip models. The only module that runs torch in a refresh."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nnn_core.encoders import Fingerprint
from nnn_core.encoders.decoding import DECODING, upright
from nnn_core.errors import InputError
from nnn_core.vectors import FloatMatrix

if TYPE_CHECKING:
    import torch

_LOCAL_DIR = "local-dir:"
_CONFIG = "open_clip_config.json"

#: A batch of preprocessed images stays below this size, and a batch below this many rows.
_BATCH_BYTES = 64 << 20
_MAX_BATCH = 256

#: No token of any vocabulary stands for more characters, spaces aside.
_TOKEN_CHARACTERS = 64


@dataclass(frozen=True)
class OpenClipSource:
    """An open_clip model by name, not loaded.

    Attributes:
        model: an open_clip model name, or ``local-dir:DIR``.
        pretrained: pretrained tag or checkpoint path; None for a local directory.
        fingerprint: of the files as they are on this machine.
    """

    model: str
    pretrained: str | None
    fingerprint: Fingerprint

    @classmethod
    def parse(cls, spec: str) -> OpenClipSource:
        """``MODEL/PRETRAINED`` or ``local-dir:DIR``.

        Raises:
            InputError: no such model, directory or checkpoint.
        """
        if spec.startswith(_LOCAL_DIR):
            directory = Path(spec.removeprefix(_LOCAL_DIR)).absolute()
            return cls(f"{_LOCAL_DIR}{directory}", None, _fingerprint_directory(directory))
        model, _, pretrained = spec.partition("/")
        if not pretrained:
            raise InputError(
                f"--encoder open_clip:{spec} names no weights, and random weights would give a meaningless "
                "table; write open_clip:MODEL/PRETRAINED_TAG or open_clip:MODEL//path/to/checkpoint."
            )
        return cls(model, pretrained, _fingerprint_pretrained(model, pretrained))

    def load(self) -> OpenClipEncoder:
        """Load model, preprocessing and tokenizer in this process.

        Raises:
            InputError: they cannot be loaded, or the files here differ from those of the fingerprint.
        """
        spec = self.model if self.pretrained is None else f"{self.model}/{self.pretrained}"
        here = OpenClipSource.parse(spec).fingerprint
        if here != self.fingerprint:
            raise InputError(
                f"encoder {spec!r} on this worker is not the one that the job was started with "
                f"({here} here, {self.fingerprint} there); give every worker the same files."
            )
        return _load(self, spec)


def _load(source: OpenClipSource, spec: str) -> OpenClipEncoder:
    import open_clip
    import torch

    # One thread a process: with a process a core, more threads are slower, and the bits of a
    # matrix product may depend on how it was split over threads.
    torch.set_num_threads(1)
    # open_clip asks for weights only, but where that fails in some ways it tries again without asking, and then
    # this variable would let torch unpickle, which is to execute, what is in the checkpoint.
    os.environ.pop("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", None)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        model, preprocess = open_clip.create_model_from_pretrained(
            source.model, pretrained=source.pretrained, device=device, weights_only=True
        )
        tokenizer = open_clip.get_tokenizer(source.model)
    except Exception as error:  # a checkpoint can be wrong in as many ways as there are formats of it
        raise InputError(
            f"--encoder open_clip:{spec} cannot be loaded: {str(error) or type(error).__name__}"
        ) from error
    return OpenClipEncoder(model.eval(), preprocess, tokenizer, device)


class OpenClipEncoder:
    """A loaded open_clip model.

    Every batch is padded to the same size, so that a row's vector does not depend on how many
    rows happened to be in its batch.
    """

    def __init__(self, model: torch.nn.Module, preprocess: Any, tokenizer: Any, device: str) -> None:
        self._model, self._preprocess, self._tokenizer, self._device = model, preprocess, tokenizer, device
        visual: Any = model.visual
        size = visual.image_size
        height, width = size if isinstance(size, (tuple, list)) else (size, size)
        self.batch_size = max(1, min(_MAX_BATCH, _BATCH_BYTES // (3 * 4 * height * width)))

    def preprocess_image(self, data: bytes) -> torch.Tensor:
        """Decode one JPEG, PNG or WebP, turn it upright, and apply the model's own transform.

        Returns:
            (3, height, width) float32.

        Raises:
            ValueError: the bytes are not such an image, or it is larger than Pillow's safety limit.
        """
        with upright(data) as image:
            tensor: torch.Tensor = self._preprocess(image)
        return tensor

    def encode_images(self, images: Sequence[torch.Tensor]) -> FloatMatrix:
        """(n, dim) float32 of n <= ``batch_size`` preprocessed images."""
        import torch

        batch = torch.zeros((self.batch_size, *images[0].shape), dtype=torch.float32)
        torch.stack(list(images), out=batch[: len(images)])
        return self._run("encode_image", batch, len(images))

    def encode_texts(self, texts: Sequence[str]) -> FloatMatrix:
        """(n, dim) float32 of n <= ``batch_size`` captions."""
        heads = [self._head(text) for text in texts]
        padded = [*heads, *([""] * (self.batch_size - len(texts)))]
        return self._run("encode_text", self._tokenizer(padded), len(texts))

    def _head(self, text: str) -> str:
        """As much of a caption as its tokens can be made of: a tokenizer's time grows with the square of a word."""
        most = _TOKEN_CHARACTERS * int(self._tokenizer.context_length)
        if len(text) <= most:
            return text
        head = re.match(rf"(?:\s*\S){{0,{most}}}", text)
        return head.group() if head else text

    def _run(self, method: str, batch: torch.Tensor, rows: int) -> FloatMatrix:
        import torch

        with torch.inference_mode():
            vectors = getattr(self._model, method)(batch.to(self._device))
        return np.asarray(vectors[:rows].float().cpu().numpy(), dtype=np.float32)


def _fingerprint_directory(directory: Path) -> Fingerprint:
    config_path = directory / _CONFIG
    if not config_path.is_file():
        raise InputError(f"--encoder: {str(directory)!r} is not an open_clip model directory, it has no {_CONFIG}.")
    config = json.loads(config_path.read_text(encoding="utf-8"))
    weights = sorted(path for path in directory.iterdir() if path.suffix in (".safetensors", ".bin", ".pth"))
    if not weights:
        raise InputError(f"--encoder: {str(directory)!r} holds no weights (*.safetensors, *.bin or *.pth).")
    others = sorted(path for path in directory.iterdir() if path.is_file() and path not in [config_path, *weights])
    return Fingerprint(
        weights=_hash(*(_file_digest(path) for path in weights)),
        architecture=_hash(config.get("model_cfg")),
        preprocessing=_hash(config.get("preprocess_cfg", {}), DECODING),
        tokenizer=_hash(config.get("model_cfg", {}).get("text_cfg"), *(_file_digest(path) for path in others)),
    )


def _fingerprint_pretrained(model: str, pretrained: str) -> Fingerprint:
    import open_clip

    config = open_clip.get_model_config(model)
    if config is None:
        raise InputError(f"--encoder open_clip:{model}/{pretrained}: open_clip has no model {model!r}.")
    tag = open_clip.get_pretrained_cfg(model, pretrained)
    if tag:
        checkpoint = _download(tag, model, pretrained)
    elif os.path.isfile(pretrained):
        checkpoint = Path(pretrained)
    else:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(model)) or "none"
        raise InputError(
            f"--encoder open_clip:{model}/{pretrained}: {pretrained!r} is neither a file nor a pretrained tag "
            f"of {model} (tags: {tags})."
        )
    preprocessing = {key: tag[key] for key in sorted(tag) if key not in ("url", "hf_hub")} if tag else {}
    return Fingerprint(
        weights=_hash(_file_digest(checkpoint)),
        architecture=_hash(config),
        preprocessing=_hash(preprocessing, DECODING),
        tokenizer=_hash(config["text_cfg"]),
    )


def _download(tag: dict[str, Any], model: str, pretrained: str) -> Path:
    import open_clip

    try:
        return Path(open_clip.download_pretrained(tag))
    except Exception as error:  # the hub client's errors are of many kinds; all mean the same here
        raise InputError(f"--encoder open_clip:{model}/{pretrained}: the weights cannot be had: {error}") from error


def _file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _hash(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
