"""Small randomly initialised checkpoints, each in its model's real format, written by the library that owns it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

WORDS = ["a", "photo", "of", "the", "red", "blue", "green", "small", "large", "circle", "square"]
WORDS += ["dog", "cat", "on", "under", "table", "grass", "river", "stone"]
HIDDEN = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
CAPTIONS = ["a red circle", "the large dog on green grass", "cat", "a photo of " + "small stone " * 90]


def picture(seed: int, width: int = 50, height: int = 40) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


PICTURES = [picture(1), picture(2, 30, 70), picture(3)]


def bert_tokenizer(**options: Any) -> Any:
    """BERT's, with a vocabulary of the words above and letters for the rest."""
    from transformers import BertTokenizer

    letters = "abcdefghijklmnopqrstuvwxyz0123456789,.!-'%"
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *letters[1:], *(f"##{c}" for c in letters)]
    return BertTokenizer(vocab={token: n for n, token in enumerate(tokens)}, **options)


def clip_tokenizer() -> Any:
    """CLIP's byte pairs, with hardly a merge."""
    from transformers import CLIPTokenizer

    letters = [chr(n) for n in range(33, 127)]
    merges = ["r e", "re d</w>", "d o", "do g</w>"]
    tokens = [*letters, *(f"{c}</w>" for c in letters), *(m.replace(" ", "") for m in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocab = {token: n for n, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocab, merges=[tuple(m.split()) for m in merges], model_max_length=77)


def sentencepiece_model(path: Path, **options: Any) -> Path:
    """A sentencepiece model trained on a few hundred captions."""
    import sentencepiece

    rng = np.random.default_rng(0)
    lines = [" ".join(rng.choice(WORDS, 6)) + "." for _ in range(400)]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_prefix=str(path.with_suffix("")),
        vocab_size=90,
        hard_vocab_limit=False,
        minloglevel=2,
        **options,
    )
    return path


def save_transformers(folder: Path, kind: str) -> tuple[Any, Any, Any]:
    """Model, image processor and tokenizer of one of the kinds that ``transformers:`` reads, saved in ``folder``."""
    import torch
    import transformers as hf

    torch.manual_seed(0)
    vision = {**HIDDEN, "image_size": 32, "patch_size": 8}
    text = {**HIDDEN, "vocab_size": 300}
    if kind == "clip":
        tokenizer = clip_tokenizer()
        ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
        config = hf.CLIPConfig(text_config={**text, **ids}, vision_config=vision, projection_dim=16)
        model = hf.CLIPModel(config)
        images = hf.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    elif kind == "siglip":
        tokenizer = hf.SiglipTokenizer(str(_siglip_vocabulary(folder)))
        model = hf.SiglipModel(hf.SiglipConfig(text_config=text, vision_config=vision))
        images = hf.SiglipImageProcessor(size={"height": 32, "width": 32})
    elif kind == "siglip2":
        tokenizer = hf.Siglip2Tokenizer(
            vocab={
                token: n for n, token in enumerate(["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *_letters()])
            },
            merges=[],
            model_max_length=64,
        )
        vision = {**HIDDEN, "num_patches": 16, "patch_size": 8}
        model = hf.Siglip2Model(hf.Siglip2Config(text_config=text, vision_config=vision))
        images = hf.Siglip2ImageProcessor(patch_size=8, max_num_patches=16)
    elif kind == "align":
        tokenizer = bert_tokenizer(model_max_length=512)
        efficient = {"image_size": 64, "width_coefficient": 0.25, "depth_coefficient": 0.25, "hidden_dim": 640}
        config = hf.AlignConfig(text_config=text, vision_config=efficient, projection_dim=80)
        model = hf.AlignModel(config)
        for weights in model.vision_model.parameters():  # as they are initialised, nothing would come out
            if weights.ndim > 1:
                torch.nn.init.kaiming_normal_(weights)
        images = hf.EfficientNetImageProcessor(size={"height": 64, "width": 64}, include_top=False)
    elif kind == "chinese_clip":
        tokenizer = bert_tokenizer(model_max_length=512)
        config = hf.ChineseCLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
        model = hf.ChineseCLIPModel(config)
        images = hf.ChineseCLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    else:
        tokenizer = bert_tokenizer(model_max_length=512)
        config = hf.BlipConfig(
            text_config={**text, "bos_token_id": 2, "sep_token_id": 3}, vision_config=vision, image_text_hidden_size=16
        )
        model = hf.BlipForImageTextRetrieval(config)
        images = hf.BlipImageProcessor(size={"height": 32, "width": 32})
    for each in (model, images, tokenizer):
        each.save_pretrained(folder)
    return model.eval(), images, tokenizer


def _letters() -> list[str]:
    return [chr(n) for n in range(33, 127)]


def _siglip_vocabulary(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    ids = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1, "pad_piece": "<pad>", "eos_piece": "</s>"}
    return sentencepiece_model(folder / "spiece.model", **ids)
