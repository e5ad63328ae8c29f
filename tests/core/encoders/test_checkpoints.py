"""ALBEF and BEiT-3, against plain forward passes over the weights by their official names."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import ALBEF_FUSION, BEIT3_LAYERS, CAPTIONS, PICTURES, save_albef, save_beit3
from PIL import Image

from nnn_core.encoders import parse_encoder
from nnn_core.errors import InputError

pytest.importorskip("transformers")
pytest.importorskip("sentencepiece")

SAVE = {"albef": save_albef, "beit3": save_beit3}
SAMPLES = [*CAPTIONS, "Red-green, (LARGE) circle!", "zz \u00e9 unknown", "word " * 29]


@pytest.fixture(scope="module", params=["albef", "beit3"])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, folder, SAVE[request.param](folder)


def linear(state: dict[str, Any], name: str, x: Any) -> Any:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def norm(state: dict[str, Any], name: str, x: Any, eps: float) -> Any:
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()
    return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]


def gelu(x: Any) -> Any:
    import torch

    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def attend(q: Any, k: Any, v: Any) -> Any:
    """Heads of 64 channels over (length, width), one after another."""
    import torch

    heads = [slice(first, first + 64) for first in range(0, q.shape[1], 64)]
    return torch.cat([(q[:, h] @ k[:, h].T / 8).softmax(-1) @ v[:, h] for h in heads], dim=1)


def patches(state: dict[str, Any], name: str, pixels: Any) -> Any:
    cut = pixels.unfold(1, 16, 16).unfold(2, 16, 16).permute(1, 2, 0, 3, 4).reshape(4, -1)
    return cut @ state[f"{name}.weight"].reshape(128, -1).T + state[f"{name}.bias"]


def pixels_of(data: bytes, mean: tuple[float, ...], std: tuple[float, ...]) -> Any:
    import torch

    resized = Image.open(io.BytesIO(data)).resize((32, 32), Image.Resampling.BICUBIC)
    return torch.tensor(((np.asarray(resized) / 255 - mean) / std).astype(np.float32)).permute(2, 0, 1)


def albef_image(state: dict[str, Any], folder: Path, data: bytes) -> Any:
    import torch

    own = {n.removeprefix("visual_encoder."): v for n, v in state.items() if n.startswith("visual_encoder.")}
    pixels = pixels_of(data, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
    x = torch.cat([own["cls_token"][0], patches(own, "patch_embed.proj", pixels)]) + own["pos_embed"][0]
    for n in range(3):
        q, k, v = linear(own, f"blocks.{n}.attn.qkv", norm(own, f"blocks.{n}.norm1", x, 1e-6)).split(128, dim=1)
        x = x + linear(own, f"blocks.{n}.attn.proj", attend(q, k, v))
        inner = gelu(linear(own, f"blocks.{n}.mlp.fc1", norm(own, f"blocks.{n}.norm2", x, 1e-6)))
        x = x + linear(own, f"blocks.{n}.mlp.fc2", inner)
    return linear(state, "vision_proj", norm(own, "norm", x, 1e-6)[0])


def albef_ids(folder: Path, text: str) -> list[int]:
    """Words of the vocabulary, letters for the others; at most 30 words and 30 tokens."""
    vocab = {word: n for n, word in enumerate((folder / "vocab.txt").read_text().splitlines())}
    for mark in ",.'!?\"()*#:;~":
        text = text.lower().replace(mark, "")
    ids: list[int] = []
    for word in text.replace("-", " ").replace("/", " ").replace("\u00e9", "e").split()[:30]:
        letters = [vocab[letter if n == 0 else f"##{letter}"] for n, letter in enumerate(word)] if word else []
        ids += [vocab[word]] if word in vocab else letters
    return [2, *ids[:28], 3]


def albef_text(state: dict[str, Any], folder: Path, text: str) -> Any:
    import torch

    own = {n.removeprefix("text_encoder.").removeprefix("bert."): v for n, v in state.items() if "text_encoder." in n}
    ids = torch.tensor(albef_ids(folder, text))
    embeddings = "embeddings.{}_embeddings.weight"
    x = own[embeddings.format("word")][ids] + own[embeddings.format("position")][: len(ids)]
    x = norm(own, "embeddings.LayerNorm", x + own[embeddings.format("token_type")][0], 1e-12)
    for n in range(ALBEF_FUSION):
        layer = f"encoder.layer.{n}"
        q, k, v = (linear(own, f"{layer}.attention.self.{name}", x) for name in ("query", "key", "value"))
        found = linear(own, f"{layer}.attention.output.dense", attend(q, k, v))
        x = norm(own, f"{layer}.attention.output.LayerNorm", x + found, 1e-12)
        found = linear(own, f"{layer}.output.dense", gelu(linear(own, f"{layer}.intermediate.dense", x)))
        x = norm(own, f"{layer}.output.LayerNorm", x + found, 1e-12)
    return linear(state, "text_proj", x[0])


def beit3_layers(state: dict[str, Any], x: Any, way: str) -> Any:
    x = x + state[f"beit3.encoder.embed_positions.{way}.weight"][2 : 2 + len(x)]
    for n in range(BEIT3_LAYERS):
        layer = f"beit3.encoder.layers.{n}"
        inner = norm(state, f"{layer}.self_attn_layer_norm.{way}", x, 1e-5)
        q, k, v = (linear(state, f"{layer}.self_attn.{name}_proj.{way}", inner) for name in "qkv")
        found = norm(state, f"{layer}.self_attn.inner_attn_ln.{way}", attend(q, k, v), 1e-5)
        x = x + linear(state, f"{layer}.self_attn.out_proj.{way}", found)
        inner = gelu(linear(state, f"{layer}.ffn.{way}.fc1", norm(state, f"{layer}.final_layer_norm.{way}", x, 1e-5)))
        x = x + linear(state, f"{layer}.ffn.{way}.fc2", norm(state, f"{layer}.ffn.{way}.ffn_layernorm", inner, 1e-5))
    return norm(state, f"beit3.encoder.layer_norm.{way}", x, 1e-5)


def beit3_image(state: dict[str, Any], folder: Path, data: bytes) -> Any:
    import torch

    found = patches(state, "beit3.vision_embed.proj", pixels_of(data, (0.5,) * 3, (0.5,) * 3))
    x = torch.cat([state["beit3.vision_embed.cls_token"][0], found])
    return beit3_layers(state, x, "A")[0] @ state["vision_head.weight"].T


def beit3_text(state: dict[str, Any], folder: Path, text: str) -> Any:
    import torch
    from sentencepiece import SentencePieceProcessor

    pieces = SentencePieceProcessor(model_file=str(folder / "beit3.spm")).encode(text, out_type=str)
    names = SentencePieceProcessor(model_file=str(folder / "beit3.spm"))
    ids = [{0: 3}.get(names.piece_to_id(piece), names.piece_to_id(piece) + 1) for piece in pieces]
    x = state["beit3.text_embed.weight"][torch.tensor([0, *ids[:62], 2])]
    return beit3_layers(state, x, "B")[0] @ state["language_head.weight"].T


PLAIN: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "albef": (albef_image, albef_text),
    "beit3": (beit3_image, beit3_text),
}


def compare(kind: str, folder: Path, state: dict[str, Any]) -> None:
    import torch

    encoder = parse_encoder(f"{kind}:{folder}").load()
    image, text = PLAIN[kind]
    with torch.no_grad():
        images = np.stack([image(state, folder, data).numpy() for data in PICTURES])
        texts = np.stack([text(state, folder, sample).numpy() for sample in SAMPLES])
    ours = encoder.encode_images([encoder.preprocess_image(data) for data in PICTURES])
    assert ours.dtype == np.float32
    assert np.abs(images).max() > 0.1
    np.testing.assert_allclose(ours, images, rtol=0, atol=2e-5)
    np.testing.assert_allclose(encoder.encode_texts(SAMPLES), texts, rtol=0, atol=2e-5)


def test_vectors_are_those_of_a_plain_forward_pass(saved: tuple[str, Path, dict[str, Any]]) -> None:
    compare(*saved)


def test_a_pretrained_albef_checkpoint_holds_bert_one_level_deeper(tmp_path: Path) -> None:
    compare("albef", tmp_path, save_albef(tmp_path, pretrained=True))


def test_captions_that_are_cut_are_counted(saved: tuple[str, Path, dict[str, Any]]) -> None:
    encoder = parse_encoder(f"{saved[0]}:{saved[1]}").load()
    encoder.encode_texts(["a red circle", "large " * 27, "small, " * 28])
    assert encoder.truncated == 0  # type: ignore[attr-defined]
    encoder.encode_texts([CAPTIONS[3], "dog", "of the " * 40])
    assert encoder.truncated == 2  # type: ignore[attr-defined]


def test_fingerprint_changes_with_each_part_alone(saved: tuple[str, Path, dict[str, Any]], tmp_path: Path) -> None:
    kind = saved[0]
    SAVE[kind](tmp_path)
    first = asdict(parse_encoder(f"{kind}:{tmp_path}").fingerprint)
    assert first["weights"] == parse_encoder(f"{kind}:{saved[1]}").fingerprint.weights
    (weights,) = tmp_path.glob("*.pth")
    (tokenizer,) = [*tmp_path.glob("vocab.txt"), *tmp_path.glob("*.spm")]
    changed = set()
    for path, part in ((weights, "weights"), (tokenizer, "tokenizer")):
        data = bytearray(path.read_bytes())
        data[-3] ^= 1
        path.write_bytes(data)
        changed.add(part)
        now = asdict(parse_encoder(f"{kind}:{tmp_path}").fingerprint)
        assert {name for name in now if now[name] != first[name]} == changed


class Canary:
    """Leaves a trace when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_checkpoint_that_does_not_fit_is_refused(saved: tuple[str, Path, dict[str, Any]], tmp_path: Path) -> None:
    import torch

    kind = saved[0]
    state = SAVE[kind](tmp_path)
    (path,) = tmp_path.glob("*.pth")
    head = "text_proj.bias" if kind == "albef" else "language_head.weight"
    torch.save({"model": {name: value for name, value in state.items() if name != head}}, path)
    with pytest.raises(InputError, match="1 weights are missing"):
        parse_encoder(f"{kind}:{tmp_path}").load()
    torch.save({"model": {"something.weight": torch.zeros(3)}}, path)
    with pytest.raises(InputError, match="has no weight"):
        parse_encoder(f"{kind}:{tmp_path}").load()
    torch.save({"model": state, "extra": Canary(tmp_path / "executed")}, path)
    with pytest.raises(InputError, match="without running code"):
        parse_encoder(f"{kind}:{tmp_path}").load()
    assert not (tmp_path / "executed").exists()
    path.with_name("other.pt").write_bytes(b"")
    with pytest.raises(InputError, match="must hold one checkpoint"):
        parse_encoder(f"{kind}:{tmp_path}")


@pytest.mark.parametrize("kind", ["albef", "beit3"])
def test_a_directory_without_a_tokenizer_is_refused(kind: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"lacks (vocab.txt|beit3.spm)"):
        parse_encoder(f"{kind}:{tmp_path}")
