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


ALBEF_LAYERS, ALBEF_FUSION = 4, 2


def save_albef(folder: Path, pretrained: bool = False) -> dict[str, Any]:
    """An ALBEF checkpoint of 128 channels and 32 pixels, with the names of the official ones."""
    import torch

    width, hidden = 128, 512
    sizes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 5, width),
        "patch_embed.proj.weight": (width, 3, 16, 16),
        "patch_embed.proj.bias": (width,),
        **_norm("norm", width),
    }
    for n in range(3):
        block = f"blocks.{n}"
        sizes |= {**_norm(f"{block}.norm1", width), **_norm(f"{block}.norm2", width)}
        sizes |= {**_linear(f"{block}.attn.qkv", width, 3 * width), **_linear(f"{block}.attn.proj", width, width)}
        sizes |= {**_linear(f"{block}.mlp.fc1", width, hidden), **_linear(f"{block}.mlp.fc2", hidden, width)}
    vision = {f"visual_encoder.{name}": size for name, size in sizes.items()}
    bert = "text_encoder.bert" if pretrained else "text_encoder"
    text: dict[str, tuple[int, ...]] = {
        f"{bert}.embeddings.word_embeddings.weight": (300, width),
        f"{bert}.embeddings.position_embeddings.weight": (64, width),
        f"{bert}.embeddings.token_type_embeddings.weight": (2, width),
        f"{bert}.embeddings.position_ids": (1, 64),
        **_norm(f"{bert}.embeddings.LayerNorm", width),
    }
    for n in range(ALBEF_LAYERS):
        layer = f"{bert}.encoder.layer.{n}"
        for attention in ("attention", "crossattention") if n >= ALBEF_FUSION else ("attention",):
            for name in ("query", "key", "value"):
                text |= _linear(f"{layer}.{attention}.self.{name}", width, width)
            text |= _linear(f"{layer}.{attention}.output.dense", width, width)
            text |= _norm(f"{layer}.{attention}.output.LayerNorm", width)
        text |= _linear(f"{layer}.intermediate.dense", width, hidden)
        text |= {**_linear(f"{layer}.output.dense", hidden, width), **_norm(f"{layer}.output.LayerNorm", width)}
    if pretrained:
        text |= {"text_encoder.cls.predictions.bias": (300,)}
    heads = {**_linear("vision_proj", width, 32), **_linear("text_proj", width, 32)}
    towers = {**vision, **text, **heads}
    copies = {name.replace(".", "_m.", 1): size for name, size in towers.items()}
    rest = {
        "temp": (),
        "image_queue": (32, 8),
        "text_queue": (32, 8),
        "queue_ptr": (1,),
        **_linear("itm_head", width, 2),
    }
    state = _random({**towers, **copies, **rest})
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"model": state, "epoch": 3, "config": {"image_res": 32}}, folder / "checkpoint_best.pth")
    (folder / "config_bert.json").write_text(f'{{"fusion_layer": {ALBEF_FUSION}}}')
    vocab = bert_tokenizer().get_vocab()
    (folder / "vocab.txt").write_text("\n".join(sorted(vocab, key=vocab.__getitem__)) + "\n")
    return state


BEIT3_LAYERS = 2


def save_beit3(folder: Path) -> dict[str, Any]:
    """A BEiT-3 checkpoint of 128 channels and 32 pixels, with the names of the official ones."""
    import torch

    width, hidden = 128, 256
    sizes: dict[str, tuple[int, ...]] = {
        "beit3.text_embed.weight": (120, width),
        "beit3.vision_embed.cls_token": (1, 1, width),
        "beit3.vision_embed.mask_token": (1, 1, width),
        "beit3.vision_embed.proj.weight": (width, 3, 16, 16),
        "beit3.vision_embed.proj.bias": (width,),
        "beit3.encoder.embed_positions.A.weight": (7, width),
        "beit3.encoder.embed_positions.B.weight": (1024, width),
        "language_head.weight": (width, width),
        "vision_head.weight": (width, width),
        "logit_scale": (),
    }
    for way in "AB":
        sizes |= _norm(f"beit3.encoder.layer_norm.{way}", width)
        for n in range(BEIT3_LAYERS):
            layer = f"beit3.encoder.layers.{n}"
            for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
                sizes |= _linear(f"{layer}.self_attn.{name}.{way}", width, width)
            for name in ("self_attn.inner_attn_ln", "self_attn_layer_norm", "final_layer_norm"):
                sizes |= _norm(f"{layer}.{name}.{way}", width)
            sizes |= _linear(f"{layer}.ffn.{way}.fc1", width, hidden)
            sizes |= _linear(f"{layer}.ffn.{way}.fc2", hidden, width)
            sizes |= _norm(f"{layer}.ffn.{way}.ffn_layernorm", hidden)
    state = _random(sizes)
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"model": state}, folder / "beit3_small_patch16_32_retrieval.pth")
    sentencepiece_model(folder / "beit3.model", unk_id=0, bos_id=1, eos_id=2, pad_id=-1).rename(folder / "beit3.spm")
    (folder / "beit3.vocab").unlink()
    return state


def _linear(name: str, inner: int, outer: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outer, inner), f"{name}.bias": (outer,)}


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _random(sizes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    """Every weight another, none so large that a layer saturates."""
    import torch

    generator = torch.Generator().manual_seed(7)
    state = {name: torch.randn(size, generator=generator) * 0.08 for name, size in sizes.items()}
    for name in state:
        if name.endswith("weight") and ("norm" in name.lower() or "_ln." in name):
            state[name] += 1.0
    return state
