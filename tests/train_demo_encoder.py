"""Train the demo encoder: a very small open_clip model of the rendered scenes.

    python tests/train_demo_encoder.py --output nnn_core/demo/encoder

The scenes are those of the ``training`` split, which share no composition with the demo corpus.
The result is a directory that ``open_clip.create_model_and_transforms("local-dir:DIR")`` loads.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import math
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer
from PIL import Image
from safetensors.torch import save_file
from torch.nn.functional import binary_cross_entropy_with_logits

from nnn_core.demo import _scenes as scenes
from nnn_core.demo._scenes import IMAGE_SIZE, Detail, Fact, Scene

_LOG = logging.getLogger(__name__)

#: open_clip's standard vocabulary fixes the number of rows, so the text tower is narrow to stay
#: below 5 MB in 16 bits: 49,408 rows of 32 are 3.2 MB, the image tower is 1.4 MB.
MODEL: dict[str, Any] = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": IMAGE_SIZE, "patch_size": 16, "width": 128, "layers": 3, "head_width": 32},
    "text_cfg": {"context_length": 40, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 3},
}
PREPROCESSING: dict[str, Any] = {
    "size": [IMAGE_SIZE, IMAGE_SIZE],
    "mode": "RGB",
    "mean": list(open_clip.OPENAI_DATASET_MEAN),
    "std": list(open_clip.OPENAI_DATASET_STD),
    "interpolation": "bicubic",
    "resize_mode": "squash",
    "fill_color": 0,
}

#: How detailed the captions of one training scene are; a step picks one of them.
_DETAILS: tuple[Detail, ...] = ("vague", "partial", "partial", "partial", "full", "full", "full", "full")
#: Above this the logits overflow in 16 bits; the bound of the original CLIP.
_MAX_LOGIT_SCALE = math.log(100)
#: Weight of the loss of naming facts, which sums over some fifty facts and two towers.
_NAMING_WEIGHT = 0.1
#: Highest learning rate, reached after the steps of warm-up, from which it falls to 0 as a cosine; and the decay of
#: weights, of matrices only.
_LEARNING_RATE, _WARM_UP, _WEIGHT_DECAY = 1e-3, 200, 0.05


@dataclass(frozen=True)
class Examples:
    """Training data, in memory, scenes of few objects first.

    Attributes:
        images: (scenes, 3, size, size) uint8.
        tokens: (scenes, captions, context_length) int32.
        facts: (scenes, facts) bool, what is true of the scene.
        claims: (scenes, captions, facts) bool, what the caption says of it.
    """

    images: torch.Tensor
    tokens: torch.Tensor
    facts: torch.Tensor
    claims: torch.Tensor


def make_examples(count: int, seed: int) -> Examples:
    """Render ``count`` training scenes and write several captions of each."""
    drawn = (scenes.scene("training", seed, index) for index in range(count))
    chosen = sorted(drawn, key=lambda shown: len(shown.items))
    rng = random.Random(f"training captions/{seed}")
    said = [[scenes.describe(shown, detail, rng) for detail in _DETAILS] for shown in chosen]
    captions = [scenes.caption(description, rng) for descriptions in said for description in descriptions]
    tokens = SimpleTokenizer(context_length=MODEL["text_cfg"]["context_length"])(captions)
    known = sorted({fact for shown in chosen for fact in scenes.facts(shown)}, key=repr)
    return Examples(
        images=_pixels(chosen),
        tokens=tokens.to(torch.int32).unflatten(0, (count, len(_DETAILS))),
        facts=_indicators((scenes.facts(shown) for shown in chosen), known),
        claims=torch.stack([_indicators(map(scenes.claims, descriptions), known) for descriptions in said]),
    )


def _pixels(chosen: Sequence[Scene]) -> torch.Tensor:
    """(scenes, 3, size, size) uint8."""
    images = torch.empty((len(chosen), 3, IMAGE_SIZE, IMAGE_SIZE), dtype=torch.uint8)
    for index, shown in enumerate(chosen):
        # Through JPEG, because the encoder will only ever see decoded JPEGs.
        with Image.open(io.BytesIO(scenes.jpeg(shown))) as image:
            images[index] = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    return images


def _indicators(rows: Iterable[Iterable[Fact]], known: Sequence[Fact]) -> torch.Tensor:
    """(rows, known) bool: which of the known facts are in each row."""
    present = [set(row) for row in rows]
    return torch.tensor([[fact in row for fact in known] for row in present])


def train(examples: Examples, steps: int, batch: int, seed: int) -> open_clip.CLIP:
    """Train a model from random weights, with so many pairs a step.

    The contrastive loss alone stays for long on a plateau where only backgrounds are told apart, so
    a linear read-out that both towers share also has to name facts; it is thrown away afterwards.
    """
    torch.manual_seed(seed)
    model = open_clip.CLIP(**MODEL).train()
    read_out = torch.nn.Linear(MODEL["embed_dim"], examples.facts.shape[1])
    parameters = [*model.parameters(), *read_out.parameters()]
    decayed = {"params": [each for each in parameters if each.ndim >= 2], "weight_decay": _WEIGHT_DECAY}
    others = {"params": [each for each in parameters if each.ndim < 2], "weight_decay": 0.0}
    optimizer = torch.optim.AdamW([decayed, others], betas=(0.9, 0.98))
    started = time.monotonic()
    for step in range(steps):
        # The easy scenes at first, all after a third of the steps.
        visible = max(batch, round(len(examples.images) * min(1.0, 0.4 + 1.8 * step / steps)))
        rows = torch.randint(visible, (batch,))
        contrastive, naming = _losses(model, read_out, examples, rows)
        falling = 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))
        for group in optimizer.param_groups:
            group["lr"] = _LEARNING_RATE * min((step + 1) / _WARM_UP, falling)
        optimizer.zero_grad()
        torch.autograd.backward(contrastive + _NAMING_WEIGHT * naming)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, _MAX_LOGIT_SCALE)
        if step % 50 == 0 or step + 1 == steps:
            seconds = time.monotonic() - started
            _LOG.info("step %d: loss %.3f + %.3f, %.0f s", step, contrastive.item(), naming.item(), seconds)
    return model.eval()


def _losses(
    model: open_clip.CLIP, read_out: torch.nn.Module, examples: Examples, rows: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Contrastive loss, and loss of naming facts, of some scenes with one caption each."""
    choice = torch.randint(examples.tokens.shape[1], rows.shape)
    mean, std = (torch.tensor(PREPROCESSING[name]).view(1, 3, 1, 1) * 255 for name in ("mean", "std"))
    images = (examples.images[rows].float() - mean) / std
    features = model(images, examples.tokens[rows, choice].long())
    contrastive: torch.Tensor = open_clip.ClipLoss()(*features)
    # Unit vectors are scaled so that a coordinate is about 1, which suits the read-out's learning rate.
    named = [read_out(unit * MODEL["embed_dim"] ** 0.5) for unit in features[:2]]
    true = [examples.facts[rows].float(), examples.claims[rows, choice].float()]
    naming = binary_cross_entropy_with_logits(torch.cat(named), torch.cat(true), reduction="sum")
    return contrastive, naming / len(rows)


