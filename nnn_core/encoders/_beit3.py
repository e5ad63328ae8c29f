"""Official BEiT-3 checkpoints tuned for retrieval, or for contrast.

A directory holds the checkpoint (``{"model": weights}``) and its tokenizer, ``beit3.spm``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnn_core.encoders._checkpoint import CheckpointSource, Preprocessing, fitted, layers_in, read_state, weights_of
from nnn_core.encoders._towers import Tokens, Towers

if TYPE_CHECKING:
    from nnn_core.encoders._beit3_model import Sizes

_SPM = "beit3.spm"
_TOKENS = 64

#: Marks of the vocabulary, as fairseq numbers them; the pieces of sentencepiece follow, one further on.
_BEGIN, _END, _UNKNOWN = 0, 2, 3

#: Weights of other uses of the model: masked patches and words, and the temperature of the loss.
_UNUSED = ("logit_scale", "beit3.vision_embed.mask_token", "mlm_head.", "mim_head.", "lm_head.")


class Beit3Source(CheckpointSource):
    """The model that ``beit3:DIR`` names."""

    scheme = "beit3"
    tokenizer = (_SPM,)
    rule = f"{_TOKENS} tokens"
    preprocessing = Preprocessing((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

    @classmethod
    def towers_in(cls, directory: Path) -> Towers:
        """The model in a directory.

        Raises:
            InputError: the checkpoint is not BEiT-3's, or lacks the heads for retrieval.
        """
        from sentencepiece import SentencePieceProcessor

        from nnn_core.encoders._beit3_model import Beit3

        path = weights_of(directory, cls.scheme)
        state = {name: value for name, value in read_state(path).items() if not name.startswith(_UNUSED)}
        sizes = _sizes(state)
        model = fitted(Beit3(sizes), state, path)
        pieces = SentencePieceProcessor(model_file=str(directory / _SPM))
        return Towers(
            model=model,
            transform=cls.preprocessing.transform(sizes.image),
            tokenize=lambda texts: _tokenize(pieces, texts),
            length=lambda text: len(pieces.encode(text)) + 2,
            images=model.images,
            texts=lambda tokens: model.texts(tokens["ids"]),
            image_size=(sizes.image, sizes.image),
            context_length=_TOKENS,
        )


def _sizes(state: Any) -> Sizes:
    from nnn_core.encoders._beit3_model import SPARE_POSITIONS, Sizes

    patches = state["beit3.vision_embed.proj.weight"]
    positions = state["beit3.encoder.embed_positions.A.weight"].shape[0] - SPARE_POSITIONS - 1
    return Sizes(
        width=patches.shape[0],
        hidden=state["beit3.encoder.layers.0.ffn.A.fc1.weight"].shape[0],
        layers=layers_in(state, "beit3.encoder.layers."),
        patch=patches.shape[-1],
        image=patches.shape[-1] * round(positions**0.5),
        words=state["beit3.text_embed.weight"].shape[0],
        text_positions=state["beit3.encoder.embed_positions.B.weight"].shape[0],
    )


def _tokenize(pieces: Any, texts: list[str]) -> Tokens:
    import torch

    from nnn_core.encoders._beit3_model import PAD

    rows = torch.full((len(texts), _TOKENS), PAD)
    full = []
    for row, text in enumerate(texts):
        found = [piece + 1 if piece else _UNKNOWN for piece in pieces.encode(text)]
        ids = [_BEGIN, *found[: _TOKENS - 2], _END]
        rows[row, : len(ids)] = torch.tensor(ids)
        full.append(len(ids) == _TOKENS)
    return Tokens({"ids": rows}, full)
