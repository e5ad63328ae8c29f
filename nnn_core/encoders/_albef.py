"""Official ALBEF checkpoints, pretrained or tuned for retrieval.

A directory holds the checkpoint (``{"model": weights}``), ``vocab.txt`` of bert-base-uncased, and
``config_bert.json`` where it is not the published one. Of the weights, ``visual_encoder`` is a ViT, the first
``fusion_layer`` layers of ``text_encoder`` are the text tower, and ``vision_proj`` and ``text_proj`` lead into the
common space. Momentum copies, queues, and the layers that look at both sides at once take no part.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnn_core.encoders._checkpoint import CheckpointSource, Preprocessing, fitted, layers_in, read_state, weights_of
from nnn_core.encoders._files import read_json
from nnn_core.encoders._towers import Tokens, Towers

if TYPE_CHECKING:
    import torch

_CONFIG = "config_bert.json"
_VOCABULARY = "vocab.txt"
_FUSION_LAYER = 6
_HEAD_WIDTH = 64

#: What the authors give a caption: so many words, then so many tokens.
_WORDS = 30
_TOKENS = 30

_DROPPED = re.compile(r"[,.'!?\"()*#:;~]")


class AlbefSource(CheckpointSource):
    """The model that ``albef:DIR`` names."""

    scheme = "albef"
    tokenizer = (_VOCABULARY,)
    rule = f"{_WORDS} words, {_TOKENS} tokens"
    preprocessing = Preprocessing((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
    configs = (_CONFIG,)

    @classmethod
    def towers_in(cls, directory: Path) -> Towers:
        """The model in a directory.

        Raises:
            InputError: the checkpoint is not ALBEF's.
        """
        import torch
        from transformers import BertTokenizer

        path = weights_of(directory, cls.scheme)
        state = read_state(path)
        vision, size = _vision(state, path)
        text = _text(state, path, read_json(directory / _CONFIG) if (directory / _CONFIG).is_file() else {})
        heads = {name: _projection(_within(state, f"{name}."), path) for name in ("vision_proj", "text_proj")}
        model = torch.nn.ModuleDict({"vision": vision, "text": text, **heads})
        # Of the vocabulary alone: what else may lie beside it is not in the fingerprint.
        tokenizer = BertTokenizer(str(directory / _VOCABULARY), do_lower_case=True)
        return Towers(
            model=model,
            transform=cls.preprocessing.transform(size),
            tokenize=lambda texts: _tokenize(tokenizer, texts),
            length=lambda text: _length(tokenizer, text),
            images=lambda pixels: heads["vision_proj"](vision.forward_features(pixels)[:, 0]),
            texts=lambda tokens: heads["text_proj"](text(**tokens).last_hidden_state[:, 0]),
            image_size=(size, size),
            context_length=_TOKENS,
        )


def _vision(state: Mapping[str, torch.Tensor], path: Path) -> tuple[Any, int]:
    from timm.models.vision_transformer import VisionTransformer

    own = _within(state, "visual_encoder.")
    patches, patch = own["patch_embed.proj.weight"], own["patch_embed.proj.weight"].shape[-1]
    size = patch * round((own["pos_embed"].shape[1] - 1) ** 0.5)
    vision = VisionTransformer(
        img_size=size,
        patch_size=patch,
        embed_dim=patches.shape[0],
        depth=layers_in(own, "blocks."),
        num_heads=patches.shape[0] // _HEAD_WIDTH,
        num_classes=0,
        global_pool="",
    )
    return fitted(vision, own, path), size


def _text(state: Mapping[str, torch.Tensor], path: Path, config: Mapping[str, Any]) -> Any:
    from transformers import BertConfig, BertModel

    # Pretrained checkpoints hold BERT within a model of masked words, those for retrieval BERT alone.
    own = _within(state, "text_encoder.bert.") or _within(state, "text_encoder.")
    words = own["embeddings.word_embeddings.weight"]
    layers = int(config.get("fusion_layer", _FUSION_LAYER))
    unused = re.compile(r"encoder\.layer\.(\d+)\.|pooler\.|cls\.|embeddings\.position_ids")
    found = {name: value for name, value in own.items() if _belongs(unused.match(name), layers)}
    text = BertModel(
        BertConfig(
            vocab_size=words.shape[0],
            hidden_size=words.shape[1],
            num_hidden_layers=layers,
            num_attention_heads=int(config.get("num_attention_heads", words.shape[1] // _HEAD_WIDTH)),
            intermediate_size=own["encoder.layer.0.intermediate.dense.weight"].shape[0],
            max_position_embeddings=own["embeddings.position_embeddings.weight"].shape[0],
            layer_norm_eps=float(config.get("layer_norm_eps", 1e-12)),
        ),
        add_pooling_layer=False,
    )
    return fitted(text, found, path)


def _within(state: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """The weights whose name begins with ``prefix``, by the rest of their name."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _belongs(match: re.Match[str] | None, layers: int) -> bool:
    return match is None or (match[1] is not None and int(match[1]) < layers)


def _projection(own: Mapping[str, torch.Tensor], path: Path) -> Any:
    import torch

    rows, columns = own["weight"].shape if "weight" in own else (1, 1)
    return fitted(torch.nn.Linear(columns, rows), own, path)


def _words(caption: str) -> list[str]:
    """A caption as the authors clean it: no capitals, no punctuation, hyphens and slashes as spaces."""
    bare = _DROPPED.sub("", caption.lower()).replace("-", " ").replace("/", " ").replace("<person>", "person")
    return bare.split()


def _tokenize(tokenizer: Any, texts: list[str]) -> Tokens:
    words = [_words(text) for text in texts]
    tokens = tokenizer(
        [" ".join(each[:_WORDS]) for each in words],
        padding="max_length",
        truncation=True,
        max_length=_TOKENS,
        return_tensors="pt",
        return_token_type_ids=False,
    )
    full = tokens["attention_mask"][:, -1].bool().tolist()
    return Tokens(dict(tokens), [cut or len(each) > _WORDS for cut, each in zip(full, words, strict=True)])


def _length(tokenizer: Any, text: str) -> int:
    words = _words(text)
    length = len(tokenizer(" ".join(words), verbose=False).input_ids)
    return length if len(words) <= _WORDS else max(length, _TOKENS + 1)
