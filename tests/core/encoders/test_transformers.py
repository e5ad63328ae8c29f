"""Hugging Face format, against the forward pass of transformers itself."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import CAPTIONS, PICTURES, save_transformers
from PIL import Image

from nnn_core.encoders import parse_encoder
from nnn_core.errors import ConfigError, InputError

pytest.importorskip("transformers")

KINDS = ["clip", "siglip", "siglip2", "align", "chinese_clip", "blip"]
LENGTHS = {"clip": 77, "align": 64, "chinese_clip": 52, "blip": 35}


@pytest.fixture(scope="module", params=KINDS)
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Any, Any, Any]:
    folder = tmp_path_factory.mktemp(request.param)
    return (request.param, folder, *save_transformers(folder, request.param))


def unit(vectors: Any) -> np.ndarray:
    return np.asarray(vectors / vectors.norm(dim=-1, keepdim=True))


def reference(kind: str, folder: Path, model: Any, tokenizer: Any) -> tuple[np.ndarray, np.ndarray]:
    """Image and text vectors as the model's own forward pass has them; for BLIP, whose has none, its scores."""
    import torch
    from transformers import AutoImageProcessor

    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    images = processor(images=[Image.open(io.BytesIO(data)) for data in PICTURES], return_tensors="pt")
    most = LENGTHS.get(kind, 64)
    texts = tokenizer(CAPTIONS, padding="max_length", truncation=True, max_length=most, return_tensors="pt")
    with torch.no_grad():
        if kind == "blip":
            texts.pop("token_type_ids")
            pairs = [
                model(
                    **{name: tensor[row : row + 1] for name, tensor in texts.items()},
                    pixel_values=images["pixel_values"],
                    use_itm_head=False,
                ).itm_score[:, 0]
                for row in range(len(CAPTIONS))
            ]
            return torch.stack(pairs, dim=1).numpy(), np.zeros(0)
        out = model(**images, **texts)
    return unit(out.image_embeds), unit(out.text_embeds)


def test_vectors_are_those_of_transformers(saved: tuple[str, Path, Any, Any, Any]) -> None:
    kind, folder, model, _, tokenizer = saved
    encoder = parse_encoder(f"transformers:{folder}").load()
    images = encoder.encode_images([encoder.preprocess_image(data) for data in PICTURES])
    texts = encoder.encode_texts(CAPTIONS)
    assert images.dtype == texts.dtype == np.float32
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    expected = reference(kind, folder, model, tokenizer)
    if kind == "blip":
        np.testing.assert_allclose(images @ texts.T, expected[0], rtol=0, atol=2e-5)
        return
    np.testing.assert_allclose(texts, expected[1], rtol=0, atol=2e-5)
    np.testing.assert_allclose(images, expected[0], rtol=0, atol=2e-5)


def test_a_vector_does_not_depend_on_its_batch(saved: tuple[str, Path, Any, Any, Any]) -> None:
    encoder = parse_encoder(f"transformers:{saved[1]}").load()
    encoder.batch_size = 8
    images = [encoder.preprocess_image(data) for data in PICTURES]
    np.testing.assert_array_equal(encoder.encode_images(images)[1:2], encoder.encode_images(images[1:2]))
    np.testing.assert_array_equal(encoder.encode_texts(CAPTIONS)[3:], encoder.encode_texts(CAPTIONS[3:]))


def test_captions_that_are_cut_are_counted(saved: tuple[str, Path, Any, Any, Any]) -> None:
    encoder = parse_encoder(f"transformers:{saved[1]}").load()
    encoder.encode_texts(CAPTIONS)
    assert encoder.truncated == 1  # type: ignore[attr-defined]


def edit(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    save_transformers(tmp_path, "clip")
    return tmp_path


def test_fingerprint_changes_with_each_part_alone(clip: Path) -> None:
    from dataclasses import asdict

    first = asdict(parse_encoder(f"transformers:{clip}").fingerprint)

    def changed() -> set[str]:
        now = asdict(parse_encoder(f"transformers:{clip}").fingerprint)
        return {name for name in now if now[name] != first[name]}

    edit(clip / "config.json", transformers_version="9.9.9")
    assert changed() == set()
    edit(clip / "preprocessor_config.json", resample=2)
    assert changed() == {"preprocessing"}
    edit(clip / "tokenizer_config.json", model_max_length=12)
    assert changed() == {"preprocessing", "tokenizer"}
    edit(clip / "config.json", projection_dim=17)
    assert changed() == {"preprocessing", "tokenizer", "architecture"}
    weights = bytearray((clip / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (clip / "model.safetensors").write_bytes(weights)
    assert changed() == {"preprocessing", "tokenizer", "architecture", "weights"}


def test_half_a_checkpoint_is_refused(clip: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(clip / "model.safetensors")
    weights.pop("text_projection.weight")
    save_file(weights, clip / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"lacks 1 of the weights of CLIPModel \(first: 'text_projection.weight'\)"):
        parse_encoder(f"transformers:{clip}").load()


def test_a_worker_with_other_files_refuses(clip: Path) -> None:
    source = parse_encoder(f"transformers:{clip}")
    edit(clip / "preprocessor_config.json", resample=2)
    with pytest.raises(InputError, match="differs from the one that the job was started with"):
        source.load()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model.safetensors", "holds no weights"),
        ("preprocessor_config.json", "lacks its preprocessor_config.json"),
        ("tokenizer", "lacks its tokenizer"),
        ("config.json", "is not a readable JSON file"),
    ],
)
def test_what_is_missing_is_named(clip: Path, name: str, message: str) -> None:
    for path in clip.glob(f"{name}*"):
        path.unlink()
    for path in clip.glob("vocab*") if name == "tokenizer" else ():
        path.unlink()
    for path in clip.glob("merges*") if name == "tokenizer" else ():
        path.unlink()
    with pytest.raises(InputError, match=message):
        parse_encoder(f"transformers:{clip}")


def test_a_model_without_two_towers_is_refused(clip: Path) -> None:
    edit(clip / "config.json", model_type="clipseg")
    with pytest.raises(ConfigError, match="is of type 'clipseg'"):
        parse_encoder(f"transformers:{clip}")


def test_a_model_that_cannot_be_had_is_an_input_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="cannot be loaded from the hub"):
        parse_encoder("transformers:nobody/no-such-model@main")