def save(model: open_clip.CLIP, used_tokens: torch.Tensor, directory: Path) -> None:
    """Write an open_clip ``local-dir:`` directory.

    Args:
        model: trained model.
        used_tokens: token ids that occurred in training; all other rows of the vocabulary are
            random and are zeroed, so that archives of the file stay small.
        directory: created if need be.
    """
    state = model.state_dict().items()
    weights = {name: (tensor.half() if tensor.is_floating_point() else tensor) for name, tensor in state}
    unused = torch.ones(MODEL["text_cfg"]["vocab_size"], dtype=torch.bool)
    unused[used_tokens.long()] = False
    weights["token_embedding.weight"][unused] = 0
    directory.mkdir(parents=True, exist_ok=True)
    config = {"model_cfg": MODEL, "preprocess_cfg": PREPROCESSING}
    (directory / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    save_file(weights, directory / "open_clip_model.safetensors", metadata={"format": "pt"})


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, train, save."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--output", type=Path, required=True, help="directory for the model")
    # More steps give better recall and milder hubs; these leave something to be corrected.
    parser.add_argument("--steps", type=int, default=1300, help="optimiser steps (default: %(default)s)")
    parser.add_argument("--scenes", type=int, default=40_000, help="training scenes (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=128, help="pairs a step (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of scenes, weights and batches (default: 0)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: %(default)s)")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(options.threads)
    examples = make_examples(options.scenes, options.seed)
    _LOG.info("rendered %d scenes", options.scenes)
    model = train(examples, options.steps, options.batch, options.seed)
    save(model, torch.unique(examples.tokens), options.output)


if __name__ == "__main__":
    main()
