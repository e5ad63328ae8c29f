"""The families of open_clip from local directories, without a network, against open_clip itself."""

from __future__ import annotations

import io
import json
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import CAPTIONS, PICTURES, bert_tokenizer
from PIL import Image

from nnn_core.encoders import parse_encoder
from nnn_core.encoders._open_clip import _towers

TEXT = {"context_length": 24, "width": 32, "heads": 2, "layers": 2}
VISION = {"image_size": 32, "patch_size": 16, "width": 64, "head_width": 32, "layers": 2}
HALF = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
CLIP = {"interpolation": "bicubic", "resize_mode": "shortest"}
SIGLIP_TEXT = {**TEXT, "vocab_size": 120, "hf_tokenizer_name": "x", "tokenizer_kwargs": {"clean": "canonicalize"}}
SIGLIP_TEXT |= {"no_causal_mask": True, "proj_bias": True, "pool_type": "last"}

#: Configurations as open_clip has them for each family, with small towers.
FAMILIES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "siglip2": (
        {
            "init_logit_bias": -10,
            "custom_text": True,
            "vision_cfg": {
                **{"image_size": 160, "timm_model_name": "test_vit3", "timm_model_pretrained": False},
                **{"timm_pool": "map", "timm_proj": "linear"},
            },
            "text_cfg": SIGLIP_TEXT,
        },
        HALF,
    ),
    "coca": (
        {
            "vision_cfg": {**VISION, "attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
            "text_cfg": {**TEXT, "embed_cls": True, "output_tokens": True},
            "multimodal_cfg": {**TEXT, "attn_pooler_heads": 2},
            "custom_text": True,
        },
        CLIP,
    ),
    "eva": (
        {
            "vision_cfg": {
                **{"image_size": 224, "timm_model_name": "eva02_tiny_patch14_224", "timm_model_pretrained": False},
                **{"timm_pool": "token", "timm_proj": None},
            },
            "text_cfg": TEXT,
            "custom_text": True,
        },
        CLIP,
    ),
    "resnet": (
        {"vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None}, "text_cfg": TEXT},
        CLIP,
    ),
    "mobileclip": (
        {
            "vision_cfg": {
                **{"image_size": 64, "timm_model_name": "fastvit_t8", "timm_model_pretrained": False},
                **{"timm_pool": "avg", "timm_proj": "linear", "timm_drop": 0.0},
            },
            "text_cfg": {**TEXT, "no_causal_mask": True},
            "custom_text": True,
        },
        {"mean": [0.0] * 3, "std": [1.0] * 3, "interpolation": "bilinear", "resize_mode": "shortest"},
    ),
}
DIMENSIONS = {"eva": 192}


def save(folder: Path, family: str) -> None:
    """A directory as ``push_to_hf_hub.save_for_hf`` of open_clip leaves it."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    model_cfg, preprocess_cfg = FAMILIES[family]
    model_cfg = {"embed_dim": DIMENSIONS.get(family, 32), **model_cfg}
    config = {"model_cfg": model_cfg, "preprocess_cfg": preprocess_cfg}
    folder.joinpath("open_clip_config.json").write_text(json.dumps(config))
    if "hf_tokenizer_name" in model_cfg["text_cfg"]:
        bert_tokenizer(model_max_length=24).save_pretrained(folder)
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be asked of a network, not even whether there is one."""

    def refuse(*args: object) -> None:
        raise AssertionError(f"a connection to {args} was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_family_loads_offline_and_agrees_with_open_clip(family: str, tmp_path: Path) -> None:
    import open_clip
    import torch

    save(tmp_path, family)
    encoder = parse_encoder(f"open_clip:local-dir:{tmp_path}").load()
    encoder.batch_size = 8
    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{tmp_path}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{tmp_path}")
    model.eval()
    with torch.no_grad():
        images = model.encode_image(torch.stack([preprocess(Image.open(io.BytesIO(data))) for data in PICTURES]))
        texts = model.encode_text(tokenizer(CAPTIONS))
    ours = encoder.encode_images([encoder.preprocess_image(data) for data in PICTURES])
    # Random weights leave little between two pictures: the error is measured against that.
    for found, expected in ((ours, images.numpy()), (encoder.encode_texts(CAPTIONS), texts.numpy())):
        assert np.ptp(expected, axis=0).min() > 0
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3 * float(np.ptp(expected, axis=0).max()))
    assert encoder.truncated == 1  # type: ignore[attr-defined]


def test_the_preprocessing_is_that_of_the_directory(tmp_path: Path) -> None:
    save(tmp_path, "siglip2")
    encoder = parse_encoder(f"open_clip:local-dir:{tmp_path}").load()
    white = io.BytesIO()
    Image.new("RGB", (90, 20), "white").save(white, "PNG")
    pixels = encoder.preprocess_image(white.getvalue())
    assert pixels.shape == (3, 160, 160)
    assert float(pixels.min()) == float(pixels.max()) == 1.0


def test_only_resnets_compute_in_another_memory_order() -> None:
    import open_clip
    import torch

    def orders(vision: dict[str, Any]) -> set[bool]:
        model = open_clip.CLIP(16, open_clip.CLIPVisionCfg(**vision), open_clip.CLIPTextCfg(**TEXT))
        _towers(model, None, open_clip.SimpleTokenizer(context_length=24))
        weights = [weight for weight in model.visual.parameters() if weight.ndim == 4 and weight.shape[-1] > 1]
        return {weight.is_contiguous(memory_format=torch.channels_last) for weight in weights if weight.shape[1] > 1}

    assert orders(FAMILIES["resnet"][0]["vision_cfg"]) == {True}
    assert orders(VISION) == {False}
